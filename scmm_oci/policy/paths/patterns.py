"""Path patterns: what stands in a policy's `path`, what of the file system it grants, and sets of many of them.

Nothing here looks at a file system: a pattern is compared with paths and with patterns. Landlock takes a rule for a
file or, with all beneath it, for a directory (landlock(7)), and rules are opened when the launcher starts: wildcards
stand for what is there at that time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from scmm_oci.errors import BadInput, Problem
from scmm_oci.policy.paths.globs import Part, escape, in_bytes, part

__all__ = ["MAX_LENGTH", "Kind", "Part", "Pattern", "PatternSet", "covers", "escape", "root"]

# PATH_MAX of linux/limits.h.
MAX_LENGTH = 4096


class Kind(StrEnum):
    """What of the files with matching paths a pattern grants."""

    EXACT = "exact"
    """A last component without wildcards: the file, or the directory and everything beneath."""
    FILES = "files"
    """A last component with wildcards: files of that directory, and no directories."""
    BENEATH = "beneath"
    """`BASE/**`: the directory BASE and everything beneath."""


@dataclass(frozen=True)
class Pattern:
    """A pattern, made by `parse`.

    Attributes:
        text: as it is written; the same text is the same pattern.
        parts: its components, of `BASE/**` those of BASE; none for the root directory.
    """

    text: str
    parts: tuple[Part, ...] = field(compare=False, repr=False)
    kind: Kind = field(compare=False)

    @staticmethod
    def parse(text: str, *, place: str = "") -> Pattern:
        """The pattern that a text means.

        Args:
            place: where it stands, for the messages.

        Raises:
            BadInput: it is no pattern; with everything that is wrong with it.
        """
        if len(text) > MAX_LENGTH:
            raise BadInput([Problem(place, f"has {len(text)} characters", f"{MAX_LENGTH} are the most")])
        words = text.split("/")
        found: list[tuple[str, str]] = []
        if text.startswith("/"):
            words = words[1:]
        elif not text.startswith("${") or words[0] == "${USER}":
            found.append(("is not an absolute path", "it begins with / or ${HOME}"))
        beneath = words[-1] == "**"
        if beneath:
            words = words[:-1]
        if words == [""]:
            words = []
        elif words and words[-1] == "" and len(words) > 1 and not beneath:
            found.append(
                ("ends in '/'", "leave it out; a directory and all beneath is written without it, or with /**")
            )
            words = words[:-1]
        made = [part(word) for word in words]
        found += [problem for _, problems in made for problem in problems]
        parts = tuple(one for one, _ in made)
        if any(one.variable == "HOME" for one in (parts if text.startswith("/") else parts[1:])):
            found.append(("has ${HOME} after its beginning", "it is a whole path: write it first, without / before it"))
        if found:
            raise BadInput([Problem(place, message, hint) for message, hint in dict.fromkeys(found)])
        wild = bool(parts) and parts[-1].name is None and parts[-1].variable is None
        return Pattern(text, parts, Kind.BENEATH if beneath else Kind.FILES if wild else Kind.EXACT)

    @staticmethod
    def exact(path: str) -> Pattern:
        """The pattern for one path, whatever characters its names have.

        Raises:
            BadInput: it is not absolute, has empty components, ``.`` or ``..``, or is too long.
        """
        return Pattern.parse(escape(path))

    @property
    def variables(self) -> frozenset[str]:
        """The variables in it: without values it matches and grants nothing."""
        return frozenset(one.variable for one in self.parts if one.variable)

    def matches(self, path: str) -> bool:
        """Whether the absolute path is one that the pattern names, not only beneath one. BASE is one of `BASE/**`."""
        names = _names(path)
        return names is not None and len(names) == len(self.parts) and self._fits(names)

    def grants(self, path: str) -> bool:
        """Whether a rule with this pattern reaches the absolute path, itself or as something beneath a directory."""
        names = _names(path)
        if names is None or len(names) < len(self.parts):
            return False
        return (self.kind is not Kind.FILES or len(names) == len(self.parts)) and self._fits(names)

    def _fits(self, names: list[str]) -> bool:
        return all(one.matches(name) for one, name in zip(self.parts, names, strict=False))

    def resolve(self, *, home: str | None = None, user: str | None = None) -> Pattern:
        """The pattern with its variables replaced, as far as their values are given.

        Raises:
            BadInput: a value is no absolute path, or no name.
        """
        texts = [one.text for one in self.parts]
        for index, one in enumerate(self.parts):
            if one.variable == "USER" and user is not None:
                if "/" in user:
                    raise BadInput([Problem("", "the user's name holds '/'")])
                texts[index] = escape(user)
        if "HOME" in self.variables and home is not None:
            base = Pattern.exact(home if home == "/" else home.rstrip("/"))
            texts[:1] = [one.text for one in base.parts]
        beneath = ["**"] if self.kind is Kind.BENEATH else []
        still = bool(texts) and texts[0] == "${HOME}"
        return Pattern.parse(("" if still else "/") + "/".join([*texts, *beneath]))


def _names(path: str) -> list[str] | None:
    if not path.startswith("/"):
        return None
    return path[1:].split("/") if path != "/" else []


def covers(wide: Pattern, narrow: Pattern) -> bool:
    """Whether `wide` grants every path that `narrow` does. A yes is always right; it may say no where it is unsure.

    Compared component by component: /usr does not cover /usr2.
    """
    if wide.kind is Kind.FILES:
        # What is not of that kind may be a directory, and reach beneath.
        if narrow.kind is not Kind.FILES or len(wide.parts) != len(narrow.parts):
            return False
    elif len(wide.parts) > len(narrow.parts):
        return False
    return all(one.covers(other) for one, other in zip(wide.parts, narrow.parts, strict=False))


def root(pattern: Pattern) -> str:
    """The longest path at its beginning that has no wildcards and no variables, as a path (not escaped).

    Of a pattern without wildcards it is the path itself, as that may be a directory.
    """
    names = []
    for one in pattern.parts:
        if one.name is None:
            break
        names.append(one.name)
    return "/" + "/".join(names)


class _Node:
    """The patterns that have the same components so far."""

    __slots__ = ("below", "here", "names", "shapes", "wild")

    def __init__(self) -> None:
        self.names: dict[str, _Node] = {}
        # Components with wildcards, by the text before the first and after the last, and how long these are.
        self.wild: dict[tuple[str, str], dict[Part, _Node]] = {}
        self.shapes: dict[tuple[int, int], None] = {}
        # Patterns that end here: those that reach beneath, and those that do not.
        self.below: list[Pattern] = []
        self.here: list[Pattern] = []

    def child(self, one: Part) -> _Node:
        if one.name is not None:
            return self.names.setdefault(one.name, _Node())
        self.shapes[len(one.head), len(one.tail)] = None
        return self.wild.setdefault((one.head, one.tail), {}).setdefault(one, _Node())

    def children(self, name: str) -> Iterator[_Node]:
        if name in self.names:
            yield self.names[name]
        data = in_bytes(name) if self.shapes else None
        if data is not None:
            for head, tail in self.shapes:
                if head + tail <= len(data):
                    for one, node in self.wild.get((data[:head], data[len(data) - tail :]), {}).items():
                        if one.matches(name):
                            yield node


class PatternSet:
    """Many patterns, and which of them reach a path.

    A question takes time by the path's components and the patterns that match them, not by how many there are: a tree
    by components, in which those with wildcards are found by their literal beginning and end.
    """

    def __init__(self, patterns: Iterable[Pattern] = ()) -> None:
        self._root = _Node()
        self._all: dict[str, Pattern] = {}
        for pattern in patterns:
            self.add(pattern)

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Pattern]:
        return iter(sorted(self._all.values(), key=lambda pattern: pattern.text))

    def __contains__(self, pattern: object) -> bool:
        return isinstance(pattern, Pattern) and pattern.text in self._all

    def add(self, pattern: Pattern) -> None:
        """Take one more. One with variables is in the set, and reaches nothing until `Pattern.resolve`."""
        if pattern.text in self._all:
            return
        self._all[pattern.text] = pattern
        if pattern.variables:
            return
        node = self._root
        for one in pattern.parts:
            node = node.child(one)
        (node.here if pattern.kind is Kind.FILES else node.below).append(pattern)

    def granting(self, path: str) -> tuple[Pattern, ...]:
        """The patterns that grant the absolute path (`Pattern.grants`), by their text."""
        return self._find(path, beneath=True)

    def matching(self, path: str) -> tuple[Pattern, ...]:
        """The patterns that match the absolute path (`Pattern.matches`), by their text."""
        return self._find(path, beneath=False)

    def _find(self, path: str, *, beneath: bool) -> tuple[Pattern, ...]:
        names = _names(path)
        if names is None:
            return ()
        nodes = [self._root]
        found: list[Pattern] = []
        for name in names:
            if beneath:
                found += [pattern for node in nodes for pattern in node.below]
            nodes = [child for node in nodes for child in node.children(name)]
            if not nodes:
                break
        found += [pattern for node in nodes for pattern in (*node.below, *node.here)]
        return tuple(sorted(found, key=lambda pattern: pattern.text))
