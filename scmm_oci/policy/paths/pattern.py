"""One path pattern: what stands in a policy's `path`, and what of the file system it grants.

Nothing here looks at a file system: a pattern is compared with paths and with patterns. Landlock takes a rule for a
file or, with all beneath it, for a directory (landlock(7)), and rules are opened when the launcher starts: wildcards
stand for what is there at that time. Called through policy.paths.patterns.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum

from scmm_oci.errors import BadInput, Problem
from scmm_oci.policy.paths.globs import Part, escape, part

# PATH_MAX of linux/limits.h.
MAX_LENGTH = 4096

# A path of plain names, as most are: nothing in it is to be read, and nothing can be wrong but its length.
_PLAIN = re.compile(r"(?:/(?!\.{1,2}(?:/|\Z))[^/*?\[\\$\0\ud800-\udfff]+)+")


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
        literal: the path that its components name (not escaped), of `BASE/**` that of BASE; None if it has wildcards
            or variables.
    """

    text: str
    kind: Kind = field(compare=False)
    literal: str | None = field(compare=False, repr=False)
    _parts: tuple[Part, ...] | None = field(compare=False, repr=False)

    @property
    def parts(self) -> tuple[Part, ...]:
        """Its components, of `BASE/**` those of BASE; none for the root directory."""
        found = self._parts
        if found is None:
            # Of a path of plain names they are made when they are asked for: few are.
            found = tuple(part(word)[0] for word in self.text[1:].split("/"))
            object.__setattr__(self, "_parts", found)
        return found

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
        if is_plain(text):
            return Pattern(text, Kind.EXACT, text, None)
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
        names = [one.name for one in parts if one.name is not None]
        literal = "/" + "/".join(names) if len(names) == len(parts) else None
        return Pattern(text, Kind.BENEATH if beneath else Kind.FILES if wild else Kind.EXACT, literal, parts)

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
        return frozenset(one.variable for one in self.parts if one.variable) if self.literal is None else frozenset()

    def matches(self, path: str) -> bool:
        """Whether the absolute path is one that the pattern names, not only beneath one. BASE is one of `BASE/**`."""
        if self.literal is not None:
            return path == self.literal
        names = names_of(path)
        return names is not None and len(names) == len(self.parts) and self._fits(names)

    def grants(self, path: str) -> bool:
        """Whether a rule with this pattern reaches the absolute path, itself or as something beneath a directory."""
        if self.literal is not None:
            return _within(path, self.literal)
        names = names_of(path)
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


def is_plain(text: str) -> bool:
    """Whether a text is the path that it names, so that nothing is wrong with it as a pattern, and nothing wild in it.

    A path that it says no to may be so too.
    """
    return len(text) <= MAX_LENGTH and _PLAIN.fullmatch(text) is not None


def _within(path: str, directory: str) -> bool:
    """Whether the path is the directory or beneath it. No path but an absolute one is."""
    if not path.startswith(directory):
        return False
    return len(path) == len(directory) or directory == "/" or path[len(directory)] == "/"


def names_of(path: str) -> list[str] | None:
    """The components of an absolute path, none of the root directory; None if it is not absolute."""
    if not path.startswith("/"):
        return None
    return path[1:].split("/") if path != "/" else []


def covers(wide: Pattern, narrow: Pattern) -> bool:
    """Whether `wide` grants every path that `narrow` does. A yes is always right; it may say no where it is unsure.

    Compared component by component: /usr does not cover /usr2.
    """
    if wide.literal is not None and narrow.literal is not None:
        return _within(narrow.literal, wide.literal)
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
    if pattern.literal is not None:
        return pattern.literal
    names = []
    for one in pattern.parts:
        if one.name is None:
            break
        names.append(one.name)
    return "/" + "/".join(names)
