"""`llamarelay key`, and what the commands say where keys are missing or wrong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.main import main
from shared.api_keys import Keys
from tests.cli.stub_programs import WEB, Command, write_programs


def made(*arguments: str) -> tuple[str, str]:
    """The key and the entry that the command shows."""
    result = CliRunner().invoke(main, ["key", *arguments])
    assert result.exit_code == 0, result.output
    key, entry = re.findall(r": +(\S+)$", result.output, re.MULTILINE)
    return key, entry


def test_a_key_opens_what_its_entry_is_set_for() -> None:
    key, entry = made("alice", "--slots", "4", "--rpm", "60")
    other, other_entry = made("bob")
    keys = Keys.read([entry, other_entry])
    found = keys.find(key)
    assert found is not None
    assert (found.name, found.slots, found.rpm) == ("alice", 4, 60)
    assert key not in entry
    assert key != other
    assert (theirs := keys.find(other)) is not None
    assert (theirs.name, theirs.slots, theirs.rpm) == ("bob", None, None)


@pytest.mark.parametrize("name", ["", "a b", "a:b", "a,b", "a/b", "-a", "ä", "a" * 65])
def test_a_name_that_cannot_be_one_is_refused(name: str) -> None:
    result = CliRunner().invoke(main, ["key", "--", name])
    assert result.exit_code == 2
    assert "a name has up to 64 letters" in result.output


@pytest.mark.parametrize("command", [("web", "--host", "0.0.0.0"), ("web",), ("up", "--host", "0.0.0.0")])
def test_an_open_address_is_refused_without_keys(command: tuple[str, ...], tmp_path: Path) -> None:
    programs = write_programs(tmp_path / "programs")
    more = ("--data-dir", str(tmp_path / "data"), "--port", "0") if command[0] == "up" else ()
    process = Command(programs, *command, *more)
    try:
        assert process.ended() == 2
        assert not (tmp_path / "data").exists()
    finally:
        process.close()
    said = " ".join(process.output.split())
    for part in ("HOST is 0.0.0.0", "API_KEYS", "llamarelay key", "ALLOW_ANONYMOUS=1"):
        assert part in said


@pytest.mark.parametrize(
    "environment", [{"ALLOW_ANONYMOUS": "1"}, {"API_KEYS": f"a:{'0' * 64}"}, {"HOST": "127.0.0.1"}], ids=str
)
def test_what_makes_it_start(environment: dict[str, str], tmp_path: Path) -> None:
    programs = write_programs(tmp_path / "programs", web="def run(settings):\n    print('runs')\n")
    process = Command(programs, "web", **environment)
    try:
        assert process.ended() == 0
    finally:
        process.close()
    assert process.lines == ["runs"]


def test_wrong_keys_are_named_by_their_place_alone(tmp_path: Path) -> None:
    process = Command(write_programs(tmp_path / "programs"), "web", API_KEYS=f"a:{'0' * 64},lr-a-key-itself")
    try:
        assert process.ended() == 2
    finally:
        process.close()
    assert "API_KEYS: entry 2 is not of the form" in process.output
    assert "lr-a-key-itself" not in process.output


def test_up_asks_its_own_web_process_with_a_key_of_its_own(tmp_path: Path) -> None:
    """It knows only the hashes of the others."""
    asks = WEB.replace(
        "def do_GET(self):",
        "def do_GET(self):\n        from shared.api_keys import Keys\n"
        "        found = Keys.read(self.server.settings.api_keys)"
        ".find(self.headers.get('Authorization', '').removeprefix('Bearer '))\n"
        "        if self.path == '/v1/models': print('asked by', found and found.name, flush=True)",
    )
    assert asks != WEB
    programs = write_programs(tmp_path / "programs", web=asks)
    up = Command(programs, "up", "--data-dir", str(tmp_path / "data"), "--port", "0", API_KEYS=f"a:{'0' * 64}")
    try:
        up.seen("asked by llamarelay.up")
        assert "Authorization: Bearer YOUR_KEY" in up.seen("try")
        assert up.end() == 0
    finally:
        up.close()
