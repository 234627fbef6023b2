"""What a waiting call's pointers lead to, read from the real program; memory that does not come keeps nobody else."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from pathlib import Path

import pytest
import slow_files
from listened import Listened, listened
from support import need

from rig.process import wait_until
from scmm_oci.enforcer.monitor import calls, memory
from scmm_oci.enforcer.monitor.memory import Reader, Unreadable
from scmm_oci.enforcer.monitor.model import Address, Memory
from scmm_oci.kernel import notify
from scmm_oci.kernel.notify import Notification
from scmm_oci.tables.arch import Arch, from_machine
from scmm_oci.tables.syscalls import numbers

NUMBERS = dict(numbers(from_machine(os.uname().machine)))
PRELUDE = f"""
import mmap
numbers = {NUMBERS!r}
def call(name, *words):
    given = [ctypes.c_ulong(w & (1 << 64) - 1) if isinstance(w, int) else ctypes.c_char_p(w) for w in words]
    return libc.syscall(numbers[name], *given)
def pages(count):
    held = mmap.mmap(-1, count * 4096)
    return held, ctypes.addressof(ctypes.c_char.from_buffer(held))
"""


@pytest.fixture(scope="module", autouse=True)
def root() -> None:
    need("KERNEL", "reading what others hold in memory needs root" if os.geteuid() else None)


def following(it: Listened) -> Notification:
    """The next call that is not for a module of Python's."""
    while True:
        call = it.next()
        paths = memory.look(it.fd, call, calls.decode(call)).paths if call.nr == NUMBERS["openat"] else ()
        if not paths or not (paths[0] or b"").endswith(b".so"):
            return call
        notify.let_go_on(it.fd, call.id)


def read(it: Listened) -> Memory:
    """The memory of the next call, which then fails."""
    call = following(it)
    try:
        return asyncio.run(Reader().read(it.fd, call, calls.decode(call)))
    finally:
        notify.refuse(it.fd, call.id, 1)


def test_paths_are_read_up_to_their_end_and_not_beyond_a_page() -> None:
    body = """
call("openat", -100, b"/etc/passwd", 0)
call("renameat", 3, b"old", 4, b"\\xff\\xfe")
held, at = pages(2)
held[4090:4096] = b"/e\\0xyz"
held[8190:8192] = b"ab"
libc.munmap(ctypes.c_void_p(at + 4096), ctypes.c_size_t(4096))
call("openat", -100, at + 4090, 0)   # ends before the page does
held[4090:4096] = b"/abcde"
call("openat", -100, at + 4090, 0)   # runs into what is not there
call("openat", -100, 0, 0)
call("openat", -100, (1 << 64) - 1, 0)
call("openat", -100, b"a" * 4095, 0)
call("openat", -100, b"a" * 5000, 0)
call("symlinkat", b"text", -100, b"name")
call("getppid")
"""
    with listened(["openat", "renameat", "symlinkat", "getppid"], PRELUDE + body) as it:
        assert read(it).paths == (b"/etc/passwd",)
        assert read(it).paths == (b"old", b"\xff\xfe")
        assert read(it).paths == (b"/e",)
        assert [read(it).paths for _ in range(3)] == [(None,)] * 3
        assert read(it).paths == (b"a" * 4095,)
        assert read(it).paths == (b"a" * 4096,)
        assert read(it) == Memory((b"name",), text=b"text")
        assert read(it) == Memory()


def test_addresses_and_how() -> None:
    body = """
import socket
inet = struct.pack("=H", 2) + struct.pack("!H", 5432) + bytes([10, 0, 0, 1]) + bytes(8)
inet6 = struct.pack("=H", 10) + struct.pack("!HI", 443, 0) + bytes(15) + b"\\1" + bytes(4)
for raw in (inet, inet6, b"\\1\\0/run/x.sock\\0", b"\\1\\0\\0name\\xff", b"\\1\\0", b"\\x10\\0abcdefghij", inet[:7]):
    call("connect", 3, raw, len(raw))
call("connect", 3, inet, 129)
call("connect", 3, 0, 16)
call("connect", 3, inet, 1)
call("sendto", 3, b"data", 4, 0, inet, 16)
call("openat2", -100, b"file", struct.pack("=QQQ", 1, 2, 3), 24)
call("openat2", -100, b"file", struct.pack("=QQQ", 1, 2, 3), 5000)
"""
    with listened(["connect", "sendto", "openat2"], PRELUDE + body) as it:
        found = [read(it).address for _ in range(7)]
        assert [None if one is None else (one.family, one.text, one.port) for one in found] == [
            ("inet", "10.0.0.1", 5432),
            ("inet6", "::1", 443),
            ("unix", "/run/x.sock", None),
            ("unix", "@name\udcff", None),
            ("unix", None, None),
            ("netlink", None, None),
            ("inet", None, None),
        ]
        assert [read(it).address for _ in range(3)] == [None] * 3
        raw = socket.AF_INET.to_bytes(2, "little") + (5432).to_bytes(2, "big") + bytes([10, 0, 0, 1]) + bytes(8)
        assert read(it).address == Address("inet", "10.0.0.1", 5432, raw)
        assert read(it) == Memory((b"file",), bytes([1, *bytes(7), 2, *bytes(7), 3, *bytes(7)]))
        assert read(it).how == b""


