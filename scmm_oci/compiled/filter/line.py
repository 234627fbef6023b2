"""Calls of the ABIs that share a machine → its line of numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scmm_oci.compiled.filter.plan import LAST_NUMBER, Decision, Machine, Piece, constant
from scmm_oci.compiled.filter.values import is_cached
from scmm_oci.tables.arch import Arch
from scmm_oci.tables.syscalls import X32_SYSCALL_BIT

_32_BITS = (Arch.X86, Arch.ARM, Arch.S390)
_BIG_ENDIAN = (Arch.S390, Arch.S390X)

# How often the filter is expected to run for pieces of which nothing was counted: each that looks at arguments as often
# as all that are refused together, since programs are made so that they are not refused. What is refused shares by
# how many numbers it has, up to a bound. What is allowed runs it once, when it is loaded.
_ALLOWED, _MOST_REFUSED = 0.001, 8
# Beside what was counted, all that was not has this share; and ABIs beside the kernel's own this one.
_UNCOUNTED, _BESIDE = 0.25, 0.05


@dataclass(frozen=True)
class Abi:
    """What the calls of one ABI are answered.

    Attributes:
        decisions: by number, as a filter sees it (x32's with its bit).
        default: for every other number.
        counts: how often calls were seen, by number; what is missing was not counted.
    """

    arch: Arch
    decisions: Mapping[int, Decision]
    default: Decision
    counts: Mapping[int, int]


def machines(abis: Sequence[Abi], bad_arch: int) -> tuple[Machine, ...]:
    """The machines of some ABIs, in their order. x86_64 and x32 are one: a bit of the number tells them apart."""
    by_audit: dict[int, list[Abi]] = {}
    for abi in abis:
        by_audit.setdefault(abi.arch.audit, []).append(abi)
    found = []
    for position, (audit, these) in enumerate(by_audit.items()):
        arch = these[0].arch
        line = tuple(_weighed(_line(these, bad_arch), these, 1.0 if position == 0 else _BESIDE))
        bits = 32 if arch in _32_BITS else 64
        found.append(Machine(audit, bits, "big" if arch in _BIG_ENDIAN else "little", line))
    return tuple(found)


def _line(abis: Sequence[Abi], bad_arch: int) -> list[Piece]:
    """Pieces that cover every number, those alike joined."""
    points: dict[int, Decision] = {}
    here = {abi.arch: abi for abi in abis}
    first = next(iter(here.values()))
    spans = [(0, LAST_NUMBER, first.default)]
    if first.arch.audit == Arch.X86_64.audit:
        native, x32 = here.get(Arch.X86_64), here.get(Arch.X32)
        refused = constant(bad_arch)
        spans = [
            (0, X32_SYSCALL_BIT - 1, native.default if native is not None else refused),
            (X32_SYSCALL_BIT, LAST_NUMBER - 1, x32.default if x32 is not None else refused),
            # -1 has the bit of x32, and is what a tracer makes of a call that is to be skipped (seccomp(2)).
            (LAST_NUMBER, LAST_NUMBER, first.default),
        ]
    for abi in abis:
        points.update(abi.decisions)
    pieces: list[Piece] = []

    def put(begin: int, end: int, decision: Decision) -> None:
        if begin > end:
            return
        if pieces and pieces[-1].decision == decision:
            pieces[-1] = Piece(pieces[-1].first, end, decision)
        else:
            pieces.append(Piece(begin, end, decision))

    numbers = sorted(points)
    for begin, end, default in spans:
        at = begin
        for number in numbers:
            if begin <= number <= end:
                put(at, number - 1, default)
                put(number, number, points[number])
                at = number + 1
        put(at, end, default)
    return pieces


def _weighed(line: Sequence[Piece], abis: Sequence[Abi], share: float) -> list[Piece]:
    counts = {number: count for abi in abis for number, count in abi.counts.items() if count}
    counted = [
        0 if _is_free(piece) else sum(count for number, count in counts.items() if piece.first <= number <= piece.last)
        for piece in line
    ]
    sizes = [0.0 if _is_free(piece) or len(piece.decision) > 1 else _size(piece) for piece in line]
    refused = sum(sizes) or 1.0
    expected = [
        _ALLOWED if _is_free(piece) else size / refused if size else _BESIDE if piece.first >= X32_SYSCALL_BIT else 1.0
        for piece, size in zip(line, sizes, strict=True)
    ]
    unit = _UNCOUNTED * sum(counted) / sum(expected) if sum(counted) else 1.0
    return [
        Piece(piece.first, piece.last, piece.decision, share * (count + unit * part))
        for piece, count, part in zip(line, counted, expected, strict=True)
    ]


def _is_free(piece: Piece) -> bool:
    return len(piece.decision) == 1 and is_cached(piece.decision[0].value)


def _size(piece: Piece) -> float:
    size = min(piece.last - piece.first + 1, _MOST_REFUSED)
    return size * _BESIDE if piece.first >= X32_SYSCALL_BIT else float(size)
