"""What a constraint of a rule means, as comparisons that a seccomp filter can make.

A word of a constraint is a name of the argument's vocabulary (``AF_INET``), a number, or several joined by ``|``.

- ``allowed``, ``denied`` and ``match`` look at what the kernel takes: of an ``int`` the low 32 bits, whatever stands
  above them. (Comparing all 64 would let ``1 << 32 | 40`` pass where 40 is denied.)
- ``integer``: the value is one of ``allowed`` and of the exact patterns of ``match``; and none of ``denied``.
- ``flags`` (of an argument that is a word of flags, else as ``integer``): no bit is set that ``allowed`` does not name,
  and a number among the flags (the access mode of open, the signal of clone) is one that it names, or 0 where it names
  none; and no flag or number of ``denied`` is there.
- ``op`` compares all 64 bits with one value, as the OCI runtime-spec does.

Used by policy.check, policy.admit and the compilers. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product

from scmm_oci.errors import BadInput, Problem, short
from scmm_oci.policy.model import ArgType, Constraint, MatchType, Operator
from scmm_oci.tables import arguments, signatures, words
from scmm_oci.tables.arch import NARROW, Arch

FULL = (1 << 64) - 1
LOW = (1 << 32) - 1

# Alternatives of one rule beyond this are none that a person wrote, and would fill any filter.
MOST = 4096


# The seed system's flag names say by their beginnings which vocabulary they are of.
_PREFIXES = {
    "O_": "open_flags",
    "PROT_": "prot_flags",
    "MAP_": "mmap_flags",
    "AF_": "address_families",
    "SOCK_": "socket_types",
    "CLONE_": "clone_flags",
    "PR_": "prctl_options",
    "F_": "fcntl_commands",
    "TC": "ioctl_commands",
    "TIO": "ioctl_commands",
    "FIO": "ioctl_commands",
}


@dataclass(frozen=True, order=True)
class Test:
    """One comparison: ``(argument & mask) op value``, on 64 bits; every operator but EQ and NE has a full mask.

    EQ with a mask that is not full is what the runtime-spec calls MASKED_EQ.
    """

    arg: int
    op: Operator
    value: int
    mask: int = FULL

    def holds(self, value: int) -> bool:
        """Whether an argument (unsigned, 64 bits) passes."""
        masked = value & self.mask
        match self.op:
            case Operator.EQ | Operator.MASKED_EQ:
                return masked == self.value
            case Operator.NE:
                return masked != self.value
            case Operator.LT:
                return masked < self.value
            case Operator.LE:
                return masked <= self.value
            case Operator.GE:
                return masked >= self.value
        return masked > self.value


Alternative = tuple[Test, ...]


@cache
def argument_of(call: str, arg: int, arch: Arch) -> arguments.Argument | None:
    """What the tables know of an argument that is a number in a register; None for any other."""
    for known in _table(arch).get(call, ()):
        if known.field is None and known.indexes == (arg,):
            return known
    return None


@cache
def index_of(call: str, vocabulary: str, arch: Arch) -> int | None:
    """The argument of a call, in a register, whose values are of a vocabulary; None if it has none."""
    for known in _table(arch).get(call, ()):
        if known.field is None and known.vocabulary == vocabulary and len(known.indexes) == 1:
            return known.indexes[0]
    return None


@cache
def is_pair(call: str, arg: int, arch: Arch) -> arguments.Argument | None:
    """The pair of arguments that this one is a half of (the level and the option of setsockopt), or None."""
    return next((one for one in _table(arch).get(call, ()) if len(one.indexes) == 2 and arg in one.indexes), None)


@cache
def is_structure(call: str, arg: int, arch: Arch) -> bool:
    """Whether the argument is the address of a structure (clone3, openat2), which no filter can read."""
    return any(known.field is not None and known.indexes == (arg,) for known in _table(arch).get(call, ()))


def known_words(call: str, arg: int, arch: Arch) -> list[str]:
    """The names of an argument's values; empty where there are none."""
    argument = argument_of(call, arg, arch)
    pair = is_pair(call, arg, arch)
    if argument is not None:
        return sorted(words.names(argument.vocabulary, arch=arch))
    if pair is not None and arg == pair.indexes[0]:
        return sorted(words.names("option_levels", arch=arch))
    return sorted(_options(pair.vocabulary, arch)) if pair is not None else []


def value_of(call: str, arg: int, word: int | str, arch: Arch) -> int | None:
    """The number that a word of a constraint stands for, or None if it is no word of that argument."""
    if isinstance(word, int):
        return word if 0 <= word <= FULL else None
    total = 0
    for part in word.split("|"):
        value = _part(call, arg, part.strip(), arch)
        if value is None:
            return None
        total |= value
    return total


