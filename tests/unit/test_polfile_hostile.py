"""Files that claim to be compiled policies: damaged, cut, forged with a right digest. Each is refused, or canonical."""

import hashlib
import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from polfile_reader import sections_of
from polfile_samples import policy_files, small

from scmm_oci.compiled import bpf, polfile
from scmm_oci.errors import BadInput

GOOD = polfile.write(small())
SECTIONS = sections_of(GOOD)


def problems(data):
    with pytest.raises(BadInput) as caught:
        polfile.read(bytes(data))
    return [str(one) for one in caught.value.problems]


def digested(data):
    """The file with the digest that its bytes have."""
    return bytes(data[:32]) + hashlib.sha256(data[64:]).digest() + bytes(data[64:])


def patched(offset, data, *, file=GOOD):
    """The file with other bytes at an offset, and the digest that fits."""
    return digested(file[:offset] + data + file[offset + len(data) :])


def within(kind, offset, data):
    """The file with other bytes in the section of a type, and the digest that fits."""
    start = next(begin for (one, _), (begin, _) in SECTIONS.items() if one == kind)
    return patched(start + offset, data)


def forged(parts, *, gap=b"", tail=b""):
    """A file of sections as they are given: (type, id, bytes)."""
    at = 64 + 24 * len(parts) + len(gap)
    table, rest = b"", gap
    for kind, identifier, body in parts:
        table += struct.pack("<IIQQ", kind, identifier, at, len(body))
        body += bytes(-len(body) % 8)
        rest += body
        at += len(body)
    rest += tail
    head = b"SCMMPOL\0" + struct.pack("<HHIQQ", 2, 64, len(parts), 64 + len(table) + len(rest), 0)
    return digested(head + bytes(32) + table + rest)


def parts():
    return [(kind, number, GOOD[at : at + length]) for (kind, number), (at, length) in SECTIONS.items()]


TEXT = parts()[-2][2]


def numbered(kind):
    return f"sections[{[one for one, _ in SECTIONS].index(kind)}]"


def test_the_forger_forges_what_is_good():
    assert forged(parts()) == GOOD
    assert within(7, 4, struct.pack("<I", 34)) != GOOD
    assert polfile.read(within(7, 4, struct.pack("<I", 34))).identity.uid == 34


def test_every_bit_counts():
    for index in range(len(GOOD) * 8):
        flipped = bytearray(GOOD)
        flipped[index // 8] ^= 1 << index % 8
        problems(flipped)


def test_every_truncation_and_any_addition_is_refused():
    for length in range(len(GOOD)):
        problems(GOOD[:length])
    for more in (b"\0", bytes(8), b"x", GOOD):
        assert any("header.total_size" in one for one in problems(GOOD + more))


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "is no compiled policy: it does not begin with SCMMPOL and a zero byte"),
        (b'{"format":"scmm-capture"}', "is no compiled policy"),
        (GOOD[:8] + b"\1\0", "header.version: is 1: the file was made by scmm 1 (compile the policy again)"),
        (GOOD[:8] + b"\1\0" + bytes(500), "header.version: is 1"),
        (GOOD[:8] + b"\3\0" + GOOD[10:], "header.version: is 3, and only 2 is read"),
        (GOOD[:9], "has 9 bytes, and the header alone has 64"),
        (GOOD[:63], "has 63 bytes, and the header alone has 64"),
        (GOOD + bytes(polfile.MAX_BYTES), "67108864 are the most"),
        (GOOD[:10] + b"\x41" + GOOD[11:], "header.header_size: is 65, and must be 64"),
        (GOOD[:24] + b"\1" + GOOD[25:], "header.reserved: is 0x1, and must be 0"),
        (
            GOOD[:-20] + b"!" + GOOD[-19:],
            "header.digest: is not the SHA-256 of what follows the header: the file is damaged",
        ),
        (GOOD[:32] + bytes(32) + GOOD[64:], "header.digest"),
        (GOOD[:12] + struct.pack("<I", 0) + GOOD[16:], "header.sections: is 0 in a file of"),
        (GOOD[:12] + struct.pack("<I", 0xFFFFFFFF) + GOOD[16:], "header.sections: is 4294967295 in a file of"),
    ],
)
def test_headers(data, problem):
    found = problems(data)
    assert len(found) == 1
    assert found[0].startswith(problem) or problem in found[0]


