"""``scmm monitor``: decide about calls that wait at seccomp listeners; what a monitor does, and has remembered."""

from __future__ import annotations

import os
from typing import Any

import click

from scmm_oci.cli.becoming import Once, given_twice
from scmm_oci.enforcer.monitor.rules.model import Outcome
from scmm_oci.enforcer.monitor.sockets import default_path
from scmm_oci.errors import BadInput, Problem, unknown_value

_DEFAULTS = tuple(each.value for each in Outcome if each not in (Outcome.KILL, Outcome.RETURN))

_FORMS = ("status", "decisions")

_EXAMPLE = """\b
Examples:
  scmm-monitor                                    ask on this terminal about every call that waits
  scmm-monitor --rules monitor.yaml --log calls.jsonl
  scmm-monitor --learn nginx.delta.scmm.yaml      allow all, and write a policy of it

\b
What is asked comes from containers (docs/monitor.md), and from programs:
  scmm-enforce -p nginx.scmm.yaml --mode ask --listener /run/scmm/monitor/notify.sock -- nginx

\b
SIGHUP reads the rules anew and opens the log again. Without a monitor, calls that wait fail with ENOSYS."""


class _WithSubcommands(click.Command):
    """`status` or `decisions` as the first word is another form, with options of its own."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """As click's."""
        if args[:1] == ["status"]:
            from scmm_oci.cli.monitor_status import status

            return status.make_context(f"{info_name} status", args[1:], parent, **extra)
        if args[:1] == ["decisions"]:
            from scmm_oci.cli.monitor_decisions import decisions

            return decisions.make_context(f"{info_name} decisions", args[1:], parent, **extra)
        return super().make_context(info_name, args, parent, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """As click's, of whichever form it is."""
        return super().invoke(ctx) if ctx.command is self else ctx.command.invoke(ctx)


@click.command(
    cls=_WithSubcommands,
    epilog=_EXAMPLE,
    options_metavar="[OPTIONS] | status | decisions",
    context_settings={"help_option_names": ["-h", "--help"], "allow_extra_args": True},
)
@click.option(
    "--socket",
    "path",
    cls=Once,
    metavar="PATH",
    help="Where listeners are handed over.  [default: /run/scmm/monitor/notify.sock; not root: in XDG_RUNTIME_DIR]",
)
@click.option("--rules", cls=Once, metavar="FILE", help="Rules that decide (monitor.yaml).")
@click.option("--learn", cls=Once, metavar="FILE", help="Allow what no rule decides, and write it here as a policy.")
@click.option(
    "--default",
    cls=Once,
    type=click.Choice(_DEFAULTS),
    help="What becomes of calls that no rule decides.  [default: the rules'; ask without a file]",
)
@click.option(
    "--timeout",
    cls=Once,
    type=click.IntRange(1, 86400),
    metavar="S",
    help="Seconds until a question is denied.  [default: the rules'; 30 without a file]",
)
@click.option(
    "--decisions",
    cls=Once,
    metavar="FILE",
    help="Where answers are saved for later runs.  [default: the file that `scmm-monitor decisions` has]",
)
@click.option("--log", cls=Once, metavar="FILE", help="Write every decision here, a line of JSON each.")
@click.option(
    "--metrics", cls=Once, metavar="HOST:PORT", help="Prometheus metrics: an address of this host, or unix:/PATH."
)
@click.option("--pid-file", cls=Once, metavar="FILE", help="Write the process id here once listeners can come.")
@click.option(
    "--no-prompt", is_flag=True, help="Ask nobody on this terminal or desktop: what would be asked is denied."
)
@click.option(
    "--filtered-peers", is_flag=True, help="Take listeners from processes that are under a seccomp filter, too."
)
@click.option("-q", "--quiet", is_flag=True, help="Tell only what went wrong.")
@click.pass_context
def monitor(ctx: click.Context, /, *, path: str | None, **options: Any) -> None:
    """Decide about system calls while they wait: by rules, a program, or a person.

    It takes over seccomp listeners of containers (runc, crun, scmm-runc) and of scmm-enforce, at a socket. Every call
    that comes there gets an answer; nobody's answer, or one that is too late, is a denial.

    \b
    scmm-monitor status      prints what a monitor that runs is doing
    scmm-monitor decisions   lists, exports and forgets the answers that were saved
    """
    found = [*given_twice(), *(_not_here(word) for word in ctx.args)]
    for name, value in {"socket": path, **options}.items():
        if value == "":
            # Mostly a variable that is not set; the usual place is not what was meant then.
            found.append(Problem(f"--{name.replace('_', '-')}", "is empty", "leave it out, or give it a value"))
    if found:
        raise BadInput(found)
    from scmm_oci.cli.monitor_wanted import Wanted
    from scmm_oci.cli.monitoring import run

    place = path or default_path(uid=os.geteuid(), runtime_dir=os.environ.get("XDG_RUNTIME_DIR"))
    run(Wanted(socket=place, **options))


def _not_here(word: str) -> Problem:
    """Why a word that is no option is none of ours."""
    if word in _FORMS:
        return Problem(word, "stands before all options", f"scmm-monitor {word} …")
    return unknown_value("", "a command of scmm-monitor", word, _FORMS)
