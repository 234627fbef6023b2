"""Compiled policies as files: written, read, and read by another reader that knows docs/formats.md only."""

import hashlib
import os
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import polfile_reader
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from polfile_samples import globs, policy_files, small

from scmm_oci.compiled import bpf, polfile
from scmm_oci.compiled.polfile import layout
from scmm_oci.compiled.polfile.model import (
    CLASSES,
    EXEC,
    SIGNAL,
    START,
    STATE_WORDS,
    Component,
    ComponentKind,
    Filter,
    Identity,
    Machine,
    Metadata,
    Missing,
    PathKind,
    PathRule,
    PolicyFile,
    PortRule,
    Ruleset,
    Transitions,
    Watch,
)
from scmm_oci.compiled.polfile.model import NOTHING as NONE
from scmm_oci.compiled.polfile.paths import from_pattern, to_text
from scmm_oci.compiled.polfile.pathtable import encode_path
from scmm_oci.errors import BadInput
from scmm_oci.policy.paths.patterns import Pattern
from scmm_oci.tables.arch import Arch

NOTHING = PolicyFile((), None, Identity(), (), Metadata())
CLASSES_AFTER = CLASSES + len(STATE_WORDS)
METADATA = (
    '{"compiler":"1","description":"","generated_at":"","generated_from":"","name":"web é","policy_digest":"",'
    '"target_executable":""}'
).encode()


def padded(data):
    return data + bytes(-len(data) % 8)


def golden():
    """The bytes of `small`, by hand."""
    test = struct.pack("<HBBI", 0x20, 0, 0, 0) + struct.pack("<HBBI", 0x15, 1, 0, 39)
    allow = struct.pack("<HBBI", 6, 0, 0, 0x7FFF0000)
    refusing = struct.pack("<IIII", 4, 1, 4, 0) + test + struct.pack("<HBBI", 6, 0, 0, 0x00050001) + allow
    passing = struct.pack("<IIII", 4, 1, 4, 0) + test + struct.pack("<HBBI", 6, 0, 0, 0x7FFC0001) + allow
    srv = bytes([0, 0, 3, 0]) + b"srv\0"
    glob = bytes([1, 0, 36, 0]) + b"\1a\0\2" + bytes(12) + b"\x0c" + bytes(19)
    home = bytes([2, 0, 0, 0])
    paths = [b"\0\0\1\0" + srv, b"\1\0\2\0" + srv + glob, b"\2\0\1\0" + home]
    starts = [20, 20 + len(paths[0]), 20 + len(paths[0]) + len(paths[1])]
    narrow = struct.pack("<IIIIII", 0x4000003E, 0, 0, 0, 1, 0) + struct.pack("<III", 0xFFFFFFFF, 0, 0x10000)
    wide = struct.pack("<IIIIII", 0xC000003E, 1, 1, 2, 0, 3) + struct.pack("<I", 50)
    wide += struct.pack("<IIII", 0x10003, 1, 0xFFFFFFFC, 0)
    wide += struct.pack("<9I", 0, 1, 0xFFFFFFF0, 0, 2, 3, 0, 2, 4)
    bodies = [
        (1, 0xC000003E, refusing),
        (2, 0xC000003E, passing),
        (3, 0, struct.pack("<QQQII", 0x1FFFF, 15, 1, 10, 0)),
        (
            4,
            0,
            struct.pack("<QIIII", 4, 0, 0, 1, 0)
            + struct.pack("<QIIII", 0x4002, 0, 2, 3, 0)
            + struct.pack("<QIIII", 12, 1, 0, 1, 0)
            + struct.pack("<QIIII", 0x1FFFF, 2, 1, 9, 0),
        ),
        (5, 0, struct.pack("<IIIII", 3, 0, *starts) + b"".join(paths)),
        (6, 0, struct.pack("<QHHI", 1, 0, 0, 4) + struct.pack("<QHHI", 11, 80, 443, 10)),
        (7, 0, struct.pack("<IIIIQ", 5, 33, 0, 0, 1 << 10)),
        (8, 0x4000003E, struct.pack("<II", 2, 0) + struct.pack("<IIII", 0, 1, 0xFFFFFFFF, 0)),
        (9, 0, METADATA),
        (10, 0, struct.pack("<II", 3, 2) + narrow + wide),
    ]
    at = 64 + 24 * len(bodies)
    table = rest = b""
    for kind, identifier, body in bodies:
        table += struct.pack("<IIQQ", kind, identifier, at, len(body))
        rest += padded(body)
        at += len(padded(body))
    digest = hashlib.sha256(table + rest).digest()
    return b"SCMMPOL\0" + struct.pack("<HHIQQ", 2, 64, len(bodies), at, 0) + digest + table + rest


