"""Groups of system calls: the tables, what conditions mean, what is refused, and scmm groups from the outside."""

import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import ROOT, need

from scmm_oci.cli.main import groups as command
from scmm_oci.errors import BadInput
from scmm_oci.tables import syscalls, words
from scmm_oci.tables.arguments import ARGUMENTS, arguments
from scmm_oci.tables.groups import Condition, Member, admits, argument_of, expand, groups, holding, load, on_arch
from tools import make_groups

DATA = ROOT / "scmm_oci" / "tables" / "data"
O_RDONLY, O_WRONLY, O_RDWR, O_CREAT, O_TRUNC, O_CLOEXEC, O_PATH, O_TMPFILE = (
    0,
    1,
    2,
    0o100,
    0o1000,
    0o2000000,
    0o10000000,
    0o20200000,
)
CLONE_VM, CLONE_VFORK, CLONE_THREAD, CLONE_NEWUSER, CLONE_NEWNET, SIGCHLD = (
    0x100,
    0x4000,
    0x10000,
    0x10000000,
    0x40000000,
    17,
)
PTHREAD = 0x3D0F00  # what glibc's pthread_create gives to clone


def group(*members, **more):
    return {"description": "d", "members": [*members], **more}


def problems(document, **options):
    with pytest.raises(BadInput) as error:
        load(document, source="x.json", **options)
    assert error.value.source == "x.json"
    return [(problem.place, problem.message, problem.hint) for problem in error.value.problems]


def one(name, call):
    """The members of a group that are about a call."""
    return [member for member in expand(name) if member.name == call]


def allows(name, call, values, arch="x86_64"):
    return any(admits(member, values, arch=arch) for member in one(name, call))


# What there is


def test_every_group_loads_and_has_calls():
    assert len(groups()) > 140
    assert [*groups()] == sorted(groups())
    for name, its in groups().items():
        assert its.name == name
        assert its.description and its.source
        assert expand(name)
        assert [*its.members] == sorted(set(its.members))


def test_names_are_calls_of_some_architecture():
    names = {member.name for name in groups() for member in expand(name)}
    assert names <= syscalls.all_names()
    # No calls, but functions of C libraries: the seed's groups could not be loaded for them.
    assert not {"seteuid", "setegid"} & syscalls.all_names()
    assert {member.name for member in expand("@setuid-ops")} >= {"setuid", "setresuid", "setreuid"}
    assert not {member.name for member in expand("@setuid-ops")} & {member.name for member in expand("@setgid-ops")}


@pytest.mark.parametrize("name", ["seteuid", "setegid", "opennat"])
def test_what_is_no_call_is_refused(name):
    ((place, message, _),) = problems({"groups": {"@a": group("read", name)}})
    assert (place, message) == (".groups.@a.members[1]", f"{name!r} is not a system call")


def test_sources_are_kept_apart():
    systemd = json.loads((DATA / "groups.systemd.json").read_text())["groups"]
    ours = json.loads((DATA / "groups.json").read_text())["groups"]
    assert not set(systemd) & set(ours)
    assert {name for name, its in groups().items() if its.source == "systemd 252"} == set(systemd)
    # One name means one thing: systemd's names stay what they are.
    assert {member.name for member in groups()["@network-io"].members} == set(systemd["@network-io"]["members"])
    assert "@known" not in groups()


def test_nesting_is_kept():
    assert Member("@basic-io") in groups()["@system-service"].members
    assert {"read", "ioctl"} <= {member.name for member in expand("@system-service")}
    assert Member("@file-io") in groups()["@stdio-app"].members
    assert not any(member.name.startswith("@") for name in groups() for member in expand(name))


def test_expansion_is_the_union_of_the_members():
    for name, its in groups().items():
        names = {member.name for member in its.members if member.name[0] != "@"}
        for inner in its.members:
            if inner.name[0] == "@":
                names |= {member.name for member in expand(inner.name)}
        assert {member.name for member in expand(name)} == names
        assert [*expand(name)] == sorted(set(expand(name)))


def test_a_call_that_is_also_there_plainly_is_there_plainly():
    assert one("@memory", "mmap")[0].conditions
    assert one("@memory-exec", "mmap") == [Member("mmap")]
    assert len(one("@file-open", "openat")) == 1
    # Two conditions stay two.
    assert len(one("@socket-inet", "socket")) == 2


