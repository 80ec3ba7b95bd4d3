"""Clients of other languages, installed by their own package files."""

from __future__ import annotations

import subprocess

import pytest

from tests.clients.node_program import FOLDER, Node, find_node


@pytest.fixture(scope="session")
def node() -> Node:
    """Node with the clients of `node/package-lock.json`, which are installed again only when that file changes."""
    missing = find_node()
    if missing:
        pytest.skip(missing)
    lock = (FOLDER / "package-lock.json").read_bytes()
    stamp = FOLDER / "node_modules" / ".installed"  # git ignores node_modules
    if not stamp.is_file() or stamp.read_bytes() != lock:
        done = subprocess.run(
            ["npm", "ci", "--no-audit", "--no-fund"], cwd=FOLDER, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        stamp.write_bytes(lock)
    return Node()
