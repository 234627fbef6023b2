"""``scmm enforce``: a policy in any form → this process becomes the launcher, which applies it and becomes the program.

Policies that are not compiled are compiled for this run. Nothing is written, and nothing but the launcher enforces.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from scmm_oci.cli import kinds
from scmm_oci.cli.compile_targets import Container, for_one
from scmm_oci.cli.kinds import Kind
from scmm_oci.cli.output import fail, tell
from scmm_oci.compiled import limits, needed, polfile
from scmm_oci.compiled.policy_file import policy_file
from scmm_oci.compiled.retarget import retarget
from scmm_oci.enforcer import launcher, overrides
from scmm_oci.enforcer.overrides import Overrides
from scmm_oci.enforcer.trusted import read_policy
from scmm_oci.errors import BadInput, Finding, Problem, ScmmError, short, unknown_value
from scmm_oci.oci import rich
from scmm_oci.oci.seccomp import MAX_BYTES as PROFILE_BYTES
from scmm_oci.policy import document
from scmm_oci.policy.model import Policy
from scmm_oci.policy.profile_import import from_profile
from scmm_oci.tables.arch import Arch, from_machine

# What a command that becomes another ends with if it fails itself: as env(1), chroot(1) and the launcher.
_FAILED = 125
_MODES = ("standard", "strict", "seccomp", "permissive")
# The launcher takes no larger numbers for descriptors.
_MOST_DESCRIPTORS = 1 << 20
_NO_POLICY = "-p POLICY, or rules: --default-action, --allow, --deny, --kill, --log"
_NO_PROGRAM = "scmm-enforce -p POLICY -- PROGRAM"

_EXAMPLE = """\b
Examples:
  scmm-enforce -p nginx.scmm-pol -- nginx -g 'daemon off;'
  scmm-enforce -p nginx.scmm.yaml --mode strict -- nginx -g 'daemon off;'
  scmm-enforce --deny ptrace,process_vm_readv --errno EACCES -- ./tool
  scmm-enforce -p nginx.scmm-pol --check

\b
Exit status: that of the program; 125 if scmm-enforce itself fails, 126 if the program cannot be executed, 127 if it is
not found. With --check: 0 all of the policy would be enforced here, 1 not all, 125 as above."""


class _Becomes(click.Command):
    """A command that fails with 125 whatever was wrong: smaller numbers are the program's."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        try:
            return super().make_context(info_name, args, parent, **extra)
        except click.ClickException as error:
            error.show()
            raise click.exceptions.Exit(_FAILED) from error

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ScmmError as error:
            fail(error)
            raise click.exceptions.Exit(_FAILED) from error


