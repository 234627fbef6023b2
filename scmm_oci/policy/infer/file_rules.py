"""Needs and chosen patterns → the file rules of a policy. Called by policy.infer.

A need that a chosen pattern stands for is in that pattern's rule; every other one gets a rule of its own path. A rule
that other rules grant already, because a directory's rights hold for all beneath it, is left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache

from scmm_oci.errors import BadInput, Finding
from scmm_oci.policy.decisions import CreatedFiles, Decisions, Generalise
from scmm_oci.policy.model import OnMissing, Origin, PathRule
from scmm_oci.policy.paths.names import look
from scmm_oci.policy.paths.patterns import Kind, Pattern, PatternSet, escape, root
from scmm_oci.policy.paths.proposals import Need, Proposal
from scmm_oci.policy.paths.protected import ROOTS, is_secret, is_shared, protected_root, software_root, within
from scmm_oci.tables.vocabulary import ACCESS_RIGHTS

_ORDER = {right: index for index, right in enumerate(ACCESS_RIGHTS)}

# Paths that are patterns beyond doubt; asking policy.paths.patterns about a hundred thousand takes a second.
_PLAIN = re.compile(r"(?:/[a-zA-Z0-9_@%+=:,-][a-zA-Z0-9_@%+=:,.-]*){1,30}")


@cache
def sorted_rights(rights: frozenset[str]) -> tuple[str, ...]:
    """Rights in the order of the vocabulary."""
    return tuple(sorted(rights, key=_ORDER.__getitem__))


class _Rule:
    """A rule that is being put together.

    Attributes:
        path: the path that it is of alone; None for a pattern, and for one with a variable.
        base: what it grants everything beneath of, where that is no pattern.
    """

    __slots__ = ("access", "base", "needs", "on_missing", "path", "reason")

    def __init__(self, *, path: str | None = None, base: str | None = None, reason: str = "") -> None:
        self.path = path
        self.base = base
        self.reason = reason
        self.access: frozenset[str] = frozenset()
        self.on_missing = OnMissing.SKIP
        self.needs: list[Need] = []

    def add(self, need: Need) -> None:
        """Grant a need."""
        self.access = need.access if need.access >= self.access else self.access | need.access
        self.needs.append(need)


def chosen_patterns(proposals: Sequence[Proposal], decisions: Decisions) -> dict[Pattern, str]:
    """The patterns that the decisions take, with the reason for each."""
    chosen: dict[Pattern, str] = {}
    if decisions.generalise is Generalise.EVIDENCE:
        for one in proposals:
            if one.automatic and one.pattern.text not in decisions.reject:
                chosen[one.pattern] = one.reason
    reasons = {one.pattern.text: one.reason for one in proposals}
    for text in decisions.accept:
        if text not in decisions.reject:
            chosen[Pattern.parse(text)] = reasons.get(text, "accepted")
    return chosen


def limits(proposals: Sequence[Proposal], decisions: Decisions) -> dict[str, frozenset[str]]:
    """The rights that was said that a pattern gives, by its text: none others come to it for the sake of other needs.

    A pattern of a person's own, which was not proposed, is not here: it gives what is needed beneath it.
    """
    found: dict[str, frozenset[str]] = {}
    for one in proposals:
        if one.automatic or one.pattern.text in decisions.accept:
            found[one.pattern.text] = found.get(one.pattern.text, frozenset()) | one.access
    return found


def file_rules(
    needs: Sequence[Need],
    chosen: Mapping[Pattern, str],
    programs: Mapping[str, frozenset[str]],
    every: frozenset[str],
    decisions: Decisions,
    findings: list[Finding],
    *,
    recordings: int,
    most: Mapping[str, frozenset[str]] | None = None,
) -> tuple[PathRule, ...]:
    """The rules, sorted by path.

    Args:
        programs: path → the files of the programs that used it; ``every``: the files of all programs.
        recordings: how many there are.
        most: the rights that patterns give at most (:func:`limits`).
    """
    patterns = PatternSet(chosen)
    made = {need.path for need in needs if need.created}
    holders = _secret_holders(needs) if made else {}
    rules: dict[str, _Rule] = {}
    for need in needs:
        if not need.access:
            continue
        pattern = _best(patterns.granting(need.path), need, most or {}) if chosen else None
        if pattern is not None:
            if pattern.text not in rules:
                rules[pattern.text] = _Rule(base=_base(pattern), reason=chosen[pattern])
            rules[pattern.text].add(need)
        else:
            _alone(need, made, holders, rules, decisions, findings)
    kept = _without_doubles(rules)
    return tuple(_build(text, kept[text], programs, every, recordings) for text in sorted(kept))


def _best(granting: Sequence[Pattern], need: Need, most: Mapping[str, frozenset[str]]) -> Pattern | None:
    """The narrowest pattern that serves: a file that is not there at the start is in no wildcard's files.

    One that would have to give more than was said of it does not serve: a program that is executed beneath a
    directory for temporary files must not make all of that executable.
    """
    serving = [
        one
        for one in granting
        if not (one.kind is Kind.FILES and need.created) and need.access <= most.get(one.text, need.access)
    ]
    return max(serving, key=lambda one: (len(one.parts), one.kind is Kind.FILES, one.text), default=None)


def _secret_holders(needs: Sequence[Need]) -> dict[str, str]:
    """Directories with credentials in or beneath them that were there before the program: directory → the first."""
    own = {need.path for need in needs if need.created and not need.moved}
    holders: dict[str, str] = {}
    for need in needs:
        if need.path not in own and is_secret(need.path):
            above = [need.path]
            while above[-1] != "/":
                above.append(_parent(above[-1]))
            if own.isdisjoint(above):
                for directory in above:
                    holders.setdefault(directory, need.path)
    return holders


def _alone(
    need: Need,
    made: set[str],
    holders: Mapping[str, str],
    rules: dict[str, _Rule],
    decisions: Decisions,
    findings: list[Finding],
) -> None:
    on_missing, text = OnMissing.SKIP, escape(need.path)
    if need.missing:
        on_missing = decisions.missing_files
    elif need.created:
        on_missing, text = _created(need, made, holders, decisions, findings)
    text = _home(text, decisions)
    rule = rules.get(text)
    if rule is None:
        try:
            if len(text) > 1024 or not _PLAIN.fullmatch(text):
                Pattern.parse(text)
        except BadInput as error:
            # A path that no policy can hold: longer than PATH_MAX, as a capture of strace may have it.
            message = f"{need.path[:60]!r} cannot stand in a policy: {error.problems[0].message}"
            findings.append(Finding("unheld-path", message))
            return
        plain = _base(Pattern.parse(text)) if need.created else need.path
        plain = None if text.startswith("${") else plain
        rule = rules[text] = _Rule(path=None if text.endswith("/**") else plain, base=plain)
    rule.add(need)
    if on_missing is not OnMissing.SKIP:
        rule.on_missing = on_missing


def _created(
    need: Need, made: set[str], holders: Mapping[str, str], decisions: Decisions, findings: list[Finding]
) -> tuple[OnMissing, str]:
    """How what the program makes is granted: by the pattern for which path, and what to do where nothing is there."""
    way = decisions.created_files
    itself = escape(need.path)
    if way is CreatedFiles.SKIP:
        return OnMissing.SKIP, itself
    simple = not need.exclusive and not need.directory
    if (way is CreatedFiles.PRECREATE or (way is CreatedFiles.AUTO and simple)) and _parent(need.path) not in made:
        return OnMissing.PRECREATE, itself
    own = need.path if need.directory else None
    directory = _parent(need.path)
    while directory in made and directory != "/":
        own, directory = directory, _parent(directory)
    whole = f"{escape(directory.rstrip('/'))}/**"
    # What is not taken as a pattern is not taken as a plain directory either, which reaches as far.
    protected = _protected(whole) or holders.get(directory) or software_root(directory)
    executed = way is CreatedFiles.AUTO and "execute" in need.access
    if protected is None and not executed and whole not in decisions.reject:
        return OnMissing.SKIP, escape(directory)
    if own is not None and way is CreatedFiles.AUTO and not executed and own not in holders and _is_programs_own(own):
        text = f"{escape(own)}/**"
        if text not in decisions.reject:
            return OnMissing.PRECREATE, text
    message = f"{need.path} is made anew by the program: only rights on all of {directory} would allow that"
    opens = f"it opens {protected}" if protected else "what is written there may be executed" if executed else ""
    hint = f"--accept '{whole}' if you want them{'; ' if opens else ''}{opens}"
    findings.append(Finding("needs-yes", message, hint))
    return OnMissing.PRECREATE if not need.directory else OnMissing.SKIP, itself


def _protected(whole: str) -> str | None:
    try:
        return protected_root(Pattern.parse(whole))
    except BadInput:
        return "a directory that no policy can name"


def _is_programs_own(directory: str) -> bool:
    """Whether a directory that the program makes can be made beforehand, and opened: in one that programs share."""
    name = directory.rpartition("/")[2]
    # One of those that programs share was there before, whatever the program did to its name.
    reserved = is_secret(directory) or is_shared(directory) or any(within(directory, one) for one in ROOTS)
    return not reserved and not look(name).random


def _parent(path: str) -> str:
    return path.rpartition("/")[0] or "/"


def _home(text: str, decisions: Decisions) -> str:
    home = escape((decisions.home or "").rstrip("/"))
    if home and (text == home or text.startswith(f"{home}/")):
        return "${HOME}" + text.removeprefix(home)
    return text


def _without_doubles(rules: Mapping[str, _Rule]) -> dict[str, _Rule]:
    """The rules less what others grant. Only rules of single paths go: a pattern is there because it was chosen."""
    whole: dict[str, list[_Rule]] = {}
    for rule in rules.values():
        if rule.base is not None and rule.on_missing is OnMissing.SKIP:
            whole.setdefault(rule.base, []).append(rule)
    wild = {Pattern.parse(text): rule for text, rule in rules.items() if rule.base is None and rule.path is None}
    beneath = PatternSet(pattern for pattern in wild if pattern.kind is not Kind.FILES)
    kept: dict[str, _Rule] = {}
    for text, rule in rules.items():
        if rule.path is not None and rule.on_missing is OnMissing.SKIP:
            rights = set(rule.access)
            directory = rule.path
            while rights and directory != "/":
                for other in whole.get(directory, ()):
                    if other is not rule:
                        rights -= other.access
                directory = _parent(directory)
            for other in whole.get("/", ()):
                rights -= other.access if other is not rule else set()
            if wild and rights:
                rights.difference_update(*(wild[one].access for one in beneath.granting(rule.path)))
            if not rights:
                continue
        kept[text] = rule
    return kept


def _base(pattern: Pattern) -> str | None:
    """The directory that a pattern without wildcards and variables grants."""
    if pattern.kind is Kind.FILES or any(part.name is None for part in pattern.parts):
        return None
    return root(pattern)


def _some(number: int, recordings: int) -> int:
    """How many recordings, where that is not all of them."""
    return number if number < recordings else 0


def _build(
    text: str, rule: _Rule, programs: Mapping[str, frozenset[str]], every: frozenset[str], recordings: int
) -> PathRule:
    who = frozenset().union(*(programs.get(need.path, frozenset()) for need in rule.needs))
    origin = Origin(
        count=sum(need.count for need in rule.needs),
        programs=tuple(sorted(who)) if who and who != every else (),
        observed=len(rule.needs) if len(rule.needs) > 1 or rule.reason else 0,
        recordings=_some(len(frozenset().union(*(need.recordings for need in rule.needs))), recordings),
        reason=rule.reason,
    )
    return PathRule(text, sorted_rights(rule.access), rule.on_missing, origin)
