"""How every verb talks and ends: the product on stdout, everything else on stderr, exit codes 0, 1 and 2.

0 is done, 1 failed, 2 bad input. An exception that is none of ours is a defect and keeps its traceback.
"""

from __future__ import annotations

import errno
import io
import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import click

from scmm_oci.errors import BadInput, Failure, Finding, ScmmError, printable

if TYPE_CHECKING:
    from rich.console import Console

# Hostile captures can hold a million mistakes; nobody reads more than these.
_MOST_ERRORS = 200

# The click object of a command that is a process of its own (scmm_oci.cli.confine).
OWN = object()


def run(command: click.Command, argv: Sequence[str] | None, *, name: str) -> int:
    """Run a command line to its end and give its exit code.

    Args:
        argv: the arguments without the program's name; None takes the process's, which is the command's own then.
        name: the program's name in usage and errors.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal without UTF-8 still gets its tables
    try:
        own, args = (OWN, None) if argv is None else (None, list(argv))
        code = command.main(args=args, prog_name=name, standalone_mode=False, obj=own)
        if sys.stdout is not None:
            sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        say("stopped")
        return 130
    except ScmmError as error:
        return fail(error)
    except BrokenPipeError:
        # The reader has gone (as `| head` does): nothing is left to say, and the interpreter must not try.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        if error.errno != errno.ENOSPC or error.filename is not None:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return fail(Failure("standard output cannot be written: no space left"))


def fail(error: ScmmError) -> int:
    """Print an error, one line for each of its problems, and give the exit code that goes with it."""
    lines = str(error).splitlines() if isinstance(error, BadInput) else [str(error)]
    for line in lines[:_MOST_ERRORS]:
        say(f"{_style('error:', 'red')} {line}")
    if len(lines) > _MOST_ERRORS:
        say(f"{_style('error:', 'red')} … and {len(lines) - _MOST_ERRORS} more")
    return error.exit_code


def say(line: str) -> None:
    """One line of talk, on stderr. The line is printed as it is: text from files goes through ``printable`` first."""
    click.echo(line, err=True)


def tell(findings: Iterable[Finding]) -> None:
    """Print findings, on stderr."""
    for finding in findings:
        say(f"{_style('note:', 'yellow')} {finding}")


def data(value: object) -> None:
    """Print a value as JSON, on stdout: sorted keys, ASCII only."""
    click.echo(json.dumps(value, sort_keys=True, indent=2))


def plain(value: object) -> str:
    """Any value as text that is safe to print; None as a dash."""
    return "–" if value is None else printable(str(value))


def console() -> Console:
    """A rich console on stdout, for tables; colours only on a terminal, no markup in the text."""
    from rich.console import Console

    terminal = sys.stdout is not None and sys.stdout.isatty()
    return Console(markup=False, highlight=False, emoji=False, width=None if terminal else 120, soft_wrap=not terminal)


def _style(word: str, colour: str) -> str:
    return click.style(word, fg=colour, bold=True) if sys.stderr is not None and sys.stderr.isatty() else word