def test_a_small_file_byte_by_byte():
    data = golden()
    assert polfile.write(small()) == data
    assert polfile.read(data) == small()
    assert polfile.is_compiled(data)
    assert not polfile.is_compiled(b"SCMMPOL")


def test_the_least_file():
    data = polfile.write(NOTHING)
    assert polfile.read(data) == NOTHING
    assert polfile_reader.sections_of(data).keys() == {(9, 0)}


@given(policy_files())
@example(small())
def test_what_is_written_is_read(file):
    data = polfile.write(file)
    assert polfile.read(data) == polfile.canonical(file)
    assert polfile.write(polfile.read(data)) == data


@given(policy_files(), st.randoms())
def test_order_means_nothing(file, random):
    def shuffled(values):
        return tuple(random.sample(values, len(values)))

    ruleset = file.ruleset
    if ruleset is not None:
        ruleset = replace(ruleset, paths=shuffled(ruleset.paths), ports=shuffled(ruleset.ports))
    transitions = shuffled([replace(one, edges=shuffled(one.edges)) for one in file.transitions])
    watch = file.watch
    if watch is not None:
        machines = [
            replace(
                one,
                serving_calls=None if one.serving_calls is None else shuffled(one.serving_calls),
                serving=shuffled(one.serving),
                deep=shuffled(one.deep),
                serving_deep=shuffled(one.serving_deep),
            )
            for one in watch.machines
        ]
        watch = replace(watch, machines=shuffled(machines))
    other = replace(file, filters=shuffled(file.filters), ruleset=ruleset, transitions=transitions, watch=watch)
    assert polfile.write(other) == polfile.write(file)


def test_rules_for_the_same_are_joined_and_nothing_is_lost():
    path = ((Component(ComponentKind.NAME, b"a"),), PathKind.EXACT)
    rules = [PathRule(*path, access, missing, abi) for access, missing, abi in ((4, 0, 1), (1 << 14, 0, 3), (8, 1, 1))]
    ports = [PortRule(80, 80, 1, 4), PortRule(80, 80, 8, 10), PortRule(80, 81, 1, 4)]
    rules = tuple(replace(one, on_missing=Missing(one.on_missing)) for one in rules)
    file = replace(NOTHING, ruleset=Ruleset(0x1FFFF, 15, 0, 10, rules, tuple(ports)))
    found = polfile.read(polfile.write(file)).ruleset
    assert [(one.access, one.on_missing, one.abi) for one in found.paths] == [(4 | 1 << 14, 0, 3), (8, 1, 1)]
    assert found.ports == (PortRule(80, 80, 9, 10), PortRule(80, 81, 1, 4))


