"""One component of a path pattern: a name, a name with wildcards, or a variable.

Wildcards stand for bytes, as in the launcher, which knows no encodings: ``?`` is one byte, ``é`` has two. ``*`` stands
for any number of bytes, none among them, and also for a dot at the beginning: `dir/*` would otherwise leave out files
that a program which lists the directory opens. Called by policy.paths.patterns only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache

from scmm_oci.errors import did_you_mean, short

VARIABLES = ("HOME", "USER")
SPECIAL = "*?[\\$"

# A wildcard's bytes, as characters of Latin-1; None is ``*``.
Token = frozenset[str] | None
_ANY = frozenset(map(chr, range(1, 256))) - {"/"}
_PLAIN = re.compile(r"[^*?\[\\$\0\ud800-\udfff]*\Z")
_SPECIAL = re.compile(r"([*?\[\\$])")
# A byte that is no part of a character in UTF-8, as surrogateescape has it; and as patterns have it: \xff.
_BYTE = re.compile(r"[\udc80-\udcff]")
_WRITTEN_BYTE = re.compile(r"x([89a-f][0-9a-f])")
# A byte in a set: \x5d.
_SET_BYTE = re.compile(r"\\x([0-9a-f]{2})|[^\\]", re.DOTALL)
_SURROGATE = re.compile(r"[\ud800-\udfff]")


@dataclass(frozen=True)
class Part:
    """A component.

    Attributes:
        text: as it is written, with backslashes.
        name: the name that it stands for; None with wildcards or a variable.
        variable: the variable that it is, without ``${}``, or None.
        tokens: of one with wildcards: what stands for each byte, None for ``*``.
        head, tail: the literal bytes before the first and after the last wildcard, as characters of Latin-1.
    """

    text: str
    name: str | None
    variable: str | None = None
    tokens: tuple[Token, ...] = field(default=(), compare=False, repr=False)
    head: str = field(default="", compare=False, repr=False)
    tail: str = field(default="", compare=False, repr=False)
    _regex: re.Pattern[str] | None = field(default=None, compare=False, repr=False)

    def matches(self, name: str) -> bool:
        """Whether it stands for the name. A variable whose value is not known stands for none."""
        if self.name is not None:
            return name == self.name
        data = in_bytes(name)
        return self._regex is not None and data is not None and self._regex.fullmatch(data) is not None

    def covers(self, other: Part) -> bool:
        """Whether every name that the other stands for is one of this. May say no where it is unsure."""
        if self.text == other.text:
            return True
        if other.name is not None:
            return self.matches(other.name)
        if self.variable or self.name is not None:
            return False
        # ${HOME} may be several components.
        if other.variable:
            return other.variable == "USER" and self.tokens == (None,)
        return _includes(self.tokens, other.tokens)


def escape(name: str) -> str:
    """A path or name as a pattern for nothing else: a backslash before each ``*``, ``?``, ``[``, ``\\`` and ``$``.

    A byte that is not UTF-8 becomes ``\\xff``: policies are text.
    """
    if _PLAIN.match(name):
        return name
    text = _SPECIAL.sub(r"\\\1", name)
    return text if text.isascii() else _BYTE.sub(lambda match: f"\\x{ord(match[0]) - 0xDC00:02x}", text)


def in_bytes(name: str) -> str | None:
    """The name's bytes as characters of Latin-1; None where no file can have it (half of a surrogate pair)."""
    if name.isascii():
        return name
    try:
        return name.encode("utf-8", "surrogateescape").decode("latin-1")
    except UnicodeEncodeError:
        return None


@lru_cache(maxsize=1 << 16)
def part(text: str) -> tuple[Part, tuple[tuple[str, str], ...]]:
    """The component that a text means, and all that is wrong with it, as (message, hint)."""
    if text in ("", ".", ".."):
        message = f"has the component {text!r}" if text else "has an empty component"
        return Part(text, text), ((message, "write the path that the file really has"),)
    if _PLAIN.match(text):
        return Part(text, text), ()
    if text.startswith("${"):
        return _variable(text)
    scan = _Scan(text)
    scan.run()
    if _SURROGATE.search(text):
        hint = "a byte that is not UTF-8 is written \\xff" if in_bytes(text) is not None else ""
        scan.bad.append(("holds half of a surrogate pair, which no policy can", hint))
    if "\0" in text:
        scan.bad.append(("holds a zero byte, which no file name can", ""))
    if text == "**":
        scan.bad.append(
            ("has '**' before its end", "'**' is everything beneath, so nothing can follow; '*' is one component")
        )
    elif "**" in text and not scan.bad and (None, None) in zip(scan.tokens, scan.tokens[1:], strict=False):
        scan.bad.append((f"has '**' within the component {short(text)}", "'*' already stands for any name"))
    if scan.bad:
        return Part(text, text), tuple(scan.bad)
    if not scan.wild:
        name = "".join(scan.letters)
        if name != name.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape"):
            return Part(text, text), ((f"has a character in single bytes in {short(text)}", "write the character"),)
        return Part(text, name), ()
    return _with_wildcards(text, tuple(scan.tokens)), ()


def _variable(text: str) -> tuple[Part, tuple[tuple[str, str], ...]]:
    word, closed, rest = text[2:].partition("}")
    if not closed:
        return Part(text, text), (("has '${' without '}'", "a literal $ is written \\$"),)
    if word not in VARIABLES:
        near = did_you_mean(word, VARIABLES)
        hints = [f"did you mean {near!r}?"] if near else []
        hints.append("known: " + ", ".join(VARIABLES))
        return Part(text, text), ((f"{short(word)} is not a variable", "; ".join(hints)),)
    if rest:
        return Part(text, text), ((f"has more than a variable in the component {short(text)}", "it must be all of it"),)
    return Part(text, None, word), ()


class _Scan:
    """Goes through a component once, from left to right."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.wild = False
        self.letters: list[str] = []
        self.tokens: list[Token] = []
        self.bad: list[tuple[str, str]] = []

    def run(self) -> None:
        while self.at < len(self.text):
            letter = self.text[self.at]
            self.at += 1
            if letter == "\\":
                letter = self.text[self.at : self.at + 1]
                byte = _WRITTEN_BYTE.match(self.text, self.at)
                self.at = byte.end() if byte else self.at + 1
                if byte:
                    self._literal(chr(0xDC00 + int(byte[1], 16)))
                elif letter and letter in SPECIAL + "]":
                    self._literal(letter)
                else:
                    self.bad.append(("has a backslash that escapes nothing", f"it goes before {SPECIAL}"))
            elif letter == "$":
                self.bad.append(("has '$' within a component", "a variable is a whole component; a literal $ is \\$"))
            elif letter in "*?":
                self.wild = True
                self.tokens.append(None if letter == "*" else _ANY)
            elif letter == "[":
                self._set()
            else:
                self._literal(letter)

    def _literal(self, letter: str) -> None:
        self.letters.append(letter)
        self.tokens += [frozenset(one) for one in in_bytes(letter) or ""]

    def _set(self) -> None:
        self.wild = True
        start = self.at
        negated = self.text.startswith("!", start)
        first = start + negated
        # A ] that stands first is one of the set: glob(7).
        end = self.text.find("]", first + 1)
        if end < 0:
            self.at = len(self.text)
            self.bad.append(("has '[' without ']'", "a literal [ is written \\["))
            return
        self.at = end + 1
        body = self.text[first:end]
        members = list(_SET_BYTE.finditer(body))
        if not body.isascii() or sum(len(one[0]) for one in members) < len(body) or (body[0] == "^" and not negated):
            hint = "sets hold ASCII, and any byte as \\xff; 'all but' is written [!…]"
            self.bad.append((f"has the set {short(self.text[start - 1 : self.at])}", hint))
            return
        found: set[str] = set()
        at = 0
        while at < len(members):
            low = _letter(members[at])
            if at + 2 < len(members) and members[at + 1][0] == "-":
                high = _letter(members[at + 2])
                if low > high:
                    written = "".join(one[0] for one in members[at : at + 3])
                    self.bad.append((f"has the empty range {written!r}", "the lower end goes first"))
                found.update(map(chr, range(ord(low), ord(high) + 1)))
                at += 3
            else:
                found.add(low)
                at += 1
        self.tokens.append((_ANY - found) if negated else (_ANY & found))


def _letter(member: re.Match[str]) -> str:
    return chr(int(member[1], 16)) if member[1] else member[0]


def _with_wildcards(text: str, tokens: tuple[Token, ...]) -> Part:
    pieces: list[list[frozenset[str]]] = [[]]
    for token in tokens:
        if token is None:
            pieces.append([])
        else:
            pieces[-1].append(token)
    regexes = ["".join(map(_one, piece)) for piece in pieces]
    # Atomic: where a piece is found first, it is found; so many stars take no time beyond a pass over the name.
    middle = "".join(f"(?>.*?{regex})" for regex in regexes[1:-1])
    regex = regexes[0] + (f"{middle}.*{regexes[-1]}" if len(pieces) > 1 else "")
    head = _literal_run(tokens)
    tail = _literal_run(tokens[::-1])[::-1]
    return Part(text, None, None, tokens, head, tail, re.compile(regex, re.DOTALL))


def _one(token: frozenset[str]) -> str:
    if len(token) == 1:
        return re.escape(next(iter(token)))
    if token == _ANY:
        return "[^/]"
    return "[" + "".join(f"\\x{ord(one):02x}" for one in sorted(token)) + "]" if token else "(?!)"


def _literal_run(tokens: tuple[Token, ...]) -> str:
    run = []
    for token in tokens:
        if token is None or len(token) != 1:
            break
        run.append(next(iter(token)))
    return "".join(run)


def _includes(wide: tuple[Token, ...], narrow: tuple[Token, ...]) -> bool:
    """Whether the wide tokens match the narrow ones read as a text: a star takes any of them, a set its subsets."""
    # reached[j]: the wide tokens so far can stand for the first j narrow ones.
    reached = [True, *[False] * len(narrow)]
    for token in wide:
        if token is None:
            seen = False
            for index, one in enumerate(reached):
                seen = seen or one
                reached[index] = seen
        else:
            fits = [one is not None and one <= token for one in narrow]
            reached = [False, *[before and fit for before, fit in zip(reached, fits, strict=False)]]
    return reached[-1]
