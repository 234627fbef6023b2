"""The ways that one call can take through a filter, where not all of its arguments are known.

Each way comes with arguments that take it, so that what is said of it can be checked by `simulate`. It follows both
sides of a comparison with what is not known, and leaves out those that no value takes. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from scmm_oci.compiled import bpf
from scmm_oci.compiled.bpf import WORD, ByteOrder, Call, Instruction
from scmm_oci.errors import BadInput, Failure, Problem

# Ways of one call beyond this are none that a filter for a policy has.
MOST = 20_000

_JUMPS = frozenset({bpf.JEQ, bpf.JGT, bpf.JGE, bpf.JSET})
_FIRST_ARGUMENT = bpf.ARGS_OFFSET // 4

# Argument → (value, mask): the bits in the mask are known.
Known = Mapping[int, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Way:
    """One way through a filter.

    Attributes:
        value: what is returned.
        executed: how many instructions that takes.
        args: six arguments that take this way; those that are known among them.
        looks: the arguments that are looked at.
    """

    value: int
    executed: int
    args: tuple[int, ...]
    looks: frozenset[int]


@dataclass(frozen=True, slots=True)
class _Test:
    """``(word & mask) code k``, or that it is not so."""

    code: int
    mask: int
    k: int
    holds: bool

    def fits(self, word: int) -> bool:
        value = word & self.mask
        if self.code == bpf.JEQ:
            found = value == self.k
        elif self.code == bpf.JGT:
            found = value > self.k
        elif self.code == bpf.JGE:
            found = value >= self.k
        else:
            found = bool(value & self.k)
        return found == self.holds

    def settled(self) -> int:
        """The bits that are known after the test."""
        if self.code == bpf.JEQ and self.holds:
            return self.mask
        return self.mask & self.k if self.code == bpf.JSET and not self.holds else 0

    def candidates(self, word: int) -> Iterator[int]:
        """Words near ``word`` that may fit."""
        other = word & ~self.mask
        if self.code == bpf.JEQ and self.holds:
            yield other | self.k
        elif self.code == bpf.JSET and not self.holds:
            yield word & ~(self.mask & self.k)
        elif self.code in (bpf.JGT, bpf.JGE):
            for value in (self.k, self.k + 1, self.k - 1, WORD, 0):
                yield other | (value & self.mask)
        yield from (word ^ 1 << bit for bit in range(32) if self.mask >> bit & 1)


@dataclass(frozen=True, slots=True)
class _Word:
    """A word of ``struct seccomp_data``: the bits that are known, what has been found out, and a value that fits."""

    value: int
    mask: int
    tests: tuple[_Test, ...] = ()

    def tested(self, test: _Test) -> _Word | None:
        """The word after a test; None if no value passes."""
        if not test.mask & ~self.mask:
            return self if test.fits(self.value) else None
        fixed = self.value & self.mask
        for candidate in self._candidates(test):
            word = candidate & WORD & ~self.mask | fixed
            if test.fits(word) and all(one.fits(word) for one in self.tests):
                return _Word(word, self.mask | test.settled(), (*self.tests, test))
        return None

    def _candidates(self, test: _Test) -> Iterator[int]:
        yield self.value
        yield from test.candidates(self.value)
        # Nothing near the value that fitted so far: begin elsewhere, and mend that by what each test asks for.
        for start in (0, WORD):
            word = next(test.candidates(start), start)
            yield word
            for one in (*self.tests, test):
                for near in one.candidates(word):
                    yield near
                    yield from test.candidates(near)


def ways(program: Sequence[Instruction], call: Call, known: Known) -> list[Way]:
    """Every way that a call can take.

    Args:
        program: one that `bpf.problems` finds nothing wrong with.
        call: its number, machine and byte order; arguments are taken from ``known``.
        known: what is known of arguments; of those that are not in it nothing is.

    Raises:
        BadInput: the filter has instructions that are not followed (ours have none).
        Failure: there are more than MOST ways.
    """
    found: list[Way] = []
    words = _words(call, known)
    # Places to go on from: the instruction, executed so far, words by index, which of them were loaded, word and mask.
    left: list[tuple[int, int, dict[int, _Word], frozenset[int], int, int]] = [(0, 0, words, frozenset(), 0, 0)]
    while left:
        at, executed, words, loaded, word, mask = left.pop()
        while (one := program[at]).code != bpf.RET:
            at, executed = at + 1, executed + 1
            if one.code == bpf.LOAD:
                word, mask = one.k >> 2, WORD
                loaded |= {word}
            elif one.code == bpf.AND:
                mask &= one.k
            elif one.code == bpf.JA:
                at += one.k
            elif one.code not in _JUMPS:
                raise _strange(at - 1, one.code)
            else:
                yes, no = (words[word].tested(_Test(one.code, mask, one.k, holds)) for holds in (True, False))
                if yes is not None and no is not None:
                    left.append((at + one.jf, executed, {**words, word: no}, loaded, word, mask))
                    if len(left) + len(found) > MOST:
                        raise Failure(f"system call {call.nr} has more than {MOST} ways through the filter")
                taken = yes if yes is not None else no
                assert taken is not None  # a test and its contrary leave no value out
                words = {**words, word: taken}
                at += one.jt if yes is not None else one.jf
        looks = frozenset((index - _FIRST_ARGUMENT) // 2 for index in loaded if index >= _FIRST_ARGUMENT)
        found.append(Way(one.k, executed + 1, _arguments(words, call.byte_order), looks))
    return sorted(found, key=lambda way: (way.value, way.executed, way.args))


def runs_never(program: Sequence[Instruction], call: Call) -> bool:
    """Whether the kernel allows the call without running the filter, however it is called.

    Since Linux 5.11 it remembers which calls a filter allows by their number alone (seccomp_is_const_allow of
    kernel/seccomp.c), for its own ABI and the 32-bit one, so not for x32.
    """
    if call.nr >= 1 << 30:
        return False
    words, word, at = call.words(), 0, 0
    while (one := program[at]).code != bpf.RET:
        at += 1
        if one.code == bpf.LOAD:
            if one.k >> 2 > bpf.ARCH_OFFSET >> 2:
                return False
            word = words[one.k >> 2]
        elif one.code == bpf.AND:
            word &= one.k
        elif one.code == bpf.JA:
            at += one.k
        elif one.code not in _JUMPS:
            return False
        else:
            at += one.jt if _Test(one.code, WORD, one.k, holds=True).fits(word) else one.jf
    return one.k == bpf.RET_ALLOW


def _strange(index: int, code: int) -> BadInput:
    message = f"has the code {code:#04x}, which is not followed"
    return BadInput([Problem(f"[{index}]", message, "ours have no such instruction")])


def _words(call: Call, known: Known) -> dict[int, _Word]:
    values = Call(call.nr, call.arch, tuple(known.get(index, (0, 0))[0] for index in range(6)), 0, call.byte_order)
    masks = Call(WORD, WORD, tuple(known.get(index, (0, 0))[1] for index in range(6)), 0, call.byte_order)
    return {
        index: _Word(value & mask, mask)
        for index, (value, mask) in enumerate(zip(values.words(), masks.words(), strict=True))
    }


def _arguments(words: Mapping[int, _Word], byte_order: ByteOrder) -> tuple[int, ...]:
    pairs = ((words[at].value, words[at + 1].value) for at in range(_FIRST_ARGUMENT, _FIRST_ARGUMENT + 12, 2))
    return tuple(low | high << 32 if byte_order == "little" else high | low << 32 for low, high in pairs)
