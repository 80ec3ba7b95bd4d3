"""Settings: a value that means nothing is refused by its name, not taken for the default."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from cli.main import main
from shared.redis.connection import connect
from shared.settings import Settings, SettingsError


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NO_WORKER", "wait"),
        ("MCP_REQUIRE_APPROVAL", "allways"),
        ("HOSTED_TOOLS", "allow"),
        ("WIRE_DIALECT", "open_responses"),
        ("LOG_FORMAT", "text"),
        ("PORT", "http"),
        ("ALLOW_REMOTE_MCP", "maybe"),
    ],
)
def test_a_value_that_means_nothing_is_refused_by_its_name(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"{name}.*{value}"):
        Settings.from_environment({name: value})


@pytest.mark.parametrize(
    "url",
    [
        "redis://:s3cr/etPW@host",
        "redis://:s3cr?etPW@host:6379/0",
        "redis://:s3cr#etPW@host:6379/0",
        "redis://me:12/s3cret@host",
        "redis://me:12?s3cret@host",
        "redis://:12/s3cret",
        "redis+sentinel://:s3cr/et@one:1,two:2/main",
        "redis+sentinel://:s3cret@one:1,two:2",
        "rediss+sentinel:///s3cret",
        "redis+sentinel://one:1/main/s3cret",
        "http://:s3cret@host",
        "redis://[s3cret",
        "s3cret",
        "unix://",
    ],
)
def test_a_redis_url_that_means_nothing_is_refused_without_showing_it(url: str) -> None:
    for settings in (lambda: Settings.from_environment({"REDIS_URL": url}), lambda: Settings(redis_url=url)):
        with pytest.raises(SettingsError, match="REDIS_URL is no URL") as refused:
            settings()
        assert "s3cr" not in str(refused.value)
        assert refused.value.__context__ is None  # a traceback would show what it says


@pytest.mark.parametrize(
    "url",
    [
        "redis://",
        "redis://host",
        "redis://:p%2Fw@host:6379/0?socket_timeout=1",
        "rediss://:pw@host:6379/0?ssl_ca_certs=/a@b.pem",
        "rediss://me:p@ss@[::1]:6379/1",
        "unix:///tmp/redis.sock?db=1",
        "unix://me:pw@/tmp/redis.sock",
        "redis+sentinel://me:pw@one:1,[::1]:2,three/main/5?sentinel_password=s",
        "rediss+sentinel://one/main",
    ],
)
def test_a_redis_url_that_can_be_used_is_taken(url: str) -> None:
    assert Settings.from_environment({"REDIS_URL": url}).redis_url == url
    connect(url)


def test_settings_survive_the_environment() -> None:
    settings = Settings(no_worker="queue", mcp_allowed_hosts=("public", "10.0.0.0/8"), port=1, allow_remote_mcp=True)
    assert Settings.from_environment(settings.to_environment()) == settings


@pytest.mark.parametrize("command", ["web", "worker"])
@pytest.mark.parametrize("flag", [True, False])
def test_a_command_says_so_without_a_traceback(command: str, flag: bool) -> None:
    url = "redis://:s3cr/etPW@host"
    arguments = [command, "--redis-url", url] if flag else [command]
    result = CliRunner().invoke(main, arguments, env={} if flag else {"REDIS_URL": url})
    assert result.exit_code == 2
    assert "REDIS_URL is no URL" in result.output
    assert "s3cr" not in result.output


@pytest.mark.parametrize("command", ["web", "worker", "up"])
@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("socket_timeout=s3cret", "the option socket_timeout"),
        ("nonsense=s3cret", "the option nonsense"),
        ("ssl_cert_reqs=s3cret", "an option"),
        ("db=s3cret", "the option db"),
    ],
)
@pytest.mark.parametrize("url", ["rediss://127.0.0.1:1", "rediss+sentinel://127.0.0.1:1/main"])
def test_options_that_redis_py_does_not_know_are_one_clear_line(command: str, query: str, said: str, url: str) -> None:
    result = CliRunner().invoke(main, [command], env={"REDIS_URL": f"{url}?{query}", "HOST": "127.0.0.1", "PORT": "0"})
    assert result.exit_code == 2
    assert f"redis-py does not know {said} of the URL, or not its value" in result.output
    assert "s3cret" not in result.output