@given(policy_files())
@example(small())
@settings(max_examples=60)
def test_another_reader_reads_the_same(file):
    file = polfile.canonical(file)
    found = polfile_reader.read(polfile.write(file))

    def code(program):
        return [(one.code, one.jt, one.jf, one.k) for one in program]

    assert found["filters"] == {one.arch.audit: (one.flags, code(one.program)) for one in file.filters}
    assert found["permissive"] == {one.arch.audit: (one.flags, code(one.permissive)) for one in file.filters}
    numbers = {arch: 0x4000003E if arch is Arch.X32 else arch.audit for arch in Arch}
    assert found["transitions"] == {numbers[one.arch]: list(one.edges) for one in file.transitions}
    assert found["metadata"] == vars(file.metadata)
    if file.watch is None:
        assert "watch" not in found
    else:
        assert found["watch"] == (
            file.watch.action,
            {
                numbers[one.arch]: (
                    one.serving_calls,
                    *(list(getattr(one, name)) for name in ("serving", "deep", "serving_deep")),
                )
                for one in file.watch.machines
            },
        )
    identity = {name: value for name, value in vars(file.identity).items() if value is not None}
    assert found.get("identity", {}) == identity
    if file.ruleset is None:
        assert "ruleset" not in found
        return
    ruleset = file.ruleset
    assert found["ruleset"] == (ruleset.handled_fs, ruleset.handled_net, ruleset.scoped, ruleset.abi)
    assert found["ports"] == [(one.access, one.first, one.last, one.abi) for one in ruleset.ports]
    assert [(rule[0], rule[2], rule[3]) for rule in found["rules"]] == [
        (one.access, one.on_missing, one.abi) for one in ruleset.paths
    ]
    for (_, (kind, components), _, _), one in zip(found["rules"], ruleset.paths, strict=True):
        assert kind == one.kind
        assert [number for number, _ in components] == [part.kind for part in one.components]
        names = [data for number, data in components if number == 0]
        assert names == [part.name for part in one.components if part.kind is ComponentKind.NAME]


@given(globs(), st.binary(min_size=1, max_size=6) | st.text("abé.$[]^-", min_size=1, max_size=6).map(str.encode))
def test_tokens_match_what_the_pattern_matches(component, name):
    name = name.replace(b"\0", b"0").replace(b"/", b"_")
    try:
        pattern = Pattern.parse(to_text((component,), PathKind.FILES))
    except BadInput:
        return
    tokens = encode_path((component,), PathKind.FILES)[8:]
    length = int.from_bytes(encode_path((component,), PathKind.FILES)[6:8], "little")
    expected = pattern.matches("/" + name.decode("utf-8", "surrogateescape"))
    assert polfile_reader.matches(tokens[:length], name) == expected


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        ("*", b"a", True),
        ("*a*b", b"xaxxbb", True),
        ("*a*b", b"xaxxbc", False),
        ("?", "é".encode(), False),
        ("??", "é".encode(), True),
        ("[!a]\\xff", b"b\xff", True),
        ("[!a]\\xff", b"a\xff", False),
        ("lib*.so.*", b"libc.so.6", True),
        ("lib*.so.*", b"libc.so", False),
    ],
)
def test_globs_in_bytes(text, name, expected):
    encoded = encode_path(*from_pattern(Pattern.parse("/" + text)))
    assert polfile_reader.matches(encoded[8 : 8 + int.from_bytes(encoded[6:8], "little")], name) is expected


RET = (bpf.Instruction(bpf.RET, bpf.RET_ALLOW),)
KILL = (bpf.Instruction(bpf.RET, bpf.RET_KILL_PROCESS),)
NAMED = (Component(ComponentKind.NAME, b"a"),)


def with_rules(*paths, ports=()):
    return replace(NOTHING, ruleset=Ruleset(7, 3, 0, 4, paths, ports))


