"""States of transitions as they stand in files: code ↔ word of tables.states, for each ABI. Pure.

Calls have their number, classes of calls and beginnings codes of their own (`model`). Two codes stand for several
words: the number of a call that has classes for all of these, START for the three ways in which a thread begins.
"""

from __future__ import annotations

from functools import cache

from scmm_oci.compiled.polfile.model import (
    CLASSES,
    CLASSES_END,
    EXEC,
    FOREIGN,
    FORK,
    NOTHING,
    SIGNAL,
    START,
    STATE_WORDS,
    THREAD,
)
from scmm_oci.tables import states, syscalls
from scmm_oci.tables.arch import Arch

BEGINNINGS = {
    states.START: START,
    states.EXEC: EXEC,
    states.FORK: FORK,
    states.THREAD: THREAD,
    states.SIGNAL: SIGNAL,
    states.FOREIGN: FOREIGN,
}
_WORDS = {code: word for word, code in BEGINNINGS.items()}
_CLASSES = {word: CLASSES + index for index, word in enumerate(STATE_WORDS)}


def is_called(code: int) -> bool:
    """Whether a code is a call's or a class's: such as can come after something."""
    return 0 <= code < CLASSES + len(STATE_WORDS) or CLASSES_END <= code < NOTHING


def is_state(code: int) -> bool:
    """Whether a code is a call's, a class's or a beginning's: such as something can come after."""
    return is_called(code) or code in _WORDS


def code_of(word: str, arch: Arch) -> int | None:
    """The code of a call, class or beginning, ``start`` among them; None if the ABI has no such call.

    ``signal`` is the handler, though some ABIs have such a call.
    """
    if word in BEGINNINGS:
        return BEGINNINGS[word]
    return called_code(word, arch)


def called_code(word: str, arch: Arch) -> int | None:
    """The code of a call or class; None if the ABI has no such call. Here ``signal`` is the call."""
    known = syscalls.numbers(arch)
    if word in _CLASSES:
        return _CLASSES[word] if states.call_of(word) in known else None
    return known.get(word)


@cache
def word_of(code: int, arch: Arch) -> str:
    """The word that a code stands for; of a call that the ABI lacks, the number in decimal digits."""
    if code in _WORDS:
        return _WORDS[code]
    if CLASSES <= code < CLASSES + len(STATE_WORDS):
        return STATE_WORDS[code - CLASSES]
    return syscalls.name_of(arch.value, code) or str(code)


@cache
def words_of(code: int, arch: Arch) -> tuple[str, ...]:
    """All words that a code stands for, as the kernel tells them apart: no unions among them."""
    return states.expand(word_of(code, arch))
