"""What the captures show, as the interview asks about it: groups of files, what a pattern would grant.

Everything is looked up once and kept: the questions before the present one are made anew after each answer.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from scmm_oci.capture.facts import Operation, PathState
from scmm_oci.capture.merge import distinct
from scmm_oci.capture.model import Capture
from scmm_oci.errors import Problem
from scmm_oci.policy import infer
from scmm_oci.policy.choices import Choices, narrowed
from scmm_oci.policy.decisions import Decisions
from scmm_oci.policy.infer import Inference, Seen, observe, stages
from scmm_oci.policy.infer.completeness import in_words
from scmm_oci.policy.infer.file_rules import sorted_rights
from scmm_oci.policy.infer.likely import Likely
from scmm_oci.policy.infer.observe import native
from scmm_oci.policy.infer.order import Machine, machine
from scmm_oci.policy.paths.patterns import Kind, Pattern, covers, escape, root
from scmm_oci.policy.paths.proposals import Need, Proposal

_ABSENT = frozenset({"ENOENT", "ENOTDIR"})


@dataclass(frozen=True)
class Group:
    """The observed files below one top directory; ``name`` is that, or ``/`` for those that lie in it directly.

    Attributes:
        base: the deepest directory that holds all of them.
        automatic: proposals that are taken unasked; ``others``: the rest; without those for a single file.
        single: texts of automatic patterns for a single file each (``${HOME}/…``).
    """

    name: str
    base: str
    needs: tuple[Need, ...]
    automatic: tuple[Proposal, ...]
    others: tuple[Proposal, ...]
    single: tuple[str, ...]


@dataclass(frozen=True)
class Reach:
    """What a pattern would grant: which observed paths, and which rights its rule would have."""

    paths: tuple[str, ...]
    access: tuple[str, ...]


class World:
    """The captures, and answers about them. ``needed``: names that the runtime needs anyhow."""

    def __init__(self, captures: Sequence[Capture], needed: frozenset[str] = frozenset()) -> None:
        self.captures = distinct(captures)
        self.needed = needed
        self.every = observe.programs_of(self.captures)
        self._seen: dict[object, Seen] = {}
        self._groups: dict[object, tuple[Group, ...]] = {}
        self._reach: dict[object, Reach] = {}
        self._texts: dict[object, tuple[str, ...]] = {}
        self._machines: dict[object, Machine] = {}

    @staticmethod
    def _key(decisions: Decisions) -> object:
        order = decisions.transitions, decisions.depth, decisions.serving_from
        return decisions.accept_incomplete, decisions.files, decisions.missing_files, decisions.home, order

    def seen(self, choices: Choices) -> Seen:
        """What the captures show under these choices, files that are left out among it.

        Raises:
            BadInput: as policy.infer.see.
        """
        key = self._key(choices.decisions)
        if key not in self._seen:
            self._seen[key] = infer.see(self.captures, choices.decisions)
        return self._seen[key]

    def infer(self, choices: Choices) -> Inference:
        """The policy that the choices make."""
        seen = narrowed(self.seen(choices), choices)
        return infer.infer(self.captures, choices.decisions, needed=self.needed, seen=seen)

    def groups(self, choices: Choices) -> tuple[Group, ...]:
        """The groups of files, sorted by name."""
        key = self._key(choices.decisions)
        if key not in self._groups:
            self._groups[key] = _groups(self.seen(choices))
        return self._groups[key]

    def reach(self, group: Group, pattern: Pattern, home: str | None) -> Reach:
        """What a rule with the pattern would grant of a group's files, were it the only one."""
        key = (id(group), pattern.text, home)
        if key not in self._reach:
            self._reach[key] = _reach(group, pattern.resolve(home=home))
        return self._reach[key]

    def lacking(self, choices: Choices) -> Iterator[Problem]:
        """What keeps the machine of these choices from being made of the captures."""
        arch = native(self.captures[0])
        return iter(()) if arch is None else stages.check(self.captures, arch, choices.decisions)

    def likely(self, choices: Choices) -> tuple[Likely, ...]:
        """The steps that no recording has but something speaks for."""
        return self._machine(choices).likely

    def estimate(self, choices: Choices) -> str:
        """What is to be expected of further recordings, in one sentence."""
        return in_words(self._machine(choices).found)

    def _machine(self, choices: Choices) -> Machine:
        decided = choices.decisions
        key = decided.refine, decided.depth, decided.serving_from
        if key not in self._machines:
            arch = self.seen(choices).settings.arch
            self._machines[key] = machine(self.captures, arch, decided.changed(likely=0), [])
        return self._machines[key]

    def missing(self) -> tuple[str, ...]:
        """Paths that programs tried to open or execute and never found, sorted."""
        return self.once("missing", self._look_missing)

    def once(self, key: object, make: Callable[[], tuple[str, ...]]) -> tuple[str, ...]:
        """What `make` makes, made once for each key."""
        if key not in self._texts:
            self._texts[key] = make()
        return self._texts[key]

    def _look_missing(self) -> tuple[str, ...]:
        there: set[str] = set()
        tried: set[str] = set()
        for capture in self.captures:
            for use in capture.files:
                if use.succeeded:
                    there.add(use.path)
                elif use.operation in (Operation.OPEN, Operation.EXECUTE) and set(use.errnos) <= _ABSENT:
                    tried.update([use.path] if use.state in (PathState.RESOLVED, PathState.NAMED) else [])
        return tuple(sorted(tried - there))


