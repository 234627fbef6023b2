"""``scmm watch``: judge the order of a container's or command's calls in the kernel; look at watches, end them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from scmm_oci.cli.becoming import Becomes
from scmm_oci.cli.place_options import config_option
from scmm_oci.errors import Failure

ACTIONS = ("count", "alert", "freeze", "kill")

_EXAMPLE = """\b
Examples:
  scmm-watch -p ls.scmm.yaml -- ls -l             a command: alerts on stderr, its exit status is ours
  scmm-watch -p web.scmm.yaml --action kill web   a container that runs; it is watched until it ends
  scmm-watch --follow                             alerts of all watches, as they come
  scmm-watch --learn more.scmm.yaml -p web.scmm.yaml web    what its alerts tell, as a policy that scmm merge adds

\b
Containers are watched from their start by annotation (docs/watch.md):
  podman run --annotation scmm.watch=alert --annotation scmm.policy=web …
"""


class _Watch(Becomes):
    """What comes after `--` is a command; what fails before that runs ends with 125, as in other verbs that run one."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """As click's."""
        if "--" in args:
            return super().make_context(info_name, args, parent, **extra)
        return click.Command.make_context(self, info_name, args, parent, **extra)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click's, of what comes before `--`."""
        command = None
        if "--" in args:
            at = args.index("--")
            args, command = args[:at], tuple(args[at + 1 :])
        rest = super().parse_args(ctx, args)
        ctx.params["command"] = command
        return rest

    def invoke(self, ctx: click.Context) -> Any:
        """As click's."""
        if ctx.params["command"] is not None:
            return super().invoke(ctx)
        return click.Command.invoke(self, ctx)