@pytest.mark.parametrize(
    ("file", "problems"),
    [
        (replace(NOTHING, filters=(Filter(Arch.X32, None, RET, RET),)), [".filters[0].arch: is x32, which is no"]),
        (
            replace(NOTHING, filters=(Filter(Arch.ARM, 8, (), KILL), Filter(Arch.ARM, None, RET * 4097, RET))),
            [
                ".filters[0].flags: is 0x8",
                ".filters[0].program: has 0 instructions",
                ".filters[0].permissive.program[0]: returns 0x80000000, and must let calls pass",
                ".filters[1].program: has 4097 instructions",
                ".filters[1].arch: is arm, which another has already",
            ],
        ),
        (
            replace(NOTHING, filters=(Filter(Arch.X86, 0, (bpf.Instruction(6, 1 << 32),), RET),)),
            [".filters[0].program[0]: has a number that struct sock_filter cannot hold"],
        ),
        (replace(NOTHING, ruleset=Ruleset(0, 0, 0, 1)), [".ruleset: handles nothing"]),
        (replace(NOTHING, ruleset=Ruleset(1 << 17, 0, 4, 1)), [".ruleset.handled_fs", ".ruleset.scoped: is 0x4"]),
        (replace(NOTHING, ruleset=Ruleset(1, 0, 1, 1)), [".ruleset.abi: is 1, and the least that has all of it is 6"]),
        (
            with_rules(
                PathRule(NAMED, PathKind.EXACT, 0, Missing.SKIP, 1),
                PathRule(NAMED, PathKind.FILES, 8, Missing.SKIP, 1),
                PathRule((Component(ComponentKind.NAME, b".."),), PathKind.EXACT, 1, Missing.SKIP, 2),
            ),
            [
                ".ruleset.paths[0].access: is 0: a rule without a right",
                ".ruleset.paths[1]: is for files of a directory",
                ".ruleset.paths[1].access: is 0x8, and what is handled is 0x7",
                ".ruleset.paths[2].components[0]: is '..', which is no name",
                ".ruleset.paths[2].abi: is 2, and the least that has all of it is 1",
            ],
        ),
        (
            with_rules(ports=(PortRule(2, 1, 1, 4), PortRule(0, 65536, 4, 10))),
            [
                ".ruleset.ports[0]: is for ports 2 to 1",
                ".ruleset.ports[1]: is for ports 0 to 65536",
                ".ruleset.ports[1].access: is 0x4, and what is handled is 0x3",
            ],
        ),
        (
            replace(NOTHING, identity=Identity(0xFFFFFFFF, -1, 1 << 41)),
            [".identity.uid: is 4294967295", ".identity.gid: is -1", ".identity.capabilities: is 0x20000000000"],
        ),
        (
            replace(NOTHING, transitions=(Transitions(Arch.ARM, ((0, START), (START + 1, 0), (SIGNAL, 0))),) * 2),
            [
                ".transitions[0].edges[0]: is from 0 to 4294967295",
                ".transitions[0].edges[1]: is from 4294967296 to 0",
                ".transitions[1].edges[0]",
                ".transitions[1].edges[1]",
                ".transitions[1].arch: is arm",
            ],
        ),
        (
            replace(
                NOTHING,
                transitions=(Transitions(Arch.ARM, ((CLASSES_AFTER, 0), (0, CLASSES_AFTER), (0, EXEC), (EXEC, 0))),),
            ),
            [
                ".transitions[0].edges[0]: is from 65560 to 0",
                ".transitions[0].edges[1]: is from 0 to 65560",
                ".transitions[0].edges[2]: is from 0 to 4294967293",
            ],
        ),
        (replace(NOTHING, watch=Watch("alert")), [".watch: has no transitions to watch"]),
        (
            replace(NOTHING, watch=Watch("harm", (Machine(Arch.ARM, deep=((0, 1, 2),)),) * 2)),
            [
                ".watch.machines[1].arch: is arm, which another has already",
                ".watch.action: 'harm' is not an action",
                ".watch: has no transitions to watch",
                ".watch.machines[0].deep: is there, though the ABI has no transitions",
                ".watch.machines[1].deep: is there, though the ABI has no transitions",
            ],
        ),
        (
            replace(
                NOTHING,
                watch=Watch(
                    "kill",
                    (
                        Machine(Arch.ARM, (5, CLASSES, START), ((START, SIGNAL),), (), ((1, START, 2), (0, 1, EXEC))),
                        Machine(Arch.X86, serving=((0, 1),), serving_deep=((0, 1, NONE), (0, 1, 2))),
                    ),
                ),
            ),
            [
                ".watch.machines[0].serving_calls[1]: is 0x10000, which is no call",
                ".watch.machines[0].serving_calls[2]: is 0xffffffff, which is no call",
                ".watch.machines[0].serving[0]: is from 4294967295 to 4294967294",
                ".watch.machines[0].serving_deep[0]: is 1, 4294967295, 2",
                ".watch.machines[0].serving_deep[1]: is 0, 1, 4294967293",
                ".watch.machines[1].serving: is there, though there is no serving phase",
                ".watch.machines[1].serving_deep: is there, though there is no serving phase",
                ".watch.machines[1].serving_deep[1]: is of a pair that nothing may follow",
            ],
        ),
        (
            replace(NOTHING, metadata=Metadata(name="\udcff", policy_digest="ab")),
            [".metadata.name: has half of a surrogate pair", ".metadata.policy_digest: is 'ab'"],
        ),
    ],
)
def test_what_is_not_written(file, problems):
    with pytest.raises(BadInput) as caught:
        polfile.write(file)
    lines = [str(one) for one in caught.value.problems]
    assert len(lines) == len(problems)
    for line, begin in zip(lines, problems, strict=True):
        assert line.startswith(begin)


