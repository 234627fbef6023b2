"""What the rules say of a call. This stands in the way of every call that waits, so what can be is computed once.

Which rules speak of a call of an ABI at all, and what of its numbers they compare, is kept by target and call. The
first rule that fits decides; what is not known fits no rule that allows, and every other. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple, overload

from scmm_oci.enforcer.images import matches
from scmm_oci.enforcer.monitor.model import By, Call, Decision, Subject, Target, Verdict
from scmm_oci.enforcer.monitor.rules.fits import paths_fit, peer_fits
from scmm_oci.enforcer.monitor.rules.model import Outcome, Remember, Rule, RuleSet, Settings
from scmm_oci.enforcer.monitor.rules.ways import Way, holds, ways
from scmm_oci.tables.arch import Arch

__all__ = ["Needs", "Outcome", "Remember", "Ruled", "Rules", "Spent"]

# Targets whose rules are kept; names and ids come with containers, and those go.
_MOST_TARGETS = 256


class Needs(NamedTuple):
    """What must be known of a call beyond its numbers before it can be decided."""

    process: bool
    paths: bool
    address: bool


@dataclass(frozen=True, slots=True)
class Ruled:
    """What the rules say.

    Attributes:
        index: of the rule; None is the default.
        errno: of deny, and of what is asked and then denied.
        value: of return.
        looked: a rule for paths or addresses was evaluated, whether it fitted or not: what memory held has decided.
        decision: what comes of it; None where somebody is asked. Made once, and not for every call.
    """

    outcome: Outcome
    index: int | None
    errno: int
    value: int
    remember: Remember
    looked: bool
    decision: Decision | None = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "decision", _decision(self))


def _decision(ruled: Ruled) -> Decision | None:
    by = By.DEFAULT if ruled.index is None else By.RULE
    detail = "" if ruled.index is None else f"rules[{ruled.index}]"
    match ruled.outcome:
        case Outcome.ALLOW:
            return Decision(Verdict.ALLOW, by, detail=detail)
        case Outcome.DENY:
            return Decision(Verdict.DENY, by, ruled.errno, detail=detail)
        case Outcome.KILL:
            return Decision(Verdict.KILL, by, ruled.errno, detail=detail)
        case Outcome.RETURN:
            return Decision(Verdict.RETURN, by, value=ruled.value, detail=detail)
    return None


class Spent:
    """How many calls of one target each rule with `times` has decided. Rules that a reload changes begin anew."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def take(self, key: str, most: int) -> bool:
        """Count one more, or say no: the rule is spent."""
        count = self._counts.get(key, 0)
        if count >= most:
            return False
        self._counts[key] = count + 1
        return True


class _Candidate:
    """A rule that can decide a certain call of a certain target."""

    __slots__ = ("address", "executable", "key", "looked", "paths", "plain", "strict", "times", "user", "ways")

    def __init__(self, rule: Rule, index: int, key: str, settings: Settings, these: tuple[Way, ...] | None) -> None:
        self.ways = these
        self.executable = rule.executable
        self.user = rule.user
        self.paths = rule.paths
        self.address = rule.address
        self.times = rule.times
        self.key = key
        self.strict = rule.decision is not Outcome.ALLOW
        number = settings.errno if rule.errno is None else rule.errno
        self.plain = Ruled(rule.decision, index, number, rule.value, rule.remember, False)
        self.looked = replace(self.plain, looked=True)


# By ABI and name of calls.
_Known = dict[tuple[Arch | None, str | None], tuple[_Candidate, ...]]