@click.command(cls=_Watch, epilog=_EXAMPLE, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("container", required=False, metavar="[CONTAINER | -- COMMAND…]")
@click.option("-p", "--policy", metavar="POLICY", help="A policy with transitions (.scmm.yaml, .scmm-pol).")
@click.option(
    "--action",
    type=click.Choice(ACTIONS),
    help="What becomes of who makes a call that the transitions do not have.  [default: the policy's; alert]",
)
@click.option("--engine", type=click.Choice(["docker", "podman"]), help="Whose container it is; by default, ask both.")
@click.option("--user", metavar="U[:G]", help="Run the command as this user.  [default: who called sudo]")
@click.option("--no-wait", is_flag=True, help="End with the command, even if processes that it started go on.")
@click.option("--follow", is_flag=True, help="Tell alerts as they come, until the watch is over or Ctrl-C.")
@click.option("--metrics", metavar="HOST:PORT", help="Prometheus metrics meanwhile: on this host only, or unix:/PATH.")
@click.option("--list", "listing", is_flag=True, help="Print the watches there are.")
@click.option("--ended", is_flag=True, help="Print the last watches that are over, and what they saw.")
@click.option("--stop", metavar="CONTAINER", help="End this container's watch; the container goes on.")
@click.option("--thaw", metavar="CONTAINER", help="Let this container go on, which a violation has stopped.")
@click.option("--learn", metavar="FILE", help="Write what alerts tell and POLICY lacks as a policy, for scmm merge.")
@click.option("--events", metavar="FILE", help="Learn from these alerts: what --follow --json or --ended --json wrote.")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON; alerts, a line each.")
@click.option("-q", "--quiet", is_flag=True, help="Of a command's watch, tell only what went wrong.")
@config_option
def watch(
    *,
    container: str | None,
    command: tuple[str, ...] | None,
    policy: str | None,
    action: str | None,
    engine: str | None,
    user: str | None,
    no_wait: bool,
    follow: bool,
    metrics: str | None,
    listing: bool,
    ended: bool,
    stop: str | None,
    thaw: str | None,
    learn: str | None,
    events: str | None,
    as_json: bool,
    quiet: bool,
    config: Path,
) -> int:
    """Judge each call by the call that its thread made before, by the transitions of a policy.

    The kernel judges, and acts: no process of ours has to run for that. A command's watch ends when nothing of it runs
    any more; its exit status is ours: 128 + N when signal N killed it, 127 when it was not found, 126 when it was not
    executable, 125 when it could not be watched. A container's watch ends with the container, or by --stop.
    """
    begins = policy is not None and container is not None and learn is None
    form = _form(
        {
            "a command": command is not None,
            "--list": listing,
            "--ended": ended,
            "--stop": stop is not None,
            "--thaw": thaw is not None,
            "--learn": learn is not None,
            "a container": begins,
            "--follow": follow and not begins and command is None,
        }
    )
    given = {
        "CONTAINER": container is not None and form not in ("a container", "--follow", "--learn"),
        "-p": policy is not None,
        "--action": action is not None,
        "--engine": engine is not None,
        "--user": user is not None,
        "--no-wait": no_wait,
        "--follow": follow and form != "--follow",
        "--metrics": metrics is not None,
        "--events": events is not None,
        "--quiet": quiet,
    }
    wrong = [option for option, there in given.items() if there and option not in _GOES_WITH[form]]
    if wrong:
        raise click.UsageError(f"{', '.join(wrong)} {'does' if len(wrong) == 1 else 'do'} not go with {form}.")
    if command is not None and not command:
        raise click.UsageError("There is no command after `--`.")
    if command is not None and policy is None:
        raise click.UsageError("A command needs a policy: -p POLICY.")
    if form == "a container" and metrics is not None and not follow:
        raise click.UsageError("--metrics goes with --follow: they are given while somebody follows.")
    if learn is not None and policy is None:
        raise click.UsageError("--learn needs the policy that was watched: -p POLICY.")
    if learn is not None and events is not None:
        from scmm_oci.cli import watch_learnt

        return watch_learnt.from_file(events, policy=policy or "", output=learn, container=container, as_json=as_json)
    if os.geteuid():
        raise Failure("watching needs root", "sudo scmm-watch …")
    from scmm_oci.recorder import installation

    settings = installation.configured(config)
    if form in ("--list", "--ended", "--stop", "--thaw"):
        from scmm_oci.cli import watch_standing as standing

        if stop is not None:
            return standing.stop(settings, stop, engine=engine, as_json=as_json)
        if thaw is not None:
            return standing.thaw(settings, thaw, engine=engine, as_json=as_json)
        return standing.ended(settings, as_json=as_json) if ended else standing.listed(settings, as_json=as_json)
    if learn is not None:
        from scmm_oci.cli import watch_learnt

        return watch_learnt.from_host(settings, policy=policy or "", output=learn, container=container, as_json=as_json)
    if form == "--follow":
        from scmm_oci.cli import watch_following

        return watch_following.follow_named(settings, container, engine=engine, metrics=metrics, as_json=as_json)
    from scmm_oci.cli import watching

    wish = watching.Wish(
        policy=policy, action=action, engine=engine, metrics=metrics, as_json=as_json, quiet=quiet, wait=not no_wait
    )
    if command is not None:
        return watching.run_command(settings, command, wish, user=user)
    return watching.watch_container(settings, container or "", wish, follow=follow)


_GOES_WITH = {
    "a command": ("-p", "--action", "--user", "--no-wait", "--follow", "--metrics", "--quiet"),
    "a container": ("-p", "--action", "--engine", "--follow", "--metrics"),
    "--follow": ("--engine", "--metrics"),
    "--list": (),
    "--ended": (),
    "--stop": ("--engine",),
    "--thaw": ("--engine",),
    "--learn": ("-p", "--events"),
}


def _form(there: dict[str, bool]) -> str:
    """The one thing to do. Raises UsageError."""
    chosen = [form for form, given in there.items() if given]
    if len(chosen) == 1:
        return chosen[0]
    if chosen:
        raise click.UsageError(f"{' and '.join(chosen)} do not go together: give one.")
    others = "--follow, --list, --ended, --stop, --thaw or --learn"
    raise click.UsageError(f"Nothing to do: give -p POLICY with a container or with `-- COMMAND`, {others}.")
