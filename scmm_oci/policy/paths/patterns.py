"""Path patterns, and sets of many of them: which reach a path, and which cover another pattern."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from scmm_oci.policy.paths.globs import Part, escape, in_bytes
from scmm_oci.policy.paths.pattern import MAX_LENGTH, Kind, Pattern, covers, is_plain, names_of, root

__all__ = ["MAX_LENGTH", "Kind", "Part", "Pattern", "PatternSet", "covers", "escape", "is_plain", "root"]


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
        """Those of components that stand for the name."""
        if name in self.names:
            yield self.names[name]
        data = in_bytes(name) if self.shapes else None
        if data is not None:
            for one, node in self._shaped(data, data):
                if one.matches(name):
                    yield node

    def wider(self, other: Part) -> Iterator[_Node]:
        """Those of components that stand for all that the other does."""
        if other.name is not None:
            yield from self.children(other.name)
            return
        for one, node in self._shaped(other.head, other.tail):
            if one.covers(other):
                yield node

    def _shaped(self, head: str, tail: str) -> Iterator[tuple[Part, _Node]]:
        """The components with wildcards of which the one text can be the beginning and the other the end."""
        for before, after in self.shapes:
            if before <= len(head) and after <= len(tail):
                yield from self.wild.get((head[:before], tail[len(tail) - after :]), {}).items()


class PatternSet:
    """Many patterns, and which of them reach a path.

    A question takes time by the path's components and the patterns that match them, not by how many there are: paths
    are looked up, and patterns that are none are in a tree by components, in which those with wildcards are found by
    their literal beginning and end.
    """

    def __init__(self, patterns: Iterable[Pattern] = ()) -> None:
        self._root = _Node()
        self._all: dict[str, Pattern] = {}
        # Those without wildcards and variables, by their path. One path can be written in several ways.
        self._literal: dict[str, list[Pattern]] = {}
        self._has_tree = False
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
        if pattern.literal is not None:
            self._literal.setdefault(pattern.literal, []).append(pattern)
            return
        self._has_tree = True
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

    def covering(self, narrow: Pattern) -> tuple[Pattern, ...]:
        """The patterns that cover another (`covers`), by their text; itself too, if it is in the set."""
        found = self._above(root(narrow))
        if not self._has_tree:
            return _in_order(found)
        nodes = [self._root]
        for one in narrow.parts:
            found += [pattern for node in nodes for pattern in node.below]
            nodes = [child for node in nodes for child in node.wider(one)]
            if not nodes:
                break
        for node in nodes:
            found += node.below
            if narrow.kind is Kind.FILES:
                found += node.here
        return _in_order(found)

    def _find(self, path: str, *, beneath: bool) -> tuple[Pattern, ...]:
        if not path.startswith("/"):
            return ()
        found = self._above(path) if beneath else list(self._literal.get(path, ()))
        if self._has_tree:
            found += self._in_tree(names_of(path) or [], beneath=beneath)
        return _in_order(found)

    def _in_tree(self, names: list[str], *, beneath: bool) -> list[Pattern]:
        """Those with wildcards."""
        found: list[Pattern] = []
        nodes = [self._root]
        for name in names:
            if beneath:
                found += [pattern for node in nodes for pattern in node.below]
            nodes = [child for node in nodes for child in node.children(name)]
            if not nodes:
                break
        return found + [pattern for node in nodes for pattern in (*node.below, *node.here)]

    def _above(self, path: str) -> list[Pattern]:
        """The patterns for the absolute path itself, and for directories above it, without wildcards."""
        known = self._literal
        found = list(known.get("/", ()))
        # Not the first of two: what is between them is no name.
        end = path.find("/", 2)
        while end >= 0:
            if path[:end] in known:
                found += known[path[:end]]
            end = path.find("/", end + 1)
        if path != "/" and path in known:
            found += known[path]
        return found


def _in_order(found: list[Pattern]) -> tuple[Pattern, ...]:
    return tuple(sorted(found, key=lambda pattern: pattern.text)) if len(found) > 1 else tuple(found)
