"""Constraints against a second reading of what they mean, written bit by bit, without masks and blocks."""

import pytest
from hypothesis import example, given, reject, settings
from hypothesis import strategies as st

from scmm_oci.errors import BadInput
from scmm_oci.policy import constraints
from scmm_oci.policy.model import ArgType, Constraint, Match, MatchType, Operator
from scmm_oci.tables import words
from scmm_oci.tables.arch import Arch

X86 = Arch.X86_64
# Enumerations, words of flags, flags with numbers among them, a pair, an address, a descriptor, 32 and 64 bits.
PLACES = [
    ("openat", 2),
    ("clone", 0),
    ("socket", 0),
    ("socket", 1),
    ("mmap", 2),
    ("mmap", 3),
    ("prctl", 0),
    ("fcntl", 1),
    ("ioctl", 1),
    ("setsockopt", 1),
    ("setsockopt", 2),
    ("personality", 0),
    ("read", 0),
    ("unshare", 0),
]
EDGES = [0, 1, 2, 3, 1 << 31, (1 << 31) - 1, (1 << 32) - 1, 1 << 32, (1 << 32) + 2, 1 << 63, (1 << 64) - 1]


def bits(value):
    return {number for number in range(64) if value >> number & 1}


# Calls of `cases` whose arguments have no names, and are int all the same: read(2)'s descriptor.
INTS = ("read",)


def says(constraint, call, value):
    """Whether an argument of a call passes, by the words of policy.constraints' description."""
    number = lambda word: constraints.value_of(call, constraint.arg, word, X86)  # noqa: E731
    if constraint.op is not None:
        want = number(constraint.value)
        return {
            "eq": value == want,
            "ne": value != want,
            "lt": value < want,
            "le": value <= want,
            "ge": value >= want,
            "gt": value > want,
            "masked_eq": constraint.mask is not None and value & number(constraint.mask) == want,
        }[constraint.op.value]
    argument = constraints.argument_of(call, constraint.arg, X86)
    pair = constraints.is_pair(call, constraint.arg, X86) is not None
    wide = argument.wide if argument is not None else call not in INTS
    seen = range(32) if pair or not wide else range(64)
    if argument is not None:
        seen = sorted(bits(argument.mask) & set(seen))
    there = bits(value) & set(seen)
    allowed = [bits(number(word)) & set(seen) for word in constraint.allowed]
    allowed += [bits(number(match.pattern)) & set(seen) for match in constraint.match]
    denied = [bits(number(word)) & set(seen) for word in constraint.denied]
    if constraint.type is ArgType.INTEGER or (argument is not None and argument.kind == "enum"):
        return there not in denied and (there in allowed or not allowed)
    fields = words.fields(argument.vocabulary, arch=X86) if argument is not None else ()
    flags = there.difference(*map(bits, fields))
    if flags & set().union(*denied) or (allowed and not flags <= set().union(*allowed)):
        return False
    for place, field in enumerate(map(bits, fields)):
        here = there & field
        named = [word & field for word in allowed if word & field or (not word and not place)]
        if here in [word & field for word in denied if word & field or (not word and not place)]:
            return False
        free = not here and (place > 0 or not named)
        if allowed and here not in named and not free:
            return False
    return True


@st.composite
def cases(draw):
    call, arg = draw(st.sampled_from(PLACES))
    argument = constraints.argument_of(call, arg, X86)
    wide = argument.wide if argument is not None else call not in INTS
    narrow = not wide or constraints.is_pair(call, arg, X86) is not None
    known = constraints.known_words(call, arg, X86)
    highest = (1 << 32) - 1 if narrow else (1 << 64) - 1
    numbers = st.integers(0, highest).map(str) | st.sampled_from([one for one in EDGES if one <= highest]).map(hex)
    word = st.sampled_from(known) | numbers if known else numbers
    some = st.lists(word | st.lists(word, min_size=2, max_size=2).map("|".join), max_size=3).map(tuple)
    kind = draw(st.sampled_from([ArgType.INTEGER, ArgType.FLAGS]))
    if draw(st.integers(0, 3)) == 0:
        op = draw(st.sampled_from(Operator))
        value, mask = draw(st.sampled_from(EDGES)), None
        if op is Operator.MASKED_EQ:
            mask = draw(st.sampled_from(EDGES) | st.integers(0, (1 << 64) - 1))
            value &= mask
        one = Constraint(arg, kind, op=op, value=value, mask=mask)
    else:
        one = Constraint(arg, kind, tuple(map(Match, draw(some))), draw(some), draw(some))
    named = [constraints.value_of(call, arg, each, X86) for each in (*one.allowed, *one.denied, *known[:20])]
    base = st.sampled_from([*EDGES, *named]) | st.integers(0, (1 << 64) - 1)
    values = draw(
        st.lists(st.builds(lambda a, b, c: a | b | c, base, base, st.just(0)) | base, min_size=3, max_size=12)
    )
    values += [each | 1 << 32 for each in values] + [each ^ 1 for each in values] + named[:6]
    return call, one, values