def top_of(path: str) -> str:
    """The top directory that a path lies below, or ``/``."""
    first, slash, _ = path[1:].partition("/")
    return f"/{first}" if slash else "/"


def _groups(seen: Seen) -> tuple[Group, ...]:
    tops = {top_of(need.path) for need in seen.needs}
    needs: dict[str, list[Need]] = {}
    for need in seen.needs:
        # A top directory itself belongs to what lies in it.
        name = need.path if need.path in tops and need.path != "/" else top_of(need.path)
        needs.setdefault(name, []).append(need)
    automatic: dict[str, dict[str, Proposal]] = {}
    others: dict[str, dict[str, Proposal]] = {}
    single: dict[str, list[str]] = {}
    for one in seen.proposals:
        if not one.needs:
            continue
        name = one.needs[0] if one.needs[0] in tops and one.needs[0] != "/" else top_of(one.needs[0])
        if one.pattern.variables and len(one.needs) == 1:
            single.setdefault(name, []).append(one.pattern.text)
        elif one.automatic:
            automatic.setdefault(name, {}).setdefault(one.pattern.text, one)
        elif one.pattern.text not in automatic.get(name, {}):
            others.setdefault(name, {}).setdefault(one.pattern.text, one)
    return tuple(
        Group(
            name=name,
            base=_base(name, needs[name]),
            needs=tuple(needs[name]),
            automatic=tuple(automatic.get(name, {}).values()),
            others=tuple(others.get(name, {}).values()),
            single=tuple(single.get(name, ())),
        )
        for name in sorted(needs)
    )


def _base(name: str, needs: Sequence[Need]) -> str:
    """The deepest common directory. By components, not by text: /a-b stands between /a and /a/b."""
    if name == "/":
        return "/"
    words = [need.path.split("/") for need in needs]
    parts = []
    for one, other in zip(min(words), max(words), strict=False):
        if one != other:
            break
        parts.append(one)
    base = "/".join(parts) or "/"
    alone = len(needs) == 1 and not needs[0].directory and base != name
    return base.rpartition("/")[0] if alone else base


def _reach(group: Group, pattern: Pattern) -> Reach:
    if pattern.variables:
        return Reach((), ())
    base = root(pattern)
    if base == "/":
        chosen = list(group.needs)
    else:
        # What lies beneath is not one run of the sorted paths: /a-b stands between /a and /a/b.
        paths = [need.path for need in group.needs]
        here, below, end = (bisect_left(paths, text) for text in (base, f"{base}/", f"{base}0"))
        chosen = list(group.needs[here : here + 1] if paths[here : here + 1] == [base] else ())
        chosen += group.needs[below:end]
    if pattern.kind is Kind.FILES or root(pattern).count("/") != len(pattern.parts):
        chosen = [need for need in chosen if pattern.grants(need.path)]
    if pattern.kind is Kind.FILES:
        chosen = [need for need in chosen if not need.created]
    access = frozenset[str]().union(*(need.access for need in chosen))
    return Reach(tuple(need.path for need in chosen), sorted_rights(access))


def holds(group: Group, patterns: Sequence[Pattern]) -> bool:
    """Whether one of the patterns grants all that can lie in the group."""
    if group.name == "/":
        return False
    whole = Pattern.parse(f"{escape(group.base)}/**") if group.base != "/" else Pattern.parse("/**")
    return any(covers(one, whole) for one in patterns)


def common_directories(group: Group, most: int) -> list[tuple[str, int]]:
    """The directories right below the group's base, with how many of its paths are in each; the fullest first."""
    depth = len(group.base.rstrip("/")) + 1
    counts = Counter(need.path[depth:].partition("/")[0] for need in group.needs if len(need.path) > depth)
    base = group.base.rstrip("/")
    fullest = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
    return [(f"{base}/{name}", count) for name, count in fullest[:most]]
