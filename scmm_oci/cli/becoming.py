"""The command of a verb that becomes another program: options that are given once, and 125 for whatever goes wrong.

Called by cli.enforce.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import click
from click.core import ParameterSource

from scmm_oci.cli.output import fail
from scmm_oci.errors import Failure, Problem, ScmmError

# What a command that becomes another ends with if it fails itself: as env(1), chroot(1) and the launcher.
FAILED = 125
# What is wrong with how often options are given: a key of the context's meta.
_TWICE = "scmm_oci.cli.becoming.twice"


class Becomes(click.Command):
    """A command that fails with 125 whatever was wrong, a defect of ours too: smaller numbers are the program's."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        with _failing():
            return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        with _failing():
            return super().invoke(ctx)


@contextmanager
def _failing() -> Iterator[None]:
    """Errors of any kind are told, if there is anything to tell them on, and end with 125."""
    try:
        yield
    except (click.Abort, click.exceptions.Exit):
        raise
    except Exception as error:
        # A full or broken stderr is no reason for another status.
        with suppress(OSError):
            if isinstance(error, click.ClickException):
                error.show()
            elif isinstance(error, ScmmError):
                fail(error)
            elif isinstance(error, OSError):
                fail(Failure(": ".join(str(one) for one in (error.filename, error.strerror) if one)))
            elif isinstance(error, MemoryError):
                fail(Failure("there is not enough memory"))
            else:
                traceback.print_exception(error)
        raise click.exceptions.Exit(FAILED) from error


class Once(click.Option):
    """An option that may be given once: of two policies, one would be left out in silence."""

    def add_to_parser(self, parser: Any, ctx: click.Context) -> None:
        self.multiple = True
        super().add_to_parser(parser, ctx)
        self.multiple = False

    def consume_value(self, ctx: click.Context, opts: Mapping[str, Any]) -> tuple[Any, ParameterSource]:
        value, source = super().consume_value(ctx, opts)
        if source is not ParameterSource.COMMANDLINE:
            return value, source
        if len(value) > 1:
            found = ctx.meta.setdefault(_TWICE, [])
            found.append(Problem(max(self.opts, key=len), "is given more than once", "give one of them"))
        return value[-1], source


def given_twice() -> list[Problem]:
    """The options of the command at hand that are given more than once."""
    return list(click.get_current_context().meta.get(_TWICE, ()))