def test_all_that_is_wrong_with_a_header_is_told():
    bad = bytearray(GOOD)
    bad[10], bad[16], bad[24], bad[40] = 1, bad[16] ^ 1, 9, bad[40] ^ 1
    places = [one.partition(":")[0] for one in problems(bad)]
    assert places == ["header.header_size", "header.total_size", "header.reserved", "header.digest"]


def entry(index, *, kind=None, number=None, offset=None, length=None):
    """The file with other fields in an entry of the table, and the digest that fits."""
    at = 64 + 24 * index
    old = struct.unpack_from("<IIQQ", GOOD, at)
    new = [
        before if after is None else after for before, after in zip(old, (kind, number, offset, length), strict=True)
    ]
    return patched(at, struct.pack("<IIQQ", *new))


FIRST = 64 + 24 * len(SECTIONS)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (entry(8, kind=11), "sections[8].type: is 11 (version 2 has 1 (filter), "),
        (entry(9, number=0xC000003E), "sections[9].id: is 0xc000003e, which sections of its type do not have"),
        (entry(0, kind=0), "sections[0].type: is 0 "),
        (entry(0, number=1), "sections[0].id: is 0x1, which sections of its type do not have"),
        (entry(2, number=0xC000003E), "sections[2].id: is 0xc000003e"),
        (entry(0, number=0x4000003E), "sections[0].id: is 0x4000003e"),
        (entry(1, kind=1), "sections[1]: is there twice"),
        (entry(3, kind=2, number=0), "sections[3]: is not after the one before it, by type and id"),
        (entry(0, offset=FIRST + 4), f"sections[0].offset: is {FIRST + 4}, and must be {FIRST}, where"),
        (entry(0, offset=0), f"sections[0].offset: is 0, and must be {FIRST}"),
        (entry(1, offset=FIRST), f"sections[1].offset: is {FIRST}, and must be {FIRST + 48}"),
        (entry(0, length=2**64 - 1), "sections[0].length: is 18446744073709551615, which goes beyond the end"),
        (entry(0, offset=2**64 - 8, length=16), "sections[0].length: is 16, which goes beyond the end"),
        (entry(8, length=len(GOOD)), f"sections[8].length: is {len(GOOD)}, which goes beyond the end"),
        (GOOD[:12] + struct.pack("<I", 9) + GOOD[16:], f"sections[0].offset: is {FIRST}, and must be {FIRST - 24}"),
        (entry(0, length=8), f"sections[1].offset: is {FIRST + 48}, and must be {FIRST + 8}"),
        (forged(parts(), gap=bytes(8)), f"sections[0].offset: is {FIRST + 8}, and must be {FIRST}"),
        (forged(parts(), tail=bytes(8)), f"has {len(GOOD) + 8} bytes, and the last section ends at {len(GOOD)}"),
        (forged(parts()[::-1]), "sections[1]: is not after the one before it"),
        (forged([*parts(), parts()[-1]]), "sections[10]: is there twice"),
        (forged([(9, 0, parts()[-1][2])] * 65), "header.sections: is 65"),
        (patched(SECTIONS[10, 0][0] - 1, b"x"), "sections[8]: is followed by "),
    ],
)
def test_section_tables(data, problem):
    assert any(one.startswith(problem) for one in problems(data))


def watched(offset, data):
    """The file with other bytes in what a watch is to do."""
    return within(10, offset, data)


def without(*kinds):
    return forged([part for part in parts() if part[0] not in kinds])


def unordered():
    """The file without transitions, and with a watch that has none either."""
    kept = [part for part in parts() if part[0] < 8 or part[0] == 9]
    return forged([*kept[:7], (9, 0, TEXT), (10, 0, struct.pack("<II", 1, 0))])


# Where the machines are in the section of the watch.
NARROW, WIDE = 8, 8 + 24 + 12
# Where something is in the section of paths: the table, then "srv" in 12 bytes, then "srv" and a glob.
GLOB = 20 + 12 + 4 + 8 + 4


