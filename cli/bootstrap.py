"""Sets `.venv` up: `python3 cli/bootstrap.py [EXTRAS]`, which `make setup` runs.

Needs the standard library alone and runs with any Python 3.7 or newer, to say clearly what is missing.
"""

from __future__ import annotations

import collections
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

OLDEST = (3, 11)
NEWER = ("python3.14", "python3.13", "python3.12", "python3.11")
CHECKOUT = Path(__file__).resolve().parent.parent
VENV = CHECKOUT / ".venv"
LOG = VENV / "setup.log"
STEP = re.compile(r"^\s*\[\s*(\d+)(?:/(\d+)\]|%\])")  # ninja's [12/345] or make's [ 12%]
SHOWN = re.compile(r"^(Collecting|Installing collected| *Building wheel) ?(\S*)")  # of packages, not of their builds
COMPILED = re.compile(r"llama[-_]cpp[-_]python")
TAIL_LINES = 40


def main() -> None:
    """Creates or completes `.venv`. Exits with 1 after one line for each thing that is missing."""
    extras = sys.argv[1] if len(sys.argv) > 1 else ""
    use_a_new_enough_python()
    missing = what_is_missing()
    if missing:
        sys.exit("\n".join(missing))
    if not works(VENV / "bin" / "python"):
        print(f"creating {VENV.name} with Python {sys.version.split()[0]}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)], check=True)  # noqa: S603
    target = f".[{extras}]" if extras else "."
    started = time.monotonic()
    if install(target) != 0:
        sys.exit(f"the set-up failed; the end of {LOG}:\n\n" + "\n".join(LOG.read_text().splitlines()[-TAIL_LINES:]))
    print(f"set up ({target}) in {clock(time.monotonic() - started)}", flush=True)


def use_a_new_enough_python() -> None:
    """Goes on with a Python of PATH that is new enough if this one is not; else exits."""
    if sys.version_info >= OLDEST:
        return
    for name in NEWER:
        path = shutil.which(name)
        if path:
            os.execv(path, [path, *sys.argv])  # noqa: S606
    here = ".".join(map(str, sys.version_info[:3]))
    sys.exit(
        f"Python 3.11 or newer is missing: {sys.executable} is {here}. Install a newer one "
        "(Debian, Ubuntu: apt install python3.11 python3.11-venv), or name one: make PYTHON=/path/to/python3"
    )


def what_is_missing() -> list[str]:
    """One line for each tool that is not here, saying what to install."""
    missing = []
    version = f"python3.{sys.version_info[1]}"
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        missing.append(f"Python's venv module is missing: install it (Debian, Ubuntu: apt install {version}-venv)")
    for language, variable, names in (
        ("C", "CC", ("cc", "gcc", "clang")),
        ("C++", "CXX", ("c++", "g++", "clang++")),
    ):
        named = os.environ.get(variable, "").split()[:1]
        if not any(map(shutil.which, named or names)):
            missing.append(
                f"A {language} compiler is missing (llama.cpp is compiled here): install one (Debian, Ubuntu: "
                f"apt install build-essential; macOS: xcode-select --install), or name it in {variable}"
            )
    return missing


def works(python: Path) -> bool:
    """Whether that virtual environment's Python still runs and is new enough."""
    check = f"import sys, pip; sys.exit(sys.version_info < {OLDEST})"
    try:
        return subprocess.run([str(python), "-c", check], stderr=subprocess.DEVNULL).returncode == 0  # noqa: S603
    except OSError:
        return False


def install(target: str) -> int:
    """Runs pip, writes all it says into the log and shows how far it is; returns its exit status."""
    command = [str(VENV / "bin" / "python"), "-m", "pip", "install", "-v", "--disable-pip-version-check", "-e", target]
    progress = Progress()
    with (
        LOG.open("w") as log,
        subprocess.Popen(  # noqa: S603
            command, cwd=str(CHECKOUT), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        ) as pip,
    ):
        assert pip.stdout is not None
        for line in pip.stdout:
            log.write(line)
            progress.take(line)
    progress.end()
    return pip.returncode


class Progress:
    """One line that changes on a terminal; elsewhere a line for each package and each tenth of the compilation."""

    def __init__(self) -> None:
        self._terminal = sys.stdout.isatty()
        self._started = time.monotonic()
        self._package = ""
        self._tenth = -1
        self._seen = collections.Counter()  # type: collections.Counter[str]

    def take(self, line: str) -> None:
        """Looks at a line of pip's output."""
        step = STEP.match(line)
        if step and self._package:
            done, total = int(step.group(1)), int(step.group(2) or 100)
            self._compiling(100 * done // max(total, 1))
            return
        shown = SHOWN.match(line)
        if not shown:
            return
        what, name = shown.group(1).strip(), shown.group(2)
        if what == "Building wheel" and COMPILED.search(line) and not self._package:
            self._package = "llama.cpp"
            self._say("compiling llama.cpp, once: about 7 minutes on 2 cores")
            self._started = time.monotonic()
        elif what == "Collecting":
            self._seen[what] += 1
            self._update(f"packages: {self._seen[what]}, {name}", permanent=True)
        elif what == "Installing collected":
            self._update("installing", permanent=True)

    def end(self) -> None:
        """Leaves the line."""
        if self._terminal:
            print("\r\033[K", end="", flush=True)

    def _compiling(self, percent: int) -> None:
        text = f"compiling llama.cpp: {percent} % after {clock(time.monotonic() - self._started)}"
        self._update(text, permanent=percent // 10 > self._tenth)
        self._tenth = max(self._tenth, percent // 10)

    def _update(self, text: str, permanent: bool) -> None:
        if self._terminal:
            print(f"\r\033[K{text[: shutil.get_terminal_size().columns - 1]}", end="", flush=True)
        elif permanent:
            print(text, flush=True)

    def _say(self, text: str) -> None:
        self.end()
        print(text, flush=True)


def clock(seconds: float) -> str:
    """Minutes and seconds: `7:05`."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


if __name__ == "__main__":
    main()
