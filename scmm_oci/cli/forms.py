"""Usage errors that say how a verb takes its files: as arguments, with -i or with -p. Put on every verb by cli.main."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import click

# How verbs take files with an option, and how people try it with those that do not.
_OPTIONS = frozenset({"-i", "--input", "-p", "--policy"})
_FILES = re.compile("POLICY|CAPTURE|PROFILE|FILE")


class Telling(click.Context):
    """The context of a verb: where a file was given in another verb's way, the error names this verb's."""

    @contextmanager
    def scope(self, cleanup: bool = True) -> Iterator[click.Context]:
        """As click's. A command's words are parsed in one."""
        with super().scope(cleanup) as context:
            try:
                yield context
            except click.UsageError as error:
                form = _form(self) if _is_about_files(error, self.command) else None
                if form is None:
                    raise
                raise click.UsageError(f"{_sentence(error)} The form is `{form}`.", error.ctx) from error


def _sentence(error: click.UsageError) -> str:
    text = error.format_message()
    return text if text.endswith((".", "?")) else f"{text}."


def _is_about_files(error: click.UsageError, command: click.Command) -> bool:
    if isinstance(error, click.NoSuchOption):
        return error.option_name in _OPTIONS
    if isinstance(error, click.MissingParameter):
        return error.param is not None and error.param is _option(command)
    # Of what click finds while it parses, only words too many have no class of their own.
    return type(error) is click.UsageError and _option(command) is not None


def _option(command: click.Command) -> click.Option | None:
    """The option with which the verb takes its files."""
    options = (one for one in command.params if isinstance(one, click.Option))
    return next((one for one in options if {*one.opts} in ({"-i", "--input"}, {"-p", "--policy"})), None)


def _form(context: click.Context) -> str | None:
    """A command line with nothing but what has to be there; None for a verb that reads no files."""
    pieces = [one.make_metavar(context) for one in context.command.params if isinstance(one, click.Argument)]
    option = _option(context.command)
    if option is not None:
        pieces = [option.opts[0], option.metavar or "FILE", *pieces]
    return " ".join([context.command_path, *pieces]) if any(map(_FILES.search, pieces)) else None