@settings(max_examples=400)
@given(cases())
@example(("openat", Constraint(2, ArgType.FLAGS, denied=("O_WRONLY|O_CREAT",)), [0, 1, 64, 65, 2]))
@example(("clone", Constraint(0, ArgType.FLAGS, allowed=("0",)), [0, 17, 1 << 32, 1 << 17]))
def test_comparisons_pass_what_the_words_say(case):
    call, constraint, values = case
    ways = constraints.alternatives([constraint], call, X86)
    for value in values:
        assert any(all(test.holds(value) for test in way) for way in ways) is says(constraint, call, value), hex(value)


@settings(max_examples=150)
@given(cases(), cases(), cases())
def test_all_constraints_must_hold(first, second, third):
    # The three are put on arguments of one call, as far as they are of the same place: two on one argument join.
    call, one, values = first
    some = [one, *(other for name, other, _ in (second, third) if name == call)]
    try:
        ways = constraints.alternatives(some, call, X86)
    except BadInput as error:
        assert "different comparisons; 4096 at most" in str(error)
        reject()
    for value in values:
        given_values = {other.arg: value for other in some}
        expected = all(says(other, call, value) for other in some)
        assert any(all(test.holds(given_values[test.arg]) for test in way) for way in ways) is expected


def test_nothing_asks_nothing_and_what_excludes_itself_has_no_way():
    assert constraints.alternatives([], "read", X86) == ((),)
    none = [
        Constraint(0, ArgType.INTEGER, op=Operator.EQ, value=1),
        Constraint(0, ArgType.INTEGER, op=Operator.EQ, value=2),
    ]
    assert constraints.alternatives(none, "socket", X86) == ()
    assert constraints.alternatives(none[:1], "socket", X86) != ()


@pytest.mark.parametrize("word", ["0x100000000", str(1 << 33), 1 << 32, "AF_INET|0x100000000"])
def test_number_beyond_an_int_is_refused_and_not_cut(word):
    # Cut to 32 bits, `1 << 32` would allow, or deny, 0.
    for key in ("allowed", "denied"):
        with pytest.raises(BadInput, match="more than the 32 bits of argument 0 of socket"):
            constraints.alternatives([Constraint(0, ArgType.INTEGER, **{key: (word,)})], "socket", X86)
    # clone takes 64 bits of its flags, and a comparison is of all 64.
    clone = constraints.alternatives([Constraint(0, ArgType.FLAGS, denied=("0x100000000",))], "clone", X86)
    assert clone == ((constraints.Test(0, Operator.EQ, 0, 1 << 32),),)
    raw = Constraint(0, ArgType.INTEGER, op=Operator.EQ, value=1 << 32)
    assert constraints.alternatives([raw], "socket", X86)[0][0].mask == constraints.FULL


def test_negative_numbers_are_what_c_makes_of_them():
    for word in ("-1", "0xffffffff", "0xffffffffffffffff"):
        ways = constraints.alternatives([Constraint(0, ArgType.INTEGER, allowed=(word,))], "personality", X86)
        assert ways == ((constraints.Test(0, Operator.EQ, 0xFFFF_FFFF, 0xFFFF_FFFF),),)
    assert constraints.value_of("socket", 0, "-0x80000001", X86) is None
    assert constraints.value_of("socket", 0, "-0x80000000", X86) == 1 << 31
    for word in ("1_0", "0b", "٣", "--1", "", "AF_INET|", "|", "1" * 30, -1, 1 << 64):
        assert constraints.value_of("socket", 0, word, X86) is None, word


