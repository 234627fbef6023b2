"""Captures and decisions → policy: what the programs were seen to do, and where each rule comes from.

Pure, and without regard to the order of the captures or to one being given twice. What a policy cannot hold, or what
a reader of it should know, comes back as findings beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scmm_oci.capture.merge import distinct
from scmm_oci.capture.model import Capture
from scmm_oci.errors import BadInput, Finding, Problem, printable
from scmm_oci.policy.decisions import Decisions, check
from scmm_oci.policy.infer import calls as infer_calls
from scmm_oci.policy.infer import identity as infer_identity
from scmm_oci.policy.infer import network as infer_network
from scmm_oci.policy.infer import observe
from scmm_oci.policy.infer import order as infer_order
from scmm_oci.policy.infer import stages as infer_stages
from scmm_oci.policy.infer.arguments import argument_rules
from scmm_oci.policy.infer.file_rules import chosen_patterns, file_rules, limits
from scmm_oci.policy.infer.files import observe_files
from scmm_oci.policy.infer.observe import Tally, name_of, runtime_names
from scmm_oci.policy.infer.processes import tell_own_processes
from scmm_oci.policy.model import Metadata, Policy, Settings
from scmm_oci.policy.paths.generalise import propose
from scmm_oci.policy.paths.proposals import Need, Proposal

__all__ = ["Inference", "Seen", "infer", "name_of", "runtime_names", "see"]


@dataclass(frozen=True)
class Seen:
    """What the captures show, before anything is decided: what the interview asks about.

    Attributes:
        captures: each different one once, in their one order.
        tallies: the calls of the programs, by name.
        needs, programs: what was needed of each path, and whose need it was.
        proposals: patterns that may stand for several paths.
    """

    captures: tuple[Capture, ...]
    tallies: Mapping[str, Tally]
    needs: tuple[Need, ...]
    programs: Mapping[str, frozenset[str]]
    proposals: tuple[Proposal, ...]
    settings: Settings
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class Inference:
    """A policy, and what is to be said about how it came about; ``machine`` if it says which call may follow which."""

    policy: Policy
    findings: tuple[Finding, ...]
    seen: Seen
    machine: infer_order.Machine | None = None


def see(captures: Sequence[Capture], decisions: Decisions) -> Seen:
    """What the captures show, as far as it does not depend on what is decided about it.

    Of the decisions only ``accept_incomplete``, ``files``, ``missing_files`` and ``home`` matter, and those about
    transitions for what captures must hold for them.

    Raises:
        BadInput: a capture is incomplete, holds calls that have no name, does not fit the others, or lacks what
            transitions are to be made of; or none holds any call of a program. All of it at once.
    """
    chosen = distinct(captures)
    found: list[Problem] = []
    findings = [*observe.losses(chosen, found, accept=decisions.accept_incomplete), *observe.notes(chosen)]
    arch, seen = observe.architectures(chosen, found)
    tallies = observe.tally(chosen, found, findings)
    if not tallies and not found:
        found.append(Problem("", "no capture holds a call of the program", "was it started while recording?"))
    found += infer_stages.check(chosen, arch, decisions)
    if found:
        raise BadInput(found)
    if len(seen) > 1:
        message = f"the program made calls of {', '.join(seen)}; each allowed name is allowed on all of them"
        findings.append(Finding("many-architectures", message))
    observed = observe_files(chosen, decisions, findings)
    proposals = propose(observed.needs, recordings=len(chosen), home=decisions.home) if decisions.files else ()
    settings = Settings(arch=arch, architectures=seen)
    return Seen(chosen, tallies, observed.needs, observed.programs, proposals, settings, tuple(findings))


def infer(
    captures: Sequence[Capture],
    decisions: Decisions | None = None,
    *,
    needed: frozenset[str] = frozenset(),
    seen: Seen | None = None,
) -> Inference:
    """The policy that allows what the programs in the captures did (the app phase of every session), as decided.

    A call that the engine's own filter always refused is not allowed. Where that filter's answer was the default
    errno the policy leaves the call out; for another answer (ENOSYS as a rule: programs then take an older call)
    it has a rule that gives the same answer.

    Args:
        needed: names that a profile must allow anyhow, for the runtime's sake: they get no rule that refuses them.
        seen: what :func:`see` made of the same captures, where that is at hand.

    Raises:
        BadInput: as :func:`see`; or a decision names what there is not.
    """
    decided = decisions if decisions is not None else Decisions()
    check(decided)
    shown = seen if seen is not None else see(captures, decided)
    findings = list(shown.findings)
    every = observe.programs_of(shown.captures)
    arguments = argument_rules(shown.captures, decided, findings)
    calls = infer_calls.call_rules(shown.tallies, arguments, decided, needed, every, findings)
    if decided.portable:
        spoken = shown.tallies.keys() | decided.calls.keys()
        calls = infer_calls.portable_rules(calls, spoken, shown.settings.arch, findings)
    files = None
    if decided.files:
        patterns = chosen_patterns(shown.proposals, decided)
        files = file_rules(
            shown.needs,
            patterns,
            shown.programs,
            every,
            decided,
            findings,
            recordings=len(shown.captures),
            most=limits(shown.proposals, decided),
        )
        tell_own_processes(files, shown.captures, findings)
    network = infer_network.infer_network(shown.captures, decided, every, findings) if decided.network else None
    granted = infer_identity.capabilities(shown.captures, shown.tallies) if decided.capabilities else None
    arch = shown.settings.arch
    machine = infer_order.machine(shown.captures, arch, decided, findings) if decided.transitions else None
    policy = Policy(
        metadata=_metadata(shown.captures, decided),
        settings=Settings(
            default_action=decided.default_action,
            default_errno=decided.default_errno,
            arch=arch,
            architectures=shown.settings.architectures,
            run_as=infer_identity.run_as(shown.captures, findings),
        ),
        syscalls=tuple(calls),
        capabilities=granted,
        filesystem=files,
        network=network,
        scopes=infer_network.scopes(shown.captures) if decided.network else None,
        transitions=None if machine is None else machine.transitions,
        serving=None if machine is None else machine.serving_rules,
        watch=None if machine is None else decided.watch,
    )
    return Inference(policy, tuple(dict.fromkeys(findings)), shown, machine)


def _metadata(captures: Sequence[Capture], decisions: Decisions) -> Metadata:
    names = sorted({one.name for one in captures})
    return Metadata(
        name=printable(decisions.name if decisions.name is not None else "+".join(names)),
        generated_from=printable(", ".join(names)),
        target_executable=_executable(captures),
        generated_at=max(one.ended_at for one in captures),
    )


def _executable(captures: Sequence[Capture]) -> str | None:
    names = sorted({name[:4096] for capture in captures for name in capture.container.args[:1] if name})
    return printable(", ".join(names))[:4096] if names else None
