"""A group of commands that answers a misspelled name with the command that is meant."""

import click

from backends.did_you_mean import did_you_mean


class Group(click.Group):
    """A group of commands."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that is named first.

        Raises:
            click.UsageError: There is no such command.
        """
        name, names = args[0], self.list_commands(ctx)
        if name not in names and not name.startswith("-"):
            message = f"No such command {name!r}. {did_you_mean(name, names)}"
            raise click.UsageError(message.rstrip(), ctx)
        return super().resolve_command(ctx, args)
