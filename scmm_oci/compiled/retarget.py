"""A policy for one architecture → the same policy for another, never wider.

What the other architecture lacks is left out and told; what would mean something else there is refused. Pure. Called
by compiled.policy_file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from scmm_oci.errors import BadInput, Finding, Problem, short
from scmm_oci.policy import constraints
from scmm_oci.policy.argument_places import moved
from scmm_oci.policy.check_constraints import check_constraint
from scmm_oci.policy.model import Constraint, MatchType, Policy, Serving, SyscallRule, Transition
from scmm_oci.schema import Found, Steps, place
from scmm_oci.tables import groups, states, syscalls, words
from scmm_oci.tables.arch import Arch

# The ABI of 32 bits that a kernel runs beside its own.
_NARROW = {Arch.X86_64: Arch.X86, Arch.AARCH64: Arch.ARM, Arch.S390X: Arch.S390}
_BEGINNINGS = (states.START, *states.BEGINNINGS)
_LISTED = 20


def retarget(policy: Policy, arch: Arch) -> tuple[Policy, list[Finding]]:
    """The policy for kernels of another architecture, and what of it is not there; its own comes back as it is.

    Raises:
        BadInput: a rule's constraint cannot be said there: the argument moved where no filter sees it, or a word or
            number is another or none there; with all that cannot.
    """
    own = policy.settings.arch
    if arch is own:
        return policy, []
    if arch is Arch.X32:
        hint = "compile for x86_64, with x32 among the policy's architectures"
        raise BadInput([Problem(".settings.arch", "no kernel has x32 as its own", hint)])
    findings: list[Finding] = []
    arches = (arch, *_beside(policy.settings.architectures, arch, findings))
    known: frozenset[str] = frozenset().union(*(syscalls.numbers(one) for one in arches))
    rules: list[SyscallRule] = []
    gone: dict[str, None] = {}
    bad: list[Found] = []
    for index, rule in enumerate(policy.syscalls):
        steps: Steps = ("syscalls", index)
        if rule.is_group:
            unseen = _unseen(rule.name, own, arch)
            message = f"{rule.name} cannot tell {_listed(unseen)} by its arguments on {arch}"
            if unseen and rule.action.rank > policy.settings.default_action.rank:
                bad.append(_bad((*steps, "name"), message, "give it a rule of its own"))
            elif unseen:
                findings.append(Finding("calls-left-out", f"{message}: left out there", "give it a rule of its own"))
            rules.append(rule)
        elif rule.name not in known:
            gone[rule.name] = None
        else:
            mover = _Mover(rule.name, policy.settings.architectures, arches)
            translated = tuple(
                mover.constraint(one, (*steps, "constraints", number)) for number, one in enumerate(rule.constraints)
            )
            bad += mover.bad
            rules.append(replace(rule, constraints=translated))
    if bad:
        raise BadInput([Problem(place(one.path), one.problem.message, one.problem.hint) for one in bad])
    if gone:
        message = f"{arch} has no {_listed(gone)}: rules for what it lacks are left out"
        findings.append(Finding("calls-left-out", message, "programs take other calls there: scmm extract --portable"))
    _tell_new(policy, known, findings)
    settings = replace(policy.settings, arch=arch, architectures=arches)
    return _ordered(replace(policy, settings=settings, syscalls=tuple(rules)), known, findings), findings


def _beside(before: Sequence[Arch], arch: Arch, findings: list[Finding]) -> tuple[Arch, ...]:
    """The ABIs beside, where the architecture has the like: of 32 bits for those of 32 bits; none for x32."""
    found: dict[Arch, None] = {}
    for one in before[1:]:
        counterpart = _NARROW.get(arch) if one in _NARROW.values() else None
        if counterpart is None:
            message = f"{arch} runs nothing like {one}: the policy for it has no such ABI"
            findings.append(Finding("architecture-left-out", message))
        else:
            found[counterpart] = None
    return tuple(found)


def _tell_new(policy: Policy, known: frozenset[str], findings: list[Finding]) -> None:
    """What passes by default on the new architecture only: a list of what is refused does not know it."""
    if not policy.settings.default_action.passes or all(rule.action.passes for rule in policy.syscalls):
        return
    before = frozenset().union(*(syscalls.numbers(one) for one in policy.settings.architectures))
    new = known - before
    if new:
        message = f"the policy's default lets calls pass that its own architecture lacks: {_listed(sorted(new))}"
        findings.append(Finding("default-wider", message, "give rules for them, or refuse by default"))


def _unseen(name: str, own: Arch, arch: Arch) -> list[str]:
    """The calls of a group that it tells by arguments, which a filter sees on the one architecture and not there."""
    return sorted(
        {
            member.name
            for member in groups.expand(name)
            if member.name in syscalls.numbers(arch)
            and groups.on_arch(member, own) is not None
            and any(groups.argument_of(member.name, one, arch=arch) is None for one in member.conditions)
        }
    )


class _Mover:
    """Moves the constraints of one call's rule, and keeps what cannot be moved."""

    def __init__(self, call: str, before: Sequence[Arch], after: Sequence[Arch]) -> None:
        self.bad: list[Found] = []
        self._call = call
        # An ABI beside may have the call where the kernel's own lacks it.
        self._having = [arch for arch in after if call in syscalls.numbers(arch)]
        self._arch = self._having[0]
        # An imported profile names calls of other machines, too: their arguments stand as they do here.
        self._own = next((arch for arch in before if call in syscalls.numbers(arch)), self._arch)

    def constraint(self, given: Constraint, steps: Steps) -> Constraint:
        """The constraint with its argument where the architecture has it."""
        arg = moved(self._call, given.arg, self._own, self._arch)
        if arg is None:
            message = f"a filter cannot see argument {given.arg} of {self._call} on {self._arch}"
            self.bad.append(_bad(steps, message, "leave the constraint out of the policy for it"))
            return given
        result = replace(given, arg=arg)
        found = list(check_constraint(_document(result), self._call, self._having, steps))
        self.bad += found or self._numbers(given, arg, steps)
        return result

    def _numbers(self, given: Constraint, arg: int, steps: Steps) -> list[Found]:
        """Numbers that stand for something else there: 0x10000 is O_DIRECTORY here, and O_DIRECT there."""
        found = []
        for key, word in _words(given):
            if not self._same(word, given.arg, arg):
                message = f"{short(word)} of argument {given.arg} of {self._call} is another on {self._arch}"
                found.append(_bad((*steps, *key), message, self._hint(word, given.arg)))
        return found

    def _same(self, word: int | str, before: int, after: int) -> bool:
        if isinstance(word, str) and not any(part.strip().lstrip("-")[:1].isdigit() for part in word.split("|")):
            return True
        value = constraints.value_of(self._call, before, word, self._own)
        argument = constraints.argument_of(self._call, before, self._own)
        if value is None:
            return False
        if argument is not None:
            mask = argument.mask
            text = words.describe(argument, value, arch=self._own)
            return constraints.value_of(self._call, after, text, self._arch) == value & mask
        return self._named(value, before, self._own) == self._named(value, after, self._arch)

    def _named(self, value: int, arg: int, arch: Arch) -> set[str]:
        known = constraints.known_words(self._call, arg, arch)
        return {word for word in known if constraints.value_of(self._call, arg, word, arch) == value}

    def _hint(self, word: int | str, arg: int) -> str:
        value = constraints.value_of(self._call, arg, word, self._own)
        argument = constraints.argument_of(self._call, arg, self._own)
        if value is None or argument is None:
            return "write a name"
        return f"write {words.describe(argument, value, arch=self._own)}"


