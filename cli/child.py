"""Runs a program that must not outlive the process that started it: `child.py PARENT_PID PROGRAM ARGUMENT...`.

A process can arrange this only for itself, after the fork. Code between fork and exec is unsafe where other threads
run (`preexec_fn`), so this file does it as a program of its own and then becomes the real one: same process id.
It is started by its path with `python -I -S`, so it imports nothing of the project and costs a few milliseconds.
On systems other than Linux it only runs the program.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


def command(program: list[str]) -> list[str]:
    """The command line that runs `program` as a child of this very process."""
    return [sys.executable, "-I", "-S", os.path.abspath(__file__), str(os.getpid()), *program]


def die_with_parent(parent: int) -> None:
    """Asks the kernel to kill this process when its parent ends; ends it at once if that has already happened."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            sys.exit(f"the parent process {parent} is gone")


def main() -> None:
    """Becomes the program named on the command line. Raises SystemExit if that cannot be started."""
    parent, program = int(sys.argv[1]), sys.argv[2:]
    die_with_parent(parent)
    try:
        os.execvp(program[0], program)  # noqa: S606  no shell is wanted
    except OSError as error:
        sys.exit(f"cannot start {program[0]}: {error.strerror}")


if __name__ == "__main__":
    main()
