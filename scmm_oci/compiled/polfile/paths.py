"""Path patterns as a compiled policy has them: components whose bytes a launcher compares without a parser, and back.

Looks at no file system. Called by compiled.landlock, which makes rules, and by what
shows them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

from scmm_oci.compiled.polfile.globtext import ANY_BYTE, glob_text
from scmm_oci.compiled.polfile.model import Component, ComponentKind, Glob, PathKind
from scmm_oci.errors import BadInput, Problem
from scmm_oci.policy.paths.globs import Part, escape
from scmm_oci.policy.paths.patterns import Kind, Pattern

# NAME_MAX and PATH_MAX of linux/limits.h; PATH_MAX counts the zero byte at the end.
MAX_NAME = 255
MAX_PATH = 4095
MAX_COMPONENTS = 2048

# Names one after the other, each as _wrong_name has it.
_NAMES = re.compile(rb"(?!\.{1,2}(?:/|\Z))[^\0/]{1,255}(?:/(?!\.{1,2}(?:/|\Z))[^\0/]{1,255})*")

_KINDS = {Kind.EXACT: PathKind.EXACT, Kind.FILES: PathKind.FILES, Kind.BENEATH: PathKind.BENEATH}


def from_pattern(pattern: Pattern, *, place: str = "") -> tuple[tuple[Component, ...], PathKind]:
    """The components of a pattern, and what it is for.

    Args:
        place: where the pattern stands, for the messages.

    Raises:
        BadInput: no file can have a path like it, because a name or all of it is too long (linux/limits.h).
    """
    kind = _KINDS[pattern.kind]
    if pattern.literal is None:
        components = tuple(map(_component, pattern.parts))
    else:
        path = pattern.literal.encode("utf-8", "surrogateescape")
        components = tuple(map(named, path[1:].split(b"/"))) if pattern.literal != "/" else ()
        # Nothing else can be wrong with the names of a pattern.
        if len(path) <= MAX_NAME:
            return components, kind
    found = path_problems(components, kind, place=place)
    if found:
        raise BadInput(found)
    return components, kind


# Many paths have the same directories.
@lru_cache(maxsize=1 << 16)
def named(name: bytes) -> Component:
    """The component for a name."""
    return Component(ComponentKind.NAME, name)


def to_text(components: Sequence[Component], kind: PathKind) -> str:
    """The pattern's text: one that `Pattern.parse` reads as the same components, if there is one.

    What no pattern says is written so that none is read in it: a set of bytes beyond ASCII as ``[\\x80\\xff]``.
    """
    names = _names(components)
    if names is not None:
        words = [escape(b"/".join(names).decode("utf-8", "surrogateescape"))] if names else []
    else:
        words = [_text(one) for one in components]
    if kind is PathKind.BENEATH:
        words.append("**")
    first = "" if components and components[0].kind is ComponentKind.HOME else "/"
    return first + "/".join(words)


def path_problems(components: Sequence[Component], kind: PathKind, *, place: str = "") -> list[Problem]:
    """What is wrong with a path: names that no file has, sets without bytes, a kind that does not fit the end."""
    if kind is not PathKind.FILES and _is_path(components):
        return []
    found = [
        Problem(f"{place}.components[{index}]", message)
        for index, one in enumerate(components)
        for message in _wrong(one)
    ]
    found += [
        Problem(f"{place}.components[{index}]", "is ${HOME} after the path's beginning")
        for index, one in enumerate(components)
        if index and one.kind is ComponentKind.HOME
    ]
    if len(components) > MAX_COMPONENTS:
        found.append(Problem(place, f"has {len(components)} components; {MAX_COMPONENTS} are the most"))
    length = sum(1 + _least(one) for one in components)
    if length > MAX_PATH:
        found.append(Problem(place, f"has {length} bytes or more; {MAX_PATH} are the most that a path can have"))
    wild = bool(components) and components[-1].kind is ComponentKind.GLOB
    if kind is PathKind.FILES and not wild:
        found.append(Problem(place, "is for files of a directory, and its last component has no wildcards"))
    if kind is PathKind.EXACT and wild:
        found.append(Problem(place, "is for one path, and its last component has wildcards"))
    return found


def _names(components: Sequence[Component]) -> list[bytes] | None:
    """The components' names, if all are names and nothing else."""
    name = ComponentKind.NAME
    found = [one.name for one in components if one.kind is name and not one.glob]
    return found if len(found) == len(components) else None


def _is_path(components: Sequence[Component]) -> bool:
    """Whether they are names, and good ones; looks at all of them at once."""
    names = _names(components)
    if not names:
        return False
    path = b"/".join(names)
    return len(path) < MAX_PATH and path.count(b"/") == len(names) - 1 and _NAMES.fullmatch(path) is not None


def _component(part: Part) -> Component:
    if part.variable is not None:
        return Component(ComponentKind[part.variable])
    if part.name is not None:
        return named(part.name.encode("utf-8", "surrogateescape"))
    glob = tuple(None if token is None else frozenset(map(ord, token)) for token in part.tokens)
    return Component(ComponentKind.GLOB, glob=glob)


# Many paths have the same directories.
@lru_cache(maxsize=1 << 16)
def _wrong(one: Component) -> tuple[str, ...]:
    found = []
    if one.kind is not ComponentKind.NAME and one.name:
        found.append("has a name, and is none")
    if one.kind is not ComponentKind.GLOB and one.glob:
        found.append("has wildcards, and is no glob")
    if one.kind is ComponentKind.NAME:
        found += _wrong_name(one.name)
    elif one.kind is ComponentKind.GLOB:
        found += _wrong_glob(one.glob)
    return tuple(found)


def _wrong_name(name: bytes) -> list[str]:
    if not 1 <= len(name) <= MAX_NAME:
        return [f"is a name of {len(name)} bytes; a name has 1 to {MAX_NAME}"]
    if name in (b".", b".."):
        return [f"is {name.decode()!r}, which is no name of a file"]
    return ["has a zero byte or '/', which no name can"] if b"\0" in name or b"/" in name else []


def _wrong_glob(glob: Glob) -> list[str]:
    found = []
    if not glob:
        found.append("is a glob of nothing")
    if any(one is None and other is None for one, other in pairwise(glob)):
        found.append("has any number of bytes twice, one after the other")
    sets = [one for one in glob if one is not None]
    if len(sets) > MAX_NAME:
        found.append(f"stands for {len(sets)} bytes or more; a name has 1 to {MAX_NAME}")
    if not all(sets):
        found.append("has a set without bytes")
    if not all(one <= ANY_BYTE for one in sets):
        found.append("stands for a zero byte or '/', which no name has")
    return found


def _least(one: Component) -> int:
    """The fewest bytes that it stands for. Of variables nothing is known here: the launcher looks again."""
    return len(one.name) + sum(token is not None for token in one.glob)


def _text(one: Component) -> str:
    if one.kind in (ComponentKind.HOME, ComponentKind.USER):
        return f"${{{one.kind.name}}}"
    if one.kind is ComponentKind.NAME:
        return escape(one.name.decode("utf-8", "surrogateescape"))
    return glob_text(one.glob)
