"""What can go wrong, as values: problems with their place, the exceptions that carry them, and findings.

Imports nothing of ours and next to nothing else, because the OCI hooks load it on every container start: that is why
Problem and Finding are written by hand and are no dataclasses (``import dataclasses`` costs more than all of this).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


def printable(text: str) -> str:
    """The text with every character that could steer a terminal written as an escape.

    Control characters, line ends, bidirectional overrides and lone surrogates become ``\\x1b``, ``\\n``, ``\\u202e`` …;
    what is left is safe to print on one line.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def short(value: object) -> str:
    """The value as messages show it: its repr, cut to 60 characters (a hostile file has words of megabytes)."""
    # What repr makes of the first 61 characters is at least as long as they are.
    text = repr(value[:61]) if isinstance(value, str) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """The known word that is nearest in spelling, whatever the case of its letters; None when none is near.

    It is plain text also where the known words are members of a StrEnum, whose repr is no word.
    """
    import difflib

    # In small letters: CAP_NET_ADMIN may have been written cap_net_admin.
    candidates = {one.lower(): str(one) for one in sorted(known)}
    # More than twice as long as the longest of them is near none, and comparing it could take seconds.
    if len(word) > 2 * max(map(len, candidates), default=0):
        return None
    near = difflib.get_close_matches(word.lower(), candidates, n=1, cutoff=0.7)
    return candidates[near[0]] if near else None


def unknown_value(
    place: str,
    what: str,
    word: object,
    known: Sequence[str],
    *,
    listed: int = 24,
    meant: Mapping[str, str] | None = None,
) -> Problem:
    """The problem "WORD is not a known WHAT", with a suggestion, or with the known values where they are few enough.

    Args:
        place: where it stands, such as ``.syscalls[2].name``.
        what: the kind of word, with its article: "a system call", "an action".
        listed: the longest list of known values that is still printed.
        meant: words that others have, in small letters, and the known value that is the same; they go before what is
            spelt alike.
    """
    near = None
    if isinstance(word, str):
        near = meant.get(word.lower()) if meant else None
        near = did_you_mean(word, known) if near is None else str(near)
    hints = []
    if near is not None:
        hints.append(f"did you mean {near!r}?")
    if 0 < len(known) <= listed:
        hints.append("known: " + ", ".join(known))
    return Problem(place, f"{short(word)} is not {what}", "; ".join(hints))


class _Words:
    """Three words that compare, hash and print as one value."""

    __slots__ = ("_words",)

    def __init__(self, first: str, message: str, hint: str) -> None:
        self._words = (first, message, hint)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other._words == self._words

    def __lt__(self, other: _Words) -> bool:
        return self._words < other._words

    def __hash__(self) -> int:
        return hash(self._words)

    def __repr__(self) -> str:
        return f"{type(self).__name__}{self._words!r}"

    @property
    def message(self) -> str:
        """What is so, in one sentence without a full stop."""
        return self._words[1]

    @property
    def hint(self) -> str:
        """The way out, or the empty string."""
        return self._words[2]


class Problem(_Words):
    """One thing that is wrong with an input: its place (``.syscalls[2].name``), what, and a way out."""

    __slots__ = ()

    def __init__(self, place: str, message: str, hint: str = "") -> None:
        super().__init__(place, message, hint)

    @property
    def place(self) -> str:
        """Where it is: a path in the document, a line and column, or a file name; may be empty."""
        return self._words[0]

    def __str__(self) -> str:
        text = f"{self.place}: {self.message}" if self.place else self.message
        return printable(f"{text} ({self.hint})" if self.hint else text)


class Finding(_Words):
    """Something that is no error but must not stay unsaid: a stable code (``io-uring``), what is so, what to do."""

    __slots__ = ()

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(code, message, hint)

    @property
    def code(self) -> str:
        """A stable identifier, for programs that read ``--json``."""
        return self._words[0]

    def __str__(self) -> str:
        text = f"{self.message}; {self.hint}" if self.hint else self.message
        return printable(f"{text} [{self.code}]")


class ScmmError(Exception):
    """The base of everything raised on purpose; ``exit_code`` is what a command line ends with."""

    exit_code = 1


class Failure(ScmmError):
    """Something could not be done, though the input was good (exit code 1)."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return printable(f"{self.message} ({self.hint})" if self.hint else self.message)


class BadInput(ScmmError):
    """An input that cannot be used, with all that is wrong with it (exit code 2)."""

    exit_code = 2

    def __init__(self, problems: Sequence[Problem], *, source: str = "") -> None:
        if not problems:
            raise ValueError("BadInput needs at least one problem")
        super().__init__(tuple(problems), source)
        self.problems = tuple(problems)
        self.source = source

    def __str__(self) -> str:
        prefix = f"{printable(self.source)}: " if self.source else ""
        return "\n".join(f"{prefix}{problem}" for problem in self.problems)
