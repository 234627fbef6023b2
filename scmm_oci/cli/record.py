"""``scmm record``: record a command, a process or a container that runs; look after the recordings there are."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from scmm_oci.cli import running
from scmm_oci.cli.place_options import config_option
from scmm_oci.errors import Failure
from scmm_oci.oci.annotations import DEPTHS
from scmm_oci.recorder import installation
from scmm_oci.tables.categories import CHOICES, Category

_EXAMPLE = """\b
Example:
  scmm-record -o nginx.scmm-cap -- nginx -g 'daemon off;'
  scmm-record -o web.scmm-cap --container web --duration 60
  scmm-record -o worker.scmm-cap -p 4711
  scmm-record run -- docker run --rm nginx     (see scmm-record run --help)

\b
  scmm record --list
  scmm record --snapshot web -o now.scmm-cap
  scmm record --recover

\b
Containers are recorded from their start by `scmm-record run`, or by annotation, see `scmm hooks --help`:
  podman run --annotation scmm.record=true …"""

_DEFAULT_OUTPUT = "capture.scmm-cap"


def seconds(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    try:
        number = float(value) if value is not None else None
    except ValueError:
        number = math.nan
    if number is not None and not (math.isfinite(number) and number > 0):
        raise click.BadParameter(f"{value!r} is not a number of seconds above 0.")
    return number


def _pid(ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    if value is None:
        return None
    if not (value.isascii() and value.isdecimal() and 0 < int(value[:11]) < 2**31):
        raise click.BadParameter(f"{value!r} is not a process id.")
    return int(value)


class _WithRun(click.Command):
    """`run` as the first word is another form, with options of its own: cli.record_run."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """As click's."""
        if args[:1] == ["run"]:
            from scmm_oci.cli.record_run import record_run

            return record_run.make_context(f"{info_name} run", args[1:], parent, **extra)
        given = list(args)
        context = super().make_context(info_name, args, parent, **extra)
        command = context.params["command"]
        if command[:1] == ("run",) and given[-len(command) - 1 : -len(command)] != ["--"]:
            raise click.UsageError("`run` comes first: scmm-record run [OPTIONS] -- docker run …", context)
        return context

    def invoke(self, ctx: click.Context) -> Any:
        """As click's, of whichever form it is."""
        return super().invoke(ctx) if ctx.command is self else ctx.command.invoke(ctx)