def test_which_groups_hold_a_call():
    found = holding("ptrace")
    assert {"@debug", "@process-inspect"} <= set(found)
    assert "@stdio-app" not in found
    assert [*found] == sorted(found)
    assert {"@open-read", "@file-io", "@stdio-app", "@container-runtime", "@system-service"} <= set(holding("openat"))
    with pytest.raises(BadInput, match="did you mean 'ptrace'"):
        holding("ptrac")


def test_an_unknown_group_is_told_with_a_suggestion():
    with pytest.raises(BadInput, match="did you mean '@file-io'"):
        expand("@fileio")


def test_small_programs_are_given_nothing_that_is_dangerous():
    from scmm_oci.tables.sensitive import DANGEROUS

    for name in ("@program-start", "@stdio-app", "@threaded-app", "@network-app", "@server-app", "@shell", "@file-io"):
        assert not {member.name for member in expand(name)} & DANGEROUS.keys(), name
    assert {member.name for member in expand("@container-runtime")} & DANGEROUS.keys() >= {"mount", "setns", "unshare"}


# What conditions mean


def test_open_write_is_writing_or_both_and_no_reading():
    for arch, call, at in [
        ("x86_64", "open", 1),
        ("x86_64", "openat", 2),
        ("aarch64", "openat", 2),
        ("x86", "open", 1),
    ]:
        for mode, right in [(O_RDONLY, False), (O_WRONLY, True), (O_RDWR, True), (O_WRONLY | O_RDWR, False)]:
            for more in (0, O_TRUNC, O_CLOEXEC, O_TRUNC | O_CLOEXEC):
                assert allows("@open-write", call, {at: mode | more}, arch) is right
    assert not allows("@open-write", "openat", {2: O_WRONLY | O_CREAT})
    assert not allows("@open-write", "openat", {2: O_WRONLY | O_PATH})


def test_open_read_neither_writes_nor_makes_nor_empties():
    assert allows("@open-read", "openat", {2: O_RDONLY | O_CLOEXEC})
    for flags in (O_WRONLY, O_RDWR, 3, O_CREAT, O_TRUNC, O_TMPFILE, O_RDONLY | 1 << 30):
        assert not allows("@open-read", "openat", {2: flags})
    # Flags are an int: the kernel sees no more than 32 bits of the register.
    assert allows("@open-read", "openat", {2: 1 << 40})


def test_file_create_makes():
    assert allows("@file-create", "openat", {2: O_WRONLY | O_CREAT | O_TRUNC})
    assert allows("@file-create", "openat", {2: O_RDWR | O_TMPFILE})
    assert not allows("@file-create", "openat", {2: O_CREAT | 1 << 30})
    assert allows("@file-create", "mknodat", {2: 0o100644})
    assert not allows("@file-create", "mknodat", {2: 0o020644})
    assert allows("@device-create", "mknodat", {2: 0o020644})


@pytest.mark.parametrize(
    ("arch", "flags_at", "other"), [("x86_64", 0, 1), ("aarch64", 0, 1), ("s390x", 1, 0), ("s390", 1, 0)]
)
def test_clone_groups_look_at_its_flags(arch, flags_at, other):
    # The seed's looked at argument 1 everywhere, which is the stack's address.
    for stack in (0, 0x7F00_0000_1000, 0xFFFF_FFFF):
        assert allows("@thread-create", "clone", {flags_at: PTHREAD, other: stack}, arch)
        assert not allows("@thread-create", "clone", {flags_at: PTHREAD | CLONE_NEWUSER, other: stack}, arch)
        assert not allows("@thread-create", "clone", {flags_at: SIGCHLD, other: stack}, arch)
        assert allows("@process-create", "clone", {flags_at: CLONE_VM | CLONE_VFORK | SIGCHLD, other: stack}, arch)
        assert not allows("@process-create", "clone", {flags_at: CLONE_NEWNET | SIGCHLD, other: stack}, arch)
        assert not allows("@process-create", "clone", {flags_at: PTHREAD, other: stack}, arch)
        # clone's flags are a long: a bit beyond the 32 counts.
        assert not allows("@process-create", "clone", {flags_at: 1 << 40 | SIGCHLD, other: stack}, arch)
    (member,) = one("@thread-create", "clone")
    assert [condition.arg for condition in on_arch(member, arch).conditions] == [flags_at]


