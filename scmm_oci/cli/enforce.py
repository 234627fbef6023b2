"""``scmm enforce``: a policy in any form → this process becomes the launcher, which applies it and becomes the program.

Policies that are not compiled are compiled for this run. Nothing is written, and nothing but the launcher enforces.
"""

from __future__ import annotations

import fcntl
import os
import shlex
from collections.abc import Sequence

import click

from scmm_oci.cli import asked
from scmm_oci.cli.asked import Monitor
from scmm_oci.cli.becoming import Becomes, Once, given_twice
from scmm_oci.cli.one_run import Made, compiled
from scmm_oci.cli.output import tell
from scmm_oci.enforcer import launcher, overrides
from scmm_oci.enforcer.admits import ASK, PERMISSIVE
from scmm_oci.enforcer.overrides import Overrides
from scmm_oci.errors import BadInput, Problem, short, unknown_value
from scmm_oci.oci.annotations import MODES
from scmm_oci.tables.arch import from_machine

# The launcher takes no larger numbers for descriptors.
_MOST_DESCRIPTORS = 1 << 20
_FIRST = 3  # behind the standard streams
_NO_POLICY = "-p POLICY, or rules: --default-action, --allow, --deny, --kill, --log"
_NO_PROGRAM = "scmm-enforce -p POLICY -- PROGRAM"

_EXAMPLE = """\b
Examples:
  scmm-enforce -p nginx.scmm-pol -- nginx -g 'daemon off;'
  scmm-enforce -p nginx.scmm.yaml --mode strict -- nginx -g 'daemon off;'
  scmm-enforce --deny ptrace,process_vm_readv --errno EACCES -- ./tool
  scmm-enforce -p tool.scmm.yaml --mode ask --listener /run/scmm/monitor/notify.sock -- ./tool
  scmm-enforce -p nginx.scmm-pol --check

\b
Exit status: that of the program; 125 if scmm-enforce itself fails, 126 if the program cannot be executed, 127 if it is
not found. With --check: 0 all of the policy would be enforced here, 1 not all, 125 as above."""


@click.command(
    cls=Becomes,
    epilog=_EXAMPLE,
    context_settings={"help_option_names": ["-h", "--help"], "allow_interspersed_args": False},
)
@click.argument("program", nargs=-1, type=click.UNPROCESSED, metavar="[-- PROGRAM [ARGUMENTS]…]")
@click.option(
    "-p",
    "--policy",
    "path",
    cls=Once,
    metavar="POLICY",
    help="A policy: .scmm-pol, .scmm.yaml or a seccomp profile (JSON).",
)
@click.option(
    "-m",
    "--mode",
    cls=Once,
    metavar="MODE",
    default="standard",
    show_default=True,
    help="standard: what this kernel has, and what lacks is said; strict: all of the policy, or nothing is run; "
    "seccomp: the filter alone; permissive: nothing is refused, and what would be is told; ask: as standard, but a "
    "monitor decides about calls that the policy would refuse.",
)
@click.option(
    "--listener",
    cls=Once,
    metavar="SOCKET",
    help="The monitor that is asked: with --mode ask, and where the policy says notify. Without it, the policy's own "
    "(settings.listener.path).",
)
@click.option(
    "--listener-fd",
    cls=Once,
    metavar="N",
    help="The same, a descriptor that is connected to it already.",
)
@click.option(
    "--listener-metadata",
    cls=Once,
    metavar="TEXT",
    help="What the monitor is told; else the policy's listener has it, or it is the policy's name, or the program.",
)
@click.option("--check", is_flag=True, help="Tell what would be enforced here, and run nothing.")
@click.option("--json", "as_json", is_flag=True, help="With --check: as JSON on stdout.")
@click.option(
    "--report",
    cls=Once,
    metavar="FILE",
    help="With --mode permissive: tell there what would be refused, not on stderr.",
)
@click.option(
    "--status-fd",
    cls=Once,
    metavar="N",
    help="Write what is enforced to this descriptor, as JSON.",
)
@click.option(
    "--preserve-fds",
    cls=Once,
    metavar="N",
    help="Leave N descriptors from 3 on open; all others but stdio are closed.",
)
@click.option(
    "--guard",
    is_flag=True,
    help="Be in a Landlock domain even where the policy asks for none, unless the program may mount.",
)
@click.option("-q", "--quiet", is_flag=True, help="Do not say what is enforced, even if it is not all.")
@click.option("-v", "--verbose", is_flag=True, help="Say what is enforced even if it is all.")
@click.option(
    "--default-action",
    cls=Once,
    metavar="ACTION",
    help=f"For this run: the default. {', '.join(overrides.DEFAULTS)}.",
)
@click.option(
    "--errno",
    cls=Once,
    metavar="NAME",
    help="For this run: what refused calls are answered that have no errno.",
)
@click.option("--allow", multiple=True, metavar="NAME,…", help="For this run: these calls or groups are allowed.")
@click.option("--deny", multiple=True, metavar="NAME,…", help="For this run: these are answered an errno.")
@click.option("--kill", multiple=True, metavar="NAME,…", help="For this run: these end the program.")
@click.option("--log", multiple=True, metavar="NAME,…", help="For this run: these are allowed, and logged.")
@click.option("--print-launcher", is_flag=True, help="Print where the static launcher is, to be copied into images.")
@click.option(
    "--arch",
    cls=Once,
    metavar="MACHINE",
    help="With --print-launcher: the one for x86_64 or aarch64.",
)
def enforce(
    *,
    program: Sequence[str],
    path: str | None,
    mode: str,
    listener: str | None,
    listener_fd: str | None,
    listener_metadata: str | None,
    check: bool,
    as_json: bool,
    report: str | None,
    status_fd: str | None,
    preserve_fds: str | None,
    guard: bool,
    quiet: bool,
    verbose: bool,
    default_action: str | None,
    errno: str | None,
    allow: Sequence[str],
    deny: Sequence[str],
    kill: Sequence[str],
    log: Sequence[str],
    print_launcher: bool,
    arch: str | None,
) -> None:
    """Apply a policy, and become the program.

    The policy belongs to root or to you, and only its owner may write to it. One that is not compiled is compiled for
    this run, for this machine; `scmm compile -o` does that once, and asks libseccomp too.

    Rules for one run stand in the place of all that the policy says of those calls. Without a policy, they are all
    there is: every other call is allowed, unless --default-action says otherwise.
    """
    machine = os.uname().machine
    if print_launcher:
        if program or path is not None:
            raise BadInput([Problem("--print-launcher", "runs nothing", "leave out the policy and the program")])
        click.echo(str(launcher.find(machine if arch is None else from_machine(arch, place="--arch"))))
        return
    given = Overrides(
        default_action,
        errno,
        tuple(
            (option, name)
            for option, words in (("--allow", allow), ("--deny", deny), ("--kill", kill), ("--log", log))
            for word in words
            for name in word.split(",")
        ),
    )
    found = given_twice()
    found += _usage(program, path, given, mode=mode, check=check, as_json=as_json, arch=arch)
    if quiet and (verbose or check):
        found.append(Problem("--quiet", "goes with neither --verbose nor --check"))
    if report is not None and mode in MODES and (check or mode != "permissive"):
        found.append(
            Problem(
                "--report",
                "goes with --mode permissive and a program",
                "in other modes, refusals are in the kernel's log",
            )
        )
    found += _descriptors(status_fd, preserve_fds, listener_fd)
    made: Made | None = None
    own = from_machine(machine)
    try:
        made = compiled(path, given, own, tolerant=mode in (ASK, PERMISSIVE))
    except BadInput as error:
        found += error.problems
    wanted = Monitor(listener, listener_fd, listener_metadata)
    listens, asks = (made.listener, made.asks) if made else (None, None)
    monitor = asked.effective(wanted, listens, mode, asks=asks)
    # Whom a policy asks that cannot be read is not known.
    found += asked.problems(wanted, monitor, mode, asks=asks, may_lack=check or made is None)
    if monitor.path and not check and not os.path.lexists(monitor.path):
        place = "--listener" if listener is not None else f"{path}: .settings.listener.path"
        hint = f"start one: scmm-monitor --socket {shlex.quote(monitor.path)}"
        found.append(Problem(place, f"no monitor listens at {monitor.path}: it is not there", hint))
    if found or made is None:
        raise BadInput(list(dict.fromkeys(found)))
    words = [f"--mode={mode}", *asked.words(monitor)]
    if made.data is None:
        words.append(f"--policy={path}")
    for option, value in (("--report", report), ("--status-fd", status_fd), ("--preserve-fds", preserve_fds)):
        words += [f"{option}={value}"] if value is not None else []
    flags = (("--check", check), ("--json", as_json), ("--guard", guard), ("--quiet", quiet), ("--verbose", verbose))
    words += [option for option, wanted in flags if wanted]
    binary = launcher.find(machine)
    tell(asked.told(made.findings, monitor, mode, asks=asks and not check))
    launcher.become(binary, [*words, "--", *program], made.data)


