"""`llamarelay key`: a new API key."""

from __future__ import annotations

import click

from shared.api_keys import entry_of, new_key


@click.command()
@click.argument("name")
@click.option("--slots", type=click.IntRange(1, 999_999_999), help="Responses of this name that may run at once.")
@click.option("--rpm", type=click.IntRange(1, 999_999_999), help="Requests of this name in a minute.")
def key(name: str, slots: int | None, rpm: int | None) -> None:
    """Make an API key for NAME.

    It is shown once and kept nowhere: give it to who will use it, and add the entry to API_KEYS of every web process.
    Keys of the same name see the same responses and conversations.
    """
    token = new_key()
    try:
        entry = entry_of(name, token, slots=slots, rpm=rpm)
    except ValueError as error:
        raise click.BadParameter(f"{error}.", param_hint="NAME") from None
    click.echo(f"key, shown only now: {token}")
    click.echo(f"entry for API_KEYS:  {entry}")