def test_what_filters_cannot_see_is_not_in_groups_with_conditions():
    for name in ("@open-read", "@open-write", "@process-create", "@thread-create", "@socket-unix"):
        assert not {"openat2", "clone3", "socketcall"} & {member.name for member in expand(name)}


def test_memory_without_code():
    assert allows("@memory", "mmap", {2: 3})
    assert not allows("@memory", "mmap", {2: 5})
    assert allows("@memory-exec", "mmap", {2: 5})
    # i386's mmap has its arguments in memory; mmap2 has not.
    (member,) = one("@memory", "mmap")
    assert on_arch(member, "x86") is None
    assert allows("@memory", "mmap2", {2: 3}, "x86")
    assert not allows("@memory", "mmap2", {2: 7}, "x86")


def test_sockets():
    assert allows("@socket-unix", "socket", {0: 1})
    assert not allows("@socket-unix", "socket", {0: 2})
    for family, kind, protocol, right in [
        (2, 1, 0, True),
        (10, 1 | 0x80000, 6, True),
        (2, 2 | 0x800, 17, True),
        (2, 1, 17, False),
        (2, 2, 1, False),
        (2, 3, 0, False),
        (16, 1, 0, False),
        (2, 0, 0, False),
    ]:
        assert allows("@socket-inet", "socket", {0: family, 1: kind, 2: protocol}) is right
    assert allows("@socket-raw", "socket", {0: 2, 1: 3, 2: 0})
    assert allows("@socket-raw", "socket", {0: 17, 1: 2, 2: 0})


def test_terminals_are_not_typed_into():
    assert allows("@terminal", "ioctl", {1: 0x5413})
    assert not allows("@terminal", "ioctl", {1: 0x5412})
    # ppc64le's numbers are others, and its vocabulary has no terminals: nothing is allowed rather than everything.
    assert one("@terminal", "ioctl") and not any(on_arch(member, "ppc64le") for member in one("@terminal", "ioctl"))


def test_denied_bits():
    assert allows("@file-remove", "unlinkat", {2: 0})
    assert not allows("@file-remove", "unlinkat", {2: 0x200})
    assert allows("@directory-remove", "unlinkat", {2: 0x200})


def test_denied_values_of_fields():
    member = Member("openat", (Condition(2, "flags", (), ("O_CREAT", "O_RDONLY")),))
    for value, right in [
        (0, False),
        (1, True),
        (2, True),
        (O_CLOEXEC, False),
        (O_CLOEXEC | 2, True),
        (O_CREAT | 1, False),
    ]:
        assert admits(member, {2: value}, arch="x86_64") is right
    member = Member("socket", (Condition(0, "integer", (), ("AF_UNIX",)),))
    assert [admits(member, {0: value}, arch="x86_64") for value in (0, 1, 2)] == [True, False, True]


def test_an_architecture_without_the_word_is_not_given_more():
    member = Member("mprotect", (Condition(2, "flags", ("PROT_BTI",), ()),))
    assert on_arch(member, "aarch64") == member
    assert on_arch(member, "x86_64") is None
    assert not admits(member, {2: 0}, arch="x86_64")
    both = Member("mprotect", (Condition(2, "flags", ("PROT_BTI", "PROT_READ"), ()),))
    assert on_arch(both, "x86_64").conditions[0].allowed == ("PROT_READ",)
    assert on_arch(Member("open"), "aarch64") is None
    assert on_arch(Member("openat"), "aarch64") == Member("openat")


def test_arguments_of_conditions():
    condition = Condition(0, "flags", ("CLONE_VM",), ())
    assert argument_of("clone", condition, arch="x86_64").indexes == (0,)
    assert argument_of("clone", condition, arch="s390").indexes == (1,)
    opening = Condition(1, "flags", ("O_RDWR",), ())
    assert argument_of("open", opening, arch="x86_64").vocabulary == "open_flags"
    assert argument_of("open", opening, arch="aarch64") is None
    assert argument_of("read", opening, arch="x86_64") is None


def test_places_of_arguments_move_together():
    # on_arch goes from one table to the other by position.
    for arch in syscalls.ARCHES:
        for name, kept in arguments(arch).items():
            assert len(kept) == len(ARGUMENTS[name])
            assert [one.kind for one in kept] == [one.kind for one in ARGUMENTS[name]]


