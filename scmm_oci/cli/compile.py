"""``scmm compile``: a policy, read and edited by people, → what launchers, runtimes, engines and systemd load."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence

import click

from scmm_oci.cli import compile_told, floors, kinds
from scmm_oci.cli.compile_targets import RICH, Container, Source, make
from scmm_oci.cli.confine import confine
from scmm_oci.cli.kinds import Kind
from scmm_oci.cli.options import ARCHES, check_outputs
from scmm_oci.cli.output import data, say, tell
from scmm_oci.collection import uncollected
from scmm_oci.compiled.limits import CANNOT_HOLD
from scmm_oci.compiled.opinion import libseccomp
from scmm_oci.errors import BadInput, Failure, Finding, Problem, short, unknown_value
from scmm_oci.files import atomic_write_all, read_bounded
from scmm_oci.policy import document
from scmm_oci.policy.lint import lint
from scmm_oci.tables.arch import Arch, from_machine
from scmm_oci.tables.vocabulary import CAPABILITIES, capability

_EXAMPLE = """\b
Examples:
  scmm-compile -i nginx.scmm.yaml --oci seccomp.json
  podman run --security-opt seccomp=seccomp.json …
  scmm-compile -i nginx.scmm.yaml -o nginx.scmm-pol --arch x86_64 --arch aarch64"""

_KERNEL = re.compile(r"(\d{1,4})\.(\d{1,4})", re.ASCII)
# The forms whose filters libseccomp is asked about.
_COMPARED = frozenset({"scmm-pol", "crun-bpf"})
# The forms that a container runtime loads.
_OF_RUNTIME = frozenset({"oci", "docker", "podman", "spo", "crun-bpf"})


@click.command(epilog=_EXAMPLE, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-i", "--input", "source", required=True, metavar="POLICY", help="A policy (.scmm.yaml).")
@click.option("-o", "--output", metavar="FILE", help="Write the compiled policy (.scmm-pol) for scmm's launcher here.")
@click.option("--oci", metavar="FILE", help="Write the seccomp profile for podman, Docker and OCI runtimes here.")
@click.option("--docker", metavar="FILE", help="Write a profile in Docker's form: rules may depend on the container.")
@click.option("--podman", metavar="FILE", help="Write a profile in podman's form: rules may depend on the container.")
@click.option("--spo", metavar="FILE", help="Write a SeccompProfile object of security-profiles-operator.")
@click.option("--systemd", metavar="FILE", help="Write a drop-in for a systemd service.")
@click.option("--crun-bpf", metavar="FILE", help="Write the value of crun's annotation run.oci.seccomp_bpf_data.")
@click.option(
    "--arch",
    "machines",
    multiple=True,
    metavar="ARCH",
    help=f"Compile for this machine instead of the policy's; several with -o only. One of {ARCHES}.",
)
@click.option(
    "--cap-add",
    multiple=True,
    metavar="NAME",
    help="The container has this capability as well, or ALL; not for --docker and --podman.",
)
@click.option("--cap-drop", multiple=True, metavar="NAME", help="The container lacks this capability, or ALL.")
@click.option(
    "--kernel",
    metavar="X.Y",
    help="The kernel's version. By default rules for a least kernel are taken.",
)
@floors.floor_options
@click.option("--no-validate", is_flag=True, help="Do not judge the policy as `scmm lint` does. Nothing else changes.")
@click.option("--strict", is_flag=True, help="Fail, and write nothing, if a target cannot hold all of the policy.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout.")
@uncollected()
def compile(
    *,
    source: str,
    output: str | None,
    oci: str | None,
    docker: str | None,
    podman: str | None,
    spo: str | None,
    systemd: str | None,
    crun_bpf: str | None,
    machines: Sequence[str],
    cap_add: Sequence[str],
    cap_drop: Sequence[str],
    kernel: str | None,
    runtime: str | None,
    no_new_privileges: bool,
    measured_floor: str | None,
    no_validate: bool,
    strict: bool,
    as_json: bool,
) -> None:
    """Make of a policy what launchers, container runtimes, engines and systemd take.

    All files that are asked for are written, or none. They do what the policy says, and allow what the container
    runtime itself needs besides. What a target cannot hold is told; with --strict it is an error.

    Of rules that depend on the container, all but --docker and --podman take those for one container: with the
    capabilities of the policy or, where it has none, those that both engines give by default, changed by --cap-add and
    --cap-drop.
    """
    given = {
        "oci": oci,
        "docker": docker,
        "podman": podman,
        "spo": spo,
        "systemd": systemd,
        "crun-bpf": crun_bpf,
        "scmm-pol": output,
    }
    wanted = {form: path for form, path in given.items() if path is not None}
    if not wanted:
        hint = "give -o, --oci, --docker, --podman, --spo, --systemd or --crun-bpf"
        raise BadInput([Problem("", "no output was asked for", hint)])
    check_outputs([source], list(given.values()))
    arches = _arches(machines, wanted)
    container = _container(cap_add, cap_drop, kernel, wanted)
    if _COMPARED & wanted.keys() and libseccomp.unavailable() is None:
        libseccomp.version()  # other programs are asked where the library is, which a confined process cannot do
    confine([source], given.values(), also=floors.reads(measured_floor))
    text = read_bounded(source, document.MAX_BYTES)
    try:
        policy = document.parse(text)
    except BadInput as error:
        raise BadInput(kinds.problems(error, source, text, wanted=Kind.POLICY)) from error
    wanted_runtime = None if runtime == "all" else runtime
    needs = floors.needs(wanted_runtime, None, no_new_privileges, directory=measured_floor)
    made, findings = make(
        Source(policy, source, hashlib.sha256(text).hexdigest()),
        wanted,
        floor=needs,
        container=container,
        arches=arches,
    )
    linted = None
    if not no_validate:
        linted = lint(policy, floor=needs.names if _OF_RUNTIME & wanted.keys() else frozenset())
        tell(compile_told.short_lint(linted))
    findings += [finding for one in made for finding in one.findings]
    findings = list(dict.fromkeys(findings))
    tell(findings)
    if strict:
        _hold(findings)
    atomic_write_all([(one.path, one.data) for one in made])
    if as_json:
        data(compile_told.result(policy, made, entries=needs.entries_used, findings=findings, linted=linted))
    for one in made:
        say(compile_told.line(one))


def _hold(findings: Sequence[Finding]) -> None:
    """Raises Failure if something is not held."""
    codes = sorted({one.code for one in findings if one.code in CANNOT_HOLD})
    if codes:
        message = f"not all of the policy can be held: {', '.join(codes)}"
        raise Failure(message, "nothing is written; without --strict it is")


def _arches(machines: Sequence[str], wanted: dict[str, str]) -> tuple[Arch, ...]:
    found: list[Problem] = []
    arches: list[Arch] = []
    for word in machines:
        try:
            arches.append(from_machine(word, place="--arch"))
        except BadInput as error:
            found += error.problems
    if len(set(arches)) > 1 and wanted.keys() != {"scmm-pol"}:
        hint = "a profile is for one machine; run the command once for each"
        found.append(Problem("--arch", "several go with -o only", hint))
    if found:
        raise BadInput(found)
    return tuple(dict.fromkeys(arches))


def _container(add: Sequence[str], drop: Sequence[str], kernel: str | None, wanted: dict[str, str]) -> Container:
    """What was said about the container."""
    found = []
    known = [*CAPABILITIES, "ALL"]
    both = []
    for option, words in (("--cap-add", add), ("--cap-drop", drop)):
        names = set()
        for word in words:
            name = capability(word.upper())
            if word.upper() == "ALL":
                names |= {f"CAP_{one}" for one in CAPABILITIES}
            elif name is None:
                found.append(unknown_value(option, "a capability", word, known))
            else:
                names.add(name)
        both.append(frozenset(names))
    version = _KERNEL.fullmatch(kernel) if kernel is not None else None
    if kernel is not None and version is None:
        found.append(Problem("--kernel", f"{short(kernel)} is not a kernel's version such as 6.1"))
    if wanted.keys() <= RICH:
        given = {"--cap-add": add, "--cap-drop": drop, "--kernel": kernel}
        hint = "Docker's and podman's form is for every container"
        others = "-o, --spo, --systemd and --crun-bpf"
        found += [Problem(option, f"goes with --oci, {others}", hint) for option, value in given.items() if value]
    if found:
        raise BadInput(found)
    return Container(both[0], both[1], (int(version[1]), int(version[2])) if version is not None else None)
