"""What generalisation takes and gives: needs seen in captures, and patterns that are proposed for several of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from scmm_oci.policy.paths.patterns import Pattern
from scmm_oci.policy.paths.protected import protected_root

# Beyond these a path is no program's habit. PATH_MAX is 4096, and a pattern may be twice as long as its path.
_LONGEST = 1024
_DEEPEST = 32


@dataclass(frozen=True)
class Need:
    """A path and what a program needs there.

    Attributes:
        path: absolute, resolved.
        access: rights on the path itself; of a directory also those to make and remove things in it.
        directory: it is known to be, or must be, a directory.
        created: the program made it, so it may not be there at the next start.
        moved: the program gave away its name and gave it anew, so it may be what was there before.
        missing: it was only looked for and never found.
        recordings: indexes of the recordings that have it, from 0.
        count: how often it was used.
        listed: a directory whose entries the program read.
        exclusive: it cannot be made beforehand (O_EXCL, made again after removal, a directory, socket or link).
        programs: numbers of the programs that used it.
    """

    path: str
    access: frozenset[str]
    directory: bool = False
    created: bool = False
    missing: bool = False
    recordings: frozenset[int] = frozenset({0})
    count: int = 1
    listed: bool = False
    exclusive: bool = False
    programs: frozenset[int] = frozenset()
    moved: bool = False


def merged(one: Need, other: Need) -> Need:
    """What two needs of one path are together; neither is missing."""
    return Need(
        path=one.path,
        access=one.access | other.access,
        directory=one.directory or other.directory,
        created=one.created or other.created,
        recordings=one.recordings | other.recordings,
        count=one.count + other.count,
        listed=one.listed or other.listed,
        exclusive=one.exclusive or other.exclusive,
        programs=one.programs | other.programs,
        moved=one.moved or other.moved,
    )


def nameable(path: str) -> bool:
    """Whether proposals are made for the path: a rule can name it, it is no root, and neither too long nor too deep.

    Captures come from containers: thousands of components in each of many paths must not cost what all their
    directories together do. Such a path stays exact.
    """
    if not path.startswith("/") or path == "/" or "\0" in path or len(path) > _LONGEST or path.count("/") > _DEEPEST:
        return False
    if "//" in path or "/." in path or path.endswith("/"):
        return not {"", ".", ".."} & set(path[1:].split("/")) and _is_unicode(path)
    return path.isascii() or _is_unicode(path)


def _is_unicode(path: str) -> bool:
    try:
        path.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


class ProposalKind(StrEnum):
    """The form of a proposal's pattern."""

    DIRECTORY = "directory"
    """`DIR/*`: the files of a directory."""
    RECURSIVE = "recursive"
    """`DIR/**`: a directory and everything beneath."""
    TEMPLATE = "template"
    """A path of which one or more components vary, or begin with a variable."""


@dataclass(frozen=True)
class Proposal:
    """A pattern that could stand in a policy instead of several observed paths.

    Attributes:
        access: the rights that a rule with the pattern has: those of its needs together.
        needs: the observed paths that it stands for, sorted.
        reason: the evidence, in one sentence without a full stop.
        allows: what it newly allows, in one sentence without a full stop.
        automatic: the evidence is strong enough to take it unasked.
        protected: the protected root that it would open, or None; such a proposal is never automatic.
        confidence: from 0 to 1, of the evidence alone: see `confidence`.
    """

    pattern: Pattern
    kind: ProposalKind
    access: frozenset[str]
    needs: tuple[str, ...]
    reason: str
    allows: str
    automatic: bool
    protected: str | None
    confidence: float

    @property
    def order(self) -> tuple[bool, str, ProposalKind, list[str]]:
        """What proposals are sorted by: automatic ones first, then by pattern."""
        return (not self.automatic, self.pattern.text, self.kind, sorted(self.access))


@dataclass(frozen=True)
class Evidence:
    """What speaks for a pattern: how much if it were seen without end (0 to 1), how often it was, in words."""

    weight: float
    count: int
    words: str


def confidence(evidence: Iterable[Evidence]) -> float:
    """How sure all the evidence together makes, rounded to two places.

    Each piece gives w·(1 − 2⁻ⁿ): half of its weight when seen once, and all of it at last. Pieces add up as independent
    ones do: 1 − ∏(1 − wᵢ·(1 − 2⁻ⁿᵢ)).
    """
    doubt = 1.0
    for one in evidence:
        doubt *= 1 - one.weight * (1 - 0.5 ** min(max(one.count, 0), 60))
    return round(1 - doubt, 2)


def make(
    text: str,
    kind: ProposalKind,
    *,
    access: frozenset[str],
    needs: Iterable[str],
    evidence: Iterable[Evidence],
    automatic: bool,
    secret: str | None = None,
) -> Proposal:
    """A proposal with the pattern that the text means, as careful as what it would open asks for.

    Args:
        automatic: whether the evidence suffices; a protected pattern is not automatic all the same.
        secret: credentials that were seen where the pattern reaches, which protect it.

    Raises:
        BadInput: the text is no pattern.
    """
    pattern = Pattern.parse(text)
    protected = protected_root(pattern) or secret
    pieces = tuple(evidence)
    return Proposal(
        pattern=pattern,
        kind=kind,
        access=access,
        needs=tuple(sorted(set(needs))),
        reason="; ".join(one.words for one in pieces),
        allows=_allows(pattern, kind, access),
        automatic=automatic and protected is None,
        protected=protected,
        confidence=confidence(pieces),
    )


def _allows(pattern: Pattern, kind: ProposalKind, access: frozenset[str]) -> str:
    rights = ", ".join(sorted(access))
    if pattern.text.endswith("/**"):
        where = pattern.text.removesuffix("/**") or "/"
        what = f"for {where} and everything beneath it, whatever its name, now and later"
    elif kind is ProposalKind.DIRECTORY:
        what = f"for every file that is directly in {pattern.text.removesuffix('/*') or '/'} when the policy is applied"
    elif pattern.variables:
        what = "for the same path below another home directory"
    else:
        what = f"for everything named like {pattern.text} when the policy is applied"
    return f"{rights} {what}"


def counted(number: int, one: str, many: str) -> str:
    """The number with its noun: `1 file`, `2 files`."""
    return f"{number} {one if number == 1 else many}"
