"""Stand-ins for the web and worker processes, so that `llamarelay up` is tested for what it does itself.

They go before the real rooms on PYTHONPATH. The tests of the whole system are in tests/e2e.
"""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
from pathlib import Path

LONGEST_SECONDS = 60.0
CHECKOUT = Path(__file__).resolve().parents[2]

WEB = """
import http.server, json, os, signal, threading
import redis

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        ready = self.server.redis.exists("worker ready")
        body = json.dumps({"data": [{"id": self.server.settings.default_model}]}).encode()
        self.send_response(200 if ready or self.path != "/readyz" else 503)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass

def run(settings):
    server = http.server.ThreadingHTTPServer((settings.host, settings.port), Handler)
    server.settings, server.redis = settings, redis.Redis.from_url(settings.redis_url)
    def stop(*_):
        print("web is draining", flush=True)
        threading.Thread(target=server.shutdown).start()
    signal.signal(signal.SIGTERM, stop)
    print("web runs as", os.getpid(), flush=True)
    server.serve_forever()
    print("web has drained", flush=True)
"""

WORKER = """
import os, signal
import redis

def run(settings):
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    client = redis.Redis.from_url(settings.redis_url)
    print("start", client.incr("starts"), "with", settings.models, settings.log_format, flush=True)
    print("cores", settings.cores, "threads", settings.threads, flush=True)
    print("worker runs as", os.getpid(), flush=True)
    client.set("worker ready", 1)
    signal.sigwait({signal.SIGTERM})
    print("worker has drained", client.get("starts"), flush=True)
"""


def write_programs(folder: Path, *, web: str = WEB, worker: str = WORKER) -> Path:
    """Rooms `api` and `workers` whose `run` functions are these."""
    for room, module, code in (("api", "app", web), ("workers", "process", worker)):
        (folder / room).mkdir(parents=True)
        (folder / room / "__init__.py").touch()
        (folder / room / f"{module}.py").write_text(code)
    return folder


class Command:
    """`llamarelay ARGUMENTS` as a process whose output can be waited for. Ends with the test."""

    def __init__(self, programs: Path, *arguments: str, **environment: str) -> None:
        ours = {"PYTHONPATH": f"{programs}{os.pathsep}{CHECKOUT}", "HOME": str(programs)}
        unset = {"REDIS_URL", "MODELS", "HOST", "PORT", "LOG_FORMAT", "XDG_DATA_HOME", "API_KEYS", "ALLOW_ANONYMOUS"}
        inherited = {name: value for name, value in os.environ.items() if name not in unset}
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "cli.main", *arguments],
            env={**inherited, **ours, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines: list[str] = []
        self._arriving: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._arriving.put(line.rstrip("\n"))
        self._arriving.put(None)

    def seen(self, text: str) -> str:
        """The first line of all with `text` in it; waits for it. For lines of several processes, in any order."""
        return next((line for line in self.lines if text in line), "") or self.wait_for(text)

    def wait_for(self, text: str) -> str:
        """The next line with `text` in it. Fails with all output if the process ends or is silent without it."""
        while True:
            try:
                line = self._arriving.get(timeout=LONGEST_SECONDS)
            except queue.Empty:
                line = None
            assert line is not None, f"no {text!r} in:\n" + "\n".join(self.lines)
            self.lines.append(line)
            if text in line:
                return line

    def run_as(self, program: str, count: int) -> None:
        """Returns when so many have said `PROGRAM runs as`: from then on they take signals."""
        while sum(f"{program} runs as" in line for line in self.lines) < count:
            self.wait_for(f"{program} runs as")

    def pid_of(self, program: str) -> int:
        """The process id that the first `PROGRAM runs as` line tells."""
        return int(self.seen(f"{program} runs as").split()[-1])

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Sends a signal, reads the rest of the output, returns the exit status."""
        self.process.send_signal(number)
        return self.ended()

    def ended(self) -> int:
        """Reads the output to its end and returns the exit status."""
        while (line := self._arriving.get(timeout=LONGEST_SECONDS)) is not None:
            self.lines.append(line)
        return self.process.wait(LONGEST_SECONDS)

    @property
    def output(self) -> str:
        """All lines read so far."""
        return "\n".join(self.lines)

    def close(self) -> None:
        """Kills the process if it still runs; what it started ends with it."""
        self.process.kill()
        self.process.wait()
        self._reader.join()
        if self.process.stdout is not None:
            self.process.stdout.close()
