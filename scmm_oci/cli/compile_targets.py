"""A policy → the files that ``scmm compile`` was asked for, as bytes; what they cannot hold is a finding.

Called by cli.compile, which parses, prints and writes. All that is wrong with the policy for any target is told at
once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from scmm_oci.cli.collected import tried
from scmm_oci.compiled import crun, limits, multiplexed, needed, opinion, polfile, profiles, spo, systemd
from scmm_oci.compiled.filter import returned
from scmm_oci.compiled.policy_file import policy_file
from scmm_oci.compiled.profiles import oci_profile
from scmm_oci.compiled.retarget import retarget
from scmm_oci.compiled.rich_profile import to_rich
from scmm_oci.errors import BadInput, Finding, Problem
from scmm_oci.oci.resolve import Engine
from scmm_oci.policy.answers import Answer, entries
from scmm_oci.policy.container import DEFAULT_CAPABILITIES, depends, for_container
from scmm_oci.policy.model import Action, Policy
from scmm_oci.tables import syscalls
from scmm_oci.tables.arch import Arch
from scmm_oci.tables.floor import Floor
from scmm_oci.tables.vocabulary import CAPABILITIES

# Random calls that each filter of ours is compared on, besides all boundaries.
_RANDOM_CALLS = 2000

# What may be asked for, in the order in which it is made and told. All but the rich forms are for one container.
FORMS = ("oci", "docker", "podman", "spo", "systemd", "crun-bpf", "scmm-pol")
RICH = frozenset({"docker", "podman"})


@dataclass(frozen=True)
class Container:
    """What was said about the container: capabilities to add and to drop, and the kernel's version."""

    add: frozenset[str] = frozenset()
    drop: frozenset[str] = frozenset()
    kernel: tuple[int, int] | None = None


@dataclass(frozen=True)
class Source:
    """A policy with its file's name and the digest of its text (SHA-256, hexadecimal)."""

    policy: Policy
    path: str
    digest: str


@dataclass(frozen=True)
class Made:
    """One file to be written.

    Attributes:
        program: how many names the policy allows; ``floor``: how many more the runtime or systemd needs.
        more: members of the JSON result that only this form has.
    """

    form: str
    path: str
    data: bytes
    program: int
    floor: int
    findings: tuple[Finding, ...]
    more: dict[str, Any] = field(default_factory=dict)


def make(
    source: Source, wanted: dict[str, str], *, floor: Floor, container: Container, arches: Sequence[Arch] = ()
) -> tuple[list[Made], list[Finding]]:
    """The files, in the order of FORMS, and what was assumed or added for all of them.

    Args:
        wanted: form → path.
        arches: the architectures to compile for; none is the policy's own, several are for scmm-pol only.

    Raises:
        BadInput: the policy cannot be used for some target, or for any program; with all that is wrong.
        Failure: a filter of ours differs from libseccomp's for the same policy.
    """
    found: list[Problem] = []
    findings: list[Finding] = []

    def prepared(policy: Policy) -> Policy | None:
        """The policy for the architecture that was asked for, with all that every program needs."""
        if len(arches) == 1:
            policy, said = retarget(policy, arches[0])
            findings.extend(said)
        # Where the container is such that no rule is for it, the policy is not empty for all that.
        if policy.syscalls or not source.policy.syscalls:
            needed.check(policy)
        complete, said = needed.completed(policy)
        findings.extend(said)
        return complete

    whole: Policy | None = None
    one: Policy | None = None
    chosen: Policy | None = None
    if RICH & wanted.keys():
        whole = tried(lambda: prepared(source.policy), found)
    if wanted.keys() - RICH:
        picked = tried(lambda: for_one(source.policy, container), found)
        if picked is not None:
            chosen, said = picked
            findings += said
            if wanted.keys() - RICH - {"scmm-pol"}:
                one = tried(lambda: prepared(picked[0]), found)
    made: list[Made] = []
    for form in FORMS:
        if form not in wanted:
            continue
        policy = whole if form in RICH else chosen if form == "scmm-pol" else one
        if policy is not None:
            step = _step(form, wanted[form], policy, source, floor, arches)
            done = tried(step, found)
            if done is not None:
                made.append(done)
    if found:
        raise BadInput(list(dict.fromkeys(found)), source=source.path)
    return made, list(dict.fromkeys(findings))