def is_too_wide(call: str, arg: int, word: int | str, arch: Arch) -> bool:
    """Whether a word of ``allowed``, ``denied`` or ``match`` is a number that the argument never has.

    Of an int the kernel takes 32 bits, and a number beyond them would stand for another one: 1 << 32 for 0. What an
    int becomes where it is extended by its sign is as good as the int. Of a file mode it takes fewer.
    """
    value = value_of(call, arg, word, arch)
    if value is None or width(call, arg, arch) > LOW:
        return False
    if value > LOW and value >> 31 != FULL >> 31:
        return True
    has_names = argument_of(call, arg, arch) is not None or is_pair(call, arg, arch) is not None
    return not has_names and bool(value & LOW & ~signatures.taken(call, arg))


def alternatives(
    constraints: Sequence[Constraint], call: str, arch: Arch, *, unequal: bool = False
) -> tuple[Alternative, ...]:
    """The ways in which all constraints of a rule can hold: one of them must, with every test in it.

    No constraints give one way without tests; no way at all means that they cannot hold. Tests are sorted, and tests
    of one argument are joined to one wherever one can say the same.

    Args:
        unequal: numbers that are denied become tests with NE under a mask, one for each. Profiles have no such
            comparison: without it they become the blocks of numbers that are left, of which there can be many.

    Raises:
        BadInput: a constraint is one that no filter can hold, or has a word that is not known.
    """
    found: set[Alternative] = set()
    parts = [_alternatives(constraint, call, arch, unequal) for constraint in constraints]
    ways = 1
    for part in parts:
        ways *= len(part)
    if ways > MOST:
        raise BadInput([Problem("", f"the constraints on {call} are {ways} different comparisons; {MOST} at most")])
    for chosen in product(*parts):
        joined = _join(test for tests in chosen for test in tests)
        if joined is not None:
            found.add(joined)
    return tuple(sorted(found))


def _alternatives(constraint: Constraint, call: str, arch: Arch, unequal: bool) -> list[Alternative]:
    arg = constraint.arg
    if constraint.type not in (ArgType.INTEGER, ArgType.FLAGS) or is_structure(call, arg, arch):
        what = "a structure" if is_structure(call, arg, arch) else f"a {constraint.type}"
        message = f"argument {arg} of {call} is the address of {what}, which no filter can read"
        raise BadInput([Problem("", message, "without it every value would be allowed")])
    if constraint.op is not None:
        return [(_compare(constraint, call, arch),)]
    bits = width(call, arg, arch)
    argument = argument_of(call, arg, arch)
    # Values of an enumeration are no bits: AF_INET6 is not AF_UNIX and AF_INET together with 8.
    if constraint.type is ArgType.FLAGS and (argument is None or argument.kind == "flags"):
        return _flags(constraint, call, arch, bits)
    return _numbers(constraint, call, arch, bits, unequal)


def _compare(constraint: Constraint, call: str, arch: Arch) -> Test:
    assert constraint.op is not None
    value = _number(call, constraint.arg, constraint.value if constraint.value is not None else 0, arch)
    if constraint.op is Operator.MASKED_EQ:
        mask = _number(call, constraint.arg, constraint.mask if constraint.mask is not None else FULL, arch)
        return Test(constraint.arg, Operator.EQ, value, mask)
    return Test(constraint.arg, constraint.op, value)


def _numbers(constraint: Constraint, call: str, arch: Arch, width: int, unequal: bool) -> list[Alternative]:
    arg = constraint.arg
    chosen = [*constraint.allowed, *_exact(constraint)]
    denied = {_narrow(call, arg, word, arch) & width for word in constraint.denied}
    if chosen:
        values = {_narrow(call, arg, word, arch) & width for word in chosen} - denied
        return [(Test(arg, Operator.EQ, value, width),) for value in sorted(values)]
    if unequal:
        return [tuple(Test(arg, Operator.NE, value, width) for value in sorted(denied))]
    return [(Test(arg, Operator.EQ, value, mask),) for value, mask in others(denied, width)]


def _flags(constraint: Constraint, call: str, arch: Arch, width: int) -> list[Alternative]:
    arg = constraint.arg
    fields = _fields(call, arg, arch)
    numbers = 0
    for field in fields:
        numbers |= field
    allowed = [_narrow(call, arg, word, arch) for word in (*constraint.allowed, *_exact(constraint))]
    denied = [_narrow(call, arg, word, arch) for word in constraint.denied]
    refused = 0
    for value in denied:
        refused |= value & ~numbers
    zero = refused & width
    if allowed:
        union = 0
        for value in allowed:
            union |= value
        zero |= width & ~union & ~numbers
    choices: list[list[tuple[int, int]]] = []
    for field in fields:
        # A word may join flags and a number (O_WRONLY|O_CREAT): its number counts as well.
        bad = {value & field for value in denied if value & field or (not value and field == fields[0])}
        good = {value & field for value in allowed if value & field or (not value and field == fields[0])}
        if allowed:
            # Only the first number has a word for 0 (O_RDONLY, or 0 itself); the others may always be 0.
            zero_too = set() if good and field == fields[0] else {0}
            choices.append([(value, field) for value in sorted((good | zero_too) - bad)])
        elif bad:
            choices.append(list(others(bad, field)))
    found: list[Alternative] = []
    for chosen in product(*choices):
        mask, value = zero, 0
        for number, bits in chosen:
            mask |= bits
            value |= number
        found.append((Test(arg, Operator.EQ, value, mask),))
    return found