@pytest.mark.parametrize("kind", [MatchType.GLOB, MatchType.REGEX, MatchType.TEMPLATE])
def test_pattern_that_no_filter_can_test_is_no_constraint_that_is_dropped(kind):
    one = Constraint(0, ArgType.INTEGER, match=(Match("1*", kind),))
    with pytest.raises(BadInput, match="cannot be tested by a filter"):
        constraints.alternatives([one], "socket", X86)


@pytest.mark.parametrize("kind", [ArgType.POINTER, ArgType.PATH, ArgType.STRING])
def test_address_is_nothing_that_a_filter_reads(kind):
    with pytest.raises(BadInput, match="which no filter can read"):
        constraints.alternatives([Constraint(0, kind, allowed=("1",))], "socket", X86)


@pytest.mark.parametrize(("call", "arg"), [("clone3", 0), ("openat2", 2)])
def test_structure_is_nothing_that_a_filter_reads(call, arg):
    with pytest.raises(BadInput, match="the address of a structure"):
        constraints.alternatives([Constraint(arg, ArgType.FLAGS, allowed=("1",))], call, X86)


def test_too_many_ways_are_refused_before_they_are_made():
    many = tuple(map(str, range(65)))
    two = [Constraint(arg, ArgType.INTEGER, allowed=many) for arg in (3, 4)]
    with pytest.raises(BadInput, match="4225 different comparisons; 4096 at most"):
        constraints.alternatives(two, "read", X86)
    fewer = [Constraint(arg, ArgType.INTEGER, allowed=many[:64]) for arg in (3, 4)]
    assert len(constraints.alternatives(fewer, "read", X86)) == 4096


def test_constraint_on_an_argument_of_32_bits_looks_at_what_the_kernel_takes():
    denied = [Constraint(0, ArgType.INTEGER, denied=("AF_NETLINK",))]
    ways = constraints.alternatives(denied, "socket", X86)
    passes = lambda value: any(all(test.holds(value) for test in way) for way in ways)  # noqa: E731
    netlink = 16
    assert (passes(netlink), passes(netlink | 1 << 32), passes(2), passes(2 | 1 << 40)) == (False, False, True, True)


@given(st.sets(st.integers(0, 255), max_size=6), st.integers(1, 255))
def test_blocks_are_every_number_but_these_and_each_once(values, width):
    blocks = list(constraints.others(values, width))
    within = {number for number in range(256) if not number & ~width}
    for number in within:
        hit = sum(number & mask == value for value, mask in blocks)
        assert hit == (number not in values)


@pytest.mark.parametrize(
    ("call", "arg", "passes"), [("setuid", 0, False), ("kill", 0, False), ("munmap", 1, True), ("ptrace", 0, True)]
)
def test_what_stands_above_an_int_is_nothing_to_a_word(call, arg, passes):
    """setuid(1 << 32) is setuid(0) to the kernel: whoever denies 0 denies that too. Of a long it is another number."""
    (way,) = constraints.alternatives([Constraint(arg, ArgType.INTEGER, denied=("0",))], call, X86, unequal=True)
    assert all(test.holds(1 << 32) for test in way) is passes
    assert not all(test.holds(0) for test in way) and all(test.holds(1) for test in way)
    (way,) = constraints.alternatives([Constraint(arg, ArgType.INTEGER, allowed=("0",))], call, X86)
    assert all(test.holds(1 << 32) for test in way) is not passes


def test_a_mode_is_what_the_kernel_takes_of_it():
    """chmod(2) looks at 12 bits; of mkdir(2) it takes fewer, and a word that has more is none."""
    (way,) = constraints.alternatives([Constraint(1, ArgType.INTEGER, denied=("0o4755",))], "chmod", X86, unequal=True)
    assert not all(test.holds(0o14755) for test in way) and not all(test.holds(1 << 16 | 0o4755) for test in way)
    assert all(test.holds(0o755) for test in way)
    assert constraints.is_too_wide("mkdir", 1, "0o4755", X86) and not constraints.is_too_wide(
        "mknod", 1, "0o100644", X86
    )
    with pytest.raises(BadInput, match="has more than the 10 bits of argument 1 of mkdir"):
        constraints.alternatives([Constraint(1, ArgType.INTEGER, allowed=("0o4755",))], "mkdir", X86)
