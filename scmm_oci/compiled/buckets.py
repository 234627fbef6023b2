"""A policy's rules by call and by the containers they are for, and whether runtimes understand them as they are meant.

A runtime takes a rule without conditions over those with some, and does not say which of two with conditions wins;
a policy has answers to both (policy.answers). Rules that differ in that are rewritten, or refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import combinations

from scmm_oci.compiled.conditions import Conditional, conditional
from scmm_oci.errors import BadInput, Problem
from scmm_oci.policy.answers import Answer, Entry
from scmm_oci.policy.model import Applies, Settings, SyscallRule
from scmm_oci.policy.scopes import Scope


@dataclass
class Bucket:
    """All rules for one name in the same containers."""

    name: str
    scope: Scope
    rules: list[SyscallRule] = field(default_factory=list)
    # What is written instead of the rules; None: the rules as they are.
    instead: Conditional | None = None

    def entry(self, settings: Settings) -> Entry:
        plain = [rule for rule in self.rules if not rule.constraints]
        worst = max(plain, key=lambda rule: Answer.of(rule, settings), default=None)
        return Entry(worst, tuple(rule for rule in self.rules if rule.constraints))


Buckets = dict[str, dict[tuple[Applies | None, Applies | None], Bucket]]


def buckets_of(rules: Iterable[SyscallRule]) -> Buckets:
    found: Buckets = {}
    for rule in rules:
        here = found.setdefault(rule.name, {})
        here.setdefault((rule.includes, rule.excludes), Bucket(rule.name, Scope.of(rule))).rules.append(rule)
    return found


def settle(buckets: Buckets, settings: Settings) -> None:
    """Find rules that runtimes would understand otherwise, and rewrite those that can be."""
    found: list[Problem] = []
    for name, by_scope in sorted(buckets.items()):
        these = list(by_scope.values())
        try:
            for bucket in these:
                _settle_one(bucket, settings)
            for first, second in combinations(these, 2):
                if first.scope & second.scope:
                    _check_pair(first, second, settings)
        except BadInput as error:
            found += [Problem(f"rules for {name}", one.message, one.hint) for one in error.problems]
    if found:
        raise BadInput(found)


def _settle_one(bucket: Bucket, settings: Settings) -> None:
    entry = bucket.entry(settings)
    if not entry.constrained:
        return
    fallback = Answer.of(entry.plain, settings)
    if all(Answer.of(rule, settings) == fallback for rule in entry.constrained):
        return
    written = conditional(bucket.name, entry, settings)
    if fallback != Answer.of(None, settings):
        bucket.instead = written


def _check_pair(first: Bucket, second: Bucket, settings: Settings) -> None:
    one, other = first.entry(settings), second.entry(settings)
    default = Answer.of(None, settings)
    for here, there in ((one, other), (other, one)):
        if here.plain is None:
            continue
        answer = Answer.of(here.plain, settings)
        against = [
            *([there.plain] if there.plain is not None else []),
            *(there.constrained if answer != default else ()),
        ]
        if any(Answer.of(rule, settings) != answer for rule in against):
            message = f"two rules for {first.name} that differ hold in the same container"
            raise BadInput([Problem("", message, "make their includes and excludes exclude one another")])
    conditional(first.name, Entry(None, (*one.constrained, *other.constrained)), settings)
