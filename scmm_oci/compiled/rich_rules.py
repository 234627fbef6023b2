"""Rules of a policy → rules of a seccomp profile in Docker's and podman's form."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from scmm_oci.compiled.buckets import Buckets
from scmm_oci.compiled.conditions import conditional
from scmm_oci.compiled.profiles import ACTIONS
from scmm_oci.oci.resolve import Engine
from scmm_oci.oci.rich import Filter, RichRule
from scmm_oci.oci.richcheck import kernel_version
from scmm_oci.oci.seccomp import Condition
from scmm_oci.policy.answers import Answer, Entry
from scmm_oci.policy.model import Action, Applies, Settings, SyscallRule
from scmm_oci.tables import errnos

# The error numbers whose names podman 4.3 reads (containers/common 0.50, pkg/seccomp/errno_list.go).
_PODMANS = frozenset({*range(1, 41), 42, 43, 66, 74, 75, 84, *range(87, 117), *range(122, 126), 130, 131} - {4})


@dataclass(frozen=True)
class Writer:
    settings: Settings
    engine: Engine | None

    def rules(self, rules: Iterable[SyscallRule], buckets: Buckets) -> Iterator[RichRule]:
        """Rules for one name each, in order."""
        done: set[int] = set()
        for rule in rules:
            bucket = buckets[rule.name][rule.includes, rule.excludes]
            entry = bucket.entry(self.settings)
            if bucket.instead is not None:
                if id(bucket) not in done:
                    done.add(id(bucket))
                    for answer, conditions in bucket.instead:
                        yield self.rule((rule.name,), answer, conditions, rule.includes, rule.excludes)
            elif rule.constraints or rule is entry.plain:
                answer = Answer.of(rule, self.settings)
                for conditions in _conditions(rule, self.settings):
                    yield self.rule((rule.name,), answer, conditions, rule.includes, rule.excludes, rule.comment)

    def rule(
        self,
        names: tuple[str, ...],
        answer: Answer,
        conditions: tuple[Condition, ...] = (),
        includes: Applies | None = None,
        excludes: Applies | None = None,
        comment: str = "",
    ) -> RichRule:
        number, word = self.errno(answer)
        return RichRule(
            names, ACTIONS[answer.action], number, word, conditions, comment, _filter(includes), _filter(excludes)
        )

    def errno(self, answer: Answer) -> tuple[int | None, str]:
        """The number that goes with an answer, and its name where the engine reads it."""
        if answer.action not in (Action.DENY, Action.TRACE):
            return None, ""
        named = self.engine is Engine.PODMAN and answer.action is Action.DENY and answer.number in _PODMANS
        return answer.number, errnos.NAMES[answer.number] if named else ""


def _conditions(rule: SyscallRule, settings: Settings) -> Iterator[tuple[Condition, ...]]:
    if not rule.constraints:
        yield ()
        return
    # Beside another default, so that a rule that repeats it is written as well.
    other = Action.TRAP if rule.action is Action.KILL else Action.KILL
    for _, conditions in conditional(rule.name, Entry(None, (rule,)), replace(settings, default_action=other)):
        yield conditions


def _filter(applies: Applies | None) -> Filter:
    if applies is None:
        return Filter()
    kernel = kernel_version(applies.min_kernel) if applies.min_kernel is not None else None
    return Filter(applies.capabilities, applies.architectures, kernel)


def grouped(rules: Iterable[RichRule]) -> tuple[RichRule, ...]:
    """Rules that differ in their names only are one. Rules for one name keep their order: it can count."""
    groups: list[tuple[RichRule, list[str]]] = []
    places: defaultdict[RichRule, list[int]] = defaultdict(list)
    latest: dict[str, int] = {}
    for rule in rules:
        (name,) = rule.names
        key = replace(rule, names=())
        after = latest.get(name, -1)
        position = next((one for one in places[key] if one > after), None)
        if position is None:
            position = len(groups)
            places[key].append(position)
            groups.append((key, []))
        groups[position][1].append(name)
        latest[name] = position
    return tuple(replace(key, names=tuple(names)) for key, names in groups)
