"""The set-up of a fresh machine: what it says when something is missing, and when it is not run again."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cli.bootstrap import Progress

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with the files that the set-up is made of."""
    folder = tmp_path / "checkout"
    (folder / "cli").mkdir(parents=True)
    for name in ("Makefile", "pyproject.toml", "cli/bootstrap.py"):
        shutil.copy(CHECKOUT / name, folder / name)
    return folder


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """An empty folder to be the whole PATH."""
    folder = tmp_path / "tools"
    folder.mkdir()
    return folder


def program(path: Path, code: str) -> Path:
    path.write_text(f"#!/bin/sh\n{code}\n")
    path.chmod(0o755)
    return path


def bootstrap(checkout: Path, tools: Path, *, before: str = "", **environment: str) -> tuple[int, list[str]]:
    """Runs the set-up with `tools` alone on the PATH; `before` is Python code that runs first."""
    script = str(checkout / "cli" / "bootstrap.py")
    code = f"import runpy, sys; {before}\nsys.argv = [{script!r}]; runpy.run_path({script!r}, run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PATH": str(tools), **environment}, capture_output=True, text=True
    )
    return done.returncode, done.stderr.splitlines()


def test_each_missing_compiler_is_one_line(checkout: Path, tools: Path) -> None:
    status, lines = bootstrap(checkout, tools)
    assert status == 1
    assert [line.split(" is missing")[0] for line in lines] == ["A C compiler", "A C++ compiler"]
    assert all("apt install build-essential" in line for line in lines)
    program(tools / "clang", "")
    status, lines = bootstrap(checkout, tools, CXX="/no/such/compiler -O2")
    assert status == 1
    assert [line.split(" is missing")[0] for line in lines] == ["A C++ compiler"]
    assert not (checkout / ".venv").exists()


def test_a_python_without_venv_is_one_line(checkout: Path, tools: Path) -> None:
    for name in ("cc", "c++"):
        program(tools / name, "")
    status, lines = bootstrap(checkout, tools, before="sys.modules['ensurepip'] = None")
    assert status == 1
    package = f"python3.{sys.version_info.minor}-venv"
    assert lines == [f"Python's venv module is missing: install it (Debian, Ubuntu: apt install {package})"]


OLD = "sys.version_info = (3, 9, 7, 'final', 0)"


def test_an_old_python_is_one_line(checkout: Path, tools: Path) -> None:
    status, lines = bootstrap(checkout, tools, before=OLD)
    assert status == 1
    assert len(lines) == 1
    assert lines[0].startswith(f"Python 3.11 or newer is missing: {sys.executable} is 3.9.7.")
    assert "apt install python3.11 python3.11-venv" in lines[0]


def test_a_newer_python_beside_an_old_one_is_taken(checkout: Path, tools: Path) -> None:
    program(tools / "python3.12", 'echo "taken for $1" >&2')
    status, lines = bootstrap(checkout, tools, before=OLD)
    assert (status, lines) == (0, [f"taken for {checkout / 'cli' / 'bootstrap.py'}"])


def make(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.run(["make", *arguments], cwd=checkout, env=environment, capture_output=True, text=True)


def test_make_without_python_is_one_line(checkout: Path) -> None:
    done = make(checkout, "setup", "PYTHON=no-such-python")
    assert done.returncode != 0
    first, *rest = done.stderr.splitlines()
    assert first.startswith("Python 3.11 or newer is missing: install it (Debian, Ubuntu: apt install python3")
    assert all(line.startswith("make: ***") for line in rest)


def test_make_sets_up_once_and_tests_apart_from_running(checkout: Path, tmp_path: Path) -> None:
    called = tmp_path / "called"
    python = program(tmp_path / "python", f'mkdir -p .venv/bin; echo "$@" >> {called}')

    def calls(*arguments: str) -> list[str]:
        called.write_text("")
        done = make(checkout, *arguments, f"PYTHON={python}")
        assert done.returncode == 0, done.stderr
        return called.read_text().splitlines()

    program_names = ("python", "llamarelay", "ruff", "mypy", "lint-imports")
    assert calls("setup") == ["cli/bootstrap.py"]
    for name in program_names:
        program(checkout / ".venv" / "bin" / name, f"echo {name} $@ >> {called}")
    assert calls("setup") == []
    assert calls("run", "ARGS=--port 1") == ["llamarelay up --port 1"]
    assert calls("test") == ["cli/bootstrap.py test,train", "python -m pytest"]
    assert calls("test", "ARGS=-x") == ["python -m pytest -x"]
    assert calls("check")[0] == "cli/bootstrap.py check"
    assert calls("check") == ["ruff check .", "ruff format --check .", "mypy", "lint-imports", "python .ci/audit.py"]
    os.utime(checkout / "pyproject.toml", (2_000_000_000, 2_000_000_000))
    assert calls("run")[0] == "cli/bootstrap.py"


PIP_OUTPUT = """\
Obtaining file:///checkout
  Running command Building editable for llamarelay (pyproject.toml)
Collecting aiohttp<4,>=3.14 (from llamarelay==0.1.0)
  Downloading aiohttp.whl (1.9 MB)
Collecting llama-cpp-python<0.4,>=0.3.36 (from llamarelay==0.1.0)
  Collecting scikit-build-core[pyproject]>=0.9.2
  Installing collected packages: scikit-build-core
  Building wheel for llamarelay (pyproject.toml): started
  Building wheel for llama-cpp-python (pyproject.toml): started
  *** Building project with Ninja...
  [1/200] Building C object ggml.c.o
  [2/200] Building C object ggml-alloc.c.o
  [100/200] Building CXX object llama.cpp.o
  [200/200] Linking
Installing collected packages: aiohttp, llama-cpp-python
"""


def test_the_compilation_is_announced_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress()
    for line in PIP_OUTPUT.splitlines(keepends=True):
        progress.take(line)
    progress.end()
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        "packages: 1, aiohttp<4,>=3.14",
        "packages: 2, llama-cpp-python<0.4,>=0.3.36",
        "compiling llama.cpp, once: about 7 minutes on 2 cores",
    ]
    assert [line.partition(" %")[0] for line in lines[3:-1]] == [
        "compiling llama.cpp: 0",
        "compiling llama.cpp: 50",
        "compiling llama.cpp: 100",
    ]
    assert lines[-1] == "installing"
