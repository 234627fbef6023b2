"""Settings in JSON files that `scmm hooks install` and `scmm install` write: read with a bound, with all that is wrong.

Standard library only, and little of it: the hooks and scmm-runc read theirs on every start.
"""

from __future__ import annotations

import os

from scmm_oci import quickjson

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    T = TypeVar("T")


class BadSettings(ValueError):
    """The settings are not usable; `problems` and the message name all that is wrong."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def read(path: str, most: int, check: Callable[[object], T]) -> T:
    """What `check` makes of the JSON document in a file of at most `most` bytes.

    check: raises BadSettings for what is no settings.

    Raises BadSettings, whose problems then begin with the path, or OSError.
    """
    with open(path, "rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise BadSettings([f"{path}: larger than {most} bytes"])
    try:
        return check(quickjson.loads(data))
    except BadSettings as error:
        raise BadSettings([f"{path}: {each}" for each in error.problems]) from None
    except ValueError as error:
        raise BadSettings([f"{path}: {error}"]) from None


def is_place(value: object) -> bool:
    """Whether it is an absolute path with one way to write it: no `..`, no `//`, and no NUL."""
    if not isinstance(value, str) or "\0" in value:
        return False
    # normpath keeps two slashes at the beginning: POSIX gives them a meaning of their own.
    return value[:1] == "/" != value[1:2] and os.path.normpath(value) == value
