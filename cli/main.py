"""The `llamarelay` command. Each subcommand is a module of its own, imported when it is used."""

from __future__ import annotations

import importlib

import click

COMMANDS = ("up", "web", "worker", "ls", "key")  # cli/NAME.py holds the command `NAME`


class Commands(click.Group):
    """The subcommands, imported by name: `llamarelay ls` loads nothing of the web process."""

    def list_commands(self, context: click.Context) -> list[str]:
        """The names in the order in which people meet them."""
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """The command called `name`, None if there is none."""
        if name not in COMMANDS:
            return None
        command = getattr(importlib.import_module(f"cli.{name}"), name)
        assert isinstance(command, click.Command)
        return command


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="llamarelay")
def main() -> None:
    """OpenAI's Responses API for models you run yourself.

    `llamarelay up` starts everything on this machine; `web` and `worker` are its parts, to be scaled apart.
    """


if __name__ == "__main__":
    main(prog_name="llamarelay")
