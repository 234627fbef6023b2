"""Notifications as calls, and calls as words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scmm_oci.enforcer.monitor import calls
from scmm_oci.enforcer.monitor.model import Address, Memory
from scmm_oci.kernel.notify import Notification
from scmm_oci.tables import syscalls
from scmm_oci.tables.arch import Arch
from scmm_oci.tables.operations import FILE_CALLS
from scmm_oci.tables.signatures import SIGNATURES

X32_BIT = 0x4000_0000
HERE = (1 << 64) - 100  # AT_FDCWD in a register
EVERY = [(arch, name) for arch in Arch for name in sorted(syscalls.numbers(arch))]


def asked(name: str, *args: int, arch: Arch = Arch.X86_64) -> Notification:
    number = syscalls.number_of(arch, name)
    assert number is not None
    return notified(number, *args, audit=arch.audit)


def notified(nr: int, *args: int, audit: int = Arch.X86_64.audit) -> Notification:
    a, b, c, d, e, f = (*args, *(0,) * (6 - len(args)))
    return Notification(1, 2, nr, audit, (a, b, c, d, e, f))


def said(name: str, *args: int, arch: Arch = Arch.X86_64, memory: Memory | None = None) -> str:
    return calls.words(calls.decode(asked(name, *args, arch=arch)), memory)


@pytest.mark.parametrize("arch", list(Arch))
def test_every_call_of_every_abi_is_decoded_as_the_tables_have_it(arch: Arch) -> None:
    for name, number in syscalls.numbers(arch).items():
        call = calls.decode(asked(name, 1, 2, 3, 4, 5, (1 << 64) - 1, arch=arch))
        assert (call.arch, call.audit, call.nr, call.name) == (arch, arch.audit, number, name)
        bits = 32 if arch in (Arch.X86, Arch.ARM, Arch.S390) else 64
        assert call.args == (1, 2, 3, 4, 5, (1 << bits) - 1)


@pytest.mark.parametrize(
    ("nr", "audit", "arch", "left"),
    [
        (5000, Arch.X86_64.audit, Arch.X86_64, 5000),
        (5000 | X32_BIT, Arch.X86_64.audit, Arch.X32, 5000),
        (0xFFFF_FFFF, Arch.X86_64.audit, Arch.X86_64, 0xFFFF_FFFF),
        (5000, Arch.X86.audit, Arch.X86, 5000),
        (0 | X32_BIT, Arch.X86.audit, Arch.X86, X32_BIT),
        (1, 0x1234, None, 1),
    ],
)
def test_what_an_abi_does_not_have_has_no_name(nr: int, audit: int, arch: Arch | None, left: int) -> None:
    call = calls.decode(notified(nr, audit=audit))
    assert (call.arch, call.nr, call.name, call.audit) == (arch, left, None, audit)


@pytest.mark.parametrize(
    ("text", "name", "args", "memory"),
    [
        (
            'openat(AT_FDCWD, "/etc/passwd", O_RDONLY|O_CLOEXEC)',
            "openat",
            (HERE, 0x7F00, 0o2000000, 0o644),
            Memory((b"/etc/passwd",)),
        ),
        (
            "openat(3, 0x7f00, O_WRONLY|O_CREAT|O_EXCL, 0600)",
            "openat",
            (3, 0x7F00, 0o301, 0o600),
            None,
        ),
        ('rename("a", 0x2)', "rename", (1, 2), Memory((b"a", None))),
        ("connect(3, 10.0.0.1:80, 16)", "connect", (3, 1, 16), Memory(address=Address("inet", "10.0.0.1", 80, b""))),
        ("connect(3, [::1]:80, 28)", "connect", (3, 1, 28), Memory(address=Address("inet6", "::1", 80, b""))),
        ('bind(3, unix "@bus", 110)', "bind", (3, 1, 110), Memory(address=Address("unix", "@bus", None, b""))),
        ("connect(3, unspec address, 16)", "connect", (3, 1, 16), Memory(address=Address("unspec", None, None, b""))),
        ("seccomp(SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, 0x10)", "seccomp", (1, 1, 16), None),
        ("prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, 0x7f)", "prctl", (22, 2, 0x7F), None),
        ("prctl(PR_SET_NO_NEW_PRIVS, 0x1)", "prctl", (38, 1), None),
        ("mknod(0x1, S_IFIFO|0644, 0)", "mknod", (1, 0o10644), None),
        ("kill(-1, SIGKILL)", "kill", (0xFFFF_FFFF, 9), None),
        ("setsockopt(3, SOL_SOCKET, SO_REUSEADDR, 0x7f, 4)", "setsockopt", (3, 1, 2, 0x7F, 4), None),
        ("socket(AF_INET, SOCK_STREAM|SOCK_CLOEXEC, IPPROTO_TCP)", "socket", (2, 0o2000001, 6), None),
        (
            'openat2(AT_FDCWD, "x", {flags=O_RDONLY|O_CREAT, mode=0644, resolve=RESOLVE_BENEATH}, 24)',
            "openat2",
            (HERE, 1, 2, 24),
            Memory((b"x",), how=b"".join(n.to_bytes(8, "little") for n in (0o100, 0o644, 8))),
        ),
        ("openat2(AT_FDCWD, 0x1, 0x2, 24)", "openat2", (HERE, 1, 2, 24), None),
        ("getpid()", "getpid", (1, 2, 3), None),
        ("lseek(3, -8, SEEK_END)", "lseek", (3, (1 << 64) - 8, 2), None),
        ("mmap(NULL, 4096, PROT_READ, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0)", "mmap", (0, 4096, 1, 0x22, 2**64 - 1), None),
    ],
)
def test_calls_are_written_as_c_has_them(text: str, name: str, args: tuple[int, ...], memory: Memory | None) -> None:
    assert said(name, *args, memory=memory) == text


def test_an_abi_beside_the_machines_own_is_named() -> None:
    assert said("getpid", arch=Arch.X32) == "x32 getpid()"
    assert said("socketcall", 3, 0x7F, arch=Arch.X86) == "x86 socketcall(SYS_CONNECT, 0x7f)"
    assert calls.words(calls.decode(notified(5000, 1))) == "x86_64 call 5000(0x1, 0, 0, 0, 0, 0)"
    assert calls.words(calls.decode(notified(1, audit=0x99))) == "0x99 call 1(0, 0, 0, 0, 0, 0)"


def test_a_name_cannot_end_its_quotes_or_steer_a_terminal() -> None:
    told = said("unlink", 1, memory=Memory((b'a", "b\\\x1b[2J\n\xff\xe2\x80\xae',)))
    assert told == 'unlink("a\\", \\"b\\\\\\x1b[2J\\n\\udcff\\u202e")'
    assert told.isprintable()


def test_of_a_long_name_both_ends_are_shown_and_how_much_is_not() -> None:
    told = said("unlink", 1, memory=Memory((b"/" + b"a" * 3000 + b"/../etc/shadow",)))
    assert told.startswith('unlink("/aaa')
    assert told.endswith('a/../etc/shadow")')
    assert f"[{3015 - calls.MOST_PATH} more]" in told
    short = said("unlink", 1, memory=Memory((b"/" + b"a" * 200,)))
    assert short == f'unlink("/{"a" * 200}")'


def alike(name: str, *args: int, arch: Arch = Arch.X86_64, memory: Memory | None = None) -> str:
    return calls.like(calls.decode(asked(name, *args, arch=arch)), memory)


def test_an_answer_is_for_calls_with_the_same_flags_modes_and_ids_wherever_their_memory_is() -> None:
    assert alike("openat", HERE, 0x7F00, 0o101, 0o644) == alike("openat", 7, 0x8F00, 0o101, 0o644)
    assert alike("openat", HERE, 0x7F00, 0o101, 0o644) != alike("openat", HERE, 0x7F00, 0o101, 0o4755)
    assert alike("openat", HERE, 0x7F00, 0) != alike("openat", HERE, 0x7F00, 2)
    assert alike("openat", HERE, 1, 0) == "x86_64 openat(…, …, O_RDONLY)"
    assert alike("kill", 4711, 15) == "x86_64 kill(4711, SIGTERM)"
    assert alike("setuid", 0) != alike("setuid", 33)
    assert alike("connect", 3, 0x7F00, 16) == alike("connect", 4, 0x8F00, 16) == "x86_64 connect(…, …, 16)"
    assert alike("prctl", 22, 2, 0x7F00) != alike("prctl", 22, 1, 0x7F00)
    assert alike("getpid", arch=Arch.X32) != alike("getpid")
    assert calls.like(calls.decode(notified(5000, 1))) != calls.like(calls.decode(notified(5000, 2)))


def test_an_answer_to_openat2_is_for_the_flags_that_it_will_be_made_with() -> None:
    reads, writes = (Memory((b"x",), how=flags.to_bytes(8, "little") + bytes(16)) for flags in (0, 1))
    assert "{flags=O_RDONLY}" in alike("openat2", HERE, 1, 2, 24, memory=reads)
    assert alike("openat2", HERE, 1, 2, 24, memory=reads) != alike("openat2", HERE, 1, 2, 24, memory=writes)
    assert alike("openat2", HERE, 1, 2, 24, memory=reads) == alike("openat2", 5, 6, 7, 24, memory=reads)
    assert alike("openat2", HERE, 1, 2, 24) == alike("openat2", HERE, 1, 9, 24)


@pytest.mark.parametrize(
    ("name", "points"),
    [("openat", True), ("connect", True), ("execve", True), ("linkat", True), ("kill", False), ("ftruncate", False)],
)
def test_calls_with_names_and_addresses_point(name: str, points: bool) -> None:
    assert calls.points(calls.decode(asked(name))) is points


def test_what_has_no_name_points_nowhere() -> None:
    assert not calls.points(calls.decode(notified(5000)))
    assert not calls.points(calls.decode(notified(1, audit=0x99)))


@given(
    st.sampled_from(EVERY),
    st.lists(st.integers(0, 2**64 - 1), min_size=6, max_size=6),
    st.lists(st.none() | st.binary(max_size=4096), max_size=3),
    st.binary(max_size=64),
    st.none()
    | st.builds(
        Address,
        st.sampled_from(["inet", "inet6", "unix", "unspec", "4711"]),
        st.none() | st.text(max_size=300),
        st.none() | st.integers(0, 65535),
        st.binary(),
    ),
)
def test_any_call_is_one_printable_line(
    which: tuple[Arch, str],
    args: list[int],
    paths: list[bytes | None],
    how: bytes,
    address: Address | None,
) -> None:
    arch, name = which
    call = calls.decode(asked(name, *args, arch=arch))
    for memory in (None, Memory(tuple(paths), how, address)):
        text = calls.words(call, memory)
        assert text.isprintable()
        assert name in text
        assert len(text) <= calls.MOST
        assert calls.like(call, memory).isprintable()


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_any_number_of_any_abi_is_a_call_and_has_words(nr: int, audit: int) -> None:
    call = calls.decode(notified(nr, audit=audit))
    assert call.audit == audit
    assert calls.words(call).isprintable()


def test_signatures_are_of_calls_that_there_are_and_agree_with_the_tables() -> None:
    assert set(SIGNATURES) <= syscalls.all_names()
    for name, letters in SIGNATURES.items():
        assert len(letters) <= 6, name
        file = FILE_CALLS.get(name)
        if file is None or file.kind in ("descriptor", "device"):
            continue
        for directory, place, _ in file.names:
            assert letters[place] == "p", name
            assert directory is None or letters[directory] == "d", name
    machine = set(syscalls.numbers(Arch.X86_64))
    unknown = {name for name in machine - set(SIGNATURES) if not name.startswith(("get_kernel", "query_", "create_"))}
    assert len(unknown) < 15, sorted(unknown)
