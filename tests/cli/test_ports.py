"""Ports for servers that are started later."""

from __future__ import annotations

import socket

import pytest
from click.testing import CliRunner

from cli import ports as module
from cli.ports import free_port
from cli.web import web


def test_it_is_free_and_lent_to_no_outgoing_connection() -> None:
    ports = {free_port() for _ in range(20)}
    assert len(ports) > 1
    for port in ports:
        assert 15_000 <= port < 32_768
        with socket.create_server(("127.0.0.1", port)):
            pass


def test_one_that_is_taken_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", free_port())) as taken:
        port = taken.getsockname()[1]
        other = free_port()
        picks = iter([port, port, other])
        monkeypatch.setattr(module.random, "randint", lambda *_: next(picks))
        assert free_port() == other


def test_an_address_that_is_not_of_this_machine_is_an_error() -> None:
    with pytest.raises(OSError, match="assign requested address"):
        free_port("192.0.2.1")


def test_a_web_whose_port_is_taken_says_so_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", free_port())) as other:
        port = str(other.getsockname()[1])
        result = CliRunner().invoke(web, ["--host", "127.0.0.1", "--port", port])
    assert result.exit_code == 1
    assert result.output == (
        f"Error: cannot listen on 127.0.0.1 port {port}: address already in use; choose another with --port\n"
    )
