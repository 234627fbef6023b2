"""Needs of one or several recordings → patterns that also admit the next run, each with its evidence.

Pure; the order of the needs does not matter. What varied between recordings, or looks as if it did, gets a pattern;
what is the same every time stays exact; a protected root is never opened unasked. policy.files makes needs and rules.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from scmm_oci.policy.paths.created import created, own_processes
from scmm_oci.policy.paths.evidence import Directory, Tree
from scmm_oci.policy.paths.existing import existing
from scmm_oci.policy.paths.globs import escape
from scmm_oci.policy.paths.patterns import Pattern
from scmm_oci.policy.paths.proposals import Evidence, Need, Proposal, ProposalKind, confidence, make, nameable
from scmm_oci.policy.paths.protected import is_secret, protected_root, within

__all__ = ["Need", "Proposal", "ProposalKind", "alternatives", "confidence", "propose"]


def propose(needs: Sequence[Need], *, recordings: int, home: str | None = None) -> tuple[Proposal, ...]:
    """Every pattern that the evidence speaks for: first the automatic ones, then those that are there to be chosen.

    A need is in at most one automatic proposal, and its pattern grants it. Needs that are in none stay exact. Missing
    ones are no evidence; neither are paths that no rule can name (relative, with a zero byte), or of more than 1024
    characters or 32 components.

    Args:
        recordings: how many there are.
        home: the home directory of the program's user: files below it also get `${HOME}` templates, which allow nothing
            new at that home and so are automatic where nothing else is. Not for credentials.

    Raises:
        ValueError: a need is of a recording beyond them.
        BadInput: the home is no absolute path.
    """
    highest = max((max(one, default=0) for one in {need.recordings for need in needs}), default=0)
    if highest >= max(recordings, 1):
        raise ValueError(f"recording {highest} of {recordings}")
    found, left = own_processes(needs)
    tree = Tree(left, recordings=recordings)
    found += _absorb(created(tree), tree)
    taken = _taken(found)
    found += existing(tree, taken)
    found = _without_repeats(found)
    if home is not None:
        found += _home(left, home, _taken(found))
    return tuple(sorted(found, key=lambda one: one.order))


def alternatives(path: str, *, home: str | None = None) -> tuple[Pattern, ...]:
    """What a rule for the path could say, from the tightest to the widest, none of it protected but the path itself.

    The path; the same below `${HOME}`; `DIR/*` with the files beside it; and `DIR/**` for each directory above, up to
    the first that is protected.

    Raises:
        BadInput: no rule can name the path.
    """
    exact = Pattern.exact(path)
    found = [exact]
    if home is not None and _below_home(path, home):
        found.append(Pattern.parse(_home_text(path, home)))
    above = path.rpartition("/")[0]
    if above and not is_secret(path):
        candidates = [Pattern.parse(f"{escape(above)}/*")]
        while above:
            candidates.append(Pattern.parse(f"{escape(above)}/**"))
            above = above.rpartition("/")[0]
        if protected_root(candidates[0]) is None:
            found.append(candidates[0])
        for one in candidates[1:]:
            if protected_root(one) is not None:
                break
            found.append(one)
    return tuple(found)


def _taken(proposals: Iterable[Proposal]) -> frozenset[str]:
    return frozenset(path for one in proposals if one.automatic for path in one.needs)


def _absorb(proposals: list[Proposal], tree: Tree) -> list[Proposal]:
    """The proposals for what was made, with the other needs that they grant anyhow, and less those that others hold."""
    wide = {one.pattern.text.removesuffix("/**"): one for one in proposals if one.automatic}
    if not wide:
        return proposals
    more: dict[str, set[str]] = {base: set() for base in wide}
    dropped = set()
    # From the top downwards: what is dropped goes to one that stays.
    for base in sorted(wide, key=lambda base: (base.count("/"), base)):
        for above in _bases(base.rpartition("/")[0], wide):
            if above not in dropped and wide[base].access <= wide[above].access:
                more[above].update(wide[base].needs)
                dropped.add(base)
                break
    kept = {base: one for base, one in wide.items() if base not in dropped}
    taken = _taken(kept.values()).union(*more.values())
    known: dict[Directory, list[str]] = {}

    def take(need: Need, directory: Directory) -> None:
        if directory not in known:
            known[directory] = _bases(directory.template, kept)
        if need.access and need.path not in taken:
            base = next((one for one in known[directory] if need.access <= kept[one].access), None)
            if base is not None:
                more[base].add(need.path)

    for entry in tree.files:
        take(entry.need, entry.directory)
    for one in tree.directories:
        if one.need:
            take(one.need, one)
    found = [one for one in proposals if not one.automatic]
    return found + [replace(one, needs=tuple(sorted({*one.needs, *more[base]}))) for base, one in kept.items()]


def _bases(base: str, among: dict[str, Proposal]) -> list[str]:
    """Of the directory and those above it the ones that are there, the nearest first."""
    found = []
    while base:
        if base in among:
            found.append(base)
        base = base.rpartition("/")[0]
    return found


def _without_repeats(proposals: list[Proposal]) -> list[Proposal]:
    """Without those that are there to be chosen and allow nothing beyond an automatic one of the same pattern."""
    automatic: dict[str, list[Proposal]] = {}
    for one in proposals:
        if one.automatic:
            automatic.setdefault(one.pattern.text, []).append(one)
    return [
        one
        for one in proposals
        if one.automatic or not any(one.access <= other.access for other in automatic.get(one.pattern.text, ()))
    ]


def _below_home(path: str, home: str) -> bool:
    home = home.rstrip("/")
    # A service without a home has / or one that is not there.
    return home != "" and within(path, home) and path != home and not is_secret(path)


def _home_text(path: str, home: str) -> str:
    return "${HOME}/" + escape(path[len(home.rstrip("/")) + 1 :])


def _home(needs: Iterable[Need], home: str, taken: frozenset[str]) -> Iterable[Proposal]:
    Pattern.exact(home.rstrip("/") or "/")
    access: dict[str, frozenset[str]] = {}
    for need in needs:
        if need.path not in taken and not need.missing and _below_home(need.path, home) and nameable(need.path):
            access[need.path] = access.get(need.path, frozenset()) | need.access
    for path, rights in access.items():
        if rights:
            evidence = [Evidence(0.9, 1, "it lies below the user's home directory")]
            text = _home_text(path, home)
            kind = ProposalKind.TEMPLATE
            one = make(text, kind, access=rights, needs=[path], evidence=evidence, automatic=True)
            # The same file and no more, which is not what protection is about.
            yield replace(one, protected=None, automatic=True)
