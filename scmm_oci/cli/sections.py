"""Options of a command line in sections: click has one list of them only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click


class Option(click.Option):
    """An option that stands in a section of the help."""

    def __init__(self, *words: Any, section: str = "", **changes: Any) -> None:
        super().__init__(*words, **changes)
        self.section = section


class Command(click.Command):
    """A command whose help has a section for each word that its options have as theirs, in their order."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the sections; options that are in none come last."""
        found: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                found.setdefault(getattr(parameter, "section", ""), []).append(record)
        last = found.pop("", [])
        for title, records in [*found.items(), ("Other options", last)]:
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


def option(*words: str, section: str, **changes: Any) -> Callable[[click.decorators.FC], click.decorators.FC]:
    """``click.option`` in a section."""
    return click.option(*words, cls=Option, section=section, **changes)
