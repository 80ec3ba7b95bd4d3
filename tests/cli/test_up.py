"""`llamarelay up` with stand-ins for the web process and the workers, and a real Redis."""

from __future__ import annotations

import os
import re
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from cli.embedded_redis import EmbeddedRedis
from tests.cli.processes import gone
from tests.cli.stub_programs import WEB, WORKER, Command, write_programs
from tests.shared.gguf_files import write_gguf


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def start(tmp_path: Path, data_dir: Path) -> Iterator[Callable[..., Command]]:
    """`start("--workers", "2", worker=CODE, NAME=value)`: `up` on a free port with its own data folder."""
    started: list[Command] = []

    def up(*arguments: str, web: str = WEB, worker: str = WORKER, **environment: str) -> Command:
        programs = write_programs(tmp_path / f"programs-{len(started)}", web=web, worker=worker)
        options = ["--data-dir", str(data_dir)]
        if "--port" not in arguments:
            options += ["--port", "0"]
        started.append(Command(programs, "up", *options, *arguments, **environment))
        return started[-1]

    yield up
    for command in started:
        command.close()


def test_it_says_when_it_is_ready_and_what_to_try(start: Callable[..., Command], data_dir: Path) -> None:
    up = start()
    url = up.wait_for("llamarelay is ready at").split()[4]
    assert url.startswith("http://127.0.0.1:")
    assert up.wait_for("models").split() == ["models", "llamarelay/spark"]
    assert up.wait_for("data").split() == ["data", str(data_dir)]
    assert up.wait_for("try").split()[1:3] == ["curl", f"{url}/responses"]
    assert '"model": "llamarelay/spark"' in up.lines[-1]
    assert up.end() == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_everything_stops_in_order(number: signal.Signals, start: Callable[..., Command], data_dir: Path) -> None:
    up = start("--workers", "2")
    up.wait_for("Ctrl-C stops it")  # as soon as one of the workers is ready
    up.run_as("worker", 2)
    assert up.end(number) == 0
    order = [up.output.index(text) for text in ("stopping", "web has drained", "worker has drained", "stopped")]
    assert order == sorted(order)
    assert up.output.count("worker has drained b'2'") == 2  # Redis was still there
    assert "Redis is now ready to exit" in (data_dir / "logs" / "redis.log").read_text()


def test_the_workers_divide_the_cores(start: Callable[..., Command], data_dir: Path) -> None:
    up = start("--workers", "3", CORES="8")
    up.run_as("worker", 3)
    assert up.end() == 0
    logs = [(data_dir / "logs" / f"worker-{number}.log").read_text() for number in (1, 2, 3)]
    assert [re.findall("cores (.*)", log) for log in logs] == [["3 threads 0"], ["3 threads 0"], ["2 threads 0"]]


def test_what_is_in_redis_survives_a_restart(start: Callable[..., Command]) -> None:
    for count in (1, 2):
        up = start()
        up.wait_for("Ctrl-C stops it")
        up.seen(f"start {count} with")
        assert up.end() == 0


def test_a_killed_up_leaves_nothing_that_hinders_the_next(start: Callable[..., Command], data_dir: Path) -> None:
    up = start()
    up.wait_for("Ctrl-C stops it")
    web, worker = up.pid_of("web"), up.pid_of("worker")
    with redis.Redis.from_url(EmbeddedRedis(data_dir / "redis").url) as client:
        server = client.info("server")["process_id"]
    with gone(web) as web_gone, gone(worker) as worker_gone, gone(server) as redis_gone:
        assert up.end(signal.SIGKILL) == -signal.SIGKILL
        web_gone()
        worker_gone()
        redis_gone()
    again = start()
    again.wait_for("Ctrl-C stops it")
    again.seen("start 2 with")
    assert again.end() == 0


def test_a_dead_worker_is_restarted_and_said_so(start: Callable[..., Command]) -> None:
    up = start()
    worker = up.pid_of("worker")
    os.kill(worker, signal.SIGKILL)
    up.wait_for("worker 1 was killed by SIGKILL; starting it again in 0.1 s")
    assert up.wait_for("worker runs as").split()[-1] != str(worker)


def test_a_dead_redis_is_restarted_with_its_data(start: Callable[..., Command], data_dir: Path) -> None:
    up = start()
    up.wait_for("Ctrl-C stops it")
    server = EmbeddedRedis(data_dir / "redis")
    with redis.Redis.from_url(server.url) as client:
        pid = client.info("server")["process_id"]
    os.kill(pid, signal.SIGKILL)
    up.wait_for("redis was killed by SIGKILL; starting it again")
    retry = redis.retry.Retry(redis.backoff.ConstantBackoff(0.05), 200, supported_errors=(OSError,))
    with redis.Redis.from_url(server.url, retry=retry) as client:
        assert client.get("starts") == b"1"
        assert client.info("server")["process_id"] != pid
    assert up.end() == 0


def test_a_worker_that_cannot_run_ends_it_with_the_reason(start: Callable[..., Command], data_dir: Path) -> None:
    up = start(worker="def run(settings):\n    raise SystemExit('the GPU is on fire')\n")
    assert up.ended() == 1
    assert up.output.count("worker 1 ended with status 1; starting it again") == 4
    error = up.output.index("error: worker 1 ended 5 times within 60 s")
    assert "the GPU is on fire" in up.output[error:]
    assert "web has drained" in up.output[error:]  # the others are stopped in order
    assert (data_dir / "logs" / "worker-1.log").read_text() == "the GPU is on fire\n" * 5


