"""Turn a slot's tables of order into the list of a capture document: which state followed which, at which stage.

Standard library only (hook). What states are is in scmm_oci.tables.states, what the list means in docs/formats.md.
"""

from __future__ import annotations

from scmm_oci.recorder import wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

_ROW = wire.NR_MAX // 64  # words


def order_of(tables: Iterable[bytes], triples: Iterable[bytes] | None, *, machine: str) -> list[dict[str, Any]]:
    """`order` of the document.

    tables: the values of a recording's tables of order. triples: the keys of its triples; None: not asked for.
    """
    pairs: dict[tuple[str, int], set[tuple[int, int]]] = {}
    for value in tables:
        _, abi, stage = wire.EDGES_HEAD.unpack_from(value)
        pairs.setdefault((wire.ARCHES[machine][abi] or "", stage), set()).update(_pairs(value))
    threes: dict[tuple[str, int], set[tuple[int, int, int]]] = {}
    for key in triples or ():
        _, before, source, to, abi, stage = wire.TRIPLE_KEY.unpack(key)
        threes.setdefault((wire.ARCHES[machine][abi] or "", stage), set()).add((before, source, to))
    result = []
    for arch, stage in sorted(pairs):
        if not pairs[arch, stage]:
            continue
        words = _words(arch)
        one: dict[str, Any] = {"arch": arch}
        if wire.STAGES[stage] is not None:
            one["stage"] = wire.STAGES[stage]
        one["edges"] = _named(pairs[arch, stage], words)
        if triples is not None:
            one["triples"] = _named(threes.get((arch, stage), ()), words)
        result.append(one)
    return result


def _pairs(value: bytes) -> Iterable[tuple[int, int]]:
    view = memoryview(value)[wire.EDGES_HEAD.size :].cast("Q")
    # Nearly all words are empty: look at rows first.
    for source in range(wire.NR_MAX):
        row = view[source * _ROW : (source + 1) * _ROW]
        if any(row):
            for to in wire.errnos_of(tuple(row)):
                yield source, to


def _words(arch: str) -> dict[int, str]:
    """Number → word of all that is no call, or one of a call's classes."""
    from scmm_oci.tables import states

    return {number: word for word, number in states.numbers(arch).items() if ":" in word or word in states.BEGINNINGS}


def _named(items: Iterable[tuple[int, ...]], words: dict[int, str]) -> list[list[int | str]]:
    """The items with words in the place of some numbers; words come before numbers."""
    named = [[words.get(number, number) for number in item] for item in items]
    return sorted(named, key=lambda item: [(isinstance(state, int), state) for state in item])
