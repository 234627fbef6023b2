"""The class of a call, by the text of the argument that tells: O_WRONLY|O_CREAT, PROT_READ|PROT_EXEC, AF_INET.

What a text does not tell for certain stays open: the call is then of no class. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from scmm_oci.capture.facts import State
from scmm_oci.capture.strace import values
from scmm_oci.tables import states
from scmm_oci.tables.arch import Arch

# sys/mman.h: what mmap and mprotect take. The bit of PROT_EXEC is what tells, and it must be known not to be there.
_PROT = frozenset(
    {
        "PROT_NONE", "PROT_READ", "PROT_WRITE", "PROT_EXEC", "PROT_SEM", "PROT_GROWSDOWN", "PROT_GROWSUP", "PROT_BTI",
        "PROT_MTE", "PROT_SAO",
    }
)  # fmt: skip
_PROT_EXEC = 4
_FAMILY_NUMBERS = {"unix": 1, "inet": 2, "inet6": 10, "netlink": 16, "packet": 17}
_MAX_TEXT = 4096


def state(name: str, nr: int, arguments: Sequence[str], arch: Arch) -> State:
    """The state that a call of ``states.REFINED`` is: the word of its class, or its number where that is not known."""
    _, index = states.REFINED[name]
    if index >= len(arguments) or len(arguments[index]) > _MAX_TEXT:
        return nr
    return _state(name, nr, arguments[index], arch)


@lru_cache(4096)
def _state(name: str, nr: int, text: str, arch: Arch) -> State:
    kinds, _ = states.REFINED[name]
    if not values.plain(text):
        return nr
    if kinds is states.ACCESS:
        number = _access(text, arch)
    elif kinds is states.PROTECTION:
        number = _protection(text)
    else:
        number = _family(text)
    return nr if number is None else states.class_of(name, number)


def _access(text: str, arch: Arch) -> int | None:
    bits, whole = values.flags(text, arch)
    # A word that is not known could not take from what others say.
    return bits if whole or states.class_of("open", bits) == "open:write" else None


def _protection(text: str) -> int | None:
    bits, whole = 0, True
    for word in filter(None, values.plain(text).split("|")):
        number = values.number(word)
        if number is not None:
            bits |= number
        elif word == "PROT_EXEC":
            bits |= _PROT_EXEC
        elif word not in _PROT:
            whole = False
    return bits if whole or bits & _PROT_EXEC else None


def _family(text: str) -> int | None:
    word = values.family(text)
    if word.isdecimal():
        return int(word) & 0xFFFFFFFF
    if not values.plain(text).startswith(("AF_", "PF_")):
        return None if values.number(text) is None else _FAMILY_NUMBERS.get(word, 0)
    return _FAMILY_NUMBERS.get(word, 0)
