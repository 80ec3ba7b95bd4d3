"""No correctness by the wall clocks of two machines: they are read for people, and for models, alone."""

from __future__ import annotations

import re
from pathlib import Path

ROOMS = ("api", "workers", "shared", "cli")
READS = re.compile(r"\btime\.time(_ns)?\(|\bdatetime\.(now|utcnow|today)\(|\btimestamp_ms\(|\bdate\.today\(")
ALLOWED = {
    "api/creation.py": "created_at of a response",
    "api/compaction.py": "created_at of a compaction",
    "api/routes/conversations.py": "created_at of a conversation",
    "shared/emitter.py": "completed_at of a response",
    "shared/redis/queue.py": "arq's job definition: when it was enqueued, which arq logs and nobody reads",
    "workers/template.py": "strftime_now of chat templates",
}


def test_wall_clocks_are_read_only_where_nothing_depends_on_them(repository: Path) -> None:
    files = [path for room in ROOMS for path in (repository / room).rglob("*.py")]
    reading = {str(path.relative_to(repository)) for path in files if READS.search(path.read_text())}
    assert reading == set(ALLOWED)


def test_scripts_read_no_clock_but_redis(repository: Path) -> None:
    for path in (repository / "shared/redis/scripts").glob("*.lua"):
        assert "os.time" not in path.read_text(), path.name
