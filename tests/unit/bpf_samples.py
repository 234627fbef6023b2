"""Random programs of classic BPF: such as kernels take for filters, and such with something wrong in them."""

from scmm_oci.compiled import bpf
from scmm_oci.compiled.bpf import Instruction

JUMPS = (0x15, 0x25, 0x35, 0x45, 0x1D, 0x2D, 0x3D, 0x4D)
ALU_K = (0x04, 0x14, 0x24, 0x34, 0x44, 0x54, 0xA4, 0x64, 0x74)
ALU_X = (0x0C, 0x1C, 0x2C, 0x3C, 0x4C, 0x5C, 0xAC, 0x6C, 0x7C)
PLAIN = (0x80, 0x81, 0x07, 0x87, 0x84)
IMMEDIATE = (0x00, 0x01)
LOADS = (0x60, 0x61)
STORES = (0x02, 0x03)
RETURNS = (0x06, 0x16)
ALL_CODES = frozenset((*JUMPS, *ALU_K, *ALU_X, *PLAIN, *IMMEDIATE, *LOADS, *STORES, *RETURNS, bpf.LOAD, bpf.JA))

INTERESTING = (0, 1, 2, 31, 32, 33, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)


def number(random):
    """A word: one at a boundary, a small one, or any."""
    return random.choice((random.choice(INTERESTING), random.randrange(64), random.getrandbits(32)))


def instruction(random, *, left, words):
    """A valid instruction with `left` instructions behind it, that loads none but the memory words given."""
    kind = random.randrange(8)
    if kind <= 1:
        return Instruction(bpf.LOAD, 4 * random.randrange(16))
    if kind == 2:
        code = random.choice(ALU_K)
        k = random.randrange(32) if code in (0x64, 0x74) else number(random)
        return Instruction(code, max(k, 1) if code == 0x34 else k)
    if kind == 3:
        return Instruction(random.choice((*ALU_X, *PLAIN)))
    if kind == 4:
        return Instruction(random.choice(IMMEDIATE), number(random))
    if kind == 5 and words:
        return Instruction(random.choice((*STORES, *LOADS)), random.choice(words))
    if kind == 6 and random.randrange(12) == 0:
        return Instruction(random.choice(RETURNS), number(random))
    most = min(left - 1, 255)
    if random.randrange(8) == 0:
        return Instruction(bpf.JA, random.randrange(left))
    return Instruction(random.choice(JUMPS), number(random), random.randint(0, most), random.randint(0, most))


def valid(random, *, longest=40):
    """A program that a kernel takes. Memory words that it loads are stored at its beginning."""
    words = random.sample(range(16), random.randrange(4))
    head = [Instruction(random.choice(STORES), word) for word in words]
    size = random.randint(1, longest)
    body = [instruction(random, left=size - index, words=words) for index in range(size)]
    return (*head, *body, Instruction(random.choice(RETURNS), number(random)))


def mutated(random):
    """A program with a few fields changed at random: some are taken, most are not."""
    program = list(valid(random, longest=12))
    for _ in range(random.randint(1, 2)):
        at = random.randrange(len(program))
        one = program[at]
        match random.randrange(7):
            case 0:
                program[at] = Instruction(random.choice((*ALL_CODES, *range(0x100), 0x94)), one.k, one.jt, one.jf)
            case 1:
                program[at] = Instruction(one.code, number(random), one.jt, one.jf)
            case 2:
                program[at] = Instruction(one.code, one.k, random.randrange(len(program) + 2), one.jf)
            case 3:
                program[at] = Instruction(one.code, one.k, one.jt, random.randrange(len(program) + 2))
            case 4:
                program[at] = Instruction(random.choice((*LOADS, *STORES)), random.randrange(18))
            case 5:
                program[at] = Instruction(random.choice((0x34, 0x64, 0x74, bpf.JA, bpf.LOAD)), random.randrange(70))
            case _:
                del program[at]
                if not program:
                    return (one,)
    return tuple(program)


def words(random):
    """Words of ``struct seccomp_data``."""
    return tuple(number(random) for _ in range(16))