def test_a_second_signal_kills(start: Callable[..., Command]) -> None:
    stubborn = WORKER.replace("signal.sigwait({signal.SIGTERM})", "signal.sigwait({signal.SIGUSR1})")
    up = start(worker=stubborn)
    worker = up.pid_of("worker")
    up.seen("Ctrl-C stops it")
    up.process.send_signal(signal.SIGINT)
    up.wait_for("once more to kill")
    up.wait_for("web has drained")
    with gone(worker) as wait:
        up.process.send_signal(signal.SIGINT)
        up.wait_for("killing")
        wait()
    assert up.ended() == 0


def test_it_can_be_stopped_while_it_waits_for_a_model(start: Callable[..., Command]) -> None:
    up = start(worker=WORKER.replace('client.set("worker ready", 1)', ""))
    up.wait_for("waiting for a worker to load its model")
    assert up.end(signal.SIGINT) == 0
    assert "is ready" not in up.output


def test_a_port_in_use_is_one_clear_line(start: Callable[..., Command], data_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        up = start("--port", port)
        assert up.ended() == 1
    assert up.lines == [
        f"Error: cannot listen on 127.0.0.1 port {port}: address already in use; choose another with --port"
    ]
    assert not data_dir.exists()


def test_a_second_up_on_the_same_data_is_refused(start: Callable[..., Command], data_dir: Path) -> None:
    first = start()
    first.wait_for("Ctrl-C stops it")
    second = start()
    assert second.ended() == 1
    assert second.lines == [
        f"Error: another `llamarelay up` (process {first.process.pid}) is using {data_dir}; "
        "stop it or choose another folder with --data-dir"
    ]
    assert first.end() == 0


def test_the_named_models_are_served_and_the_first_is_the_default(
    start: Callable[..., Command], tmp_path: Path
) -> None:
    for name in ("alpha", "beta"):
        write_gguf(tmp_path / "models" / "org" / name / "m-F16.gguf")
    up = start("--model", "BETA", "--model", "alpha@f16", MODELS_DIR=str(tmp_path / "models"))
    assert up.wait_for("models  ").split() == ["models", "org/beta"]
    assert "('org/beta', 'org/alpha@f16')" in up.seen("start 1 with")


def test_an_unknown_model_is_one_clear_line(start: Callable[..., Command], tmp_path: Path) -> None:
    up = start("--model", "sparc")
    assert up.ended() == 1
    assert up.lines[0].startswith("Error: no model is called 'sparc'; available: llamarelay/spark")
    nothing = start(MODELS_DIR=str(tmp_path / "nothing"))
    assert nothing.ended() == 1
    assert nothing.lines == [f"Error: no usable model in {tmp_path}/nothing; `llamarelay ls` lists what is there"]


@pytest.mark.parametrize("named_by", ["flag", "environment"])
def test_a_named_redis_is_used(named_by: str, start: Callable[..., Command], tmp_path: Path, data_dir: Path) -> None:
    with EmbeddedRedis(tmp_path / "other", port=0) as server:
        up = start("--redis-url", server.url) if named_by == "flag" else start(REDIS_URL=server.url)
        up.wait_for("Ctrl-C stops it")
        with redis.Redis.from_url(server.url) as client:
            assert client.get("starts") == b"1"
        assert not (data_dir / "redis").exists()
        assert up.end() == 0


def test_a_named_redis_that_does_not_answer_is_one_clear_line(start: Callable[..., Command]) -> None:
    up = start("--redis-url", "redis://127.0.0.1:1/0")
    assert up.ended() == 1
    assert len(up.lines) == 1
    assert up.lines[0].startswith("Error: the Redis that --redis-url or REDIS_URL names does not answer: ")


def test_the_logs_of_the_last_starts_are_kept(start: Callable[..., Command], data_dir: Path) -> None:
    for _ in range(2):
        up = start()
        up.wait_for("Ctrl-C stops it")  # the second time at once: Redis remembers that there was a worker
        up.run_as("worker", 1)
        assert up.end() == 0
    logs = data_dir / "logs"
    assert "start 2 with () json" in (logs / "worker-1.log").read_text()  # json: the output is no terminal
    assert "start 1 with" in (logs / "worker-1.log.1").read_text()


def test_web_and_worker_prefer_flags_to_the_environment(tmp_path: Path) -> None:
    shows = "def run(settings):\n    print(settings.host, settings.port, settings.redis_url, settings.models)\n"
    programs = write_programs(tmp_path / "programs", web=shows, worker=shows)
    url = "redis://elsewhere:6379/1"
    commands = (
        Command(programs, "web", "--port", "9001", "--redis-url", url, HOST="127.0.0.2", PORT="9000"),
        Command(programs, "worker", "--model", "a/b", "--model", "c", REDIS_URL=url, MODELS="x"),
        Command(programs, "worker", REDIS_URL=url, MODELS="x,y"),
        Command(programs, "web", PORT="many"),
    )
    try:
        assert [command.ended() for command in commands] == [0, 0, 0, 2]
        assert commands[0].lines == [f"127.0.0.2 9001 {url} ()"]
        assert commands[1].lines == [f"0.0.0.0 8080 {url} ('a/b', 'c')"]
        assert commands[2].lines == [f"0.0.0.0 8080 {url} ('x', 'y')"]
        assert commands[3].lines[-1] == "Error: PORT must be a int, got 'many'"
    finally:
        for command in commands:
            command.close()
