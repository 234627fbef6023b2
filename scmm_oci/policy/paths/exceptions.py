"""Exceptions of a path rule (`except`): as rules for what is beside them, and how two such rules compare.

Landlock adds rights on the way down and takes none away (landlock(7), hierarchies). So a rule with exceptions gives its
rights to whatever is in the rule's directory and is none of them. What gets nothing: the directory, each directory on
the way to an exception, and the exception. Pure. Called by what compiles, asks, joins, compares and lints policies.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache

from scmm_oci.policy.model import OnMissing, PathRule
from scmm_oci.policy.paths.globs import escape
from scmm_oci.policy.paths.patterns import MAX_LENGTH, Kind, Pattern, covers
from scmm_oci.tables import landlock

# For one rule; the launcher goes through a directory for each.
MOST_RULES, MOST_CHARACTERS = 8192, 1 << 20
# NAME_MAX of linux/limits.h; a path has fewer bytes than PATH_MAX.
_NAME_MAX, _PATH_MAX = 255, 4096

Place = tuple[str, ...]
_HOME = "${HOME}"  # no name: it would be written \${HOME}
_RAW = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.")


@dataclass
class _Letters:
    """Names by their bytes: what can come next, and whether one ends here."""

    next: dict[int, _Letters] = field(default_factory=dict)
    ends: bool = False


@dataclass
class _Directory:
    """What is excepted of a directory: names, each as a whole (nothing in it) or with what is excepted beneath."""

    names: dict[str, _Directory] = field(default_factory=dict)


def place(pattern: Pattern) -> Place | None:
    """The names of a pattern's path, escaped, with ``${HOME}`` as it is written; None with any other wildcard."""
    found = []
    for index, one in enumerate(pattern.parts):
        if one.name is not None:
            found.append(escape(one.name))
        elif one.variable == "HOME" and not index:
            found.append(_HOME)
        else:
            return None
    return tuple(found)


def lowered(rule: PathRule) -> tuple[PathRule, ...]:
    """Rules without exceptions that grant what the rule does; the rule itself if it has none.

    They name what no exception is by its beginning: ``/d/[!.]*`` and ``/d/.[!s]*`` are all in ``/d`` but what begins
    with ``.s``. Each name with wildcards stands for files, and with ``/**`` for directories. What is longer than a path
    can be is left out.
    """
    if not rule.excluded:
        return (rule,)
    return _lowered(rule)


# One rule is asked about many others.
@lru_cache(maxsize=1 << 8)
def _lowered(rule: PathRule) -> tuple[PathRule, ...]:
    of_files = any(landlock.FS_RIGHTS.get(right, 0) & landlock.FILE_RIGHTS for right in rule.access)
    return tuple(
        replace(rule, path=path, excluded=(), on_missing=OnMissing.SKIP)
        for path in _paths(rule)
        if of_files or not path.endswith("*") or path.endswith("/**")
    )


def place_of(text: str) -> Place:
    """The place of a path of a rule with exceptions, or of an exception: these have one (policy.check)."""
    found = place(Pattern.parse(text))
    assert found is not None, text
    return found


def written(where: Place) -> str:
    """A place as a pattern."""
    return ("" if where[:1] == (_HOME,) else "/") + "/".join(where)


def _paths(rule: PathRule) -> Iterator[str]:
    """The patterns for what is beside the exceptions, directory by directory."""
    base = place_of(rule.path)
    top = _Directory()
    for text in rule.excluded:
        here = top
        for name in place_of(text)[len(base) :]:
            here = here.names.setdefault(name, _Directory())
    todo = [(base, top)]
    while todo:
        where, directory = todo.pop()
        yield from _beside(where, directory)
        beneath = sorted(directory.names.items(), key=lambda item: item[0], reverse=True)
        todo += [((*where, name), one) for name, one in beneath if one.names]


def _beside(base: Place, directory: _Directory) -> Iterator[str]:
    letters = _Letters()
    for name in directory.names:
        here = letters
        for byte in _bytes(name):
            here = here.next.setdefault(byte, _Letters())
        here.ends = True
    above = sum(1 + len(_bytes(one)) for one in base)
    for name, least, is_glob in _others(b"", letters):
        if above + 1 + least < _PATH_MAX:
            path = written((*base, name))
            yield path
            if is_glob:
                yield f"{path}/**"


