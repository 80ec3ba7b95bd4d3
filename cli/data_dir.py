"""The folder that `llamarelay up` keeps its data in: Redis' files, the logs, and the lock that makes it one's own."""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

CHECKOUT = Path(__file__).resolve().parent.parent


def default_data_dir() -> Path:
    """`data/` of the checkout this runs from, else `llamarelay` in the user's data folder (XDG_DATA_HOME)."""
    if (CHECKOUT / "pyproject.toml").is_file() and os.access(CHECKOUT, os.W_OK):
        return CHECKOUT / "data"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "llamarelay"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Creates `folder` and holds it for this process. Raises ClickException if another one does.

    The lock is the kernel's: it ends with the process however that ends, and the file that stays behind means nothing.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = (folder / "up.lock").open("a+", encoding="ascii")
    except OSError as error:
        raise click.ClickException(
            f"cannot use {folder} for data: {error.strerror}; choose another with --data-dir"
        ) from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.seek(0)
            raise click.ClickException(
                f"another `llamarelay up` (process {file.read().strip() or '?'}) is using {folder}; "
                "stop it or choose another folder with --data-dir"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def encryption_key(folder: Path) -> str:
    """The key in `folder` that seals content for clients; made at the first start, readable by this user alone."""
    path = folder / "encryption.key"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text(encoding="ascii").strip()
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(secrets.token_urlsafe(32))
    return path.read_text(encoding="ascii")
