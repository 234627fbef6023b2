"""What a file's name gives away about itself: digests, UUIDs, mkstemp(3)'s letters, pids, times and other numbers.

A name becomes a shape (numbers and random letters left out), by which siblings are compared, and a template, the
pattern for names like it. Whether a name does vary is for its siblings and the recordings to say.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import pairwise

from scmm_oci.policy.paths.globs import escape

# Digits are zeros here. In this order: what the first says is not asked again. Boundaries are anything but ASCII
# letters and digits. First come words whose digits are no numbers: machines, encodings, digests' names, interpreters.
_TOKEN = re.compile(
    r"""
    (?P<word>[A-Za-z]+0{1,2}(?:\.0{1,2}){1,2}(?![0-9A-Za-z]|\.0))
  | (?P<fixed>(?<![0-9A-Za-z])(?:x00[_-]00|i000|amd00|arm00|armv0l?|aarch00|riscv00|s000x|ppc00(?:le|el)?
        |u(?:tf|cs)-?0{1,2}|utf0mb0|iso-?0000-0{1,2}|sha0{1,3}|md0|base00|i00n|l00n
        |(?:c?python|cp|pypy|perl|ruby|node|php)-?0{1,3})(?![0-9A-Za-z]))
  | (?P<random>(?<![0-9A-Za-z])[0A-Fa-f]{8}(?:-[0A-Fa-f]{4}){3}-[0A-Fa-f]{12}(?![0-9A-Za-z]))
  | (?P<temporary>(?<![0-9A-Za-z])tmp[a-z0_]{8}(?![0-9A-Za-z_]))
  | (?P<version>(?<![0.])0{1,2}(?:\.0{1,2}){1,2}(?!0|\.0))
  | (?P<run>[0-9A-Za-z]+)
    """,
    re.VERBOSE,
)
_ZEROS = str.maketrans("123456789", "000000000")
_SEGMENT = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|\d+")
_DIGITS = re.compile(r"[0-9]+")
_LONG = re.compile(r"[0-9]{3}")
_STARS = re.compile(r"\*\*+")
# A number of so many digits is a time, a digest or a counter, and no version: 10^7 s is four months after 1970.
_TIME_DIGITS = 8
# So many siblings that differ in short numbers only are a series.
_SERIES = 3
# A number of so many digits is no version, shard or priority in the name of a directory; in a file's name shorter ones
# are years and HTTP's errors.
_LONG_DIRECTORY = 3
_LONG_FILE = 5


class Look:
    """What a name looks like. Names that differ only in the digits of their numbers share one.

    Attributes:
        shape: the same for names that differ in numbers and random parts only; the name itself if it has neither.
        random: has a digest, UUID, mkstemp letters or a time: another one would have another name.
        digits: of its longest number that stands for itself (`job-17`: 2; `utf8`: 0).
    """

    __slots__ = ("_numbered", "_pieces", "_template", "digits", "random", "shape")

    def __init__(self, shape: str, pieces: tuple[tuple[str, int, int], ...] = (), *, random: bool, digits: int) -> None:
        self.shape = shape
        self.random = random or digits >= _TIME_DIGITS
        self.digits = digits
        self._pieces = pieces
        # Without digits outside of what a star stands for they are the same for all names that share this.
        self._template: str | None = None
        self._numbered: str | None = None

    @property
    def varies(self) -> bool:
        """Whether a program that makes such a name is likely to make another the next time."""
        return self.random or self.digits > 0

    def template(self, name: str) -> str:
        """The pattern of one component with `*` for what may vary; the name itself, escaped, if nothing does."""
        if self._template is not None:
            return self._template
        text = self._pattern(name, {"random": "*", "temporary": "tmp*", "number": ""})
        if not _DIGITS.search(text):
            self._template = text
        return text

    def numbered(self, name: str) -> str:
        """As `template`, but with `*` for every digit run, also that of `db1` and `1.2`."""
        if self._numbered is not None:
            return self._numbered
        text = self._pattern(name, {"random": "*", "temporary": "tmp*", "number": "", "word": "", "version": "*"})
        if not _DIGITS.search(text):
            self._numbered = text
        return text

    def _pattern(self, name: str, stars: dict[str, str]) -> str:
        if not self._pieces:
            return escape(name)
        parts = []
        for kind, start, end in self._pieces:
            text = name[start:end]
            if kind in stars:
                parts.append(stars[kind] or _DIGITS.sub("*", text))
            else:
                parts.append(escape(text))
        return _STARS.sub("*", "".join(parts))


def look(name: str) -> Look:
    """What the name looks like."""
    # Most names: without digits only a mix of small letters and capitals, or what follows tmp, is random.
    if not _DIGITS.search(name) and (len(name) < 6 or name == name.lower()) and "tmp" not in name:
        return Look(name, random=False, digits=0)
    return _look(name.translate(_ZEROS))


@lru_cache(maxsize=1 << 16)
def _look(zeroed: str) -> Look:
    shape, pieces, random, digits = [], [], False, 0
    end = 0
    for match in _TOKEN.finditer(zeroed):
        start = match.start()
        if start > end:
            pieces.append(("", end, start))
            shape.append(zeroed[end:start])
        end = match.end()
        text = match.group()
        kind = match.lastgroup or ""
        if kind == "run":
            kind = _kind_of(text)
        pieces.append((kind, start, end))
        if kind in ("random", "temporary"):
            random = True
            shape.append("tmp\0" if kind == "temporary" else "\0")
        elif kind == "version":
            shape.append("\2")
        elif kind in ("number", "word"):
            if kind == "number":
                digits = max(digits, *map(len, _DIGITS.findall(text)), 0)
            shape.append(_DIGITS.sub("\1", text))
        else:
            shape.append(text)
    if end < len(zeroed):
        pieces.append(("", end, len(zeroed)))
        shape.append(zeroed[end:])
    return Look("".join(shape), tuple(pieces), random=random, digits=digits)


def _kind_of(run: str) -> str:
    """What a run of letters and digits is: random, number or word."""
    if run.isdigit():
        return "number"
    if len(run) >= 6 and _is_random(run):
        return "random"
    # Attached to letters, three digits are a number (worker123), fewer a part of the word (utf8, db1).
    return "number" if len(run) > 3 and _LONG.search(run) else "word"


def _is_random(run: str) -> bool:
    length = len(run)
    if length >= 8 and not run.strip("0abcdef" if run == run.lower() else "0ABCDEF"):
        # Words of the letters a to f have no digits, and are short.
        return length >= 16 or "0" in run
    # mkstemp(3) draws from 62 characters: its runs change between small letters, capitals and digits all the time,
    # 1.7 characters a segment on average. Words and CamelCase do not.
    segments = _SEGMENT.findall(run)
    mixed = "0" in run and run.lower() != run
    return len(segments) >= (3 if mixed else 4) and length < 2.5 * len(segments)


def differ(masks: Iterable[int]) -> bool:
    """Whether two of the sets of recordings have something each that the other has not."""
    distinct = sorted(set(masks), key=lambda mask: (mask.bit_count(), mask))
    return any(small & ~large for small, large in pairwise(distinct))


def series(group: Sequence[tuple[str, int]], whole: int, *, installed: bool, files: bool) -> list[str | None]:
    """For siblings of one shape that are there at the start: the pattern of each, or None if it is to stay exact.

    Args:
        group: each name and its recordings.
        whole: the recordings of their directory.
        installed: the directory holds installed software, where looks prove nothing.
        files: they are files, not directories.
    """
    if whole.bit_count() > 1:
        # In each recording that came here: the name looks like one of many, and is the same every time.
        if all(mask == whole for _, mask in group):
            return [None] * len(group)
        if differ(mask for _, mask in group):
            return [_with_star(look(name).numbered(name)) for name, _ in group]
    if installed:
        return [None] * len(group)
    many = len(group) >= _SERIES
    long = _LONG_FILE if files else _LONG_DIRECTORY
    found: list[str | None] = []
    for name, _ in group:
        seen = look(name)
        if seen.random or seen.digits >= long:
            found.append(_with_star(seen.template(name)))
        else:
            found.append(_with_star(seen.numbered(name)) if many else None)
    return found


def _with_star(template: str) -> str | None:
    return template if "*" in template.replace("\\*", "") else None
