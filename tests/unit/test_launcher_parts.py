"""What the launcher does with a good policy: globs, filters' verdicts, ABIs and digests as we have them; its texts."""

import errno
import hashlib
import random
import struct
from dataclasses import replace

import pytest
from filter_calls import argument_calls, foreign, policies_for
from hypothesis import given, settings
from hypothesis import strategies as st
from launcher_questions import AARCH64, X86_64, ask, build, build_broken, glob, policy, sized, verdict
from polfile_reader import matches
from polfile_samples import globs, small

from scmm_oci.compiled import bpf, polfile
from scmm_oci.compiled.bpf import Call
from scmm_oci.compiled.polfile.model import Filter
from scmm_oci.compiled.policy_file import policy_file
from scmm_oci.compiled.simulate import simulate
from scmm_oci.errors import BadInput
from scmm_oci.policy.paths.globs import part
from scmm_oci.tables import landlock
from scmm_oci.tables.arch import Arch


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    return build(tmp_path_factory.mktemp("reader"))


def encoded(tokens):
    """The tokens of a glob as docs/formats.md has them, of sets of numbers."""
    data = b""
    for token in tokens:
        if token is None:
            data += b"\0"
        elif len(token) == 1:
            data += bytes([1, *token])
        else:
            data += b"\2" + sum(1 << byte for byte in token).to_bytes(32, "little")
    return data


def near(chance, tokens):
    """A name that the tokens match, or nearly."""
    name = bytearray()
    for token in tokens:
        if token is None:
            name += bytes(chance.choice(b"ab.x\xc3\xff\1") for _ in range(chance.randrange(4)))
        else:
            name.append(chance.choice(sorted(token)))
    for _ in range(chance.choice((0, 0, 1, 2))):
        at, kind = chance.randrange(len(name) + 1), chance.randrange(3)
        if kind == 0:
            name.insert(at, chance.choice(b"ab.\xa9"))
        elif kind == 1:
            del name[at : at + 1]
        else:
            name[at : at + 1] = bytes([chance.choice(b"ab*?.-\xc3")])
    return bytes(name)[:255].replace(b"\0", b"0").replace(b"/", b"_") or b"a"


PIECES = ["*", "?", "a", "b", "ab", ".", "-", "é", "[ab]", "[!a]", "[]a-c]", "[!]-]", "\\*", "\\?", "\\xff", "\\\\"]


def patterns(seed, count):
    """Globs as policies have them: random texts, their parts and tokens."""
    chance = random.Random(seed)
    while count:
        text = "".join(chance.choice(PIECES) for _ in range(chance.randrange(1, 7)))
        found, bad = part(text)
        if not bad and found.name is None:
            yield chance, found, [None if one is None else frozenset(map(ord, one)) for one in found.tokens]
            count -= 1


def glob_cases(seed, count):
    """Encoded globs, names, and whether policies' own matcher says that they match."""
    for chance, found, tokens in patterns(seed, count):
        for name in (
            near(chance, tokens),
            near(chance, tokens),
            chance.choice((b".", b"..", b"...", b".a", b"a" * 255)),
        ):
            expected = name not in (b".", b"..") and found.matches(name.decode("utf-8", "surrogateescape"))
            yield encoded(tokens), name, expected


def test_globs_match_as_policies_do(reader):
    cases = list(glob_cases(8, 2500))
    answers = ask(reader, [glob(tokens, name) for tokens, name, _ in cases])
    for (tokens, name, expected), answer in zip(cases, answers, strict=True):
        assert answer == str(int(expected)), (tokens.hex(), name)
        assert expected == (matches(tokens, name) and name not in (b".", b".."))
    assert 1800 < answers.count("1") < 6000


def test_globs_of_any_tokens_match_as_docs_say(reader):
    found = []

    @settings(max_examples=300)
    @given(globs(), st.integers(0, 2**32))
    def collect(component, seed):
        chance = random.Random(seed)
        found.extend((encoded(component.glob), near(chance, component.glob)) for _ in range(4))

    collect()
    answers = ask(reader, [glob(*case) for case in found])
    expected = [str(int(matches(tokens, name) and name not in (b".", b".."))) for tokens, name in found]
    assert answers == expected
    assert set(answers) == {"0", "1"}


def test_globs_that_go_back_often_end(reader):
    stars = encoded([None, {97}] * 127 + [None, {98}])
    assert ask(reader, [glob(stars, b"a" * 254 + b"b"), glob(stars, b"a" * 255), glob(stars, b"a" * 126 + b"b")]) == [
        "1",
        "0",
        "0",
    ]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("at == length;\n}", "at <= length;\n}"),
        ("name[1] == '.')", "name[1] == 'x')"),
    ],
)
def test_a_matcher_with_a_mistake_is_found(reader, tmp_path, before, after):
    """Control: the cases tell it apart."""
    cases = list(glob_cases(8, 600))
    broken = build_broken(reader, tmp_path, before, after)
    answers = ask(broken, [glob(tokens, name) for tokens, name, _ in cases])
    assert answers != [str(int(expected)) for _, _, expected in cases]


MACHINES = [(X86_64, (Arch.X86_64, Arch.X86, Arch.X32)), (X86_64, (Arch.X86_64,)), (AARCH64, (Arch.AARCH64, Arch.ARM))]


