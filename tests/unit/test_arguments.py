import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scmm_oci.errors import BadInput
from scmm_oci.tables import arguments, syscalls, vocabulary
from scmm_oci.tables.arguments import ARGUMENTS, MOST, Argument, describe, names, options, value_of

ROOT = Path(__file__).resolve().parents[2]
ARCHES = ("x86_64", "x86", "x32", "aarch64", "arm")
EVERY = sorted(((call, argument) for call, kept in ARGUMENTS.items() for argument in kept), key=lambda pair: pair[0])


def load_generator():
    # It imports the module beside it.
    path = ROOT / "tools" / "make_vocabulary.py"
    spec = importlib.util.spec_from_file_location("make_vocabulary", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    before = list(sys.path)
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path[:] = before
    return module


def lacking(reason):
    """Skip, or fail in CI: set-up installs all that is needed."""
    (pytest.fail if os.environ.get("CI") in ("1", "true") else pytest.skip)(reason)


def test_the_vocabulary_is_what_the_headers_give():
    needed = ("/usr/include/x86_64-linux-gnu/asm/fcntl.h", "/usr/include/x86_64-linux-gnu/sys/socket.h")
    release = Path("/etc/os-release").read_text() if Path("/etc/os-release").exists() else ""
    if "bookworm" not in release or not all(map(os.path.exists, needed)) or not shutil.which("gcc"):
        lacking("needs Debian 12's gcc, linux-libc-dev and libc6-dev on x86_64")
    generator = load_generator()
    committed = (generator.DATA / generator.FILE).read_text()
    assert generator.document() == committed, "stale: python tools/make_vocabulary.py"
    assert '"O_CLOEXEC": 524288' in committed


def test_a_name_that_does_not_compile_stops_the_generator(tmp_path):
    if not shutil.which("gcc") or not os.path.exists("/usr/include/x86_64-linux-gnu/asm/fcntl.h"):
        lacking("needs gcc and headers on x86_64")
    generator = load_generator()
    bad = generator.Source(name="x", headers=("asm/fcntl.h",), take=("__O_NOT_THERE",))
    with pytest.raises(SystemExit, match="x: the headers have no __O_NOT_THERE"):
        generator.evaluate(bad, "x86_64", str(tmp_path))
    # The compiler's own macro for a type is no value.
    bad = generator.Source(name="x", headers=("stddef.h",), take=("__SIZE_TYPE__",))
    with pytest.raises(SystemExit, match="x on x86_64: "):
        generator.evaluate(bad, "x86_64", str(tmp_path))
    good = generator.Source(name="x", headers=("asm/fcntl.h",), take=("O_CLOEXEC",))
    assert generator.evaluate(good, "x86_64", str(tmp_path)) == {"O_CLOEXEC": 0o2000000}


def test_calls_and_arguments_are_well_formed():
    assert len(ARGUMENTS) > 200
    assert set(ARGUMENTS) <= syscalls.all_names()
    for arch in syscalls.ARCHES:
        for call, kept in arguments.arguments(arch).items():
            assert 0 < len(kept) <= MOST, call
            places = [(argument.indexes, argument.field) for argument in kept]
            assert len(set(places)) == len(places), call
            for argument in kept:
                assert all(0 <= index <= 5 for index in argument.indexes), call
                assert len(argument.indexes) == 1 or (len(argument.indexes) == 2 and not argument.wide), call
                assert argument.kind in ("enum", "flags"), call
                assert argument.mask <= (2**64 - 1 if argument.wide or len(argument.indexes) == 2 else 2**32 - 1)
                if len(argument.indexes) == 1:
                    names(argument.vocabulary, arch=arch)
    fields = {(call, argument.field) for call, argument in EVERY if argument.field}
    assert fields == {("clone3", "flags"), ("openat2", "flags"), ("openat2", "resolve")}


def test_a_name_means_one_value_that_the_argument_can_have():
    for call, argument in EVERY:
        if len(argument.indexes) == 1:
            for name, value in names(argument.vocabulary).items():
                assert value & ~argument.mask == 0 or call in ("shmget", "semget", "msgget"), (call, name)


def test_places_differ_by_abi():
    # clone(2), "C library/kernel differences"; syscall(2), "Architecture-specific requirements".
    place = {arch: arguments.arguments(arch) for arch in syscalls.ARCHES}
    assert place["x86_64"]["clone"][0].indexes == (0,)
    assert place["s390x"]["clone"][0].indexes == (1,)
    assert place["x86"]["sync_file_range"][0].indexes == (5,)
    assert place["arm"]["sync_file_range2"][0].indexes == (1,)
    assert place["x86_64"]["preadv2"][0].indexes == (5,)
    assert place["x32"]["preadv2"][0].indexes == (4,)
    assert "mmap" in place["x86_64"]
    assert "mmap" not in place["x86"]
    assert "mmap2" in place["x86"]


def test_unsigned_long_is_wide_and_int_is_not():
    # include/linux/syscalls.h
    wide = {call for call, argument in EVERY if argument.wide}
    assert {"mmap", "mprotect", "mremap", "clone", "mount", "ptrace", "unshare", "clone3", "openat2"} <= wide
    assert not {"open", "personality", "ioctl", "fcntl", "socket", "prctl", "futex", "kill", "setsockopt"} & wide


def kept(call, number, field=None):
    return next(argument for argument in ARGUMENTS[call] if number in argument.indexes and argument.field == field)


SHOWN = [
    ("openat", 2, 0, "O_RDONLY"),
    ("openat", 2, 0o2000000, "O_RDONLY|O_CLOEXEC"),
    ("openat", 2, 0x40000000, "O_RDONLY|0x40000000"),
    ("openat", 2, 0x80242, "O_RDWR|O_CREAT|O_TRUNC|O_CLOEXEC"),
    ("openat", 2, 3, "0x3"),
    ("openat", 2, 0o4010000, "O_RDONLY|O_SYNC"),
    ("openat", 2, 0o10000, "O_RDONLY|O_DSYNC"),
    ("openat", 2, 0o20200002, "O_RDWR|O_TMPFILE"),
    ("socket", 0, 2, "AF_INET"),
    ("socket", 0, 1, "AF_UNIX"),
    ("socket", 0, 99, "0x63"),
    ("socket", 1, 0o2004001, "SOCK_STREAM|SOCK_NONBLOCK|SOCK_CLOEXEC"),
    ("socket", 1, 7, "0x7"),
    ("setsockopt", 1, 1 << 32 | 2, "SOL_SOCKET, SO_REUSEADDR"),
    ("setsockopt", 1, 6 << 32 | 1, "SOL_TCP, TCP_NODELAY"),
    ("setsockopt", 1, 41 << 32 | 26, "SOL_IPV6, IPV6_V6ONLY"),
    ("setsockopt", 1, 64, "SOL_IP, IPT_SO_SET_REPLACE"),
    ("getsockopt", 1, 64, "SOL_IP, IPT_SO_GET_INFO"),
    ("setsockopt", 1, 999 << 32 | 5, "0x3e7, 0x5"),
    ("clone", 0, 0x1200011, "CLONE_CHILD_CLEARTID|CLONE_CHILD_SETTID|SIGCHLD"),
    ("clone", 0, 0x100, "CLONE_VM"),
    ("clone", 0, 17, "SIGCHLD"),
    ("unshare", 0, 0x80, "CLONE_NEWTIME"),
    ("mmap", 2, 0, "PROT_NONE"),
    ("mmap", 2, 3, "PROT_READ|PROT_WRITE"),
    ("mmap", 3, 0x22, "MAP_PRIVATE|MAP_ANONYMOUS"),
    ("mmap", 3, 3 | 21 << 26 | 0x40000, "MAP_SHARED_VALIDATE|MAP_HUGE_2MB|MAP_HUGETLB"),
    ("futex", 1, 128, "FUTEX_WAIT|FUTEX_PRIVATE_FLAG"),
    ("futex", 1, 0x189, "FUTEX_WAIT_BITSET|FUTEX_PRIVATE_FLAG|FUTEX_CLOCK_REALTIME"),
    ("mknod", 1, 0o100644, "S_IFREG"),
    ("shmget", 2, 0o1600, "IPC_CREAT"),
    ("personality", 0, 0xFFFFFFFF, "0xffffffff"),
    ("personality", 0, 0x0040000, "PER_LINUX|ADDR_NO_RANDOMIZE"),
    ("getrusage", 0, 0xFFFFFFFF, "RUSAGE_CHILDREN"),
    ("lseek", 2, 1, "SEEK_CUR"),
    ("kill", 1, 9, "SIGKILL"),
    ("kill", 1, 0, "0"),
    ("ioctl", 1, 0x5401, "TCGETS"),
    ("ioctl", 1, 0x80086601, "FS_IOC_GETFLAGS"),
    ("quotactl", 0, 0x80000101, "GRPQUOTA|Q_SYNC"),
    ("inotify_add_watch", 2, 0x18, "IN_CLOSE_WRITE|IN_CLOSE_NOWRITE"),
    ("ptrace", 0, 0x4206, "PTRACE_SEIZE"),
]


@pytest.mark.parametrize(("call", "index", "value", "text"), SHOWN)
def test_values_are_shown_as_c_writes_them(call, index, value, text):
    argument = kept(call, index)
    assert describe(argument, value, arch="x86_64") == text
    assert value_of(argument, text, arch="x86_64") == value & argument.mask


# What strace 6.1 prints.
READ = [
    ("openat", 2, "O_RDONLY|O_NONBLOCK|O_CLOEXEC|O_DIRECTORY", 0x90800),
    ("openat", 2, "O_RDWR|O_CREAT|FASYNC|0x4", 0x2046),
    ("openat", 2, "O_ACCMODE|O_CLOEXEC", 0x80003),
    ("socket", 2, "IPPROTO_IP", 0),
    ("socket", 2, "NETLINK_ROUTE", 0),
    ("socket", 2, "htons(ETH_P_ALL)", 0x300),
    ("setsockopt", 1, "SOL_SOCKET, SO_RCVTIMEO_OLD", 1 << 32 | 20),
    ("setsockopt", 1, "SOL_TCP,  0x1f", 6 << 32 | 31),
    ("mknod", 1, "S_IFCHR|0666", 0o20000),
    ("mmap", 3, "MAP_PRIVATE|MAP_ANONYMOUS|MAP_HUGETLB|21<<MAP_HUGE_SHIFT", 0x22 | 0x40000 | 21 << 26),
    ("futex", 1, "FUTEX_WAKE_PRIVATE", 129),
    ("ioctl", 1, "TCGETS", 0x5401),
    ("ioctl", 1, "SNDCTL_TMR_TIMEBASE or TCGETS", 0x5401),
    ("ioctl", 1, "_IOC(_IOC_READ, 0x54, 0x30, 0x4)", 0x80045430),
    ("ioctl", 1, "_IOC(_IOC_READ|_IOC_WRITE, 0x54, 0x30, 0x4)", 0xC0045430),
    ("quotactl", 0, "QCMD(Q_QUOTAON, USRQUOTA)", 0x80000200),
    ("kill", 1, "SIGRT_1", 33),
    ("kill", 1, "-1", 0xFFFFFFFF),
    ("ptrace", 0, "-1", 2**64 - 1),
    ("personality", 0, "0xffffffff", 0xFFFFFFFF),
    ("wait4", 2, "WSTOPPED|WCONTINUED", 10),
    ("modify_ldt", 0, "17", 17),
]


@pytest.mark.parametrize(("call", "index", "text", "value"), READ)
def test_what_strace_prints_is_read(call, index, text, value):
    assert value_of(kept(call, index), text, arch="x86_64") == value


BAD = [
    "",
    "|",
    "O_NOPE",
    "O_RDONLY|",
    "O_RDONLY|O_NOPE",
    "0x",
    "08",
    "1_0",
    "+1",
    "٣",
    "--1",
    "4294967296",
    "-4294967296",
]
BAD += ["0x" + "f" * 40, "21<<", "64<<MAP_HUGE_SHIFT", "_IOC(_IOC_READ, 1, 2)", "0x1 0x2", "o_rdonly", "1.0", "NULL"]


@pytest.mark.parametrize("text", BAD)
def test_what_means_nothing_is_none(text):
    for call, index in (("openat", 2), ("ioctl", 1), ("setsockopt", 1)):
        assert value_of(kept(call, index), text, arch="x86_64") is None
    assert value_of(kept("setsockopt", 1), f"SOL_SOCKET, {text}", arch="x86_64") is None
    assert value_of(kept("setsockopt", 1), "SOL_SOCKET, SO_DEBUG", arch="x86_64") == 1 << 32 | 1


@pytest.mark.parametrize(
    ("arch", "directory", "nofollow", "direct", "largefile"),
    [
        # arch/*/include/uapi/asm/fcntl.h
        ("x86_64", 0o200000, 0o400000, 0o40000, 0o100000),
        ("x86", 0o200000, 0o400000, 0o40000, 0o100000),
        ("x32", 0o200000, 0o400000, 0o40000, 0o100000),
        ("aarch64", 0o40000, 0o100000, 0o200000, 0o400000),
        ("arm", 0o40000, 0o100000, 0o200000, 0o400000),
        ("ppc64le", 0o40000, 0o100000, 0o400000, 0o200000),
        ("riscv64", 0o200000, 0o400000, 0o40000, 0o100000),
        ("s390x", 0o200000, 0o400000, 0o40000, 0o100000),
    ],
)
def test_open_flags_differ_by_architecture(arch, directory, nofollow, direct, largefile):
    table = names("open_flags", arch=arch)
    assert [table[f"O_{name}"] for name in ("DIRECTORY", "NOFOLLOW", "DIRECT", "LARGEFILE")] == [
        directory,
        nofollow,
        direct,
        largefile,
    ]
    assert table["O_TMPFILE"] == 0o20000000 | directory
    assert names("pipe_flags", arch=arch)["O_DIRECT"] == direct
    assert describe(kept("openat", 2), directory, arch=arch) == "O_RDONLY|O_DIRECTORY"


def test_other_names_that_differ_by_architecture():
    mmap = kept("mmap", 3)
    assert describe(mmap, 0x42, arch="x86_64") == "MAP_PRIVATE|MAP_32BIT"
    assert describe(mmap, 0x42, arch="aarch64") == "MAP_PRIVATE|0x40"
    assert value_of(mmap, "MAP_32BIT", arch="arm") is None
    assert names("prot_flags", arch="aarch64")["PROT_BTI"] == 0x10
    assert "PROT_BTI" not in names("prot_flags")
    # A pointer in an ioctl's structure makes its number another one.
    assert names("ioctl_commands")["FS_IOC_GETFLAGS"] == 0x80086601
    assert names("ioctl_commands", arch="arm")["FS_IOC_GETFLAGS"] == 0x80046601
    assert not names("arch_prctl_codes", arch="aarch64")
    assert not names("ioctl_commands", arch="ppc64le")


def test_architectures_and_vocabularies_that_are_not_known():
    for ask in (
        lambda: names("open_flags", arch="x86-64"),
        lambda: arguments.arguments("x86-64"),
        lambda: describe(kept("kill", 1), 9, arch="x86-64"),
        lambda: value_of(kept("kill", 1), "9", arch="x86-64"),
    ):
        with pytest.raises(BadInput, match="did you mean 'x86_64'"):
            ask()
    with pytest.raises(KeyError):
        names("no_such_vocabulary")
    with pytest.raises(KeyError):
        options("open_flags", 1, arch="x86_64")
    assert options("setsockopt_options", 999, arch="x86_64") == {}


def interesting(argument, arch):
    """Values that have names, their neighbours and their unions."""
    if len(argument.indexes) == 2:
        for level in [*names("option_levels", arch=arch).values(), 77]:
            for option in [*options(argument.vocabulary, level, arch=arch).values(), 0, 3000]:
                yield level << 32 | option
        return
    known = list(names(argument.vocabulary, arch=arch).values())
    yield from (0, 1, 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF, 0x80000000, *known)
    for value in known[:60]:
        yield value + 1
        for other in known[:60]:
            yield value | other


@pytest.mark.parametrize("arch", syscalls.ARCHES)
def test_reading_is_the_inverse_of_showing(arch):
    done = set()
    for call, kept_ones in arguments.arguments(arch).items():
        for argument in kept_ones:
            if repr(argument) in done:
                continue
            done.add(repr(argument))
            for value in interesting(argument, arch):
                text = describe(argument, value, arch=arch)
                assert value_of(argument, text, arch=arch) == value & argument.mask, (call, text)
    assert len(done) > 100


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(EVERY), st.integers(0, 2**64 - 1), st.integers(0, 64), st.sampled_from(ARCHES))
def test_reading_is_the_inverse_of_showing_for_any_value(pair, value, shift, arch):
    argument = pair[1]
    value >>= shift
    assert value_of(argument, describe(argument, value, arch=arch), arch=arch) == value & argument.mask