def _words(given: Constraint) -> Iterator[tuple[Steps, int | str]]:
    """Every word of a constraint, and where in it."""
    for key in ("allowed", "denied"):
        for index, word in enumerate(getattr(given, key)):
            yield (key, index), word
    for index, match in enumerate(given.match):
        if match.type is MatchType.EXACT:
            yield ("match", index, "pattern"), match.pattern
    for key in ("value", "mask"):
        word = getattr(given, key)
        if word is not None:
            yield (key,), word


def _document(given: Constraint) -> dict[str, Any]:
    """The constraint as a document has it, for policy.check_constraints."""
    document: dict[str, Any] = {"arg": str(given.arg), "type": given.type.value}
    document["match"] = [{"pattern": match.pattern, "type": match.type.value} for match in given.match]
    document["allowed"] = list(given.allowed)
    document["denied"] = list(given.denied)
    document["op"] = given.op.value if given.op is not None else None
    for key in ("value", "mask"):
        if getattr(given, key) is not None:
            document[key] = getattr(given, key)
    return document


def _ordered(policy: Policy, known: frozenset[str], findings: list[Finding]) -> Policy:
    """The policy without transitions, and calls that lead over to the serving ones, that are not there."""
    gone: set[str] = set()
    following, serving = policy.transitions, policy.serving
    if following is not None:
        following = _transitions(following, known, gone)
    if serving is not None:
        gone.update(name for name in serving.calls if not _is_known(name, known))
        calls = tuple(name for name in serving.calls if _is_known(name, known))
        serving = Serving(calls, _transitions(serving.transitions, known, gone))
    if gone:
        message = f"transitions with calls that are not there are left out: {_listed(sorted(gone))}"
        findings.append(Finding("transitions-left-out", message))
    return replace(policy, transitions=following, serving=serving)


def _transitions(given: Sequence[Transition], known: frozenset[str], gone: set[str]) -> tuple[Transition, ...]:
    found = []
    for one in given:
        # What begins is a state there, though some ABIs have a call of that name (signal).
        begins = [word for word in (one.call, one.before) if word and word not in _BEGINNINGS]
        missing = {word for word in begins if not _is_known(word, known)}
        gone.update(missing, (name for name in one.to if not _is_known(name, known)))
        if not missing:
            found.append(replace(one, to=tuple(name for name in one.to if _is_known(name, known))))
    return tuple(found)


def _is_known(name: str, known: frozenset[str]) -> bool:
    """Whether a call is there, or the call of a class; groups always are."""
    return name.startswith("@") or (states.call_of(name) or name) in known


def _listed(names: Iterable[str]) -> str:
    given = list(names)
    more = f" and {len(given) - _LISTED} more" if len(given) > _LISTED else ""
    return ", ".join(given[:_LISTED]) + more


def _bad(path: Steps, message: str, hint: str = "") -> Found:
    return Found(path, Problem("", message, hint))