def for_one(policy: Policy, container: Container) -> tuple[Policy, list[Finding]]:
    """The policy for the one container that was described; what was assumed of it is a finding."""
    if not depends(policy):
        return policy, []
    of_policy = policy.capabilities is not None
    capabilities = frozenset(policy.capabilities or ()) if of_policy else DEFAULT_CAPABILITIES
    # As engines have it: ALL is where one starts from, and single names are changes to that.
    every = frozenset(f"CAP_{name}" for name in CAPABILITIES)
    if container.drop == every:
        capabilities = container.add
    elif container.add == every:
        capabilities = every - container.drop
    else:
        capabilities = (capabilities | container.add) - container.drop
    findings = []
    if not of_policy and not container.add and not container.drop:
        message = "the profile is for a container with the capabilities that both engines give by default"
        findings.append(Finding("default-capabilities", message, "say otherwise with --cap-add and --cap-drop"))
    return for_container(policy, capabilities=capabilities, kernel=container.kernel), findings


def _step(
    form: str, path: str, policy: Policy, source: Source, floor: Floor, arches: Sequence[Arch]
) -> Callable[[], Made]:
    def rich() -> Made:
        exported = to_rich(policy, engine=Engine(form), floor=floor)
        return Made(form, path, exported.json, exported.program, exported.floor, exported.findings)

    def oci() -> Made:
        compiled = oci_profile(policy, floor)
        findings = (*compiled.findings, *limits.kep6061(compiled.profile))
        return Made(form, path, compiled.json, compiled.program, compiled.floor, findings)

    def operator() -> Made:
        compiled = oci_profile(policy, floor)
        made = spo.seccomp_profile(compiled.profile, name=policy.metadata.name or _stem(source.path))
        findings = (*compiled.findings, *made.findings)
        return Made(form, path, made.yaml, compiled.program, compiled.floor, findings, {"object": made.name})

    def unit() -> Made:
        made = systemd.drop_in(policy)
        return Made(form, path, made.text, made.program, made.floor, made.findings)

    def filtered() -> Made:
        compiled = oci_profile(policy, floor)
        bad_arch = returned(Answer(0, 0, policy.settings.bad_arch_action))
        data, program = crun.annotation(compiled.profile, bad_arch=bad_arch)

        def compare(random: Random) -> list[opinion.Report]:
            return [
                opinion.check_profile(compiled.profile, program, random=random, calls=_RANDOM_CALLS, bad_arch=bad_arch)
            ]

        compared, said = _compared(source, compare)
        more = {"annotation": crun.ANNOTATION, "instructions": len(program), **compared}
        # What libseccomp would not hold is not said of our filter.
        held = profiles.of_libseccomp(policy)
        told = [one for one in compiled.findings if one not in held]
        told += multiplexed.not_held(policy, conditions=policy.settings.default_action.passes)
        told += limits.listener(policy)
        return Made(form, path, data, compiled.program, compiled.floor, (*told, *said), more)

    def whole() -> Made:
        file, findings = policy_file(policy, arches=arches, policy_digest=source.digest)
        filters = [{"arch": one.arch.value, "instructions": len(one.program)} for one in file.filters]
        data = polfile.write(file)
        compared, said = _compared(
            source, lambda random: list(opinion.check_file(policy, file, random=random, calls=_RANDOM_CALLS))
        )
        more = {"filters": filters, **compared}
        return Made(form, path, data, _allowed(policy, arches), 0, (*findings, *limits.listener(policy), *said), more)

    steps: dict[str, Callable[[], Made]] = {
        "oci": oci,
        "docker": rich,
        "podman": rich,
        "spo": operator,
        "systemd": unit,
        "crun-bpf": filtered,
        "scmm-pol": whole,
    }
    return steps[form]


def _compared(
    source: Source, compare: Callable[[Random], list[opinion.Report]]
) -> tuple[dict[str, Any], list[Finding]]:
    """What the second opinion was asked, for the JSON result; or why it was not.

    Raises:
        Failure: it is another.
    """
    reason = opinion.unavailable()
    if reason is not None:
        return {"compared": None}, [Finding("not-compared", f"the filter was not compared with libseccomp's: {reason}")]
    # The same policy is compared on the same calls.
    reports = compare(Random(source.digest))
    versions = sorted({report.library for report in reports})
    alone = sum(report.alone for report in reports)
    # What the library could not be asked about was compared with the policy only.
    calls = sum(report.calls for report in reports) - alone
    return {"compared": {"libseccomp": versions, "calls": calls, "with_policy_only": alone}}, []


def _allowed(policy: Policy, arches: Sequence[Arch]) -> int:
    """How many names the policy allows on some of the architectures, with some arguments at least."""
    names: set[str] = set()
    for arch in arches or (policy.settings.arch,):
        complete, _ = needed.completed(retarget(policy, arch)[0])
        known: set[str] = set().union(*(syscalls.numbers(one) for one in complete.settings.architectures))
        names |= {
            name
            for name, entry in entries(complete).items()
            if name in known
            and any(rule is not None and rule.action is Action.ALLOW for rule in (entry.plain, *entry.constrained))
        }
    return len(names)


def _stem(path: str) -> str:
    name = path.rsplit("/", 1)[-1]
    return name.split(".", 1)[0] or name
