"""The launcher's reader of compiled policies takes just the files that ours takes, and stays inside all of them."""

import hashlib
import random
import struct
import subprocess
from functools import cache
from pathlib import Path

import pytest
import test_polfile_hostile as hostile
from hypothesis import given, settings
from launcher_questions import AARCH64, X86_64, ask, build, build_broken, policy
from polfile_reader import sections_of
from polfile_samples import policy_files, small
from test_polfile_hostile import GOOD, SECTIONS, digested, forged

from scmm_oci.compiled import bpf, polfile
from scmm_oci.compiled.bpf import Instruction
from scmm_oci.compiled.polfile.model import Component, ComponentKind, PathKind
from scmm_oci.compiled.polfile.pathtable import encode_path, encode_table
from scmm_oci.errors import BadInput

CORPUS = Path(__file__).parents[1] / "fuzz/corpus"
LIMIT = 64 << 20


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    return build(tmp_path_factory.mktemp("reader"))


@cache
def taken(data):
    """Whether our own reader takes a file."""
    try:
        polfile.read(data)
    except BadInput:
        return False
    return True


def resized(data):
    """The file with the size and the digest that its bytes have."""
    return digested(data[:16] + struct.pack("<QQ", len(data), 0) + data[32:])


# Good in every file: one machine, whose serving phase no call leads to.
WATCH = struct.pack("<II", 1, 1) + struct.pack("<IIIIII", 0xC000003E, 1, 0, 0, 0, 0)


def with_what_is_not_looked_into(data):
    """The file with metadata and a watch that nobody objects to; for those that the launcher finds good."""
    good = {9: hostile.TEXT, 10: WATCH}
    found = [
        (kind, number, good.get(kind, data[at : at + length]))
        for (kind, number), (at, length) in sections_of(data).items()
    ]
    return forged(found)


def compare(binary, files, audit=X86_64):
    """Assert that both readers say the same of each file; returns how many are good."""
    files = list(files)
    for data, answer in zip(files, ask(binary, [policy(data, audit) for data in files]), strict=True):
        if taken(data):
            assert answer == "ok", (answer, data[:4000].hex())
        elif answer == "ok":
            # Metadata are for people, a watch for others: the launcher does not look into them (docs/formats.md).
            assert taken(with_what_is_not_looked_into(data)), data[:4000].hex()
    return sum(map(taken, files))


