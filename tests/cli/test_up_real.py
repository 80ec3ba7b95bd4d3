"""`llamarelay up` as a new user meets it: the real processes, the demo model, a restart."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.stub_programs import Command


@pytest.fixture
def started() -> Iterator[list[Command]]:
    commands: list[Command] = []
    yield commands
    for command in commands:
        command.close()


def ask(url: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    data = json.dumps(body).encode() if body else None
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        result = json.load(answer)
    assert isinstance(result, dict)
    return result


def test_a_conversation_goes_on_after_a_restart(started: list[Command], tmp_path: Path) -> None:
    nothing = tmp_path / "nothing"  # no stand-ins: the real web process and worker
    nothing.mkdir()

    def up() -> tuple[Command, str]:
        command = Command(nothing, "up", "--port", "0", "--model", "spark", "--data-dir", str(tmp_path / "data"))
        started.append(command)
        return command, command.wait_for("llamarelay is ready at").split()[4]

    first, url = up()
    asked = ask(f"{url}/responses", {"model": "llamarelay/spark", "input": "Provide a prime number less than 50"})
    assert asked["status"] == "completed"
    assert first.end() == 0

    second, url = up()
    assert ask(f"{url}/responses/{asked['id']}")["output"] == asked["output"]
    answer = ask(
        f"{url}/responses",
        {"model": "llamarelay/spark", "input": "Multiply it by 2", "previous_response_id": asked["id"]},
    )
    assert answer["status"] == "completed"
    assert answer["previous_response_id"] == asked["id"]
    assert answer["usage"]["input_tokens"] > asked["usage"]["input_tokens"]
    assert second.end() == 0
