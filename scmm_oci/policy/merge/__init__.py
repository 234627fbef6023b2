"""Several policies → one: what any of them allows, what all of them allow, what one allows beyond another. Pure.

Merging is associative, commutative and idempotent, and its result is in one canonical form: neither the order of
policies nor how they are grouped shows. Nothing is lost or widened in silence: where constraints of several policies
cannot be written as rules of one, a union allows more and an intersection less, and a finding names the call.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce

from scmm_oci.errors import BadInput, Finding, Problem
from scmm_oci.policy.merge import calls, files, heads, network, order
from scmm_oci.policy.merge import entries as algebra
from scmm_oci.policy.merge.entries import Side
from scmm_oci.policy.model import LandlockScope, Network, PathRule, Policy, SyscallRule

__all__ = ["Merged", "canonical", "difference", "intersection", "union"]


@dataclass(frozen=True)
class Merged:
    """A policy, and what is to be said about how it came about."""

    policy: Policy
    findings: tuple[Finding, ...]


def canonical(policy: Policy) -> Policy:
    """The policy in the form that merging gives: sorted, each thing said once, and nothing that never decides.

    It answers as the policy does. Rules for names keep their own line even where the default says the same.

    Raises:
        BadInput: a name has more different constraints than policy.merge.entries.MOST_CLAUSES.
    """
    return union([policy]).policy


def union(policies: Sequence[Policy]) -> Merged:
    """The policy that allows what any of the policies allows.

    The answer to a call is the least restrictive of all (policy.answers.Answer), its default the least restrictive
    default. What one of them does not speak of (files, network, capabilities, scopes, transitions) the union does not
    either, as that policy asks nothing of it. Counts of origins are the largest of all.

    Raises:
        BadInput: there is none; they are for different machines; flags or listeners differ; or rules that depend on the
            container do.
    """
    return _merged(policies, Side.LEAST)


def intersection(policies: Sequence[Policy]) -> Merged:
    """The policy that allows only what all of the policies allow; never more, sometimes less (see the findings).

    The answer to a call is the most restrictive of all. What only some of them speak of, those decide.

    Raises:
        BadInput: as :func:`union`; or they run as different users.
    """
    return _merged(policies, Side.MOST)


def difference(first: Policy, second: Policy) -> Merged:
    """What the first policy allows and the second does not, as a fragment to review: the settings are the second's.

    Raises:
        BadInput: they are for different machines, or depend on the container.
    """
    findings: list[Finding] = []
    heads.settings([first.settings, second.settings], Side.LEAST, [])
    mine, theirs = calls.view(first), calls.view(second)
    if mine.dependent or theirs.dependent:
        message = "has rules that depend on the container"
        raise BadInput([Problem(".syscalls", message, "write rules without includes and excludes in both first")])
    if mine.default < theirs.default:
        what = f"{mine.default.action} instead of {theirs.default.action}"
        findings.append(Finding("default-wider", f"the first policy's default is {what} for all other calls"))
    rules: list[SyscallRule] = []
    for name in sorted(mine.entries):
        more = _more(mine.entry(name), theirs.entry(name))
        if more is not None:
            rules += calls.entry_rules(name, more, theirs.default)
    for what in _unspoken([first, second]):
        if getattr(first, what) is None:
            findings.append(Finding("not-spoken-of", f"the first policy has no {what}, so it allows everything there"))
    if set(second.scopes or ()) - set(first.scopes or ()) and first.scopes is not None:
        names = ", ".join(sorted(set(second.scopes or ()) - set(first.scopes)))
        findings.append(Finding("scopes-wider", f"the first policy does not keep in {names}"))
    following = order.difference(first, second, findings)
    policy = Policy(
        metadata=replace(first.metadata, description=""),
        settings=calls.default_settings(second.settings, theirs.default),
        syscalls=tuple(rules),
        capabilities=_less(first.capabilities, second.capabilities),
        filesystem=_files_less(first.filesystem, second.filesystem),
        network=_network_less(first.network, second.network),
        transitions=following.transitions,
        serving=following.serving,
    )
    return Merged(policy, tuple(findings))


def _merged(policies: Sequence[Policy], side: Side) -> Merged:
    if not policies:
        raise BadInput([Problem("", "there is no policy to merge")])
    findings: list[Finding] = []
    settings = heads.settings([one.settings for one in policies], side, findings)
    views = [calls.view(one) for one in policies]
    result = reduce(lambda first, second: calls.joined(first, second, side), views)
    for name in calls.inexact(views, result, side):
        findings.append(_inexact(name, side))
    following = order.joined(policies, settings, side, findings)
    policy = Policy(
        metadata=heads.metadata([one.metadata for one in policies]),
        settings=calls.default_settings(settings, result.default),
        syscalls=calls.rules(result),
        capabilities=_words([one.capabilities for one in policies], side),
        filesystem=_files([one.filesystem for one in policies], side, findings),
        network=_network([one.network for one in policies], side),
        scopes=_scopes([one.scopes for one in policies], side),
        transitions=following.transitions,
        serving=following.serving,
        watch=following.watch,
    )
    if side is Side.LEAST:
        for what in _unspoken(policies):
            message = f"a policy has no {what}, so it allows everything there, and so does the union"
            findings.append(Finding("not-spoken-of", message, "leave that policy out, or give it that section"))
    return Merged(policy, tuple(dict.fromkeys(findings)))


def _unspoken(policies: Sequence[Policy]) -> Iterator[str]:
    """The sections that some of the policies speak of, and others do not, so that those allow everything there."""
    for what in ("filesystem", "network", "capabilities", "scopes", "transitions"):
        given = [getattr(one, what) is not None for one in policies]
        if any(given) and not all(given):
            yield what
    # Transitions hold for processes that serve, too.
    given = [one.serving is not None or one.transitions is not None for one in policies]
    if any(one.serving is not None for one in policies) and not all(given):
        yield "serving"


def _inexact(name: str, side: Side) -> Finding:
    if side is Side.LEAST:
        message = f"the constraints on {name} cannot be joined exactly: more is allowed than by any policy alone"
        return Finding("union-wider", message, "compare its rules with `scmm diff`")
    message = f"the constraints on {name} cannot be joined exactly: less is allowed than by all policies"
    return Finding("intersection-narrower", message, "write its rules yourself")


def _more(mine: algebra.Entry, theirs: algebra.Entry) -> algebra.Entry | None:
    """What of an entry answers less restrictively than the other one; None if nothing does."""
    if algebra.joined(mine, theirs, Side.LEAST).same(theirs):
        return None
    if mine.fallback < theirs.fallback or theirs.on(Side.MOST):
        return mine
    clauses = {
        clause: note
        for clause, note in mine.clauses.items()
        if clause[1] < theirs.fallback
        and not any(other[0] <= clause[0] and other[1] <= clause[1] for other in theirs.on(Side.LEAST))
    }
    return algebra.Entry(theirs.fallback, None, clauses) if clauses else None


def _words(given: Sequence[tuple[str, ...] | None], side: Side) -> tuple[str, ...] | None:
    sets = [frozenset(one) for one in given if one is not None]
    if not sets or (side is Side.LEAST and len(sets) < len(given)):
        return None
    return tuple(sorted(frozenset.union(*sets) if side is Side.LEAST else frozenset.intersection(*sets)))


def _scopes(given: Sequence[tuple[LandlockScope, ...] | None], side: Side) -> tuple[LandlockScope, ...] | None:
    """Scopes keep processes in: what any policy allows is kept in by the scopes that all have, and the reverse."""
    sets = [frozenset(one) for one in given if one is not None]
    if not sets or (side is Side.LEAST and len(sets) < len(given)):
        return None
    return tuple(sorted(frozenset.intersection(*sets) if side is Side.LEAST else frozenset.union(*sets)))


def _files(
    given: Sequence[tuple[PathRule, ...] | None], side: Side, findings: list[Finding]
) -> tuple[PathRule, ...] | None:
    lists = [one for one in given if one is not None]
    if not lists or (side is Side.LEAST and len(lists) < len(given)):
        return None
    # Each list once: a list and itself have nothing to be cut.
    different = list(dict.fromkeys(files.union(one) for one in lists))
    if side is Side.LEAST:
        return files.union(*different)
    found = different[0]
    for other in different[1:]:
        found, cut = files.intersection(found, other)
        for rule in cut:
            message = (
                f"what {rule.path} has in common with a pattern that it overlaps cannot be written, and is left out"
            )
            findings.append(Finding("files-narrower", message, "add the paths that are needed"))
    return found


def _network(given: Sequence[Network | None], side: Side) -> Network | None:
    networks = [one for one in given if one is not None]
    if not networks or (side is Side.LEAST and len(networks) < len(given)):
        return None
    different = list(dict.fromkeys(network.union([one]) for one in networks))
    return network.union(different) if side is Side.LEAST else reduce(network.intersection, different)


def _less(first: tuple[str, ...] | None, second: tuple[str, ...] | None) -> tuple[str, ...] | None:
    rest = sorted(set(first or ()) - set(second or ())) if second is not None else []
    return tuple(rest) or None


def _files_less(first: tuple[PathRule, ...] | None, second: tuple[PathRule, ...] | None) -> tuple[PathRule, ...] | None:
    return None if first is None or second is None else files.difference(first, second) or None


def _network_less(first: Network | None, second: Network | None) -> Network | None:
    if first is None or second is None:
        return None
    rest = network.difference(first, second)
    return rest if rest != Network() else None
