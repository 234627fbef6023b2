"""``scmm record``: record a command, a process or a container that runs; look after the recordings there are."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

import click

from scmm_oci.cli.output import data, plain, say
from scmm_oci.errors import Failure
from scmm_oci.recorder import installation, session
from scmm_oci.recorder import recover as recovery
from scmm_oci.recorder.ledger import Ledger
from scmm_oci.recorder.settings import Settings
from scmm_oci.tables.categories import CHOICES, Category

_EXAMPLE = """\b
Example:
  scmm-record -o nginx.scmm-cap -- nginx -g 'daemon off;'
  scmm-record -o web.scmm-cap --container web --duration 60
  scmm-record -o worker.scmm-cap -p 4711

\b
  scmm record --list
  scmm record --snapshot web -o now.scmm-cap
  scmm record --recover

\b
Containers are recorded from their start by annotation, see `scmm hooks --help`:
  podman run --annotation scmm.record=true …"""

_DEFAULT_OUTPUT = "capture.scmm-cap"


@click.command(
    epilog=_EXAMPLE, context_settings={"help_option_names": ["-h", "--help"], "allow_interspersed_args": False}
)
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="[-- COMMAND…]")
@click.option("-o", "--output", metavar="FILE", help=f"Write the capture here.  [default: {_DEFAULT_OUTPUT}]")
@click.option("-p", "--pid", type=click.IntRange(1, 2**31 - 1), help="Record this process, which runs already.")
@click.option("--container", metavar="NAME|ID", help="Record this container, which runs already.")
@click.option("--engine", type=click.Choice(["docker", "podman"]), help="Whose container it is; by default, ask both.")
@click.option("--name", help="The capture's name.  [default: the file's]")
@click.option("--user", metavar="U[:G]", help="Run the command as this user.  [default: who called sudo]")
@click.option("-f/ ", "--follow/--no-follow", default=True, show_default=True, help="Record child processes too.")
@click.option("--duration", type=click.FloatRange(min=0, min_open=True), metavar="SECONDS", help="End after this time.")
@click.option(
    "--files", "categories", flag_value="files", multiple=True, help="Only file operations (and others given)."
)
@click.option("--network", "categories", flag_value="network", multiple=True, help="Only network operations.")
@click.option("--process", "categories", flag_value="process", multiple=True, help="Only processes and identities.")
@click.option("--memory", "categories", flag_value="memory", multiple=True, help="Only memory.")
@click.option("--ipc", "categories", flag_value="ipc", multiple=True, help="Only communication between processes.")
@click.option("--all", "everything", is_flag=True, help="All calls (the default); with --recover: what runs, too.")
@click.option("-q", "--quiet", is_flag=True, help="No live view and no summary.")
@click.option("--snapshot", metavar="NAME|ID", help="Write what a recording that runs has until now.")
@click.option("--list", "listing", is_flag=True, help="Print the recordings that run.")
@click.option("--recover", is_flag=True, help="Save what recordings hold whose container is gone.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout.")
@click.option(
    "--config",
    default=installation.CONFIG,
    show_default=True,
    type=click.Path(path_type=Path),
    help="Settings of the hooks (YAML).",
)
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
    duration: float | None,
    categories: Sequence[str],
    everything: bool,
    quiet: bool,
    snapshot: str | None,
    listing: bool,
    recover: bool,
    as_json: bool,
    config: Path,
) -> int:
    """Record what a command, a process or a container does, and write it as a capture.

    Child processes are followed. Ctrl-C ends the recording and leaves a valid capture; a command's exit status is
    ours. What was running already when the recording began is recorded from then on, and the capture says so.
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
            "a category": bool(categories),
            "--all": everything,
            "--quiet": quiet,
        },
    )
    if categories and everything and not recover:
        raise click.UsageError("--all goes without other categories.")
    settings = installation.configured(config)
    if listing or recover:
        return _look_after(settings, recover=recover, everything=everything, as_json=as_json)
    chosen = frozenset(Category(each) for each in categories) or frozenset(CHOICES)
    from scmm_oci.cli import recording

    target = recording.Target(
        command=tuple(command), pid=pid, container=container, engine=engine, snapshot=snapshot, user=user, follow=follow
    )
    wish = recording.Wish(
        output=output or _DEFAULT_OUTPUT, name=name, duration_s=duration, categories=chosen, quiet=quiet
    )
    return recording.run(settings, target, wish, as_json=as_json)


_GOES_WITH = {
    "--output": ("a command", "--pid", "--container", "--snapshot"),
    "--engine": ("--container",),
    "--name": ("a command", "--pid", "--container", "--snapshot"),
    "--user": ("a command",),
    "--duration": ("a command", "--pid", "--container"),
    "--no-follow": ("a command", "--pid"),
    "a category": ("a command", "--pid", "--container", "--snapshot"),
    "--all": ("a command", "--pid", "--container", "--snapshot", "--recover"),
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


def _look_after(settings: Settings, *, recover: bool, everything: bool, as_json: bool) -> int:
    try:
        if not recover:
            return _list(Path(settings.run_dir), as_json=as_json)
        results = recovery.recover(settings, now=time.time(), everything=everything)
    except OSError as error:
        raise Failure(error.strerror or str(error), "recordings belong to root" if os.geteuid() else "") from None
    if as_json:
        data([{"name": each.name, "path": each.path, "problem": each.problem} for each in results])
    for each in results:
        say(f"{plain(each.name)}: {plain(each.path) if each.path else 'not saved: ' + plain(each.problem)}")
    if not results:
        say("nothing to recover")
    return 1 if any(each.path is None for each in results) else 0


def _list(run_dir: Path, *, as_json: bool) -> int:
    entries = []
    if run_dir.is_dir():
        with Ledger(str(run_dir)) as ledger:
            entries = ledger.entries()
    rows = [
        {
            "name": entry.get("name"),
            "source": entry.get("source", "container"),
            "container": entry.get("container", {}).get("id"),
            "pid": entry.get("pid"),
            "started_at": entry.get("started_at"),
            "state": "container gone" if session.is_gone(entry) else "recording",
        }
        for entry in entries
    ]
    if as_json:
        data(rows)
    else:
        for row in rows:
            click.echo("  ".join(plain(value) for value in row.values()))
        if not rows:
            say("nothing is recorded")
    return 0