def test_every_name_is_read_as_its_value():
    for _, argument in EVERY:
        if len(argument.indexes) == 1:
            for name, value in names(argument.vocabulary).items():
                assert value_of(argument, name, arch="x86_64") == value & argument.mask, name


def test_names_that_policies_use_are_here():
    covered = {
        "O_": "open_flags", "PROT_": "prot_flags", "MAP_": "mmap_flags", "AF_": "address_families",
        "SOCK_": "socket_types", "CLONE_": "clone_flags", "PR_": "prctl_options", "F_": "fcntl_commands",
        "TC": "ioctl_commands", "TIOC": "ioctl_commands", "FIO": "ioctl_commands",
    }  # fmt: skip
    for name in vocabulary.FLAGS:
        where = next(table for prefix, table in covered.items() if name.startswith(prefix))
        assert name in names(where), name
    assert "O_NOPE" not in names("open_flags")


def test_the_table_costs_a_hook_little():
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); before = set(sys.modules)\n"
        "from scmm_oci.tables import arguments\n"
        "assert arguments.ARGUMENTS['open'][0].indexes == (1,)\n"
        "assert arguments.arguments('x86_64')\n"
        "assert not arguments.describe.__globals__['_documents'], 'names are loaded when they are asked for'\n"
        "print(*sorted(name for name in set(sys.modules) - before if not name.startswith('scmm_oci')))\n"
        "print(*sorted(name for name in set(sys.modules) - before if name.startswith('scmm_oci')))"
    )
    run = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, str(ROOT)], capture_output=True, text=True, check=True
    )
    theirs, ours = run.stdout.splitlines()
    assert not {"typing", "dataclasses", "enum", "re", "json", "pathlib"} & set(theirs.split())
    assert "scmm_oci.errors" not in ours.split()
    assert "scmm_oci.quickjson" in ours.split()


def test_an_argument_says_what_it_is():
    argument = Argument((1,), wide=False, kind="enum", vocabulary="signals", field=None, mask=0xFF)
    assert repr(argument) == "<Argument (1,) wide=False kind='enum' vocabulary='signals' field=None mask=0xff>"