@pytest.mark.parametrize(
    ("data", "kind", "problem"),
    [
        (without(9), None, "has no metadata"),
        (without(1), None, "sections[0]: is for x86_64, for which there is no filter"),
        (without(2), None, "sections[0]: is for x86_64, for which there is no permissive filter"),
        (without(3), None, "sections[2]: has rules, and there is no ruleset"),
        (without(4), None, "sections[3]: is there without rules for them"),
        (without(5), None, "sections[3]: is there without paths"),
        (within(1, 0, b"\x08"), 1, ".flags: is 0x8 (the flags that a policy may give are in 0x27)"),
        (within(1, 4, b"\2"), 1, ".given: is 2, and must be 0 or 1"),
        (within(1, 4, b"\0"), 1, ".flags: is 0x4, though none are given"),
        (within(2, 0, b"\0"), 2, ".flags: differ from those of the filter that it is the twin of"),
        (within(1, 8, struct.pack("<I", 2**29)), 1, ".count: is 536870912, and the section has 4 instructions"),
        (within(1, 12, b"\1"), 1, ".reserved: is 0x1, and must be 0"),
        (within(1, 16, b"\x28"), 1, ".program[0]: has the code 0x28"),
        (within(1, 20, b"\x40"), 1, ".program[0]: loads from 64"),
        (within(1, 26, b"\7"), 1, ".program[1]: jumps to 9, beyond the last instruction"),
        (within(1, 40, b"\x05"), 1, ".program[3]: jumps to"),
        (within(1, 40, b"\x20"), 1, ".program[3]: is the last instruction and does not return"),
        (within(2, 36, struct.pack("<I", bpf.RET_TRAP)), 2, ".program[2]: returns 0x00030000, and must let calls"),
        (within(2, 36, struct.pack("<I", 0x12340000)), 2, ".program[2]: returns 0x12340000, and must let calls"),
        (within(2, 32, b"\x16"), 2, ".program[2]: returns what is not known"),
        (within(3, 7, b"\x80"), 3, ".handled_fs: is 0x800000000001ffff, and what is known is 0x1ffff"),
        (within(3, 0, bytes(17)), 3, ": handles nothing"),
        (within(3, 24, b"\x0b"), 3, ".abi: is 11, and the least that has all of it is 10"),
        (within(3, 28, b"\2"), 3, ".has_addresses: is 2, and neither 0 nor 1"),
        (within(4, 2, b"\2"), 4, ".records[0].access: is 0x20004, and what is handled is 0x1ffff"),
        (within(4, 0, b"\0"), 4, ".records[0].access: is 0: a rule without a right"),
        (within(4, 8, b"\3"), 4, ".records[0].path: is 3, and there are 3 paths"),
        (within(4, 24 + 8, b"\1"), 4, ".records[2]: is not after the one before it, by path, "),
        (within(4, 8, b"\2"), 4, ".records[1]: is not after the one before it, by path, "),
        (within(4, 24 + 12, b"\0"), 4, ".records[1]: is not after the one before it, by path, "),
        (within(4, 12, b"\3"), 4, ".records[0].on_missing: is 3, and none of 0, 1 and 2"),
        (within(4, 16, b"\2"), 4, ".records[0].abi: is 2, and the least that has all of it is 1"),
        (within(4, 20, b"\x7f"), 4, ".records[0].plain_from: is 127, and the path has "),
        (within(4, 3 * 24 + 8, b"\1"), 5, ".paths[2]: is in no rule"),
        (within(5, 0, struct.pack("<I", 0)), 5, ".count: is 0 in a section of"),
        (within(5, 0, struct.pack("<I", 2**32 - 1)), 5, ".count: is 4294967295 in a section of"),
        (within(5, 0, b"\2"), 5, ".paths[0]: is from 20 to 32; it begins at 16"),
        (within(5, 4, b"\1"), 5, ".reserved: is 0x1"),
        (within(5, 12, struct.pack("<I", 2**32 - 4)), 5, ".paths[0]: is from 20 to 4294967292"),
        (within(5, 12, b"\x21"), 5, ".paths[0]: is from 20 to 33"),
        (within(5, 12, b"\x14"), 5, ".paths[0]: is from 20 to 20"),
        (within(5, 20, b"\3"), 5, ".paths[0].kind: is 3, and none of 0, 1 and 2"),
        (within(5, 20, b"\1"), 5, ".paths[0]: is for files of a directory, and its last component has no wildcards"),
        (within(5, 20, b"\2"), 5, ".paths[1]: is not after the one before it in the order of bytes"),
        (within(5, 22, b"\0"), 5, ".paths[0]: has 8 bytes after its components"),
        (within(5, 22, b"\2"), 5, ".paths[0].components[1]: is beyond the path's end"),
        (within(5, 24, b"\4"), 5, ".paths[0].components[0].kind: is 4, and none of 0, 1, 2 and 3"),
        (within(5, 24, b"\3"), 5, ".paths[0].components[0].length: is 3, and a variable has no bytes"),
        (within(5, 25, b"\1"), 5, ".paths[0].components[0]: has other bytes than zeros"),
        (within(5, 26, b"\xff\xff"), 5, ".paths[0].components[0].length: is 65535, which goes beyond"),
        (within(5, 26, b"\2"), 5, ".paths[0].components[0]: has other bytes than zeros where zeros must be"),
        (within(5, 26, b"\0"), 5, ".paths[0]: has 4 bytes after its components"),
        (within(5, 28, b"a/b"), 5, ".paths[0].components[0]: has a zero byte or '/', which no name can"),
        (within(5, 28, b"a\0b"), 5, ".paths[0].components[0]: has a zero byte or '/', which no name can"),
        (within(5, 26, b"\2\0..\0"), 5, ".paths[0].components[0]: is '..', which is no name of a file"),
        (within(5, GLOB, b"\3"), 5, ".paths[1].components[1]: has at 0 no token of a glob: 0361"),
        (within(5, GLOB + 1, b"/"), 5, ".paths[1].components[1]: stands for a zero byte or '/'"),
        (within(5, GLOB + 4, b"\1"), 5, ".paths[1].components[1]: stands for a zero byte or '/'"),
        (within(5, GLOB + 4 + 12, b"\x08"), 5, ".paths[1].components[1]: has at 3 a set of 1 bytes; it has 2 at least"),
        (within(5, GLOB - 2, b"\x23"), 5, ".paths[1].components[1]: has at 3 no token of a glob: 0200"),
        (within(5, GLOB, b"\0\0"), 5, ".paths[1].components[1]: has any number of bytes twice, one after the other"),
        (within(5, GLOB - 4, b"\0"), 5, ".paths[1].components[1]: has a zero byte"),
        (within(6, 1, b"\1"), 6, ".records[0].access: is 0x101, and what is handled is 0xf"),
        (within(6, 8, b"\1"), 6, ".records[0]: is for ports 1 to 0"),
        (within(6, 12, b"\5"), 6, ".records[0].abi: is 5"),
        (within(6, 8, b"\x51\0\x51\0"), 6, ".records[1]: is not after the one before it, by first and last port"),
        (within(7, 0, b"\0"), 7, ".present: is 0x0, and must be 1 to 7"),
        (within(7, 0, b"\x0d"), 7, ".present: is 0xd, and must be 1 to 7"),
        (within(7, 0, b"\4"), 7, ".uid: is 0x21, and must be 0"),
        (within(7, 4, b"\xff" * 4), 7, ".uid: is 4294967295"),
        (within(7, 8, b"\1"), 7, ".gid: is 0x1, and must be 0"),
        (within(7, 12, b"\1"), 7, ".reserved: is 0x1"),
        (within(7, 16 + 5, b"\2"), 7, ".capabilities: is 0x20000000400"),
        (within(8, 0, b"\3"), 8, ".count: is 3, and the section has 2 pairs"),
        (within(8, 4, b"\1"), 8, ".reserved: is 0x1"),
        (within(8, 12, b"\xfe\xff\xff\xff"), 8, ".edges[0]: is from 0 to 4294967294"),
        (within(8, 8, b"\xff\xff\xff\xff\1\0\0\0"), 8, ".edges[1]: is not after the one before it, by the calls"),
        (within(8, 8, b"\x18\0\1\0"), 8, ".edges[0]: is from 65560 to 1"),
        (within(8, 12, b"\xff\xff\1\0"), 8, ".edges[0]: is from 0 to 131071"),
        (within(8, 16, b"\xf0"), 8, ".edges[1]: is from 4294967280 to 0"),
        (within(9, 0, b"["), 9, ": is no JSON in UTF-8"),
        (within(9, 2, b"\xff"), 9, ": is no JSON in UTF-8"),
        (within(9, 2, b"C"), 9, ": is no object with exactly compiler, description"),
        (within(10, 0, b"\4"), 10, ".action: is 4 (known: 0 (count), 1 (alert), 2 (freeze), 3 (kill))"),
        (within(10, 4, b"\1"), 10, ": has 124 bytes, and its machines end at 44"),
        (within(10, 4, b"\3"), 10, ".machines[2]: is beyond the section's end"),
        (within(10, 4, b"\xff\xff\xff\xff"), 10, ".count: is 4294967295; 9 are the most"),
        (watched(NARROW + 0, b"\0"), 10, ".machines[0].id: is 0x40000000, which no ABI has"),
        (watched(NARROW + 3, b"\xc0"), 10, ".machines[1]: is not after the one before it"),
        (watched(NARROW + 4, b"\2"), 10, ".machines[0].has_serving: is 2, and must be 0 or 1"),
        (watched(NARROW + 8, struct.pack("<5I", 1, 0, 0, 0, 0)), 10, ".machines[0].serving_calls: are there, though"),
        (
            watched(NARROW + 12, struct.pack("<I", 1 << 30)),
            10,
            ".machines[0].serving: has 1073741824 records, 524288 are",
        ),
        (watched(NARROW + 16, struct.pack("<I", 0)), 10, ".machines[0]: says nothing"),
        (watched(NARROW + 16, struct.pack("<I", 60000)), 10, ".machines[0].deep: goes beyond the section's end"),
        (watched(NARROW + 24, b"\xf9"), 10, ".machines[0].deep[0]: is 4294967289, 0, 65536"),
        (watched(NARROW + 28, struct.pack("<I", 0xFFFFFFFF)), 10, ".machines[0].deep[0]: is 4294967295, 4294967295,"),
        (watched(NARROW + 32, struct.pack("<I", 0xFFFFFFFC)), 10, ".machines[0].deep[0]: is 4294967295, 0, 4294967292"),
        (watched(WIDE + 4, b"\0"), 10, ".machines[1].serving_calls: are there, though there is no serving phase"),
        (watched(WIDE + 4, b"\0"), 10, ".machines[1].serving_deep: is there, though there is no serving phase"),
        (
            watched(WIDE + 24, struct.pack("<I", 0x10000)),
            10,
            ".machines[1].serving_calls[0]: is 0x10000, which is no call",
        ),
        (watched(WIDE + 28, b"\xff" * 4), 10, ".machines[1].serving[1]: is not after the one before it"),
        (watched(WIDE + 32, b"\xf0\xff\xff\xff"), 10, ".machines[1].serving[0]: is from 65539 to 4294967280"),
        (watched(WIDE + 60, b"\1"), 10, ".machines[1].serving_deep[1]: is of a pair that nothing may follow"),
        (watched(WIDE + 60, b"\2\0\0\0\4"), 10, ".machines[1].serving_deep[2]: is not after the one before it"),
        (unordered(), 9, ": has no transitions to watch"),
        (without(8), 9, ".machines[0].deep: is there, though the ABI has no transitions"),
    ],
)
def test_contents(data, kind, problem):
    found = problems(data)
    place = numbered(kind) if kind is not None else ""
    assert any(one.startswith(place + problem) for one in found), found


