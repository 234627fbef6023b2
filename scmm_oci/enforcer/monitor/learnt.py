"""What the monitor has learnt → a policy that holds just that, to be merged with the one that asked.

It allows what was let pass, with the constraints on arguments that `scmm extract` would give it, and speaks of nothing
else so that merging changes nothing else: its default is the most restrictive one, its other sections are empty.
Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from scmm_oci import __version__
from scmm_oci.capture.facts import ArgumentSet, PathState, Program
from scmm_oci.capture.model import (
    Call,
    Capture,
    Container,
    Host,
    Recorder,
    Runtime,
    Session,
    SessionKind,
    Source,
)
from scmm_oci.enforcer.monitor.learning import Learning, Learnt, Place, Refused, places_of
from scmm_oci.enforcer.monitor.record import timestamp
from scmm_oci.errors import BadInput, Finding, printable
from scmm_oci.policy.answers import Answers
from scmm_oci.policy.constraints import alternatives
from scmm_oci.policy.decisions import Decisions
from scmm_oci.policy.infer import observe
from scmm_oci.policy.infer.arguments import argument_rules
from scmm_oci.policy.infer.calls import call_rules
from scmm_oci.policy.merge import union
from scmm_oci.policy.model import Action, LandlockScope, Metadata, Network, Origin, Policy, Settings, SyscallRule
from scmm_oci.policy.render import dump
from scmm_oci.tables.arch import Arch

MADE_BY = "scmm-monitor --learn"

_HEAD = """\
Made by scmm-monitor --learn: what it let pass, and nothing else. To have these calls pass without being asked about,
  scmm merge POLICY THIS -o NEW