def compiled_policies(arches, count):
    """Compiled policies with their filters, and calls to ask about."""
    found = []

    @settings(max_examples=count)
    @given(policies_for(*arches, most=8), st.integers(0, 2**32))
    def collect(asked, seed):
        try:
            file, _ = policy_file(asked)
            data = polfile.write(file)
        except BadInput:
            return
        chance = random.Random(seed)
        if file.filters:
            numbers = [*chance.sample(range(600), 40), 0x40000000, 0x40000208, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF]
            calls = [Call(number, arch.audit) for arch in asked.settings.architectures for number in numbers]
            calls += [*chance.sample(list(foreign(asked)), 10), *argument_calls(asked, chance, most=10)]
            found.append((data, file.filters[0], calls))

    collect()
    return found


@pytest.mark.parametrize(("audit", "arches"), MACHINES)
def test_verdicts_are_those_of_the_simulator(reader, audit, arches):
    questions, expected = [], []
    for data, compiled, calls in compiled_policies(arches, 80):
        assert compiled.arch.audit == audit
        questions += [policy(data, audit), *map(verdict, calls)]
        expected.append("ok")
        for call in calls:
            values = simulate(compiled.program, call).value, simulate(compiled.permissive, call).value
            expected.append(f"{values[0]} {values[1]}")
    answers = ask(reader, questions)
    assert answers == expected
    assert len(set(answers)) > 8
    assert answers.count("ok") > 10


def test_verdicts_where_there_is_no_filter_or_an_instruction_that_ours_have_not(reader):
    """Both end the program: nothing may be concluded from them."""
    call, allow = Call(1, X86_64), bpf.Instruction(bpf.RET, bpf.RET_ALLOW)
    assert ask(reader, [verdict(call)]) == ["2147483648 2147483648"]
    for code in (0x04, 0x16, 0x1D, 0x87):
        filters = (Filter(Arch.X86_64, None, (bpf.Instruction(code, 1), allow), (allow,)),)
        data = polfile.write(replace(small(), filters=filters))
        assert ask(reader, [policy(data), verdict(call)]) == ["ok", "2147483648 2147418112"]


def test_abis(reader):
    fs = [0, landlock.ALL_FS, *(1 << bit for bit in range(17)), *((2 << bit) - 1 for bit in range(17))]
    net = [0, landlock.ALL_NET, *range(1, 16)]
    masks = sorted({*fs, *net})
    answers = ask(reader, [b"A" + struct.pack("<Q", mask) for mask in masks])
    for mask, answer in zip(masks, answers, strict=True):
        on_files, on_ports = map(int, answer.split())
        # Without a right there is nothing to ask for: callers look at masks that are not 0.
        if mask:
            assert on_files == landlock.abi_of_fs(mask)
        if 0 < mask <= landlock.ALL_NET:
            assert on_ports == landlock.abi_of_net(mask)


def test_digests(reader):
    chance = random.Random(3)
    texts = [chance.randbytes(length) for length in (*range(301), 4095, 4096, 65535, 1 << 20, (1 << 20) + 57)]
    texts += [b"abc", bytes(1000), b"\xff" * 119]
    answers = ask(reader, [b"H" + sized(text) for text in texts])
    assert answers == [hashlib.sha256(text).hexdigest() for text in texts]


def as_text(data, *, json):
    """Bytes as text.c has them."""
    out = ""
    for byte in data:
        if byte == 92 or (json and byte == 34):
            out += "\\" + chr(byte)
        elif 32 <= byte < 127:
            out += chr(byte)
        else:
            out += f"\\u{byte:04x}" if json else f"\\x{byte:02x}"
    return f'"{out}"' if json else out


def test_texts_are_escaped_and_cut(reader):
    chance = random.Random(4)
    texts = [bytes(range(256)), b"", b'"\\', *(chance.randbytes(chance.randrange(40)) for _ in range(200))]
    for data, answer in zip(texts, ask(reader, [b"T" + sized(data) for data in texts]), strict=True):
        whole = [as_text(data, json=json).encode() for json in (False, True)]
        cut = [text[: len(data) // 2] for text in whole]
        assert [bytes.fromhex(one) for one in answer.split(" ")] == [*whole, *cut]


def test_numbers_are_read(reader):
    good = {b"0": 0, b"007": 7, b"1048576": 1 << 20}
    bad = [b"", b"-1", b"+1", b" 1", b"1 ", b"0x10", b"1048577", b"9" * 300, b"1e3", b"\xd9\xa1", b"/", b":"]
    answers = ask(reader, [b"N" + sized(text + b"\0") for text in (*good, *bad)])
    assert answers == [f"{good.get(text, -1)} {len(text)}" for text in (*good, *bad)]


def test_numbers_are_written(reader):
    numbers = [0, 1, 9, 10, 15, 16, 255, 2**32 - 1, 2**32, 2**63, 2**64 - 1, 10**19, *range(2, 140)]
    for number, answer in zip(numbers, ask(reader, [b"E" + struct.pack("<Q", one) for one in numbers]), strict=True):
        decimal, hexadecimal, error = answer.split(" ", 2)
        assert (decimal, hexadecimal) == (str(number), hex(number))
        if not error.startswith("error "):
            value = number if number < 2**63 else 2**64 - number
            assert getattr(errno, error) == value
    refused = ask(reader, [b"E" + struct.pack("<q", -code) for code in (errno.EACCES, errno.EOPNOTSUPP, 999)])
    assert [answer.split(" ", 2)[2] for answer in refused] == ["EACCES", "EOPNOTSUPP", "error 999"]
