"""What a policy answers to each call, in the words that systemd has: passes, passes and is logged, an errno, kill.

Where the arguments decide, a call gets the least restrictive answer that it can get: systemd sees no arguments, and a
service without its calls does not run. Every such call is told. Called by compiled.systemd. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from scmm_oci.errors import BadInput, Finding, Problem
from scmm_oci.policy import constraints
from scmm_oci.policy.answers import Answer, Entry, entries
from scmm_oci.policy.constraints import LOW, Alternative
from scmm_oci.policy.model import Action, Operator, Policy
from scmm_oci.tables import errnos, syscalls
from scmm_oci.tables.probes import probes

ENOSYS = errnos.ERRNOS["ENOSYS"]


@dataclass(frozen=True)
class Word:
    """What systemd can do with a call: let it pass, with a line in the log or without, answer an errno, or kill."""

    passes: bool
    log: bool = False
    errno: int | None = None


PASS, LOG, KILL = Word(True), Word(True, log=True), Word(False)


@dataclass(frozen=True)
class Calls:
    """All calls of the policy's ABIs.

    Attributes:
        default: what calls get that nothing is said about; unspoken: their names.
        passing: the names that pass.
    """

    default: Word
    answers: Mapping[str, Word]
    unspoken: frozenset[str]
    findings: tuple[Finding, ...]

    @property
    def open(self) -> bool:
        """Whether calls pass unless something is said."""
        return self.default.passes

    @property
    def passing(self) -> frozenset[str]:
        return frozenset(name for name, word in self.answers.items() if word.passes and name not in self._silent)

    @property
    def _silent(self) -> frozenset[str]:
        return self.unspoken if self.open else frozenset()


@dataclass(frozen=True)
class Families:
    """The families that socket(2) can be called with.

    Attributes:
        exact: nothing else decides about it, and all are answered alike.
        instead: what the policy answers to other families, where that is no error number.
    """

    numbers: frozenset[int]
    exact: bool
    instead: Action | None = None


def calls_of(policy: Policy, *, held: frozenset[str]) -> Calls:
    """The answers to all calls.

    Args:
        held: names whose constraints another setting of the unit holds.

    Raises:
        BadInput: rules have constraints that no filter can hold; with all of them.
    """
    settings = policy.settings
    known: set[str] = set().union(*(syscalls.numbers(arch) for arch in settings.architectures))
    spoken = {name: entry for name, entry in entries(policy).items() if name in known}
    default = Answer.of(None, settings)
    answers: dict[str, Word] = dict.fromkeys(known, _word(default))
    if settings.default_action is Action.DENY:
        answers |= dict.fromkeys((probes() & known) - spoken.keys(), Word(False, errno=ENOSYS))
    replaced: dict[Action, list[str]] = {}
    opened: list[str] = []
    dropped: list[str] = []
    _check(policy, spoken)
    for name, entry in sorted(spoken.items()):
        fallback = Answer.of(entry.plain, settings)
        best = min([fallback, *(Answer.of(rule, settings) for rule in entry.constrained)])
        chosen = best if best.action.passes else fallback
        answers[name] = _word(chosen)
        if chosen.action in _REPLACED:
            replaced.setdefault(chosen.action, []).append(name)
        if name not in held and any(Answer.of(rule, settings) != fallback for rule in entry.constrained):
            (opened if chosen != fallback else dropped).append(name)
    findings = [*_arguments(opened, dropped)]
    if settings.default_action in _REPLACED:
        replaced.setdefault(settings.default_action, []).append("calls without a rule")
    findings += [
        Finding("action-not-held", f"systemd has no {action}: for {', '.join(names)} {_REPLACED[action]} instead")
        for action, names in sorted(replaced.items())
    ]
    return Calls(_word(default), answers, frozenset(known - spoken.keys()), tuple(findings))


def families_of(policy: Policy) -> Families | None:
    """The families of sockets that the policy allows, if it allows nothing else; None where it does not say."""
    settings = policy.settings
    entry = entries(policy).get("socket")
    if entry is None or not entry.constrained or Answer.of(entry.plain, settings).action.passes:
        return None
    ways: list[Alternative] = []
    for rule in entry.constrained:
        if not rule.action.passes:
            continue
        ways += constraints.alternatives(rule.constraints, "socket", settings.arch)
    numbers = [_family(way) for way in ways]
    if not numbers or None in numbers:
        return None
    alike = len({rule.action for rule in entry.constrained}) == 1
    exact = alike and all(len(way) == 1 for way in ways)
    fallback = Answer.of(entry.plain, settings).action
    instead = None if fallback is Action.DENY else fallback
    return Families(frozenset(number for number in numbers if number), exact, instead)


def _family(way: Alternative) -> int | None:
    """The family that a way demands. 0, which is none (AF_UNSPEC), cannot be named to systemd."""
    for test in way:
        if test.arg == 0 and test.op is Operator.EQ and test.mask & LOW == LOW and 0 < test.value <= LOW:
            return test.value
    return None


_REPLACED = {
    # What the kernel answers where there is no tracer and no supervisor (seccomp(2)).
    Action.TRACE: "it answers ENOSYS",
    Action.NOTIFY: "it answers ENOSYS",
    Action.TRAP: "it ends the program",
    Action.KILL_THREAD: "it ends the whole program",
}


def _word(answer: Answer) -> Word:
    match answer.action:
        case Action.ALLOW:
            return PASS
        case Action.LOG:
            return LOG
        case Action.DENY:
            return Word(False, errno=answer.number)
        case Action.TRACE | Action.NOTIFY:
            return Word(False, errno=ENOSYS)
    return KILL


def _check(policy: Policy, spoken: Mapping[str, Entry]) -> None:
    found: list[Problem] = []
    for name, entry in sorted(spoken.items()):
        for rule in entry.constrained:
            for arch in policy.settings.architectures:
                if name not in syscalls.numbers(arch):
                    continue
                try:
                    constraints.alternatives(rule.constraints, name, arch, unequal=True)
                except BadInput as error:
                    found += [Problem(f"rules for {name}", one.message, one.hint) for one in error.problems]
    if found:
        raise BadInput(list(dict.fromkeys(found)))


def _arguments(opened: list[str], dropped: list[str]) -> list[Finding]:
    findings = []
    if opened:
        message = f"systemd sees no arguments: the drop-in allows {', '.join(opened)} with any"
        findings.append(Finding("arguments-not-held", message))
    if dropped:
        message = f"systemd sees no arguments: the drop-in has no rules with constraints for {', '.join(dropped)}"
        findings.append(Finding("arguments-not-held", message))
    return findings