@settings(max_examples=200)
@given(st.sampled_from(syscalls.ARCHES), st.data())
def test_allowed_words_are_admitted_and_denied_ones_are_not(arch, data):
    call, argument = data.draw(
        st.sampled_from(
            [
                (n, a)
                for n, its in arguments(arch).items()
                for a in its
                if n in syscalls.numbers(arch)
                and a.field is None
                and len(a.indexes) == 1
                and a.kind == "enum"
                and words.names(a.vocabulary, arch=arch)
            ]
        )
    )
    word, value = data.draw(st.sampled_from([*words.names(argument.vocabulary, arch=arch).items()]))
    generic = ARGUMENTS[call][arguments(arch)[call].index(argument)].indexes[0]
    at = argument.indexes[0]
    value &= argument.mask
    assert admits(Member(call, (Condition(generic, "integer", (word,), ()),)), {at: value}, arch=arch)
    assert not admits(
        Member(call, (Condition(generic, "integer", (word,), ()),)),
        {at: value ^ argument.mask & -argument.mask},
        arch=arch,
    )
    assert not admits(Member(call, (Condition(generic, "integer", (), (word,)),)), {at: value}, arch=arch)


@given(
    st.sets(
        st.sampled_from(["O_RDONLY", "O_WRONLY", "O_RDWR", "O_CREAT", "O_EXCL", "O_TRUNC", "O_CLOEXEC", "O_SYNC"]),
        min_size=1,
    )
)
def test_allowed_flags_mean_what_a_list_of_all_values_says(listed):
    member = Member("openat", (Condition(2, "flags", tuple(sorted(listed)), ()),))
    values = words.names("open_flags")
    modes = {values[word] for word in listed if word in ("O_RDONLY", "O_WRONLY", "O_RDWR")} or {0}
    flags = [values[word] for word in listed if values[word] > 3]
    every = 0
    for number in flags:
        every |= number
    bits = [1 << bit for bit in (6, 7, 9, 12, 19, 20)]
    for mode, picked in itertools.product(range(4), itertools.product((0, 1), repeat=len(bits))):
        value = mode | sum(bit for bit, on in zip(bits, picked, strict=True) if on)
        assert admits(member, {2: value}, arch="x86_64") is (mode in modes and value & ~3 & ~every == 0)


# What is refused


def test_all_that_is_wrong_is_told_at_once():
    document = {
        "source": 5,
        "extra": 1,
        "groups": {
            "@a": group("@b", "nope", "@nope", "read", "read"),
            "@b": group("@c"),
            "@c": group("@a", "@c"),
            "Bad": group("read"),
            "@d": {"description": "d", "members": [], "oops": 1},
            "@e": group({"name": "openat", "conditions": [{"arg": 2, "type": "flags", "allowed": ["O_NOPE"]}]}),
        },
    }
    places = {place for place, _, _ in problems(document)}
    assert places == {
        "", ".source", ".groups.@a.members[1]", ".groups.@a.members[2]", ".groups.@a.members[4]", ".groups.@c",
        ".groups.Bad", ".groups.@d", ".groups.@d.members", ".groups.@e.members[0].conditions[0].allowed[0]",
    }  # fmt: skip
    messages = [message for place, message, _ in problems(document) if place == ".groups.@c"]
    assert messages == [
        "a group cannot hold itself: @a → @b → @c → @a",
        "a group cannot hold itself: @c → @c",
    ]


def test_groups_in_several_others_are_no_circle():
    document = {"groups": {"@a": group("@b", "@c"), "@b": group("@d"), "@c": group("@d"), "@d": group("read")}}
    assert [*load(document, source="x")] == ["@a", "@b", "@c", "@d"]
    document["groups"]["@d"]["members"].append("@a")
    assert [message for _, message, _ in problems(document)] == [
        "a group cannot hold itself: @a → @b → @d → @a",
    ]


def test_deep_nesting_is_no_trouble():
    document = {"groups": {f"@g{n}": group(f"@g{n + 1}") for n in range(5000)}}
    document["groups"]["@g5000"] = group("read")
    assert len(load(document, source="x")) == 5001
    document["groups"]["@g5000"] = group("@g0")
    assert len(problems(document)) == 1


