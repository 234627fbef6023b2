"""The machines of a compiled policy as the watch's bitmaps, for the ABIs of one kind of machine. Pure.

A union (a call that has classes, ``start``) is written out here: the kernel knows single states only. Row ANY has what
any row or list leads to: it is for threads whose past is not known.
"""

from __future__ import annotations

from array import array
from functools import cache

from scmm_oci.compiled.polfile import codes
from scmm_oci.compiled.polfile.model import NOTHING, Machine
from scmm_oci.errors import BadInput, Problem
from scmm_oci.tables import states
from scmm_oci.tables.arch import Arch
from scmm_oci.watch import wire
from scmm_oci.watch.machines import Image, Machines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from scmm_oci.compiled.polfile.model import PolicyFile

_ALL = (1 << wire.STATES) - 1
# What is left of a 32-bit product: TRIPLES is 1 << (32 - _SHIFT).
_SHIFT = 18
_MULTIPLIERS = tuple((0x9E3779B1 + 0x6C078966 * index) & 0xFFFFFFFF | 1 for index in range(64))
# Beyond, probing takes too long.
MOST_TRIPLES = wire.TRIPLES // 2


def machines_of(file: PolicyFile, *, machine: str) -> Machines:
    """The machines of a compiled policy on a kind of machine ("x86_64", "aarch64": uname(2)).

    Where only the serving phase has transitions, everything is allowed before it, on every ABI.

    Raises BadInput: the policy has no transitions at all, or none for this machine, or lists for more triples than
    there is room for.
    """
    arches = [Arch(name) if name else None for name in wire.ARCHES[machine]]
    plain = {each.arch: each.edges for each in file.transitions}
    more = {each.arch: each for each in (file.watch.machines if file.watch else ())}
    there = {*plain, *more}
    if not there:
        raise BadInput(
            [Problem("", "the policy has no transitions, so there is nothing to watch", "scmm extract --transitions")]
        )
    if not there & {*arches}:
        named = ", ".join(sorted(arch.value for arch in there))
        raise BadInput([Problem("", f"the policy's transitions are for {named}, and this machine is {machine}")])
    serves = any(each.serving_calls is not None for each in more.values())
    judged_at_start = bool(plain)
    startup: list[Image | None] = []
    serving: list[Image | None] = []
    problems: list[Problem] = []
    for arch in arches:
        beyond = more.get(arch) if arch else None
        if arch is None or (arch not in there and (judged_at_start or not serves)):
            startup.append(None)
            serving.append(None)
            continue
        try:
            startup.append(_startup(plain.get(arch), beyond, arch, judged=judged_at_start))
            serving.append(_serving(beyond, arch) if serves else startup[-1])
        except _TooMany as error:
            problems.append(
                Problem(
                    "",
                    f"{arch.value}: transitions of depth 3 have {error.count} triples, and there is room for "
                    f"{MOST_TRIPLES}",
                    "fewer keys with '>'",
                )
            )
            startup.append(None)
            serving.append(None)
    if problems:
        raise BadInput(problems)
    return Machines((*startup, *serving))


class _TooMany(Exception):
    def __init__(self, count: int) -> None:
        self.count = count


def _startup(
    edges: Sequence[tuple[int, int]] | None, beyond: Machine | None, arch: Arch, *, judged: bool
) -> Image | None:
    if edges is None and judged:
        return None
    switches = beyond.serving_calls or () if beyond else ()
    if edges is None:
        return _image([_ALL] * wire.STATES, [], _numbers(switches, arch))
    return _image(_rows(edges, arch), _triples(beyond.deep if beyond else (), arch), _numbers(switches, arch))


def _serving(beyond: Machine | None, arch: Arch) -> Image | None:
    if beyond is None or beyond.serving_calls is None:
        return None
    return _image(_rows(beyond.serving, arch), _triples(beyond.serving_deep, arch), set())


@cache
def numbers_of(code: int, arch: Arch) -> tuple[int, ...]:
    """The kernel's numbers of the states that a code stands for; none of a call that the tables have no room for."""
    known = states.numbers(arch)
    if codes.is_called(code):
        known = states.called(arch)
        if 0 <= code < states.FIRST and codes.word_of(code, arch) not in {states.call_of(word) for word in known}:
            return (code,)  # a call that is newer than the tables
    return tuple(known[word] for word in codes.words_of(code, arch) if word in known)


def _numbers(found: Iterable[int], arch: Arch) -> set[int]:
    return {number for code in found for number in numbers_of(code, arch)}


def _rows(edges: Iterable[tuple[int, int]], arch: Arch) -> list[int]:
    """A number for each state: bit N is set where state N may follow."""
    rows = [0] * wire.STATES
    bits: dict[int, int] = {}
    for state, to in edges:
        if to not in bits:
            bits[to] = sum(1 << number for number in numbers_of(to, arch))
        for number in numbers_of(state, arch):
            rows[number] |= bits[to]
    return rows


def _triples(found: Iterable[tuple[int, int, int]], arch: Arch) -> list[tuple[int, int, int]]:
    """Single states; with -1 as the third for each pair, that it has a list. Repetitions are a matter of the rows."""
    result: set[tuple[int, int, int]] = set()
    for before, state, to in found:
        ends = () if to == NOTHING else numbers_of(to, arch)
        for first in numbers_of(before, arch):
            for second in numbers_of(state, arch):
                # Repetitions count once: no thread comes to a state from itself.
                if first != second:
                    result.add((first, second, -1))
                    result.update((first, second, third) for third in ends if third != second)
    return sorted(result)


def _image(rows: list[int], triples: list[tuple[int, int, int]], switches: set[int]) -> Image:
    everything = 0
    for row in rows:
        everything |= row
    for *_, to in triples:
        everything |= 1 << to if to >= 0 else 0
    rows[wire.ANY] = everything
    head = sum(1 << number for number in switches).to_bytes(wire.STATES // 8, "little")
    body = [(0).to_bytes(4, "little"), (1 if switches else 0).to_bytes(4, "little"), head]
    body += [row.to_bytes(wire.STATES // 8, "little") for row in rows]
    return Image(b"".join(body), _deep(triples) if triples else b"")


def _deep(triples: list[tuple[int, int, int]]) -> bytes:
    """struct scmm_deep. Raises _TooMany."""
    pairs = [0] * wire.STATES
    for before, state, _ in triples:
        pairs[before] |= 1 << state
    keys = [(before << 20 | state << 10 | to) + 1 for before, state, to in triples if to >= 0]
    if len(keys) > MOST_TRIPLES:
        raise _TooMany(len(keys))
    for multiplier in _MULTIPLIERS:
        table = _hashed(keys, multiplier)
        if table is not None:
            head = wire.DEEP_HEAD.pack(multiplier, 0)
            return head + b"".join(row.to_bytes(wire.STATES // 8, "little") for row in pairs) + table.tobytes()
    raise _TooMany(len(keys))


def _hashed(keys: list[int], multiplier: int) -> array[int] | None:
    """The table of triples, or None where one would be too far from where it is looked for."""
    table = array("I", bytes(4 * wire.TRIPLES))
    for key in keys:
        place = (key * multiplier & 0xFFFFFFFF) >> _SHIFT
        for probe in range(wire.TRIPLE_PROBES):
            slot = (place + probe) % wire.TRIPLES
            if not table[slot]:
                table[slot] = key
                break
        else:
            return None
    return table