@click.command(
    cls=_WithRun,
    epilog=_EXAMPLE,
    context_settings={"help_option_names": ["-h", "--help"], "allow_interspersed_args": False},
)
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="[-- COMMAND…]")
@click.option("-o", "--output", metavar="FILE", help=f"Write the capture here.  [default: {_DEFAULT_OUTPUT}]")
@click.option("-p", "--pid", callback=_pid, metavar="PID", help="Record this process, which runs already.")
@click.option("--container", metavar="NAME|ID", help="Record this container, which runs already.")
@click.option("--engine", type=click.Choice(["docker", "podman"]), help="Whose container it is; by default, ask both.")
@click.option("--name", help="The capture's name.  [default: the file's]")
@click.option("--user", metavar="U[:G]", help="Run the command as this user.  [default: who called sudo]")
@click.option("-f/ ", "--follow/--no-follow", default=True, help="Record child processes too, or not.  [default: too]")
@click.option(
    "--depth",
    type=click.Choice(DEPTHS),
    help=f"How many calls that followed one another are kept.  [default: {DEPTHS[0]}]",
)
@click.option(
    "--duration", callback=seconds, metavar="SECONDS", help="End the recording after this time; a command goes on."
)
@click.option(
    "--files", "categories", flag_value="files", multiple=True, help="Only file operations (and others given)."
)
@click.option("--network", "categories", flag_value="network", multiple=True, help="Only network operations.")
@click.option("--process", "categories", flag_value="process", multiple=True, help="Only processes and identities.")
@click.option("--memory", "categories", flag_value="memory", multiple=True, help="Only memory.")
@click.option("--ipc", "categories", flag_value="ipc", multiple=True, help="Only communication between processes.")
@click.option("--all", "everything", is_flag=True, help="All calls (the default); with --recover: what runs, too.")
@click.option(
    "--live/--no-live",
    default=None,
    help="Show on stderr what is new.  [default: on a terminal, unless a command has it]",
)
@click.option("-q", "--quiet", is_flag=True, help="No live view and no summary.")
@click.option("--snapshot", metavar="NAME|ID", help="Write what a recording that runs has until now.")
@click.option("--list", "listing", is_flag=True, help="Print the recordings that run.")
@click.option("--recover", is_flag=True, help="Save what recordings hold that nobody will end any more.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout.")
@config_option
def record(
    *,
    command: Sequence[str],
    output: str | None,
    pid: int | None,
    container: str | None,
    engine: str | None,
    name: str | None,
    user: str | None,
    follow: bool,
    depth: str | None,
    duration: float | None,
    categories: Sequence[str],
    everything: bool,
    live: bool | None,
    quiet: bool,
    snapshot: str | None,
    listing: bool,
    recover: bool,
    as_json: bool,
    config: Path,
) -> int:
    """Record what a command, a process or a container does, and write it as a capture.

    Child processes are followed. Ctrl-C ends the recording and leaves a valid capture. A command's exit status is
    ours: 128 + N when signal N killed it, 127 when it was not found, 126 when it was not executable. What was running
    already when the recording began is recorded from then on, and the capture says so.
    """
    _check_usage(
        targets={
            "a command": bool(command),
            "--pid": pid is not None,
            "--container": container is not None,
            "--snapshot": snapshot is not None,
            "--list": listing,
            "--recover": recover,
        },
        given={
            "--output": output is not None,
            "--engine": engine is not None,
            "--name": name is not None,
            "--user": user is not None,
            "--duration": duration is not None,
            "--no-follow": not follow,
            "--depth": depth is not None,
            "a category": bool(categories),
            "--all": everything,
            "--live": live is not None,
            "--quiet": quiet,
        },
    )
    if categories and everything:
        raise click.UsageError("--all goes without other categories.")
    if quiet and live:
        raise click.UsageError("--live and --quiet do not go together.")
    if os.geteuid():
        raise Failure("recording needs root", "sudo scmm-record …")
    settings = installation.configured(config)
    if listing or recover:
        return running.look_after(settings, recover=recover, everything=everything, as_json=as_json)
    chosen = frozenset(Category(each) for each in categories) or frozenset(CHOICES)
    from scmm_oci.cli import recording

    target = recording.Target(
        command=tuple(command), pid=pid, container=container, engine=engine, snapshot=snapshot, user=user, follow=follow
    )
    wish = recording.Wish(
        output=_DEFAULT_OUTPUT if output is None else output,
        name=name,
        duration_s=duration,
        categories=chosen,
        live=False if quiet else live,
        quiet=quiet,
        depth=int(depth or DEPTHS[0]),
    )
    return recording.run(settings, target, wish, as_json=as_json)


_GOES_WITH = {
    "--output": ("a command", "--pid", "--container", "--snapshot"),
    "--engine": ("--container", "--snapshot"),
    "--name": ("a command", "--pid", "--container", "--snapshot"),
    "--user": ("a command",),
    "--duration": ("a command", "--pid", "--container"),
    "--no-follow": ("a command", "--pid"),
    "--depth": ("a command", "--pid", "--container"),
    "a category": ("a command", "--pid", "--container", "--snapshot"),
    "--all": ("a command", "--pid", "--container", "--snapshot", "--recover"),
    "--live": ("a command", "--pid", "--container"),
    "--quiet": ("a command", "--pid", "--container", "--snapshot"),
}


def _check_usage(*, targets: dict[str, bool], given: dict[str, bool]) -> None:
    """One thing to do, and only options that go with it. Raises UsageError."""
    chosen = [target for target, there in targets.items() if there]
    if len(chosen) != 1:
        what = " and ".join(chosen)
        raise click.UsageError(
            f"{what} do not go together: give one."
            if chosen
            else f"Nothing to record: give one of {', '.join(targets)}."
        )
    wrong = [option for option, there in given.items() if there and chosen[0] not in _GOES_WITH[option]]
    if wrong:
        raise click.UsageError(f"{', '.join(wrong)} {'does' if len(wrong) == 1 else 'do'} not go with {chosen[0]}.")
