"""``scmm compile``: a policy, read and edited by people, → the seccomp profiles that runtimes and engines load."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import click

from scmm_oci.cli.options import check_outputs, floor_options
from scmm_oci.cli.output import data, plain, say, tell
from scmm_oci.compiled.profiles import Compiled, oci_profile
from scmm_oci.compiled.rich_profile import Exported, to_rich
from scmm_oci.errors import BadInput, Finding, Problem, short, unknown_value
from scmm_oci.files import atomic_write_all
from scmm_oci.oci.resolve import Engine
from scmm_oci.policy import document
from scmm_oci.policy.container import DEFAULT_CAPABILITIES, depends, for_container
from scmm_oci.policy.model import Policy
from scmm_oci.tables.floor import floor
from scmm_oci.tables.vocabulary import CAPABILITIES, capability

_EXAMPLE = """\b
Example:
  scmm-compile -i nginx.scmm.yaml --oci seccomp.json
  podman run --security-opt seccomp=seccomp.json …"""

_KERNEL = re.compile(r"(\d{1,4})\.(\d{1,4})", re.ASCII)


@click.command(epilog=_EXAMPLE, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("-i", "--input", "source", required=True, metavar="POLICY", help="A policy (.scmm.yaml).")
@click.option("--oci", metavar="FILE", help="Write the seccomp profile for podman, Docker and OCI runtimes here.")
@click.option("--docker", metavar="FILE", help="Write a profile in Docker's form: rules may depend on the container.")
@click.option("--podman", metavar="FILE", help="Write a profile in podman's form: rules may depend on the container.")
@click.option(
    "--cap-add", multiple=True, metavar="NAME", help="With --oci: the container has this capability as well, or ALL."
)
@click.option(
    "--cap-drop", multiple=True, metavar="NAME", help="With --oci: the container lacks this capability, or ALL."
)
@click.option(
    "--kernel",
    metavar="X.Y",
    help="With --oci: the kernel's version. By default rules for a least kernel are taken.",
)
@floor_options
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on stdout.")
def compile(
    *,
    source: str,
    oci: str | None,
    docker: str | None,
    podman: str | None,
    cap_add: Sequence[str],
    cap_drop: Sequence[str],
    kernel: str | None,
    runtime: str | None,
    no_new_privileges: bool,
    as_json: bool,
) -> None:
    """Make seccomp profiles from a policy.

    A profile does what the policy says, and allows what the container runtime itself needs besides.

    Of rules that depend on the container, --oci takes those for one container: with the capabilities of the policy or,
    where it has none, those that both engines give by default, changed by --cap-add and --cap-drop.
    """
    if oci is docker is podman is None:
        raise BadInput([Problem("", "no output was asked for", "give --oci, --docker or --podman")])
    check_outputs([source], [oci, docker, podman])
    chosen = _container(cap_add, cap_drop, kernel, oci)
    policy = document.read(source)
    needs = floor(None if runtime in (None, "all") else runtime, None, no_new_privileges)
    made: list[tuple[str, str, Compiled | Exported]] = []
    findings: list[Finding] = []
    if oci is not None:
        one, said = _for_one(policy, *chosen)
        findings += said
        made.append(("oci", oci, oci_profile(one, needs)))
    for engine, path in ((Engine.DOCKER, docker), (Engine.PODMAN, podman)):
        if path is not None:
            made.append((engine.value, path, to_rich(policy, engine=engine, floor=needs)))
    atomic_write_all([(path, compiled.json) for _, path, compiled in made])
    findings += [finding for _, _, compiled in made for finding in compiled.findings]
    findings = list(dict.fromkeys(findings))
    tell(findings)
    if as_json:
        data(_result(policy, made, needs.entries_used, findings))
    for _, path, compiled in made:
        say(f"{plain(path)}: {compiled.program} calls for the program, {compiled.floor} more for the runtime")


_Chosen = tuple[frozenset[str], frozenset[str], tuple[int, int] | None]


def _container(add: Sequence[str], drop: Sequence[str], kernel: str | None, oci: str | None) -> _Chosen:
    """What was said about the container: capabilities to add and to drop, and the kernel."""
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
    if oci is None:
        given = {"--cap-add": add, "--cap-drop": drop, "--kernel": kernel}
        hint = "Docker's and podman's form is for every container"
        found += [Problem(option, "goes with --oci", hint) for option, value in given.items() if value]
    if found:
        raise BadInput(found)
    return both[0], both[1], (int(version[1]), int(version[2])) if version is not None else None


def _for_one(
    policy: Policy, add: frozenset[str], drop: frozenset[str], kernel: tuple[int, int] | None
) -> tuple[Policy, list[Finding]]:
    """The policy for the one container that was described; what was assumed of it is a finding."""
    if not depends(policy):
        return policy, []
    of_policy = policy.capabilities is not None
    capabilities = frozenset(policy.capabilities or ()) if of_policy else DEFAULT_CAPABILITIES
    # As engines have it: ALL is where one starts from, and single names are changes to that.
    every = frozenset(f"CAP_{name}" for name in CAPABILITIES)
    if drop == every:
        capabilities = add
    elif add == every:
        capabilities = every - drop
    else:
        capabilities = (capabilities | add) - drop
    findings = []
    if not of_policy and not add and not drop:
        message = "the profile is for a container with the capabilities that both engines give by default"
        findings.append(Finding("default-capabilities", message, "say otherwise with --cap-add and --cap-drop"))
    return for_container(policy, capabilities=capabilities, kernel=kernel), findings


def _result(
    policy: Policy, made: list[tuple[str, str, Compiled | Exported]], entries: Sequence[str], findings: list[Finding]
) -> dict[str, Any]:
    # The first profile's members stand at the top too, as they did when there was one only.
    _, path, first = made[0]
    return {
        "name": policy.metadata.name,
        "profile": path,
        "program": first.program,
        "floor": first.floor,
        "floor_entries": list(entries),
        "profiles": [
            {"form": form, "profile": path, "program": compiled.program, "floor": compiled.floor}
            for form, path, compiled in made
        ],
        "findings": [{"code": one.code, "message": one.message, "hint": one.hint} for one in findings],
    }
