"""How the libraries that container runtimes use find options among words; what for, scmm_oci.oci.runtime_argv knows.

`go` is Go's flag package (flag.go, parseOne, of Go 1.19), `argp` glibc's argp in order, `mixed` urfave/cli 3
(command_parse.go). Standard library only (on the shim's way).
"""

from __future__ import annotations

from scmm_oci.oci.runtime_options import FLAG, OPTIONAL, VALUE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    Table = dict[str, tuple[str, str]]


class Reading:
    """One pass over words with one table.

    options: long name → the last value, None for a flag without one. places: long name → the place of the word that
    has that value, and what stands before it in that word. rest: the places of what is no option; `taken` is what the
    reader takes them for. wrong: what is not certain, in words.
    """

    __slots__ = ("options", "places", "rest", "table", "taken", "words", "wrong")

    def __init__(self, words: Sequence[str], table: Table) -> None:
        self.words = words
        self.table = table
        self.options: dict[str, str | None] = {}
        self.places: dict[str, tuple[int, str]] = {}
        self.rest: list[int] = []
        self.taken: list[str] = []
        self.wrong: list[str] = []

    def go(self, order: Sequence[int]) -> None:
        """Go's flag package, given the words at these places, in this order."""
        index = 0
        while index < len(order):
            word = self.words[order[index]]
            if len(word) < 2 or word[0] != "-":
                break
            index += 1
            if word == "--":
                break
            index += self._go_option(word, order[index - 1 : index + 1])
        self._leave(order[index:])

    def mixed(self, order: Sequence[int], *, stop: int | None) -> None:
        """urfave/cli 3: blanks around a word are cut off, and options end after `stop` words that are none."""
        index = 0
        while index < len(order):
            place = order[index]
            word = self.words[place].strip()
            if word == "--":
                index += 1
                break
            if len(self.rest) == stop or (
                len(word) > 1 and word[0] == "-" and not (word[1].isalpha() or word[1] == "-")
            ):
                break
            index += 1
            if word[:1] != "-" or word == "-":
                self.rest.append(place)
                self.taken.append(word or self.words[place])
                if word == "-":
                    return  # what follows is lost
            else:
                index += self._go_option(word, order[index - 1 : index + 1])
        self._leave(order[index:])

    def _go_option(self, word: str, here_and_next: Sequence[int]) -> int:
        """Read one word that begins with a dash. Returns 1 if the next one is its value, else 0."""
        at = here_and_next[0]
        spelling, equals, joined = word[2 if word.startswith("--") else 1 :].partition("=")
        name, kind = self.table.get(spelling, ("", FLAG))
        if not spelling or spelling[0] == "-":
            self.wrong.append(f"{word!r} is no option")
        elif not name:
            # One that has its value joined on takes no other word, whatever it means.
            if not equals:
                self.wrong.append(f"whether {word!r} takes a value is not known")
        elif equals:
            self._keep(name, joined, at, word[: len(word) - len(joined)])
        elif kind == FLAG:
            self._keep(name, None, at, "")
        elif len(here_and_next) > 1:
            self._keep(name, self.words[here_and_next[1]], here_and_next[1], "")
            return 1
        else:
            self.wrong.append(f"{word!r} has no value")
        return 0

    def argp(self, at: int) -> None:
        """glibc's argp with ARGP_IN_ORDER (getopt_long of options that begin with `+`), from one place on."""
        while at < len(self.words):
            word = self.words[at]
            if len(word) < 2 or word[0] != "-":
                break
            at += 1
            if word == "--":
                break
            at = self._long(word, at) if word.startswith("--") else self._bundled(word, at)
        self._leave(range(at, len(self.words)))

    def _long(self, word: str, at: int) -> int:
        spelling, equals, joined = word[2:].partition("=")
        name, kind = self._cut_short(spelling)
        if not name:
            if not equals:
                self.wrong.append(f"which option {word!r} is, is not known")
        elif kind == FLAG and equals:
            self.wrong.append(f"{word!r} takes no value")
        elif kind == VALUE and not equals:
            return self._next(name, word, at)
        else:
            self._keep(name, joined if equals else None, at - 1, word[: len(word) - len(joined)] if equals else "")
        return at

    def _bundled(self, word: str, at: int) -> int:
        """`-dbX`: a flag, and an option that takes what is left of the word, or else the next one."""
        for index in range(1, len(word)):
            name, kind = self.table.get(word[index], ("", FLAG))
            if not name:
                self.wrong.append(f"-{word[index]} in {word!r} is not known")
                break
            if kind == FLAG:
                self._keep(name, None, at - 1, "")
            elif index + 1 < len(word) or kind == OPTIONAL:
                self._keep(name, word[index + 1 :] or None, at - 1, word[: index + 1])
                break
            else:
                return self._next(name, word, at)
        return at

    def _next(self, name: str, word: str, at: int) -> int:
        if at < len(self.words):
            self._keep(name, self.words[at], at, "")
        else:
            self.wrong.append(f"{word!r} has no value")
        return at + 1

    def _cut_short(self, spelling: str) -> tuple[str, str]:
        """The long option that this is, whole or as the beginning of one alone."""
        if len(spelling) > 1 and spelling in self.table:
            return self.table[spelling]
        found = {each for each in self.table.values() if each[0].startswith(spelling)}
        return found.pop() if len(found) == 1 else ("", FLAG)

    def _keep(self, name: str, value: str | None, at: int, start: str) -> None:
        self.options[name] = value
        self.places[name] = at, start

    def _leave(self, places: Iterable[int]) -> None:
        for place in places:
            if place < len(self.words):
                self.rest.append(place)
                self.taken.append(self.words[place])


def reordered(words: Sequence[str], at: int, table: Table) -> list[int]:
    """The places from `at` on in the order in which urfave/cli 1.22.9 gives them to Go (command.go, reorderArgs)."""
    first: list[int] = []
    rest: list[int] = []
    value_may_follow = False
    for place in range(at, len(words)):
        word = words[place]
        known = word.startswith("-") and _bare(word) in table
        if value_may_follow and not known:
            value_may_follow = False
            first.append(place)
        elif word == "--":
            rest = [place, *rest, *range(place + 1, len(words))]
            break
        elif known:
            first.append(place)
            value_may_follow = "=" not in word
        else:
            rest.append(place)
    return first + rest


def _bare(word: str) -> str:
    """The name of an option as argIsFlag looks for it: up to three dashes less."""
    word = word[2:] if word.startswith("--") else word
    return word.removeprefix("-").partition("=")[0]