@pytest.mark.parametrize(
    ("member", "place", "message"),
    [
        (5, "", "5 is not a mapping"),
        ({"name": []}, "", "[] is not a system call"),
        ({"conditions": []}, "", "name is missing"),
        ({"name": "read", "x": 1}, "", "'x' is not a key here"),
        ({"name": "openat", "conditions": []}, ".conditions", "[] is not a list with something in it"),
        ({"name": "@file-io", "conditions": [1]}, "", "a group cannot have conditions"),
        ({"name": "openat", "conditions": [1]}, ".conditions[0]", "1 is not a mapping"),
    ],
)
def test_members_that_are_refused(member, place, message):
    found = problems({"groups": {"@a": group(member)}}, known=groups())
    assert (f".groups.@a.members[0]{place}", message) in [(one[0], one[1]) for one in found]


@pytest.mark.parametrize(
    ("call", "condition", "place", "message"),
    [
        ("read", {"arg": 0, "type": "integer", "allowed": ["X"]}, ".arg", "0 is not an argument with named values"),
        (
            "openat",
            {"arg": True, "type": "flags", "allowed": ["O_RDWR"]},
            ".arg",
            "True is not an argument with named values",
        ),
        (
            "clone",
            {"arg": 1, "type": "flags", "allowed": ["CLONE_VM"]},
            ".arg",
            "1 is not an argument with named values",
        ),
        (
            "openat2",
            {"arg": 2, "type": "flags", "allowed": ["O_RDWR"]},
            ".arg",
            "2 is not an argument with named values",
        ),
        (
            "setsockopt",
            {"arg": 1, "type": "integer", "allowed": ["SOL_IP"]},
            ".arg",
            "1 is not an argument with named values",
        ),
        (
            "openat",
            {"arg": 2, "type": "integer", "allowed": ["O_RDWR"]},
            ".type",
            "argument 2 of openat is not of the type integer",
        ),
        ("openat", {"arg": 2, "type": "path", "allowed": ["O_RDWR"]}, ".type", "'path' is not a type of condition"),
        ("openat", {"arg": 2, "type": "flags"}, "", "neither allowed nor denied is there"),
        ("openat", {"arg": 2, "type": "flags", "allowed": []}, ".allowed", "[] is not a list with something in it"),
        (
            "openat",
            {"arg": 2, "type": "flags", "allowed": ["O_RDWR", "O_RDWR"]},
            ".allowed[1]",
            "O_RDWR is there already",
        ),
        (
            "mprotect",
            {"arg": 2, "type": "flags", "denied": ["PROT_NONE"]},
            ".denied",
            "PROT_NONE is no bit, so it cannot be denied",
        ),
    ],
)
def test_conditions_that_are_refused(call, condition, place, message):
    found = problems({"groups": {"@a": group({"name": call, "conditions": [condition]})}})
    assert [(one[0], one[1]) for one in found] == [(f".groups.@a.members[0].conditions[0]{place}", message)]


def test_one_condition_for_an_argument():
    condition = {"arg": 0, "type": "integer", "allowed": ["AF_UNIX"]}
    found = problems({"groups": {"@a": group({"name": "socket", "conditions": [condition, condition]})}})
    assert found[0][:2] == (".groups.@a.members[0].conditions[1].arg", "argument 0 has a condition already")


def test_names_that_are_taken():
    ((place, message, _),) = problems({"groups": {"@network-io": group("read")}}, known=groups())
    assert (place, message) == (".groups.@network-io", "@network-io is already a group, of systemd 252")
    assert [*load({"groups": {"@mine": group("@network-io")}}, source="x", known=groups())] == ["@mine"]
    assert load({"groups": {"@mine": group("read", source="s")}}, source="x")["@mine"].source == "s"
    assert load({"groups": {"@mine": group("read")}}, source="x")["@mine"].source == "x"


@pytest.mark.parametrize(
    "document", [None, [], "x", {}, {"groups": []}, {"groups": {"@a": None}}, {"groups": {3: group("read")}}]
)
def test_documents_that_are_none(document):
    assert problems(document)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["@a", "read", "openat", "flags", "O_RDWR", ""]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "conditions", "arg", "type", "allowed", "denied", "members"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@settings(max_examples=150)
@given(json_values)
def test_anything_is_a_group_or_bad_input(value):
    for document in (value, {"groups": value}, {"groups": {"@a": value}}, {"groups": {"@a": group(value)}}):
        try:
            load(document, source="x")
        except BadInput as error:
            assert str(error)


# systemd's


SAMPLE = """\
@one
    # What it is
    read
    @two

@two
    # Other
    write

@known
    # All
    read

# Ungrouped System Calls:
#   x
"""