class Rules:
    """A set of rules, to ask about many calls."""

    def __init__(self, rules: RuleSet) -> None:
        self.settings = rules.settings
        self._rules = rules.rules
        self._arch = rules.arch
        self._keys = _keys(rules.rules)
        self._targets: dict[tuple[str, str], _Known] = {}
        self._anyone: _Known = {}
        self._needs: dict[tuple[Arch | None, str | None], Needs] = {}
        default = rules.settings.default
        self._default = Ruled(default, None, rules.settings.errno, 0, Remember.ALWAYS, False)
        self._default_looked = replace(self._default, looked=True)

    def needs(self, call: Call, target: Target | None = None) -> Needs:
        """What must be known of the call. With its target, only what can still matter for just this call."""
        name = (call.arch, call.name)
        found = self._needs.get(name)
        if found is None:
            known = self._anyone.get(name) or self._speaking(self._anyone, call, None)
            found = self._needs[name] = Needs(
                any(one.user is not None or one.executable is not None for one in known),
                any(bool(one.paths or (one.address is not None and one.address.paths)) for one in known),
                any(one.address is not None for one in known),
            )
        if target is None or not (found.process or found.paths or found.address):
            return found
        return self._precisely(call, target)

    def _precisely(self, call: Call, target: Target) -> Needs:
        process = paths = address = False
        for one in self._candidates(call, target):
            if one.ways is not None and not holds(one.ways, call.args):
                continue
            certain = not one.times
            if one.user is not None or one.executable is not None:
                process, certain = True, False
            if one.paths:
                paths, certain = True, False
            if one.address is not None:
                paths, address, certain = paths or bool(one.address.paths), True, False
            if certain:
                break
        return Needs(process, paths, address)

    @overload
    def decide(self, subject: Subject, spent: Spent) -> Ruled: ...
    @overload
    def decide(self, subject: Subject, spent: Spent, *, blind: Literal[True]) -> Ruled | None: ...
    def decide(self, subject: Subject, spent: Spent, *, blind: bool = False) -> Ruled | None:
        """What the first rule that fits says, or the default.

        Args:
            spent: of the subject's target; what decides here counts there.
            blind: memory has not been looked at. None if a rule for paths or addresses comes first.
        """
        call = subject.call
        process = subject.process
        looked = False
        for one in self._candidates(call, subject.target):
            if one.ways is not None and not holds(one.ways, call.args):
                continue
            if one.user is not None:
                if process is None:
                    if not one.strict:
                        continue
                elif process.uid != one.user:
                    continue
            if one.executable is not None:
                if process is None or process.executable is None:
                    if not one.strict:
                        continue
                elif not one.executable.grants(process.executable):
                    continue
            if blind and (one.paths or one.address is not None):
                return None
            if one.paths:
                looked = True
                if not paths_fit(one.paths, subject.paths, strict=one.strict):
                    continue
            if one.address is not None:
                looked = True
                bind = call.name == "bind"
                if not peer_fits(one.address, subject.address, subject.paths, bind=bind, strict=one.strict):
                    continue
            if one.times and not spent.take(one.key, one.times):
                continue
            return one.looked if looked else one.plain
        return self._default_looked if looked else self._default

    def _candidates(self, call: Call, target: Target) -> tuple[_Candidate, ...]:
        known = self._targets.get((target.name, target.id))
        if known is None:
            if len(self._targets) >= _MOST_TARGETS:
                self._targets.clear()
            known = self._targets[target.name, target.id] = {}
        found = known.get((call.arch, call.name))
        return self._speaking(known, call, target) if found is None else found

    def _speaking(self, known: _Known, call: Call, target: Target | None) -> tuple[_Candidate, ...]:
        """The rules that can decide such a call; None asks about every target."""
        found = []
        for index, rule in enumerate(self._rules):
            glob = rule.container
            if target is not None and glob is not None and not (matches(glob, target.name) or matches(glob, target.id)):
                continue
            these = ways(rule, call.name, call.arch, self._arch)
            if these is None or these:
                found.append(_Candidate(rule, index, self._keys[index], self.settings, these))
        known[call.arch, call.name] = made = tuple(found)
        return made


def _keys(rules: tuple[Rule, ...]) -> list[str]:
    """What each rule's calls are counted under: the rule's own words, and which of those that are the same it is."""
    seen: dict[str, int] = {}
    found = []
    for rule in rules:
        # Only those that count; most do not.
        text = repr(rule) if rule.times else ""
        seen[text] = seen.get(text, 0) + 1
        found.append(f"{text}#{seen[text]}")
    return found
