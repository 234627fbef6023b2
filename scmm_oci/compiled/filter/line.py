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

# How often the filter is expected to run for a piece that nothing was counted of, beside all that was counted: for
# arguments that are tested, for what is refused (so much for each number, and for no more than so many of them), for
# what is allowed (the kernel runs the filter once, when it is loaded), and for ABIs beside the kernel's own.
_TESTED, _REFUSED, _MOST_REFUSED, _ALLOWED, _BESIDE = 1.0, 0.25, 8, 0.002, 0.05


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
    measured = [
        0 if _is_free(piece) else sum(count for number, count in counts.items() if piece.first <= number <= piece.last)
        for piece in line
    ]
    unit = (sum(measured) or len(line)) / (4 * len(line))
    return [
        Piece(piece.first, piece.last, piece.decision, share * (count + unit * _expected(piece)))
        for piece, count in zip(line, measured, strict=True)
    ]


def _is_free(piece: Piece) -> bool:
    return len(piece.decision) == 1 and is_cached(piece.decision[0].value)


def _expected(piece: Piece) -> float:
    if len(piece.decision) > 1:
        return _TESTED
    size = min(piece.last - piece.first + 1, _MOST_REFUSED)
    own = _BESIDE if piece.first >= X32_SYSCALL_BIT else 1.0
    return _ALLOWED if _is_free(piece) else own * _REFUSED * size