def test_who_is_gone_has_no_memory() -> None:
    with listened(["openat"], PRELUDE + 'call("openat", -100, b"x", 0)') as it:
        call = following(it)
        what = calls.decode(call)
        assert memory.look(it.fd, call, what).paths == (b"x",)
        with pytest.raises(Unreadable, match="no PID namespace"):
            memory.look(it.fd, call._replace(tid=0), what)
        # What another thread has there is not the caller's.
        with pytest.raises(Unreadable, match="gone"):
            memory.look(it.fd, call._replace(tid=os.getpid(), id=call.id + 1), what)
        os.kill(it.process.pid, signal.SIGKILL)
        it.process.wait(60)
        with pytest.raises(Unreadable, match=r"cannot be opened|gone"):
            memory.look(it.fd, call, what)


def test_pointers_are_as_wide_as_the_abi_has_them() -> None:
    assert memory._address(0xFFFFFFFF_00001000, Arch.X86) == 0x1000
    assert memory._address(0xFFFFFFFF_00001000, Arch.ARM) == 0x1000
    assert memory._address(0xAB00_0000_0000_1000, Arch.AARCH64) == 0x1000
    assert memory._address(0xAB00_0000_0000_1000, Arch.X86_64) == 0xAB00_0000_0000_1000


def test_memory_that_does_not_come_keeps_nobody_else_waiting(place: Path) -> None:
    need("KERNEL", slow_files.unavailable())
    several = f"""
import threading
fd = libc.syscall(numbers["open"], {str(place / "file").encode()!r}, 0)
assert fd >= 0
at = libc.mmap(None, ctypes.c_size_t(4096), 1, 2, fd, ctypes.c_long(4096))
threads = [threading.Thread(target=call, args=("openat", -100, at, 0, 0, 0, at)) for _ in range(4)]
for one in threads: one.start()
for one in threads: one.join()
"""
    reader = Reader(threads=4, each=2, deadline_s=60)

    async def stuck(fd: int, call: Notification, quick: Reader) -> str:
        with pytest.raises(Unreadable) as error:
            await quick.read(fd, call, calls.decode(call))
        return str(error.value)

    async def both(hanging: Listened, other: Listened) -> tuple[list[str], list[Memory]]:
        # Without a look at its memory: that is what hangs. The modules that it loads come first.
        waiting: list[Notification] = []
        while len(waiting) < 4:
            call = hanging.next()
            if call.args[1] == call.args[5]:
                waiting.append(call)
            else:
                notify.let_go_on(hanging.fd, call.id)
        reader._deadline_s = 0.2
        failed = await asyncio.gather(*[stuck(hanging.fd, call, reader) for call in waiting])
        # Two threads wait for it, and no more than two: the rest never began.
        assert reader.threads.busy_for(hanging.fd) == 2
        reader._deadline_s = 60
        found = []
        for _ in range(20):
            call = following(other)
            found.append(await reader.read(other.fd, call, calls.decode(call)))
            notify.refuse(other.fd, call.id, 1)
        return failed, found

    with (
        slow_files.mounted(place) as stop,
        listened(["openat"], PRELUDE + "libc.mmap.restype = ctypes.c_long\n" + several) as hanging,
        listened(["openat"], PRELUDE + 'for _ in range(20): call("openat", -100, b"there", 0)') as other,
    ):
        failed, found = asyncio.run(both(hanging, other))
        assert all("0.2 s" in why for why in failed)
        assert [one.paths for one in found] == [(b"there",)] * 20
        assert reader.threads.busy_for(hanging.fd) == 2
        stop()
    # With the file system's end, they end.
    wait_until(lambda: reader.threads.busy == 0, deadline_s=60, what="threads that read no more")