def test_what_would_be_too_large_is_not_written():
    text = "x" * layout.MAX_BYTES
    with pytest.raises(BadInput, match="67108864 are the most"):
        polfile.write(replace(NOTHING, metadata=Metadata(description=text)))
    fits = replace(NOTHING, metadata=Metadata(description=text[len(polfile.write(NOTHING)) :]))
    assert len(polfile.write(fits)) == layout.MAX_BYTES
    assert polfile.read(polfile.write(fits)) == fits


@pytest.mark.parametrize(
    ("name", "items"),
    [
        ("serving_calls", tuple(range(1025))),
        ("serving", tuple((one // 1000, one % 1000) for one in range((1 << 19) + 1))),
        ("serving_deep", tuple((one // 1000, 1, one % 1000) for one in range((1 << 16) + 1))),
    ],
)
def test_lists_of_machines_have_limits(name, items):
    def file(kept):
        machine = replace(Machine(Arch.X86_64, ()), **{name: items[:kept]})
        return replace(NOTHING, watch=Watch("count", (machine,)))

    fits = file(len(items) - 1)
    assert polfile.read(polfile.write(fits)) == fits
    with pytest.raises(BadInput, match=f"{len(items) - 1} are the most"):
        polfile.write(file(len(items)))


def test_machines_that_say_nothing_are_not_written():
    transitions = (Transitions(Arch.X86_64, ((0, 1),)),)
    file = replace(NOTHING, transitions=transitions, watch=Watch("freeze", (Machine(Arch.ARM), Machine(Arch.X86))))
    assert polfile.read(polfile.write(file)).watch == Watch("freeze")


def test_a_phase_that_no_call_leads_to_is_kept():
    file = replace(NOTHING, watch=Watch("alert", (Machine(Arch.S390, ()),)))
    assert polfile.read(polfile.write(file)) == file


def plain_rules(number):
    names = [Component(ComponentKind.NAME, b"%d" % index) for index in range(number)]
    return tuple(PathRule((*NAMED, one), PathKind.EXACT, 4, Missing.SKIP, 1) for one in names)


def test_more_paths_than_16_bits_can_count():
    file = with_rules(*plain_rules(66000))
    assert polfile.read(polfile.write(file)) == polfile.canonical(file)


def test_too_many_paths_are_not_written(monkeypatch):
    monkeypatch.setattr(layout, "MAX_PATHS", 3)
    three = plain_rules(3)
    # Two rules for one path have it once.
    twice = with_rules(*three, replace(three[0], on_missing=Missing.PARENTDIR))
    assert len(polfile.read(polfile.write(twice)).ruleset.paths) == 4
    with pytest.raises(BadInput, match="has more than 3 paths"):
        polfile.write(with_rules(*plain_rules(4)))


HERE = Path(__file__).parent
PROGRAM = """
import hashlib, sys
sys.path.insert(0, sys.argv[1])
from polfile_samples import small
from scmm_oci.compiled import polfile
print(hashlib.sha256(polfile.write(small())).hexdigest())
"""


@pytest.mark.parametrize(
    "changed", [{"PYTHONHASHSEED": "1"}, {"PYTHONHASHSEED": "2", "LC_ALL": "C", "TZ": "Asia/Tokyo"}]
)
def test_the_same_bytes_everywhere(changed):
    command = [sys.executable, "-c", PROGRAM, str(HERE)]
    done = subprocess.run(command, env={**os.environ, **changed}, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == hashlib.sha256(golden()).hexdigest()