with the policy that asked. All else is refused here, so that merging adds these calls and changes no other answer."""


@dataclass(frozen=True)
class Delta:
    """The policy, and what is to be said of how it came about."""

    policy: Policy
    findings: tuple[Finding, ...]


def delta(learning: Learning, *, arch: Arch, before: Policy | None = None) -> Delta:
    """What was learnt as a policy.

    Args:
        arch: the machine's own ABI.
        before: what an earlier monitor has learnt, to which this is added; counts are then the larger of both.

    Raises:
        BadInput: `before` is of another machine.
    """
    findings = [*_unnamed(learning)]
    known = {}
    for key, one in sorted(learning.calls.items()):
        if key[0] in (arch, *arch.beside):
            known[key] = one
        else:
            message = f"{one.name} of {key[0]} was let pass ({one.count}×), which a kernel of {arch} does not run"
            findings.append(Finding("foreign-call", message, "it is left out"))
    capture = _capture(learning, known, arch)
    rules, architectures = _rules(capture, known, learning.refused, findings)
    policy = Policy(
        metadata=_metadata(learning),
        settings=Settings(default_action=Action.KILL, arch=arch, architectures=architectures),
        syscalls=tuple(_held(rules, architectures, findings)),
        capabilities=(),
        filesystem=(),
        network=Network(),
        scopes=tuple(LandlockScope),
    )
    if before is not None:
        merged = union([before, policy])
        policy = merged.policy
        findings += merged.findings
    policy = _without_refused(policy, learning.refused, findings)
    return Delta(policy, tuple(dict.fromkeys(findings)))


def text(made: Delta) -> bytes:
    """The delta as a policy file; how it was made, and what it lacks, stand at its head."""
    notes = "".join(f"\nnote: {finding}" for finding in made.findings)
    return dump(made.policy, comments={("metadata",): _HEAD + notes})


def _metadata(learning: Learning) -> Metadata:
    names = ", ".join(map(printable, sorted(learning.names))) or "nothing yet"
    more = " and others" if learning.names_more else ""
    return Metadata(
        generated_from=f"{MADE_BY}: {names}{more}",
        generated_at=timestamp(learning.last if learning.last is not None else learning.began),
    )


def _capture(learning: Learning, known: dict[tuple[Arch, int], Learnt], arch: Arch) -> Capture:
    """What was learnt in the form that policies are made of."""
    paths = sorted({program for one in known.values() for program in one.programs if program is not None})
    number = {path: index for index, path in enumerate(paths)}
    calls = tuple(
        Call(
            on,
            nr,
            one.name,
            entered=one.count,
            succeeded=0,
            errnos=(),
            denied=0,
            denied_errno=None,
            programs=() if None in one.programs else tuple(sorted(number[path] for path in one.programs if path)),
        )
        for (on, nr), one in known.items()
    )
    return Capture(
        name="learnt",
        source=Source.ATTACHED,
        losses=(),
        notes=(),
        started_at=timestamp(learning.began),
        ended_at=timestamp(learning.last if learning.last is not None else learning.began),
        recorder=Recorder("scmm-monitor", __version__),
        host=Host("", arch.value),
        container=Container("", (), None, None, None, None),
        runtime=Runtime(None, None),
        sessions=(Session(SessionKind.MAIN, 0, (), (), calls),),
        programs=tuple(Program(index, path, PathState.NAMED, None, None, "", 0, 0) for index, path in enumerate(paths)),
        arguments=tuple(
            ArgumentSet(on, nr, one.name, place.indexes, None, tuple(sorted(place.values)), place.open_ended)
            for (on, nr), one in known.items()
            for place in one.places
        ),
    )


def _rules(
    capture: Capture,
    known: dict[tuple[Arch, int], Learnt],
    refused: dict[tuple[Arch, int], Refused],
    findings: list[Finding],
) -> tuple[list[SyscallRule], tuple[Arch, ...]]:
    # Where a call was also decided against, all of its arguments count: they may tell the two apart.
    narrow = {one.name for one in refused.values()}
    check = frozenset(
        (one.name, index)
        for one in known.values()
        if one.name in narrow
        for place in one.places
        if not place.open_ended
        for index in place.indexes
    )
    decisions = Decisions(check=check, files=False, network=False, capabilities=False)
    _, architectures = observe.architectures([capture], [])
    if len(architectures) > 1:
        message = f"calls of {', '.join(architectures)} were let pass; each allowed name is allowed on all of them"
        findings.append(Finding("many-architectures", message))
    tallies = observe.tally([capture], [], findings)
    constraints = argument_rules([capture], decisions, findings)
    rules = call_rules(tallies, constraints, decisions, frozenset(), frozenset(), findings)
    findings[:] = map(_for_monitor, findings)
    unknown = {one.name for one in known.values() if None in one.programs}
    return [replace(rule, origin=_origin(rule, unknown)) for rule in rules], architectures


def _held(rules: Sequence[SyscallRule], arches: Sequence[Arch], findings: list[Finding]) -> Iterator[SyscallRule]:
    """The rules, without those of a call whose constraints are more than a filter can have."""
    left_out: set[str] = set()
    for rule in rules:
        try:
            for arch in arches:
                alternatives(rule.constraints, rule.name, arch, unequal=True)
        except BadInput as error:
            left_out.add(rule.name)
            message = f"{rule.name} was let pass with arguments that no filter can hold: {error.problems[0].message}"
            findings.append(Finding("unheld-arguments", message, "it is left out, and will be asked about"))
    yield from (rule for rule in rules if rule.name not in left_out)


def _for_monitor(finding: Finding) -> Finding:
    """The finding with the way out that there is here: `scmm extract` has a flag for it."""
    if finding.code != "unseen-arguments":
        return finding
    hint = "a rule that denies it with errno: ENOSYS has programs take the older call, whose flags are checked"
    return Finding(finding.code, finding.message, hint)


def _origin(rule: SyscallRule, unknown: set[str]) -> Origin | None:
    # Two ABIs may have a name, and whose the calls were be known of one only.
    return replace(rule.origin, programs=()) if rule.origin is not None and rule.name in unknown else rule.origin


def _without_refused(policy: Policy, refused: dict[tuple[Arch, int], Refused], findings: list[Finding]) -> Policy:
    """The policy without rules that would let pass, unasked, what was decided against."""
    spoken = {rule.name for rule in policy.syscalls}
    left_out: set[str] = set()
    for (arch, _), one in sorted(refused.items()):
        if one.name in spoken and one.name not in left_out and _admits(policy, arch, one):
            left_out.add(one.name)
            message = f"{one.name} was let pass, and was also refused ({printable(one.why)[:200]}, {one.count}×)"
            hint = "no filter can tell the two apart, so it is left out, and will be asked about"
            findings.append(Finding("let-pass-and-refused", message, hint))
    if not left_out:
        return policy
    return replace(policy, syscalls=tuple(rule for rule in policy.syscalls if rule.name not in left_out))


def _admits(policy: Policy, arch: Arch, refused: Refused) -> bool:
    if refused.too_many:
        return True
    own = replace(policy, syscalls=tuple(rule for rule in policy.syscalls if rule.name == refused.name))
    try:
        answers = Answers(own, arch)
    except BadInput:
        return True  # its words are none of that ABI's, so it cannot be told
    places = places_of(arch, refused.name)
    return any(answers.of(refused.name, dict(_registers(places, values))).action.passes for values in refused.values)


def _registers(places: Sequence[Place], values: Sequence[int]) -> Iterator[tuple[int, int]]:
    for place, value in zip(places, values, strict=True):
        if len(place.indexes) == 2:
            yield place.indexes[0], value >> 32
            yield place.indexes[1], value & 0xFFFF_FFFF
        else:
            yield place.indexes[0], value


def _unnamed(learning: Learning) -> Iterator[Finding]:
    hint = "no policy can name it, so it is left out, and will be asked about"
    for (abi, nr), count in sorted(learning.unnamed.items()):
        yield Finding("unnamed-call", f"system call {nr} of {abi}, which has no name, was let pass ({count}×)", hint)
    if learning.unnamed_more:
        message = f"further calls without a name were let pass ({learning.unnamed_more}×)"
        yield Finding("unnamed-call", message, "they are left out")