def _usage(
    program: Sequence[str],
    path: str | None,
    given: Overrides,
    *,
    mode: str,
    check: bool,
    as_json: bool,
    arch: str | None,
) -> list[Problem]:
    found = []
    if path is None and not given:
        found.append(Problem("", "no policy was given", _NO_POLICY))
    if not program and not check:
        found.append(Problem("", "no program was given", _NO_PROGRAM))
    if mode not in MODES:
        found.append(unknown_value("--mode", "a mode", mode, MODES))
    if as_json and not check:
        found.append(Problem("--json", "goes with --check", "--status-fd has the same while a program runs"))
    if arch is not None:
        found.append(Problem("--arch", "goes with --print-launcher", "policies are compiled for this machine"))
    return found


def _descriptors(status_fd: str | None, preserve_fds: str | None, listener_fd: str | None) -> list[Problem]:
    found = []
    if listener_fd is not None:
        number = _number(listener_fd)
        if number is None or number < _FIRST:
            found.append(Problem("--listener-fd", f"{short(listener_fd)} is not a descriptor from {_FIRST} on"))
        elif not _is_open(number):
            found.append(Problem("--listener-fd", f"descriptor {number} is not open"))
        elif status_fd is not None and _number(status_fd) == number:
            found.append(Problem("--listener-fd", "is the descriptor of --status-fd"))
    if preserve_fds is not None and _number(preserve_fds) is None:
        found.append(Problem("--preserve-fds", f"{short(preserve_fds)} is not a number of descriptors"))
    if status_fd is not None:
        number = _number(status_fd)
        if not number:
            found.append(Problem("--status-fd", f"{short(status_fd)} is not a descriptor from 1 on"))
        elif not _is_open(number):
            found.append(Problem("--status-fd", f"descriptor {number} is not open", f"{number}>status.json opens it"))
    return found


def _number(word: str) -> int | None:
    if not (word.isascii() and word.isdecimal() and len(word) <= 7):
        return None
    return int(word) if int(word) <= _MOST_DESCRIPTORS else None


def _is_open(fd: int) -> bool:
    """Whether we were given it: what Python itself opens is closed in the launcher."""
    try:
        return not fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
    except OSError:
        return False