def test_what_systemd_prints_is_read():
    assert make_groups.parse(SAMPLE) == {
        "@one": {"description": "What it is", "members": ["read", "@two"]},
        "@two": {"description": "Other", "members": ["write"]},
    }
    for line in ("    two words", "read", "  read"):
        with pytest.raises(SystemExit):
            make_groups.parse(SAMPLE + line)


def test_the_file_is_what_the_installed_systemd_says():
    version = make_groups.installed()
    need("KERNEL", None if version == make_groups.PINNED else f"systemd {make_groups.PINNED} is not installed")
    assert (DATA / make_groups.FILE).read_text() == make_groups.document()


# The command


def lines_of(capsys, *arguments_):
    assert command([*arguments_]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return [" ".join(line.split()) for line in out.splitlines()]


def json_of(capsys, *arguments_):
    assert command([*arguments_, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_all_groups_are_listed(capsys):
    lines = lines_of(capsys)
    assert f"groups: {len(groups())}" in lines
    found = {line.split()[0] for line in lines if line.startswith("@")}
    assert found == set(groups())
    assert "@chown 7 systemd 252 Change ownership of files and directories" in lines
    assert "@chown 4 systemd 252 Change ownership of files and directories" in lines_of(capsys, "--arch", "x86_64")


def test_a_group_is_a_tree(capsys):
    lines = lines_of(capsys, "@file-open")
    assert lines[0].startswith("@file-open")
    assert any("@open-read" in line and "reading" in line for line in lines)
    assert any("openat: argument 2 only flags O_APPEND, " in line for line in lines)
    assert "calls: 6" in lines
    assert "openat2" in " ".join(lines)
    # What an architecture lacks is not shown.
    assert "calls: 4 of aarch64" not in lines
    assert "calls: 3 of aarch64" in lines_of(capsys, "@file-open", "--arch", "aarch64")
    assert any("socket: argument 0 AF_UNIX" in line for line in lines_of(capsys, "@socket-unix"))
    assert any("unlinkat: argument 2 without AT_REMOVEDIR" in line for line in lines_of(capsys, "@file-remove"))
    assert any("@file-create (see above)" in line for line in lines_of(capsys, "@file-app"))
    # Nothing is cut off: a long line goes on in the next.
    text = " ".join(lines).replace("│ ", "")
    assert all(word in text for word in expand("@open-write")[0].conditions[0].allowed)
    both = lines_of(capsys, "@file-open", "@chown")
    assert any(line.startswith("@chown") for line in both)


def test_architectures_choose_the_calls(capsys):
    wide = json_of(capsys, "@open-read")
    assert {call["name"] for call in wide["groups"][0]["calls"]} == {"open", "openat"}
    narrow = json_of(capsys, "@open-read", "--arch", "aarch64")
    assert {call["name"] for call in narrow["groups"][0]["calls"]} == {"openat"}
    swapped = json_of(capsys, "@thread-create", "--arch", "s390x")
    assert swapped["groups"][0]["calls"][0]["conditions"][0]["arg"] == 1


def test_groups_of_a_call(capsys):
    lines = lines_of(capsys, "--of", "ptrace")
    found = {line.split()[0] for line in lines if line.startswith("@")}
    assert found == set(holding("ptrace"))
    assert [one["name"] for one in json_of(capsys, "--of", "ptrace")["groups"]] == [*holding("ptrace")]


def test_json_is_whole(capsys):
    found = json_of(capsys)
    assert [one["name"] for one in found["groups"]] == [*groups()]
    assert set(found["groups"][0]) == {"name", "description", "source", "members", "calls"}
    chown = next(one for one in found["groups"] if one["name"] == "@chown")
    assert {"name": "chown"} in chown["members"]


@pytest.mark.parametrize(
    ("arguments_", "told"),
    [
        (["@fileio"], "did you mean '@file-io'?"),
        (["file-io"], "did you mean '@file-io'?"),
        (["--of", "ptrac"], "did you mean 'ptrace'?"),
        (["--arch", "x86_65"], "x86_64"),
        (["@file-io", "--of", "read"], "--of"),
    ],
)
def test_what_is_not_known_is_told(capsys, arguments_, told):
    assert command(arguments_) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert told in err


def test_unknown_groups_are_told_together(capsys):
    assert command(["@nope", "@chown", "@nope2"]) == 2
    err = capsys.readouterr().err
    assert "@nope'" in err and "@nope2'" in err and "@chown'" not in err
