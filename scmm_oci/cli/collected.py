"""What is wrong with several inputs, collected to be told at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from scmm_oci.errors import BadInput, Problem

_T = TypeVar("_T")


def placed(error: BadInput) -> list[Problem]:
    """The problems of an input, each with the input's name in its place, to be told among others."""
    return [
        Problem(": ".join(filter(None, (error.source, each.place))), each.message, each.hint) for each in error.problems
    ]


def tried(step: Callable[[], _T], problems: list[Problem]) -> _T | None:
    """What a step makes; None where it raises BadInput, whose problems are added to the others."""
    try:
        return step()
    except BadInput as error:
        problems += placed(error)
        return None
