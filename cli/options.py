"""What several commands share: the settings, with flags before the environment."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import click

from cli.ports import port_in_use
from shared.exposure import check_exposure
from shared.settings import Settings, SettingsError


def settings_with(**flags: Any) -> Settings:
    """The environment's settings with the given fields replaced; None and () leave a field alone. Raises UsageError."""
    try:
        settings = Settings.from_environment()
        return replace(settings, **{name: value for name, value in flags.items() if value not in (None, ())})
    except SettingsError as error:
        raise click.UsageError(str(error)) from None


def checked_exposure(settings: Settings) -> None:
    """Raises UsageError where a web process with these settings would refuse to listen, or its keys are wrong."""
    try:
        check_exposure(settings)
    except SettingsError as error:
        raise click.UsageError(f"{error}.") from None


def checked_address(settings: Settings) -> None:
    """Raises ClickException where no web process can listen."""
    if reason := port_in_use(settings.host, settings.port):
        raise click.ClickException(
            f"cannot listen on {settings.host} port {settings.port}: {reason.lower()}; choose another with --port"
        )


def checked_redis(settings: Settings) -> None:
    """Raises UsageError where the URL of Redis has options that no connection can be made with."""
    from shared.redis.connection import check_options

    try:
        check_options(settings.redis_url)
    except ValueError as error:
        raise click.UsageError(f"REDIS_URL (or --redis-url): {error}.") from None
