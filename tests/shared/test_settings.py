"""Settings: a value that means nothing is refused by its name, not taken for the default."""

from __future__ import annotations

import pytest

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


def test_settings_survive_the_environment() -> None:
    settings = Settings(no_worker="queue", mcp_allowed_hosts=("public", "10.0.0.0/8"), port=1, allow_remote_mcp=True)
    assert Settings.from_environment(settings.to_environment()) == settings