def with_metadata(data):
    return forged([*parts()[:-2], (9, 0, data), parts()[-1]])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"null",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"9" * 100_000,
        b"\xef\xbb\xbf" + TEXT,
        TEXT + b"\n",
        b" " + TEXT,
        TEXT.replace(b'":', b'": '),
        TEXT.replace(b'"1"', b"1"),
        TEXT.replace(b'"1"', b"null"),
        TEXT.replace(b'"1"', b'"\\u0031"'),
        TEXT.replace("é".encode(), b"\\u00e9"),
        TEXT.replace("é".encode(), b"\\ud800"),
        TEXT.replace("é".encode(), b"\x00"),
        TEXT.replace(b'{"compiler":"1",', b'{"compiler":"1","compiler":"1",'),
        TEXT.replace(b'{"compiler":"1",', b"{"),
        TEXT.replace(b'"policy_digest":""', b'"policy_digest":"' + b"A" * 64 + b'"'),
        TEXT.replace(b'"policy_digest":""', b'"policy_digest":"' + b"a" * 64 + b'\\n"'),
        TEXT.replace(b'{"compiler":"1",', b'{"a":"","compiler":"1",'),
    ],
)
def test_metadata(data):
    assert with_metadata(TEXT) == GOOD
    assert all(one.startswith("sections[8]") for one in problems(with_metadata(data)))


