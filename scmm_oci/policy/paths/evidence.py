"""The directories of the needs: what was seen where, in which recordings, and which components vary.

A tree with one node a directory, made in one pass; recordings are bits of a number. Called by policy.paths.created and
policy.paths.existing, which make proposals of it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from scmm_oci.policy.paths.globs import escape
from scmm_oci.policy.paths.names import differ, look, series
from scmm_oci.policy.paths.proposals import Need, merged, nameable
from scmm_oci.policy.paths.protected import SECRET_NAMES, is_secret_name

# Installed software: numbers and digests there are versions, the same at every start (hier(7)).
_INSTALLED = frozenset(
    ["usr", "lib", "lib32", "lib64", "libx32", "bin", "sbin", "opt", "etc", "boot", "nix", "gnu", "snap"]
)


class Directory:
    """A directory that is a need, or holds one."""

    __slots__ = (
        "anchor",
        "depth",
        "made",
        "mask",
        "moved",
        "name",
        "need",
        "parent",
        "path",
        "secret",
        "secret_file",
        "star",
        "template",
    )

    def __init__(self, path: str, name: str, parent: Directory | None) -> None:
        self.path = path
        self.name = name
        self.parent = parent
        self.depth: int = parent.depth + 1 if parent else 0
        self.mask = 0
        self.need: Need | None = None
        # It was made while recording; then the nearest directory above that was not.
        self.made = False
        self.anchor: Directory = self
        # It, or one above, only got its name anew: what is in it may be older than the program.
        self.moved = False
        # The pattern for its name where that varies, and the one for its whole path ("" for the root).
        self.star: str | None = None
        self.template = ""
        # Credentials that were there before the program, in it or beneath, and directly in it: the first by name.
        self.secret: str | None = None
        self.secret_file: str | None = None

    @property
    def installed(self) -> bool:
        """Whether it holds installed software."""
        return f"{self.path}//".split("/", 2)[1] in _INSTALLED


class Entry:
    """A need that is no directory, or one that is; `name` in `directory`."""

    __slots__ = ("directory", "mask", "name", "need", "secret")

    def __init__(self, need: Need, name: str, directory: Directory, mask: int) -> None:
        self.need = need
        self.name = name
        self.directory = directory
        self.mask = mask
        self.secret = is_secret_name(name)


class Tree:
    """All needs that proposals can be made of, by directory.

    Left out is what `nameable` is not.

    Attributes:
        files: needs that are no directories, as far as they were ever found.
        directories: every directory, the upper ones first.
    """

    def __init__(self, needs: Iterable[Need], *, recordings: int) -> None:
        self.files: list[Entry] = []
        top = Directory("", "", None)
        top.mask = (1 << recordings) - 1
        self._all: dict[str, Directory] = {"": top}
        self._masks: dict[frozenset[int], int] = {}
        found: dict[str, Need] = {}
        for need in needs:
            if not need.missing and nameable(need.path):
                other = found.get(need.path)
                found[need.path] = need if other is None else merged(need, other)
        files = []
        for need in found.values():
            if need.directory:
                self._take(need)
            else:
                files.append(need)
        for need in files:
            parent, _, name = need.path.rpartition("/")
            directory = self._directory(parent)
            mask = self._mask(need.recordings)
            directory.mask |= mask
            self.files.append(Entry(need, name, directory, mask))
        # What holds another need is a directory, whatever was said of it.
        plain = [entry for entry in self.files if entry.need.path not in self._all]
        for entry in self.files:
            if entry.need.path in self._all:
                self._take(entry.need)
        self.files = plain
        self.directories = sorted(self._all.values(), key=lambda one: one.depth)
        self._inherit()
        self._find_secrets()
        self._find_turns()
        self._find_series()
        for one in self.directories:
            if one.parent:
                one.template = f"{one.parent.template}/{one.star or escape(one.name)}"

    def _mask(self, recordings: frozenset[int]) -> int:
        mask = self._masks.get(recordings)
        if mask is None:
            mask = self._masks[recordings] = sum(1 << one for one in recordings)
        return mask

    def _take(self, need: Need) -> None:
        directory = self._directory(need.path)
        directory.mask |= self._mask(need.recordings)
        directory.need = need
        directory.made = need.created
        directory.moved = need.moved

    def _directory(self, path: str) -> Directory:
        steps = []
        while path not in self._all:
            steps.append(path)
            path = path.rpartition("/")[0]
        directory = self._all[path]
        for step in reversed(steps):
            directory = self._all[step] = Directory(step, step.rpartition("/")[2], directory)
        return directory

    def _inherit(self) -> None:
        for one in reversed(self.directories):
            if one.parent:
                one.parent.mask |= one.mask
        for one in self.directories:
            if one.parent:
                one.made = one.made or one.parent.made
                one.moved = one.moved or one.parent.moved
                one.anchor = one.parent.anchor if one.made else one

    def _find_secrets(self) -> None:
        for entry in self.files:
            need, directory = entry.need, entry.directory
            made = (need.created and not need.moved) or (directory.made and not directory.moved)
            if entry.secret and not made:
                _least(entry.directory, entry.need.path)
                entry.directory.secret_file = entry.directory.secret
        for one in reversed(self.directories):
            if one.name in SECRET_NAMES and (not one.made or one.moved):
                _least(one, one.path)
            if one.secret and one.parent:
                _least(one.parent, one.secret)

    def _find_turns(self) -> None:
        """Mark directories that only some recordings have, each its own, with the same files beneath: /data/*/input."""
        turns: dict[Directory, Directory] = {}
        groups: dict[tuple[Directory, str], dict[Directory, int]] = {}
        # Most have no sibling of theirs, and need no group.
        single: dict[tuple[Directory, str], Entry] = {}
        for one in self.directories:
            above = turns.get(one.parent) if one.parent else None
            if above:
                turns[one] = above
            elif one.parent and not one.made and one.mask != one.parent.mask:
                turns[one] = one
        for entry in self.files:
            turn = turns.get(entry.directory)
            if turn and turn.parent:
                key = (turn.parent, entry.need.path[len(turn.path) :])
                first = single.setdefault(key, entry)
                if first is not entry:
                    group = groups.setdefault(key, {turns[first.directory]: first.mask})
                    group[turn] = group.get(turn, 0) | entry.mask
        for group in groups.values():
            if differ(group.values()):
                stars = {look(one.name).numbered(one.name) for one in group}
                star = stars.pop() if len(stars) == 1 else "*"
                for one in group:
                    if one.star != "*":
                        one.star = star

    def _find_series(self) -> None:
        """Mark directories whose names look like ones of a series."""
        groups: dict[tuple[Directory, str], list[Directory]] = defaultdict(list)
        for one in self.directories:
            if one.parent and not one.made:
                shape = look(one.name).shape
                if shape != one.name:
                    groups[one.parent, shape].append(one)
        for (parent, _), group in groups.items():
            names = [(one.name, one.mask) for one in group]
            for one, star in zip(
                group, series(names, parent.mask, installed=group[0].installed, files=False), strict=True
            ):
                one.star = one.star or star


def _least(directory: Directory, secret: str) -> None:
    directory.secret = min(secret, directory.secret or secret)