def flips(data, start=0):
    for index in range(start * 8, len(data) * 8):
        flipped = bytearray(data)
        flipped[index // 8] ^= 1 << index % 8
        yield bytes(flipped)


def mutations(seed, count, *files):
    """Files with a right size and digest and a few changes: bits, numbers that mean something, parts of others."""
    chance = random.Random(seed)
    for _ in range(count):
        data = bytearray(chance.choice(files))
        for _ in range(chance.choice((1, 1, 2, 3))):
            at, kind = chance.randrange(8, len(data)), chance.randrange(7)
            if kind == 0:
                data[at] ^= 1 << chance.randrange(8)
            elif kind == 1:
                data[at] = chance.choice((0, 1, 2, 3, 4, 5, 6, 8, 0x15, 0x20, 46, 47, 127, 128, 255))
            elif kind == 2:
                number = chance.choice((0, 1, 3, 2**16 - 1, 2**31, 2**32 - 4, 2**32 - 1, len(data), len(data) // 4))
                at = min(at // 4 * 4, len(data) - 4)
                struct.pack_into("<I", data, at, number)
            elif kind == 3:
                other = chance.choice(files)
                start, size = chance.randrange(len(other)) // 4 * 4, chance.choice((2, 4, 8, 16, 24))
                data[at // 4 * 4 : at // 4 * 4 + size] = other[start : start + size]
            elif kind == 4:
                number = struct.unpack_from("<I", data, min(at // 4 * 4, len(data) - 4))[0]
                number = (number + chance.choice((-8, -4, -1, 1, 4, 8))) % 2**32
                struct.pack_into("<I", data, min(at // 4 * 4, len(data) - 4), number)
            elif kind == 5:
                del data[at : at + chance.choice((1, 4, 8, 24))]
            else:
                data[at:at] = bytes(chance.choice((1, 4, 8, 24)))
            if len(data) < 64:
                break
        yield resized(bytes(data)) if len(data) >= 64 else bytes(data)


def written(count):
    """Files of hypothesis' compiled policies."""
    found = []

    @settings(max_examples=count)
    @given(policy_files())
    def collect(file):
        found.append(polfile.write(file))

    collect()
    return list(dict.fromkeys(found))


def corpus():
    names = [path for name in ("polfile", "launcher") for path in sorted((CORPUS / name).iterdir())]
    assert len(names) > 100
    for path in names:
        data = path.read_bytes()
        yield data
        if len(data) >= 64:
            yield resized(data)


def test_corpora(reader):
    assert compare(reader, corpus()) > 10
    assert compare(reader, corpus(), AARCH64) > 10


def test_every_flip_of_a_bit_with_and_without_its_digest(reader):
    assert compare(reader, flips(GOOD)) == 0
    assert compare(reader, map(digested, flips(GOOD, 64))) > 100


def test_every_truncation_with_and_without_its_size(reader):
    assert compare(reader, (GOOD[:length] for length in range(len(GOOD)))) == 0
    assert compare(reader, (resized(GOOD[:length]) for length in range(64, len(GOOD)))) == 0
    assert compare(reader, (resized(GOOD + more) for more in (b"\0", bytes(7), bytes(8), b"x", GOOD))) == 0


def refused_by_our_own_tests():
    for test in (hostile.test_headers, hostile.test_section_tables, hostile.test_contents):
        yield from (row[0] for row in test.pytestmark[0].args[1] if len(row[0]) < LIMIT)
    yield from (hostile.with_metadata(data) for data in hostile.test_metadata.pytestmark[0].args[1])
    for index, (kind, number, body) in enumerate(hostile.parts()):
        for changed in (b"", body[:1], body[:-1], body[:-8], body + b"\0", body + bytes(4), body + bytes(8)):
            parts = hostile.parts()
            parts[index] = (kind, number, changed)
            yield forged(parts)


def test_files_that_our_own_tests_have(reader):
    files = list(refused_by_our_own_tests())
    assert len(files) > 150
    # Metadata with a byte or eight more are bad as such.
    assert compare(reader, files) == 0


def test_sections_for_other_machines_and_of_other_types(reader):
    def with_id(kind, number):
        # Without the watch, which is for transitions of the ABI that they had.
        kept = hostile.parts()[:-1]
        return forged(sorted((one, number if one in kind else own, body) for one, own, body in kept))

    audits = [0xC000003E, 0x40000003, 0xC00000B7, 0x40000028, 0xC00000F3, 0x80000016, 0x16, 0xC0000015]
    assert compare(reader, [with_id((1, 2), audit) for audit in audits]) == 8
    assert compare(reader, [with_id((8,), audit) for audit in (*audits, 0x4000003E)]) == 9
    others = [0, 1, 0x3E, 0x4000003E, 0x8000003E, 0xC0000016, 0xFFFFFFFF]
    assert compare(reader, [with_id((1, 2), other) for other in others]) == 0
    assert compare(reader, [with_id((8,), other) for other in others if other != 0x4000003E]) == 0
    # Flags of a twin count on whatever machine it is for.
    filters = [part for part in hostile.parts() if part[0] < 3]
    elsewhere = [(kind, 0xC00000B7, body) for kind, _, body in filters]
    alike = sorted([*elsewhere, *hostile.parts()])
    assert compare(reader, [forged(alike)]) == 1
    unlike = [
        (kind, number, b"\1" + body[1:] if (kind, number) == (2, 0xC00000B7) else body) for kind, number, body in alike
    ]
    assert compare(reader, [forged(unlike)]) == 0


def test_files_that_are_written_and_mutations_of_them(reader):
    files = written(150)
    assert len(files) > 80
    assert compare(reader, files) == compare(reader, files, AARCH64) == len(files)
    some = sorted(files, key=len)[:: len(files) // 12]
    good = compare(reader, mutations(6, 3000, GOOD, *some))
    assert 50 < good < 3000


ALLOW = Instruction(bpf.RET, bpf.RET_ALLOW)


def filters(instructions, *, twin=(ALLOW,)):
    """A file with a filter and its twin, however they are."""
    parts = hostile.parts()
    bodies = [struct.pack("<IIII", 4, 1, len(one), 0) + bpf.encode(one) for one in (instructions, twin)]
    return forged([*((kind, X86_64, body) for kind, body in zip((1, 2), bodies, strict=True)), *parts[2:]])


def test_every_code_in_a_filter_and_in_a_twin(reader):
    one_each = [Instruction(code, k, jt, 0) for code in range(0x200) for k, jt in ((0, 0), (1, 1), (15, 2))]
    programs = [(one, ALLOW, ALLOW) for one in one_each]
    assert 60 < compare(reader, map(filters, programs)) < 200
    assert 60 < compare(reader, [filters((ALLOW,), twin=program) for program in programs]) < 200
    returned = [
        1 << 31,
        0,
        *(1 << bit for bit in range(31)),
        0x7FC00000,
        0x7FF00001,
        0x7FFC0001,
        0x7FFF0000,
        0x7FFFFFFF,
    ]
    twins = [(Instruction(bpf.RET, value),) for value in returned]
    assert compare(reader, [filters(twin) for twin in twins]) == len(twins)
    assert compare(reader, [filters((ALLOW,), twin=twin) for twin in twins]) == 5


def test_memory_words_are_in_no_filter(reader):
    """Kernels would take them, stored before loaded; our compiler makes none, and the launcher does not follow them."""
    stored = (Instruction(0x02, 3), Instruction(0x60, 3), ALLOW)
    assert bpf.problems(stored) == []
    with pytest.raises(BadInput, match="uses a memory word"):
        polfile.read(filters(stored))
    assert compare(reader, [filters((Instruction(code, 3), ALLOW)) for code in (0x02, 0x03, 0x60, 0x61)]) == 0
    assert compare(reader, [filters((Instruction(code, 3), ALLOW)) for code in (0x00, 0x01)]) == 2


def test_jumps_and_words_at_their_limits(reader):
    ends = [Instruction(bpf.RET, 0)] * 4
    jumps = [
        Instruction(code, k, jt, jf)
        for code in (5, 0x15, 0x2D)
        for k in (3, 4, 2**32 - 1)
        for jt in (3, 4)
        for jf in (3, 4)
    ]
    loads = [
        Instruction(code, k)
        for code in (0x20, 0x34, 0x64, 0x74)
        for k in (0, 1, 4, 31, 32, 60, 61, 64, 2**31, 2**32 - 4)
    ]
    good = compare(reader, [filters((one, *ends)) for one in (*jumps, *loads)])
    # Jumps: by 3 in k with any of the others, by 3 and 3; loads: 0, 4, 60; a division but by 0; shifts by 0 to 31.
    assert good == 4 + 2 * 3 + 4 + 9 + 2 * 4
    counts = [1, 2, 4095, 4096, 4097]
    assert compare(reader, [filters(ends[:1] * count) for count in counts]) == 4


def path_file(*components, kind=PathKind.EXACT):
    """A file with one path, and a rule for it."""
    return encoded_path_file(encode_path(components, kind))


def encoded_path_file(path):
    changed = {4: struct.pack("<QIIII", 4, 0, 0, 1, 0), 5: encode_table([path])}
    return forged([(kind, number, changed.get(kind, body)) for kind, number, body in hostile.parts()])


def name(text):
    return Component(ComponentKind.NAME, text)


def wild(*tokens):
    return Component(ComponentKind.GLOB, glob=tuple(frozenset(one) if one is not None else None for one in tokens))


def paths_at_their_limits():
    """Good files, and bad ones that are only just so."""
    home, user = Component(ComponentKind.HOME), Component(ComponentKind.USER)
    some, ends, any_byte = name(b"x" * 255), name(b"x" * 254), frozenset(range(1, 256)) - {47}
    good = [
        *(path_file(name(text)) for text in (b"x" * 255, b"...", b".a", b"a.", b"..a", b"\1", b"\xff\\*?")),
        *(path_file(kind=kind) for kind in (PathKind.EXACT, PathKind.BENEATH)),
        path_file(*[some] * 15, ends),
        path_file(*[name(b"x")] * 2047),
        path_file(*[user] * 2048),
        path_file(*[wild(None)] * 2048, kind=PathKind.FILES),
        path_file(home, user, kind=PathKind.BENEATH),
        path_file(wild(*[any_byte] * 255), kind=PathKind.BENEATH),
        path_file(wild(None, b"a", None), kind=PathKind.FILES),
    ]
    bad = [
        *(path_file(name(text)) for text in (b"x" * 256, b"x" * 65535, b"", b".", b"..", b"a/b", b"/", b"\0", b"a\0")),
        path_file(kind=PathKind.FILES),
        path_file(*[some] * 16),
        path_file(*[user] * 2049),
        path_file(*[wild(None)] * 2049, kind=PathKind.FILES),
        path_file(user, home, kind=PathKind.BENEATH),
        path_file(wild(*[any_byte] * 256), kind=PathKind.BENEATH),
        path_file(wild(any_byte | {0}), kind=PathKind.BENEATH),
        path_file(wild(any_byte | {47}), kind=PathKind.BENEATH),
        path_file(wild(None, b"a")),
        path_file(user, kind=PathKind.FILES),
        path_file(wild(None, None), kind=PathKind.BENEATH),
        path_file(wild(), kind=PathKind.BENEATH),
    ]
    return good, bad


def test_paths_at_their_limits(reader):
    good, bad = paths_at_their_limits()
    assert compare(reader, good) == len(good)
    assert compare(reader, bad) == 0


def test_what_is_too_large_is_not_digested_first(reader):
    large = GOOD[:16] + struct.pack("<Q", LIMIT + 8) + GOOD[24:] + bytes(LIMIT + 8 - len(GOOD))
    assert ask(reader, [policy(large)]) == ["0 is larger than 64 MiB"]
    with pytest.raises(BadInput, match="67108864 are the most"):
        polfile.read(large)


def test_what_is_wrong_is_said_with_its_place(reader):
    bad = digested(GOOD[:-1] + b"x")
    headless = hashlib.sha256(GOOD).digest()
    answers = ask(reader, [policy(GOOD), policy(bad), policy(b""), policy(headless), policy(GOOD[:70])])
    start = next(begin for (kind, _), (begin, _) in SECTIONS.items() if kind == 7)
    assert answers[0] == "ok"
    assert answers[1] == f"{len(GOOD) - 1} padding is not 0"
    assert answers[2:4] == ["0 is no compiled policy"] * 2
    assert answers[4] == "16 has not the size that it says"
    assert ask(reader, [policy(hostile.within(7, 12, b"\1"))]) == [f"{start + 12} a reserved number is not 0"]


def test_files_are_read_by_name(reader, tmp_path):
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.write_bytes(polfile.write(small()))
    bad.write_bytes(GOOD[:-1])
    told = subprocess.run([reader, "files", good, bad], capture_output=True, text=True, check=True, timeout=60).stdout
    assert told.splitlines() == [f"{good}: ok", f"{bad}: 16 has not the size that it says"]


def cut_after(kind, body):
    """A file whose last section is of a type, and has those bytes: what is read behind them is behind the file."""
    return forged([*(part for part in hostile.parts() if part[0] < kind), (kind, 0, body)])


def leading_beyond():
    """Bad files in which a number leads behind the end of something, and nothing but the check of it says so."""
    ends = Instruction(bpf.RET, 0)
    yield filters((Instruction(5, 2), ends, ends))
    yield filters((Instruction(0x15, 0, 0, 2), ends, ends))
    yield cut_after(5, struct.pack("<II", 1, 0))
    # The first path ends far behind the section, and has as many components as there can be.
    yield cut_after(5, struct.pack("<IIIIHHI", 2, 0, 16, 2**32 - 4, 0, 2048, 3))
    # A glob that ends within a token; behind it is a component that would do as its rest.
    for cut in (bytes([0, 1, 97, 1]), bytes([1, 97, 2]) + b"\1" * 29):
        yield encoded_path_file(struct.pack("<HHBBH", 2, 2, 1, 0, len(cut)) + cut + struct.pack("<BBHI", 1, 0, 1, 0))
    yield cut_after(8, struct.pack("<II", 1, 0))


def states_in_transitions():
    """Good files, and bad ones, with codes of states at the limits of what there is."""
    limits = (0x10000, 0x10018, 0x20000, 0xF0005, 0xFFFFFFF0, 0xFFFFFFFA, 0xFFFFFFFF)
    for code in sorted({limit + more for limit in limits for more in (-1, 0, 1)} - {1 << 32}):
        for pair in ((code, 0), (0, code)):
            body = struct.pack("<IIII", 1, 0, *pair)
            yield forged([(kind, number, body if kind == 8 else old) for kind, number, old in hostile.parts()])


def test_states_at_their_limits(reader):
    # From: the last call, and the first ones behind classes; the last class; what begins. To: no beginnings.
    assert compare(reader, states_in_transitions()) == 24


def test_watches_are_not_looked_into(reader):
    """Only where it lies and its id count: what is in it is for those who watch."""

    def with_watch(*watches):
        return forged([*hostile.parts()[:-1], *watches])

    files = [with_watch((10, 0, body)) for body in (WATCH, WATCH[:-1], b"x", b"\xff" * 4096)]
    assert ask(reader, map(policy, files)) == ["ok"] * 4
    assert compare(reader, files) == 1
    assert compare(reader, [with_watch((10, 1, WATCH)), with_watch((10, 0, b"")), with_watch((11, 0, WATCH))]) == 0
    twice = with_watch((10, 0, WATCH), (10, 0, WATCH))
    assert compare(reader, [twice]) == 0


def test_numbers_that_lead_beyond_an_end(reader):
    files = list(leading_beyond())
    assert len(files) == 7
    assert compare(reader, files) == 0


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("k % 4 == 0 && k < 64", "k % 4 == 0 && k <= 64"),
        ("at[2] < rest && at[3] < rest", "at[2] < rest && at[3] <= rest"),
        ("rest >= 33", "rest >= 32"),
        ("rest >= 2 && at[1]", "at[1]"),
        ("one->length >= 1 && one->length <= 255", "one->length >= 1"),
        ("section.size - 8 >= 4 * (size_t)count", "section.size"),
        ("end > begin && end <= section.size", "end > begin"),
        ("section.size == 8 + 8 * (size_t)count", "section.size"),
        ("CHECK(end == file.size", "CHECK(end <= file.size"),
        ("code - 0x10018u", "code - 0x10019u"),
        ("code < 0xfffffff0u", "code <= 0xfffffff0u"),
        ("from >= 0xfffffffau", "from >= 0xfffffff9u"),
        ("this_type <= SECTION_WATCH", "this_type <= SECTION_METADATA"),
    ],
)
def test_a_reader_with_a_hole_is_found(reader, tmp_path, before, after):
    """Control: with a check that is a little wrong, a file is told otherwise, or the sanitizer sees where it leads."""
    broken = build_broken(reader, tmp_path, before, after)
    limits = [file for files in paths_at_their_limits() for file in files]
    with pytest.raises((AssertionError, subprocess.CalledProcessError)):
        compare(broken, [GOOD, *leading_beyond(), *states_in_transitions(), *refused_by_our_own_tests(), *limits])
