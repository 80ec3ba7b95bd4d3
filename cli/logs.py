"""Where the output of the processes that `llamarelay up` starts goes: the terminal, with their names, and files."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO

from rich.console import Console
from rich.text import Text

KEPT = 3  # older files beside the current one
LARGEST_BYTES = 16 * 1024 * 1024
COLORS = {"up": "bold", "web": "cyan", "redis": "red"}
WORKER_COLORS = ("green", "magenta", "yellow", "blue")


class LogFile:
    """`NAME.log`, and what was there before as `NAME.log.1` to `.3`; begins anew at each start and when it is large."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[str] | None = None

    def write(self, line: str) -> None:
        """Adds a line, at once visible to readers."""
        if self._file is None or self._file.tell() > LARGEST_BYTES:
            self.close()
            self._file = self._begin()
        self._file.write(line + "\n")

    def close(self) -> None:
        """Closes the file; a later `write` begins a new one."""
        if self._file:
            self._file.close()
            self._file = None

    def _begin(self) -> IO[str]:
        for number in range(KEPT, 0, -1):
            older = self.path if number == 1 else self._numbered(number - 1)
            if older.exists():
                older.replace(self._numbered(number))
        return self.path.open("w", encoding="utf-8", buffering=1)

    def _numbered(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")


class Output:
    """The terminal and the log folder, shared by all processes."""

    def __init__(self, console: Console, folder: Path, names: list[str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._console = console
        self._width = max(map(len, names))
        self._files = {name: LogFile(folder / f"{name.replace(' ', '-')}.log") for name in names}

    def of(self, name: str, shown: Callable[[str], bool] | None = None) -> Callable[[str], None]:
        """What takes the lines of the process called `name`; the file gets all, the terminal those that are `shown`."""

        def take(line: str) -> None:
            with suppress(OSError):  # a full disk stops the log, not the process
                self._files[name].write(line)
            if shown is None or shown(line):
                self.show(name, line)

        return take

    def show(self, name: str, line: str) -> None:
        """Prints a line with a name before it."""
        prefix = (f"{name:<{self._width}} | ", _color(name))
        try:
            self._console.print(Text.assemble(prefix, Text.from_ansi(line)), soft_wrap=True, highlight=False)
        except (OSError, SystemExit):  # the terminal is gone (rich exits on a broken pipe); the files go on
            self._console.quiet = True

    def close(self) -> None:
        """Closes the log files."""
        for file in self._files.values():
            file.close()


def _color(name: str) -> str:
    number = name.removeprefix("worker ")
    return WORKER_COLORS[(int(number) - 1) % len(WORKER_COLORS)] if number.isdecimal() else COLORS.get(name, "")