def others(values: Iterable[int], width: int) -> Iterator[tuple[int, int]]:
    """Every number within ``width`` but these, as (value, mask) blocks: the high bits fixed, the low ones free."""

    def blocks(here: set[int], value: int, mask: int, bits: list[int]) -> Iterator[tuple[int, int]]:
        if not here:
            yield value, mask
        elif bits:
            bit, rest = bits[0], bits[1:]
            yield from blocks({one for one in here if not one & bit}, value, mask | bit, rest)
            yield from blocks({one for one in here if one & bit}, value | bit, mask | bit, rest)

    bits = [1 << number for number in range(width.bit_length() - 1, -1, -1) if width >> number & 1]
    yield from blocks({value for value in values if not value & ~width}, 0, 0, bits)


def _exact(constraint: Constraint) -> Iterator[str]:
    for match in constraint.match:
        if match.type is not MatchType.EXACT:
            message = f"a {match.type} pattern cannot be tested by a filter"
            raise BadInput([Problem("", message, "without it every value would be allowed")])
        yield match.pattern


def _join(tests: Iterable[Test]) -> Alternative | None:
    """The tests, those of one argument made one where they all are EQ; None if they cannot hold together."""
    equal: dict[int, Test] = {}
    rest: set[Test] = set()
    for test in tests:
        if test.op is not Operator.EQ:
            rest.add(test)
            continue
        before = equal.get(test.arg)
        if before is None:
            equal[test.arg] = test
            continue
        both = before.mask & test.mask
        if before.value & both != test.value & both:
            return None
        equal[test.arg] = Test(test.arg, Operator.EQ, before.value | test.value, before.mask | test.mask)
    if any(test.value & ~test.mask for test in equal.values()):
        return None
    # A mask of nothing asks nothing.
    return tuple(sorted([*(test for test in equal.values() if test.mask), *rest]))


def width(call: str, arg: int, arch: Arch) -> int:
    """The bits of an argument that words are compared with: those that the kernel looks at."""
    argument = argument_of(call, arg, arch)
    if argument is not None:
        return argument.mask
    return LOW if is_pair(call, arg, arch) is not None else signatures.taken(call, arg)


def _fields(call: str, arg: int, arch: Arch) -> tuple[int, ...]:
    argument = argument_of(call, arg, arch)
    return words.fields(argument.vocabulary, arch=arch) if argument is not None else ()


def _number(call: str, arg: int, word: int | str, arch: Arch) -> int:
    value = value_of(call, arg, word, arch)
    if value is None:
        raise BadInput([Problem("", f"{short(word)} is no value of argument {arg} of {call} on {arch}")])
    return value


def _narrow(call: str, arg: int, word: int | str, arch: Arch) -> int:
    if is_too_wide(call, arg, word, arch):
        bits = width(call, arg, arch).bit_length()
        raise BadInput([Problem("", f"{short(word)} has more than the {bits} bits of argument {arg} of {call}")])
    return _number(call, arg, word, arch)


def _part(call: str, arg: int, word: str, arch: Arch) -> int | None:
    argument = argument_of(call, arg, arch)
    pair = is_pair(call, arg, arch)
    # What is negative is so in a register of the ABI: nothing stands above its 32 bits there.
    bits = 32 if arch in NARROW or (argument is not None and not argument.wide) else 64
    if argument is not None:
        known = words.names(argument.vocabulary, arch=arch)
    elif pair is not None:
        known = words.names("option_levels", arch=arch) if arg == pair.indexes[0] else _options(pair.vocabulary, arch)
    else:
        prefix = next((one for one in _PREFIXES if word.startswith(one)), None)
        known = words.names(_PREFIXES[prefix], arch=arch) if prefix is not None else {}
    return known[word] if word in known else _integer(word, bits)


def _integer(word: str, bits: int) -> int | None:
    # The notation of C and YAML; what is negative stands for the bits that C makes of it.
    digits = word.removeprefix("-")
    if not digits.isascii() or not digits[:1].isdigit() or len(digits) > 24 or "_" in digits:
        return None
    try:
        value = int(digits, 0)
    except ValueError:
        return None
    if word.startswith("-"):
        return (1 << bits) - value if 0 < value <= 1 << (bits - 1) else None
    return value if value <= FULL else None


@cache
def _options(vocabulary: str, arch: Arch) -> dict[str, int]:
    found: dict[str, int] = {}
    for level in sorted(set(words.names("option_levels", arch=arch).values())):
        found.update(words.options(vocabulary, level, arch=arch))
    return found


@cache
def _table(arch: Arch) -> dict[str, tuple[arguments.Argument, ...]]:
    return dict(arguments.arguments(arch))
