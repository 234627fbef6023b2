"""What programs are given: files, directories and words, made for training in one way and for judging in another.

Training takes few sizes and words, and plain names, short or long; judging draws sizes from a range, and has other
names, other contents and other shapes of directories. Everything comes from a seed.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from pathlib import Path
from random import Random

LARGEST = 300_000
_WORDS = ("alpha", "beta", "gamma", "delta", "the", "of", "in", "x", "42", "7", "-3", "Zebra", "apple", "mango")
_NUMBERS = ("0", "1", "22", "333", "4.5", "678901")


class Maker(ABC):
    """Makes inputs out of a random source. `where` is the directory that a run has for itself."""

    def __init__(self, random: Random, where: Path) -> None:
        self.random, self.where = random, where
        self._count = 0

    @abstractmethod
    def size(self) -> int:
        """Of a file, in bytes: 1 to LARGEST."""

    @abstractmethod
    def _name(self) -> str:
        """A name."""

    def name(self) -> str:
        """A name that no file has yet."""
        while (self.where / (found := self._name())).exists():
            pass
        return found

    @abstractmethod
    def line(self) -> str:
        """A line of text, without its end."""

    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """Of a tree: how deep it is, and how many files each directory has."""

    def _next(self) -> int:
        self._count += 1
        return self._count

    def text(self, size: int | None = None) -> bytes:
        """Lines of text, so many bytes of them (those of a file, if not said)."""
        wanted = self.size() if size is None else size
        part = "\n".join(self.line() for _ in range(40)).encode() + b"\n"
        return (part * (wanted // len(part) + 1))[: wanted - 1] + b"\n"

    def file(self) -> str:
        """The name of a new file with text."""
        return self.put(self.text())

    def put(self, content: bytes) -> str:
        name = self.name()
        (self.where / name).write_bytes(content)
        return name

    def tree(self) -> str:
        """The name of a new directory with files and directories."""
        name = self.name()
        deep, wide = self.shape()
        self._fill(self.where / name, deep, wide)
        return name

    def _fill(self, place: Path, deep: int, wide: int) -> None:
        """Files, a link and directories, made in any order: that in which they are found depends on it."""
        place.mkdir()
        making = [*["file"] * wide, "link", *["directory"] * (self.random.randint(1, 2) if deep > 1 else 0)]
        for kind in self.random.sample(making, len(making)):
            path = place / self.name()
            if kind == "file":
                path.write_bytes(self.text(self.random.randint(1, 2000)))
            elif kind == "link":
                path.symlink_to("nowhere")
            else:
                self._fill(path, deep - 1, wide)

    def number(self) -> int:
        """A number for counts and fields: 1 to 9."""
        return self.random.randint(1, 9)

    def operand(self, kind: str) -> str:
        """A word of a command line, by what it stands for: see KINDS."""
        return str(getattr(self, KINDS[kind])())

    def empty(self) -> str:
        return self.put(b"")

    def binary(self) -> str:
        return self.put(self.random.randbytes(self.size()))

    def link(self) -> str:
        name, target = self.name(), self.file()
        (self.where / name).symlink_to(target)
        return name

    def absent(self) -> str:
        return f"{self.name()}-absent"

    def word(self) -> str:
        return self.line().split()[0]

    def sums(self) -> str:
        """A file of numbers, one on a line."""
        lines = "".join(f"{self.random.randint(-999, 9999)}\n" for _ in range(self.random.randint(1, 400)))
        return self.put(lines.encode())

    def sorted_file(self) -> str:
        return self.put(b"".join(sorted(self.text(self.random.randint(20, 9000)).splitlines(keepends=True))))


KINDS = {
    "FILE": "file",
    "EMPTY": "empty",
    "BINARY": "binary",
    "LINK": "link",
    "TREE": "tree",
    "NEW": "name",
    "ABSENT": "absent",
    "WORD": "word",
    "N": "number",
    "NUMBERS": "sums",
    "SORTED": "sorted_file",
}


class Training(Maker):
    """Sizes at and beside powers of two, where programs change what they do, and between; text of words or numbers,
    whose lines come again, or of lines that do not."""

    _is_wordy, _between, _comes_again = True, " ", True

    def size(self) -> int:
        power = 1 << self.random.randrange(19)
        size = power + self.random.choice((-1, 0, 1, self.random.randrange(power)))
        return min(max(1, size), LARGEST)

    def _name(self) -> str:
        return self.random.choice("abcxyz") * self.random.choice((1, 1, 9, 40)) + f"file{self._next()}.txt"

    def line(self) -> str:
        words = _WORDS if self._is_wordy else _NUMBERS
        count = self.random.choice((1, 4, 9))
        if not self._comes_again:
            return self._between.join(f"{self.random.getrandbits(32):x}" for _ in range(count))
        return self._between.join(self.random.choices(words, k=count))

    def text(self, size: int | None = None) -> bytes:
        self._comes_again = self.random.random() < 0.6
        self._is_wordy, self._between = self.random.random() < 0.7, self.random.choice("  \t,_")
        return super().text(size)

    def shape(self) -> tuple[int, int]:
        return self.random.choice((1, 2, 3)), self.random.choice((0, 3, 8))


class Judging(Maker):
    """Sizes from a range, by their logarithm; names and text with other letters."""

    def size(self) -> int:
        return max(1, round(math.exp(self.random.random() * math.log(LARGEST))))

    def _name(self) -> str:
        letters = "".join(self.random.choices("abcdefghijklmnopqrstuvwxyz_0123456789", k=self.random.randint(1, 24)))
        return f"{letters}.{self._next()}"

    def line(self) -> str:
        return " ".join(
            str(self.random.getrandbits(self.random.randint(1, 60))) for _ in range(self.random.randint(1, 8))
        )

    def shape(self) -> tuple[int, int]:
        return self.random.randint(1, 3), self.random.randint(0, 8)
