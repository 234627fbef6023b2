"""A filter → a line of text for each instruction, with the names that its numbers stand for.

What a number means follows from the way that leads to the instruction: which ABI's calls it is about, which call, and
which word of ``struct seccomp_data`` was loaded. Where ways meet and differ in that, the number stands bare. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from scmm_oci.compiled import bpf
from scmm_oci.compiled.bpf import WORD, Instruction
from scmm_oci.policy.constraints import argument_of
from scmm_oci.tables import arguments, errnos, syscalls
from scmm_oci.tables.arch import Arch

_ACTIONS = {
    bpf.RET_KILL_PROCESS: "KILL_PROCESS",
    bpf.RET_KILL_THREAD: "KILL_THREAD",
    bpf.RET_TRAP: "TRAP",
    bpf.RET_ERRNO: "ERRNO",
    bpf.RET_USER_NOTIF: "USER_NOTIF",
    bpf.RET_TRACE: "TRACE",
    bpf.RET_LOG: "LOG",
    bpf.RET_ALLOW: "ALLOW",
}
_COMPARISONS = {0x10: "==", 0x20: ">", 0x30: ">=", 0x40: "&"}
_ALU = {0: "+=", 0x10: "-=", 0x20: "*=", 0x30: "/=", 0x40: "|=", 0x50: "&=", 0x60: "<<=", 0x70: ">>=", 0xA0: "^="}
_WORDS = ("nr", "arch", "ip.low", "ip.high", *(f"arg{index}.{half}" for index in range(6) for half in ("low", "high")))


@dataclass(frozen=True)
class Line:
    """One instruction.

    Attributes:
        index: its place in the program; jumps name these.
        instruction: as it is.
        text: what it does.
        label: what is known of the calls that come here by a jump; empty where none does, or nothing is known.
    """

    index: int
    instruction: Instruction
    text: str
    label: str = ""


@dataclass(frozen=True)
class _State:
    """What is known before an instruction: of the word in A (and the mask over it), the ABI, the number of the call."""

    word: str | None = None
    mask: int = WORD
    audit: int | None = None
    first: int = 0
    last: int = WORD

    def joined(self, other: _State | None) -> _State:
        if other is None or other == self:
            return self
        mask = self._mask_with(other) if self.word == other.word else None
        word, mask = (None, WORD) if mask is None else (self.word, mask)
        audit = self.audit if self.audit == other.audit else None
        return _State(word, mask, audit, min(self.first, other.first), max(self.last, other.last))

    def _mask_with(self, other: _State) -> int | None:
        """The mask over the same word that is true of both; None if there is none."""
        if self.mask == other.mask:
            return self.mask
        # Where a number has no bit outside of a mask, it is the same with and without (x32's bit in x86_64's numbers).
        for one, mask in ((self, other.mask), (other, self.mask)):
            outside = ~mask & WORD
            if one.word == "nr" and one.mask == WORD and one.last < outside & -outside:
                return mask
        return None


def lines(program: Sequence[Instruction], *, arch: Arch | None) -> list[Line]:
    """The program in words.

    Args:
        program: one that `bpf.problems` finds nothing wrong with.
        arch: whose numbers those are that no comparison says it of, and in whose byte order the filter looks at
            arguments; None: nobody's, and little-endian.
    """
    states: list[_State | None] = [None] * len(program)
    states[0] = _State()
    targets: set[int] = set()
    found = []
    for index, one in enumerate(program):
        state = states[index]
        if state is not None:
            for target, then in _following(one, index, state, arch):
                states[target] = then.joined(states[target])
                if target != index + 1:
                    targets.add(target)
        label = _label(state, arch) if state is not None and index in targets else ""
        text = _text(one, index, state or _State(), arch)
        found.append(Line(index, one, text if state is not None else f"{text} (never reached)", label))
    return found


def returned(value: int) -> str:
    """What a filter returns, in words: ``ALLOW``, ``ERRNO(38 ENOSYS)``, ``TRACE(5)``."""
    action, number = value & bpf.RET_ACTION_FULL, value & bpf.RET_DATA
    name = _ACTIONS.get(action)
    if name is None:
        return f"{value:#010x} (unknown, as KILL_PROCESS)"  # seccomp(2), "Return values"
    if action == bpf.RET_ERRNO:
        named = errnos.NAMES.get(number)
        return f"ERRNO({number} {named})" if named else f"ERRNO({number})"
    return f"{name}({number})" if number else name


def arch_of(audit: int, nr: int = 0) -> Arch | None:
    """The ABI of a value of ``seccomp_data.arch``: x32's is x86_64's, and its numbers have a bit more."""
    if audit == Arch.X86_64.audit:
        return Arch.X32 if nr & syscalls.X32_SYSCALL_BIT and nr != WORD else Arch.X86_64
    return next((arch for arch in Arch if arch.audit == audit), None)


def name_of(arch: Arch | None, nr: int) -> str | None:
    """The name of a number as a filter sees it, with x32 before it where that bit is set."""
    own = arch_of(arch.audit, nr) if arch is not None else None
    name = syscalls.name_of(own, nr) if own is not None else None
    return f"x32 {name}" if name is not None and own is Arch.X32 else name


def _arch(state: _State, arch: Arch | None) -> Arch | None:
    return arch_of(state.audit) if state.audit is not None else arch


def _is_big(state: _State, arch: Arch | None) -> bool:
    return _arch(state, arch) in (Arch.S390X, Arch.S390)


def _following(one: Instruction, index: int, state: _State, arch: Arch | None) -> list[tuple[int, _State]]:
    """Where it goes on, and what is known there."""
    code, after = one.code, index + 1
    if code in (bpf.RET, 0x16):
        return []
    if code == bpf.JA:
        return [(after + one.k, state)]
    if code & 7 == 5:
        if one.jt == one.jf:
            return [(after + one.jt, state)]
        yes, no = (_narrowed(one, state, holds=holds) if not code & 8 else state for holds in (True, False))
        ways = ((after + one.jt, yes), (after + one.jf, no))
        return [(target, then) for target, then in ways if then is not None]
    if code == bpf.LOAD:
        return [(after, replace(state, word=_word(one.k, big=_is_big(state, arch)), mask=WORD))]
    if code == bpf.AND and state.word is not None:
        return [(after, replace(state, mask=state.mask & one.k))]
    keeps = code in (0x07, 0x02, 0x03, 0x01, 0x61, 0x81)  # TAX, stores and LDX leave A as it is
    return [(after, state if keeps else replace(state, word=None, mask=WORD))]


def _narrowed(one: Instruction, state: _State, *, holds: bool) -> _State | None:
    """What is known after a comparison with a number; None if it never comes out so."""
    if state.mask != WORD:
        return state
    if state.word == "arch" and one.code == bpf.JEQ:
        return replace(state, audit=one.k) if holds else state
    if state.word != "nr" or one.code not in (bpf.JEQ, bpf.JGT, bpf.JGE):
        return state
    first, last = state.first, state.last
    if one.code == bpf.JEQ:
        if holds:
            first, last = max(first, one.k), min(last, one.k)
        else:
            first += first == one.k
            last -= last == one.k
    else:
        least = one.k + (one.code == bpf.JGT)
        first, last = (max(first, least), last) if holds else (first, min(last, least - 1))
    return replace(state, first=first, last=last) if first <= last else None


def _word(offset: int, *, big: bool) -> str:
    index = offset // 4
    return _WORDS[index ^ 1 if big and index > 1 else index]


def _label(state: _State, arch: Arch | None) -> str:
    own = _arch(state, arch)
    which = str(own or "") if state.audit is not None else ""
    if (state.first, state.last) == (0, WORD):
        return which
    first, last = (name_of(own, nr) or (f"{nr:#x}" if nr > 4095 else str(nr)) for nr in (state.first, state.last))
    if state.first == state.last:
        span = first
    elif state.last == WORD:
        span = f"{first} and up"
    else:
        span = f"up to {last}" if state.first == 0 else f"{first} to {last}"
    return f"{which}: {span}" if which else span


def _text(one: Instruction, index: int, state: _State, arch: Arch | None) -> str:
    code, k, here = one.code, one.k, index + 1
    if code & 7 == 6:
        return f"return {returned(k)}" if code == bpf.RET else "return A"
    if code == bpf.JA:
        return f"goto {here + k}"
    if code == bpf.LOAD:
        return f"load {_word(k, big=_is_big(state, arch))}"
    if code & 7 == 5:
        left = _left(state)
        other = "X" if code & 8 else _number(one, state, arch)
        return f"if {left} {_COMPARISONS[code & 0xF0]} {other} goto {here + one.jt} else {here + one.jf}"
    if code & 7 == 4:
        return "A = -A" if code == 0x84 else f"A {_ALU[code & 0xF0]} {'X' if code & 8 else f'{k:#x}'}"
    if code & 7 == 7:
        return "A = X" if code == 0x87 else "X = A"
    if code & 7 in (2, 3):
        return f"M[{k}] = {'X' if code & 1 else 'A'}"
    value = {0: f"{k:#x}", 0x60: f"M[{k}]", 0x80: f"{bpf.DATA_SIZE}"}[code & 0xE0]
    return f"{'X' if code & 7 else 'A'} = {value}"


def _left(state: _State) -> str:
    word = state.word or "A"
    return word if state.mask == WORD else f"({word} & {state.mask:#x})"


def _number(one: Instruction, state: _State, arch: Arch | None) -> str:
    own, k = _arch(state, arch), one.k
    if state.word == "arch":
        named = arch_of(k)
        return f"{k:#010x} ({named})" if named is not None else f"{k:#010x}"
    if state.word == "nr":
        name = name_of(own, k) if one.code in (bpf.JEQ, bpf.JGT, bpf.JGE) else None
        number = f"{k:#x}" if k > 4095 else str(k)
        return f"{number} ({name})" if name is not None else number
    text = str(k) if k < 10 else f"{k:#x}"
    if state.word is None or not state.word.endswith(".low") or state.first != state.last or own is None:
        return text
    own = arch_of(own.audit, state.first) or own
    call = syscalls.name_of(own, state.first)
    index = state.word.removesuffix(".low").removeprefix("arg")
    if call is None or not index.isdigit():
        return text
    argument = argument_of(call, int(index), own)
    named_value = arguments.describe(argument, k, arch=own) if argument is not None else text
    return f"{text} ({named_value})" if named_value not in (text, f"{k:#x}") else text