def test_sections_of_wrong_sizes():
    for index, (kind, number, body) in enumerate(parts()[:-2]):
        for changed in (b"", body[:1], body[:-1], body + b"\0", body + bytes(4)):
            replaced = parts()
            replaced[index] = (kind, number, changed)
            assert any(one.startswith(f"sections[{index}]") for one in problems(forged(replaced)))


def test_a_million_mistakes_are_not_all_told():
    rules = struct.pack("<QHHI", 0, 1, 0, 0) * 65535
    given = [part if part[0] != 6 else (6, 0, rules) for part in parts()]
    found = problems(forged(given))
    assert len(found) == 1001
    assert found[-1] == "has 130071 problems more"
    given = [part if part[0] != 6 else (6, 0, rules + rules[:16]) for part in parts()]
    assert problems(forged(given)) == [f"{numbered(6)}: has 1048576 bytes, which are not 1 to 65535 records of 16"]


def refused_or_canonical(data):
    """Whether a file is taken; then it must be just what is written."""
    try:
        file = polfile.read(data)
    except BadInput:
        return False
    assert polfile.write(file) == data
    assert polfile.canonical(file) == file
    return True


def test_mutations_with_a_right_digest_are_refused_or_canonical():
    chance = random.Random(5)
    ends = [FIRST, *(at + length for at, length in SECTIONS.values())]
    taken = 0
    for _ in range(6000):
        data = bytearray(GOOD)
        for _ in range(chance.choice((1, 1, 1, 2, 3))):
            at = chance.randrange(64, len(data))
            kind = chance.randrange(5)
            if kind == 0:
                data[at] ^= 1 << chance.randrange(8)
            elif kind == 1:
                data[at] = chance.choice((0, 1, 2, 3, 4, 8, 47, 127, 128, 255))
            elif kind == 2:
                value = chance.choice((0, 1, 2**16 - 1, 2**31, 2**32 - 1, len(GOOD)))
                struct.pack_into("<I", data, min(at // 4 * 4, len(data) - 4), value)
            elif kind == 3:
                start, size = chance.choice(ends), chance.choice((4, 8, 16, 24))
                data[at : at + size] = data[start : start + size]
            else:
                size = chance.choice((1, 4, 8, 24))
                del data[at : at + size]
                struct.pack_into("<Q", data, 16, len(data))
        taken += refused_or_canonical(digested(bytes(data)))
    # Other numbers in the right places are good files: some are taken, or this would prove nothing.
    assert 100 < taken < 3000


def test_every_flip_with_a_right_digest_is_refused_or_canonical():
    taken = 0
    for index in range(64 * 8, len(GOOD) * 8):
        data = bytearray(GOOD)
        data[index // 8] ^= 1 << index % 8
        taken += refused_or_canonical(digested(bytes(data)))
    assert taken > 100


@given(policy_files(), st.data())
def test_flips_in_any_file_with_a_right_digest(file, data):
    written = bytearray(polfile.write(file))
    at = data.draw(st.integers(64, len(written) - 1))
    written[at] ^= 1 << data.draw(st.integers(0, 7))
    refused_or_canonical(digested(bytes(written)))


@given(st.binary(max_size=300))
def test_any_bytes(data):
    assert not refused_or_canonical(data)
    header = b"SCMMPOL\0" + struct.pack("<HHIQQ", 2, 64, 1, 64 + len(data), 0)
    refused_or_canonical(digested(header + bytes(32) + data))
