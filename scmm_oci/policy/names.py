"""What a file's name gives away about itself: digests, UUIDs, mkstemp(3)'s letters, pids, times and other numbers.

A name becomes a shape (numbers and random letters left out), by which siblings are compared, and a template, the
pattern for names like it. Whether a name does vary is for its siblings and the recordings to say.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from scmm_oci.policy.globs import escape

# In this order: what the first says is not asked again. Boundaries are anything but ASCII letters and digits.
_TOKEN = re.compile(
    r"""
    (?P<fixed>(?<![0-9A-Za-z])(?:x86[_-]64|i[3-6]86|amd64|arm64|armv\d+l?|aarch64|riscv64|s390x|ppc64(?:le|el)?
        |u(?:tf|cs)-?\d{1,2}|iso-?8859-\d{1,2}|sha\d{1,3}|md[245]|base(?:16|32|64)|utf8mb[34]|i18n|l10n
        |(?:c?python|cp|pypy|perl|ruby|node|php)-?\d{1,3})(?![0-9A-Za-z]))
  | (?P<uuid>(?<![0-9A-Za-z])[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}(?![0-9A-Za-z]))
  | (?P<temporary>(?<![0-9A-Za-z])tmp[a-z0-9_]{8}(?![0-9A-Za-z_]))
  | (?P<word>[A-Za-z]+\d{1,2}(?:\.\d{1,2}){1,2}(?![0-9A-Za-z]|\.[0-9]))
  | (?P<version>(?<![0-9.])\d{1,2}(?:\.\d{1,2}){1,2}(?![0-9]|\.[0-9]))
  | (?P<run>[0-9A-Za-z]+)
    """,
    re.VERBOSE,
)
_SEGMENT = re.compile(r"[A-Z]?[a-z]+|[A-Z]+|\d+")
_DIGITS = re.compile(r"[0-9]+")
_STARS = re.compile(r"\*\*+")
# A number of so many digits is a time, a digest or a counter, and no version: 10^7 s is four months after 1970.
_TIME_DIGITS = 8
# So many siblings that differ in short numbers only are a series.
_SERIES = 3
# A number of so many digits is no version, shard or priority.
_LONG_NUMBER = 3


@dataclass(frozen=True)
class Look:
    """What a name looks like.

    Attributes:
        shape: the same for names that differ in numbers and random parts only.
        template: the pattern of one component with `*` for what may vary; the name itself, escaped, if nothing does.
        numbered: as `template`, but with `*` for every digit run, also that of `db1` and `1.2`.
        random: has a digest, UUID, mkstemp letters or a time: another one would have another name.
        digits: of its longest number that stands for itself (`job-17`: 2; `utf8`: 0).
    """

    shape: str
    template: str
    numbered: str
    random: bool
    digits: int

    @property
    def varies(self) -> bool:
        """Whether a program that makes such a name is likely to make another the next time."""
        return self.random or self.digits > 0


@lru_cache(maxsize=1 << 17)
def look(name: str) -> Look:
    """What the name looks like."""
    if len(name) < 6 and not _DIGITS.search(name):
        text = escape(name)
        return Look(name, text, text, False, 0)
    shape, template, numbered = [], [], []
    random, digits, end = False, 0, 0
    for match in _TOKEN.finditer(name):
        between = name[end : match.start()]
        end = match.end()
        shape.append(between)
        template.append(escape(between))
        numbered.append(escape(between))
        text = match.group()
        kind = match.lastgroup
        if kind == "run":
            kind, longest = _kind_of(text)
            digits = max(digits, longest)
        if kind in ("uuid", "temporary", "random"):
            random = True
            prefix = "tmp" if kind == "temporary" else ""
            shape.append(f"{prefix}\0")
            template.append(f"{prefix}*")
            numbered.append(template[-1])
        elif kind in ("fixed", "word"):
            whole = kind == "fixed"
            shape.append(text if whole else _DIGITS.sub("\1", text))
            template.append(text)
            numbered.append(text if whole else _DIGITS.sub("*", text))
        elif kind == "version":
            shape.append("\2")
            template.append(text)
            numbered.append("*")
        else:
            shape.append(_DIGITS.sub("\1", text))
            template.append(_DIGITS.sub("*", text))
            numbered.append(template[-1])
    rest = name[end:]
    return Look(
        "".join([*shape, rest]),
        _STARS.sub("*", "".join([*template, escape(rest)])) if random or digits else escape(name),
        _STARS.sub("*", "".join([*numbered, escape(rest)])),
        random or digits >= _TIME_DIGITS,
        digits,
    )


def _kind_of(run: str) -> tuple[str, int]:
    """What a run of letters and digits is: random, number or word; and how long a number that stands for itself."""
    if run.isdigit():
        return "number", len(run)
    if _is_random(run):
        return "random", 0
    # Attached to letters, three digits are a number (worker123), fewer a part of the word (utf8, db1).
    longest = max((len(one) for one in _DIGITS.findall(run)), default=0)
    return ("number", longest) if longest >= 3 else ("word", 0)


def _is_random(run: str) -> bool:
    length = len(run)
    if length < 6:
        return False
    if length >= 8 and not run.strip("0123456789abcdef" if run.lower() == run else "0123456789ABCDEF"):
        # Words of the letters a to f have no digits, and are short.
        return length >= 16 or any(map(str.isdigit, run))
    # mkstemp(3) draws from 62 characters: its runs change between small letters, capitals and digits all the time,
    # 1.7 characters a segment on average. Words and CamelCase do not.
    segments = _SEGMENT.findall(run)
    mixed = any(map(str.isdigit, run)) and run.lower() != run
    return len(segments) >= (3 if mixed else 4) and length < 2.5 * len(segments)


def differ(masks: Iterable[int]) -> bool:
    """Whether two of the sets of recordings have something each that the other has not."""
    distinct = sorted(set(masks), key=lambda mask: (mask.bit_count(), mask))
    return any(small & ~large for small, large in pairwise(distinct))


def series(group: Sequence[tuple[Look, int]], whole: int, *, installed: bool) -> list[str | None]:
    """For siblings of one shape that are there at the start: the pattern of each, or None if it is to stay exact.

    Args:
        group: what each name looks like, and its recordings.
        whole: the recordings of their directory.
        installed: the directory holds installed software, where looks prove nothing.
    """
    if whole.bit_count() > 1:
        # In each recording that came here: the name looks like one of many, and is the same every time.
        if all(mask == whole for _, mask in group):
            return [None] * len(group)
        if differ(mask for _, mask in group):
            return [_with_star(seen.numbered) for seen, _ in group]
    if installed:
        return [None] * len(group)
    many = len(group) >= _SERIES
    return [
        _with_star(seen.template)
        if seen.random or seen.digits >= _LONG_NUMBER
        else _with_star(seen.numbered)
        if many
        else None
        for seen, _ in group
    ]


def _with_star(template: str) -> str | None:
    return template if "*" in template.replace("\\*", "") else None