def _others(prefix: bytes, letters: _Letters) -> Iterator[tuple[str, int, bool]]:
    """Names that begin so and are none of those of the tree: patterns, their fewest bytes, whether they are wild."""
    text = escape(prefix.decode("utf-8", "surrogateescape"))
    if prefix and not letters.ends and prefix not in (b".", b".."):
        yield text, len(prefix), False
    if len(prefix) < _NAME_MAX:
        others = "".join(chr(byte) if byte in _RAW else f"\\x{byte:02x}" for byte in sorted(letters.next))
        yield f"{text}[!{others}]*" if others else f"{text}?*", len(prefix) + 1, True
    for byte, following in sorted(letters.next.items()):
        if len(prefix) < _NAME_MAX:
            yield from _others(prefix + bytes([byte]), following)


@lru_cache(maxsize=1 << 10)
def _bytes(name: str) -> bytes:
    """Those of an escaped name; of ``${HOME}`` nothing is known."""
    if name == _HOME:
        return b""
    return (Pattern.parse(f"/{name}").literal or "/")[1:].encode("utf-8", "surrogateescape")


def wrong(rule: PathRule) -> str:
    """Why a rule with good exceptions cannot be lowered: too many rules, or too long ones; empty if it can be."""
    total = 0
    for count, path in enumerate(_paths(rule)):
        total += len(path)
        if len(path) > MAX_LENGTH:
            return "a rule for what is beside them has more characters than a path may"
        if count >= MOST_RULES or total > MOST_CHARACTERS:
            return f"what is beside them takes more than {MOST_RULES} rules, or {MOST_CHARACTERS} characters"
    return ""


def is_within(where: Place, other: Place) -> bool:
    """Whether the one place is the other, or beneath it."""
    return where[: len(other)] == other


def grants_all(wide: PathRule, narrow: PathRule) -> bool:
    """Whether `wide` grants every path that `narrow` does, exceptions minded. A yes is always right."""
    pattern = Pattern.parse(narrow.path)
    if not wide.excluded:
        return covers(Pattern.parse(wide.path), pattern)
    base, here = place_of(wide.path), place(pattern)
    if here is None or pattern.kind is Kind.FILES:
        return any(covers(Pattern.parse(one.path), pattern) for one in lowered(wide))
    theirs = [place_of(text) for text in narrow.excluded]
    not_granted = [place_of(text) for text in wide.excluded]
    if not is_within(here, base) or any(is_within(here, one) for one in not_granted):
        return False
    if here == base and not theirs:
        return False
    beneath = [one for one in not_granted if is_within(one, here)]
    return all(any(is_within(one, other) for other in theirs) for one in beneath)


def common(one: PathRule, other: PathRule) -> tuple[str, tuple[str, ...]] | None:
    """The path and exceptions of a rule for what both grant, if the first path is within the second.

    None where it is not, where it lies in an exception, and where it has wildcards and the second rule exceptions.
    """
    pattern, against = Pattern.parse(one.path), Pattern.parse(other.path)
    if not covers(against, pattern):
        return None
    here = place(pattern)
    path = one.path
    if here is not None and here == place(against):
        # Two ways to write it mean the same where there are exceptions.
        alike = [each.path for each in (one, other) if each.excluded]
        path = min(alike or (one.path, other.path))
    if not other.excluded:
        return path, outermost(one.excluded)
    if here is None or any(is_within(here, place_of(text)) for text in other.excluded):
        return None
    beneath = [text for text in other.excluded if is_within(place_of(text), here)]
    return path, outermost((*one.excluded, *beneath))


def outermost(texts: Sequence[str]) -> tuple[str, ...]:
    """The exceptions less those beneath others, each once, sorted."""
    places: dict[Place, str] = {}
    for text in sorted(texts):
        places.setdefault(place_of(text), text)
    return tuple(
        sorted(text for at, text in places.items() if not any(at != two and is_within(at, two) for two in places))
    )
