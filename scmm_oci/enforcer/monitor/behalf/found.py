"""What a name stands for, held by descriptors; or that it leads nowhere."""

from __future__ import annotations

import os
from dataclasses import dataclass


class Nowhere(Exception):
    """The name leads nowhere for this thread.

    Attributes:
        number: the errno that it gets.
        path: how far the name led, and what there was asked for.
    """

    def __init__(self, number: int, path: bytes) -> None:
        super().__init__(os.strerror(number))
        self.number, self.path = number, path


@dataclass(frozen=True, slots=True)
class Found:
    """What a name stands for.

    Attributes:
        path: the real one, in the thread's root; for a pipe or terminal that a descriptor in /proc leads to, the
            name there.
        parent, name: an O_PATH descriptor of the directory, and the last component in it, with a slash at its end if
            it was given with one; parent is -1 where a link of /proc led to the file.
        file: an O_PATH descriptor of what is there, or of the link there when links were not to be followed; None if
            there is nothing, or it was not asked for.
        descriptor: the name was empty: it is this descriptor's file.
    """

    path: bytes
    parent: int
    name: bytes
    file: int | None
    descriptor: bool = False


def is_in(path: bytes, top: bytes | None) -> bool:
    """Whether a path without links is that of a directory or of something in it; None is no directory's."""
    return top is not None and (path == top or path.startswith(top.rstrip(b"/") + b"/"))
