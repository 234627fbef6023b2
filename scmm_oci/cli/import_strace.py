"""``scmm import-strace``: the output of strace → a capture."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import click

from scmm_oci.capture import file as capture_file
from scmm_oci.capture.model import Capture, Phase
from scmm_oci.capture.strace.importer import Log, import_logs
from scmm_oci.capture.strace.lexer import lines
from scmm_oci.capture.strace.paths import too_long
from scmm_oci.cli.confine import confine
from scmm_oci.cli.options import check_outputs
from scmm_oci.cli.output import data, plain, say
from scmm_oci.errors import BadInput, Failure, Problem, short
from scmm_oci.tables.arch import Arch

_EXAMPLE = """\b
Example:
  strace -f -y -o web.strace nginx -g 'daemon off;'
  scmm import-strace web.strace -o web.scmm-cap

\b
  strace -ff -ttt -y -o web.strace nginx -g 'daemon off;'
  scmm import-strace web.strace.* -o web.scmm-cap"""

# strace -ff -o FILE writes FILE.PID.
_PID = re.compile(r"\.(\d{1,8})\Z", re.ASCII)

# schemas/capture.schema.json.
_MAX_NAME = 4096
# Larger captures take too long to read to be read twice.
_MAX_CHECKED = 32 << 20


@click.command("import-strace", epilog=_EXAMPLE, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("inputs", nargs=-1, required=True, metavar="FILE...")
@click.option("-o", "--output", required=True, metavar="CAPTURE", help="Write the capture here (.scmm-cap).")
@click.option("--name", help="The capture's name; by default that of the first file.")
@click.option(
    "--arch",
    type=click.Choice([arch.value for arch in Arch]),
    default=Arch.X86_64.value,
    show_default=True,
    help="The machine that the trace was made on.",
)
@click.option(
    "--cwd", metavar="DIR", help="The directory strace was started in; needed only if the trace tells it not."
)
@click.option("--json", "as_json", is_flag=True, help="Print what was imported as JSON on stdout.")
def import_strace(
    *, inputs: Sequence[str], output: str, name: str | None, arch: str, cwd: str | None, as_json: bool
) -> None:
    """Make a capture of what strace wrote with -o: one file, or all those of one `strace -ff`.

    Trace with -f, so that child processes are in it, and with -y, so that paths are the files' own. Calls must not be
    filtered (-e).
    """
    check_outputs(inputs, [output])
    if name == "":
        raise BadInput([Problem("--name", "is empty")])
    if name is not None and len(name) > _MAX_NAME:
        raise BadInput([Problem("--name", f"is longer than {_MAX_NAME} characters")])
    if cwd is not None and not cwd.startswith("/"):
        raise BadInput([Problem("--cwd", f"{short(cwd)} does not begin with /")])
    if cwd is not None and too_long(cwd):
        raise BadInput([Problem("--cwd", "is longer than a path can be")])
    confine(inputs, [output])
    capture = _read(inputs, name=name, arch=Arch(arch), cwd=cwd)
    _check(capture)
    capture_file.write(output, capture)
    summary = _summary(capture)
    if as_json:
        losses = [{"kind": one.kind, "count": one.count, "detail": one.detail} for one in capture.losses]
        data({"output": output, "name": capture.name, "complete": capture.complete, "losses": losses, **summary})
    counts = ", ".join(f"{number} {what}" for what, number in summary.items())
    say(f"{plain(output)}: {counts}")
    for loss in capture.losses:
        say(f"incomplete: {plain(loss.detail)} ({loss.count}) [{loss.kind}]")


def _read(inputs: Sequence[str], *, name: str | None, arch: Arch, cwd: str | None) -> Capture:
    with ExitStack() as stack:
        logs: list[Log] = []
        found: list[Problem] = []
        ended = 0.0
        for path in inputs:
            try:
                file = stack.enter_context(Path(path).open("rb"))
                ended = max(ended, Path(path).stat().st_mtime)
            except (OSError, ValueError) as error:
                found.append(Problem(path, f"cannot be read: {getattr(error, 'strerror', None) or error}"))
                continue
            suffix = _PID.search(path)
            logs.append(Log(path, _readable(path, lines(file)), int(suffix[1]) if suffix else None))
        if found:
            raise BadInput(found)
        name = name or _PID.sub("", Path(inputs[0]).name) or "strace"
        progress = _Progress()
        try:
            return import_logs(logs, name=name, arch=arch, cwd=cwd, ended=ended, progress=progress.at)
        finally:
            progress.clear()


def _check(capture: Capture) -> None:
    """What is written can be read: whatever a trace has in it that was not thought of is told here, not later."""
    text = capture_file.dump(capture)
    if len(text) <= _MAX_CHECKED:
        try:
            capture_file.parse(text)
        except BadInput as error:
            raise Failure(f"the trace makes no capture that can be read: {error.problems[0]}") from error


def _readable(path: str, found: Iterator[bytes]) -> Iterator[bytes]:
    try:
        yield from found
    except OSError as error:  # a directory, for one, can be opened but not read
        raise BadInput([Problem(path, f"cannot be read: {error.strerror or error}")]) from error


def _summary(capture: Capture) -> dict[str, int]:
    calls = [call for _, call in capture.calls(Phase.APP)]
    return {
        "system calls": sum(call.entered for call in calls),
        "different": len(calls),
        "programs": len(capture.programs),
        "files": len({use.path for use in capture.files}),
        "sockets": len(capture.sockets),
    }


class _Progress:
    """How far it is, on stderr, if that is a terminal and it takes more than a second."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._next = clock() + 1
        self._shown = False
        self._terminal = sys.stderr is not None and sys.stderr.isatty()

    def at(self, count: int) -> None:
        """So many lines are read."""
        if self._terminal and self._clock() >= self._next:
            click.echo(f"\r{count:,} lines read", err=True, nl=False)
            self._next = self._clock() + 0.5
            self._shown = True

    def clear(self) -> None:
        """It is done: the line goes."""
        if self._shown:
            click.echo("\r\x1b[K", err=True, nl=False)