@click.command(
    cls=_Becomes,
    epilog=_EXAMPLE,
    context_settings={"help_option_names": ["-h", "--help"], "allow_interspersed_args": False},
)
@click.argument("program", nargs=-1, type=click.UNPROCESSED, metavar="[-- PROGRAM [ARGUMENTS]…]")
@click.option(
    "-p", "--policy", "path", metavar="POLICY", help="A policy: .scmm-pol, .scmm.yaml or a seccomp profile (JSON)."
)
@click.option(
    "-m",
    "--mode",
    metavar="MODE",
    default="standard",
    show_default=True,
    help="standard: what this kernel has, and what lacks is said; strict: all of the policy, or nothing is run; "
    "seccomp: the filter alone; permissive: nothing is refused, and what would be is told.",
)
@click.option("--check", is_flag=True, help="Tell what would be enforced here, and run nothing.")
@click.option("--json", "as_json", is_flag=True, help="With --check: as JSON on stdout.")
@click.option(
    "--report", metavar="FILE", help="With --mode permissive: tell there what would be refused, not on stderr."
)
@click.option("--status-fd", metavar="N", help="Write what is enforced to this descriptor, as JSON.")
@click.option(
    "--preserve-fds", metavar="N", help="Leave N descriptors from 3 on open; all others but stdio are closed."
)
@click.option("-v", "--verbose", is_flag=True, help="Say what is enforced even if it is all.")
@click.option("--default-action", metavar="ACTION", help=f"For this run: the default. {', '.join(overrides.DEFAULTS)}.")
@click.option("--errno", metavar="NAME", help="For this run: what refused calls are answered that have no errno.")
@click.option("--allow", multiple=True, metavar="NAME,…", help="For this run: these calls or groups are allowed.")
@click.option("--deny", multiple=True, metavar="NAME,…", help="For this run: these are answered an errno.")
@click.option("--kill", multiple=True, metavar="NAME,…", help="For this run: these end the program.")
@click.option("--log", multiple=True, metavar="NAME,…", help="For this run: these are allowed, and logged.")
@click.option("--print-launcher", is_flag=True, help="Print where the static launcher is, to be copied into images.")
@click.option("--arch", metavar="MACHINE", help="With --print-launcher: the one for x86_64 or aarch64.")
def enforce(
    *,
    program: Sequence[str],
    path: str | None,
    mode: str,
    check: bool,
    as_json: bool,
    report: str | None,
    status_fd: str | None,
    preserve_fds: str | None,
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
    found = _usage(program, path, given, mode=mode, check=check, as_json=as_json, arch=arch)
    if report is not None and mode in _MODES and (check or mode != "permissive"):
        found.append(
            Problem(
                "--report",
                "goes with --mode permissive and a program",
                "in other modes, refusals are in the kernel's log",
            )
        )
    found += _descriptors(status_fd, preserve_fds)
    made: tuple[bytes | None, list[Finding]] = (None, [])
    own = from_machine(machine)
    try:
        made = _compiled(path, given, own)
    except BadInput as error:
        found += error.problems
    if found:
        raise BadInput(list(dict.fromkeys(found)))
    data, findings = made
    words = [f"--mode={mode}"]
    if data is None:
        words.append(f"--policy={path}")
    for option, value in (("--report", report), ("--status-fd", status_fd), ("--preserve-fds", preserve_fds)):
        words += [f"{option}={value}"] if value is not None else []
    flags = (("--check", check), ("--json", as_json), ("--verbose", verbose))
    words += [option for option, wanted in flags if wanted]
    binary = launcher.find(machine)
    tell(findings)
    launcher.become(binary, [*words, "--", *program], data)


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
    if mode not in _MODES:
        found.append(unknown_value("--mode", "a mode", mode, _MODES))
    if as_json and not check:
        found.append(Problem("--json", "goes with --check", "--status-fd has the same while a program runs"))
    if arch is not None:
        found.append(Problem("--arch", "goes with --print-launcher", "policies are compiled for this machine"))
    return found


def _descriptors(status_fd: str | None, preserve_fds: str | None) -> list[Problem]:
    found = []
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


def _compiled(path: str | None, given: Overrides, arch: Arch) -> tuple[bytes | None, list[Finding]]:
    """The compiled policy for this run, and what is not held or was added; None where the file is compiled already.

    Raises:
        BadInput: with all that is wrong with the policy and the rules.
    """
    if path is None:
        return _made(overrides.nothing(arch), given, "", "") if given else (None, [])
    text = b""
    try:
        text = read_policy(path, max(document.MAX_BYTES, PROFILE_BYTES))
        if polfile.is_compiled(text):
            if given:
                hint = "give the policy (.scmm.yaml) that it was made of"
                raise BadInput([Problem(path, "is compiled: its rules cannot be changed any more", hint)])
            return None, []
        policy, findings = _read(path, text, arch)
    except BadInput as error:
        # The rules are judged all the same, for this machine.
        raise BadInput([*error.problems, *overrides.problems(given, (arch, *arch.beside))]) from error
    data, more = _made(policy, given, path, "" if given else hashlib.sha256(text).hexdigest())
    return data, [*findings, *more]


def _read(path: str, text: bytes, arch: Arch) -> tuple[Policy, list[Finding]]:
    """The policy in a file, for this machine and one container."""
    findings: list[Finding] = []
    is_profile = kinds.is_profile(text)
    try:
        if is_profile:
            if len(text) > PROFILE_BYTES:
                raise BadInput([Problem("", f"is larger than {PROFILE_BYTES} bytes")])
            imported = from_profile(rich.parse(text), arch=arch, name=Path(path).stem)
            policy = imported.policy
            findings += imported.findings
        else:
            if len(text) > document.MAX_BYTES:
                raise BadInput([Problem("", f"is larger than {document.MAX_BYTES} bytes")])
            policy = document.parse(text)
        policy, said = for_one(policy, Container())
        findings += said
        policy, said = retarget(policy, arch)
    except BadInput as error:
        wanted = Kind.PROFILE if is_profile else Kind.POLICY
        raise BadInput(kinds.problems(error, path, text, wanted=wanted)) from error
    return policy, [*findings, *said]


def _made(policy: Policy, given: Overrides, path: str, digest: str) -> tuple[bytes, list[Finding]]:
    changed = overrides.applied(policy, given)
    try:
        needed.check(changed)
        file, findings = policy_file(changed, policy_digest=digest)
    except BadInput as error:
        places = [f"{path}: {one.place}" if path else "command line" for one in error.problems]
        found = [Problem(place, one.message, one.hint) for place, one in zip(places, error.problems, strict=True)]
        raise BadInput(list(dict.fromkeys(found))) from error
    return polfile.write(file), [*findings, *limits.listener(changed)]
