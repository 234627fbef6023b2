"""Deputies against who wants them to do more, to reveal themselves, or to hang: swaps, signals, ptrace,
slow files."""

from __future__ import annotations

import asyncio
import ctypes
import os
import resource
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import slow_files
from behalf_served import REFUSED, Served, serving
from behalf_trees import PRELUDE, behalf
from listened import Listened, listened
from support import need

from rig.process import wait_until
from scmm_oci.enforcer.monitor import calls, memory
from scmm_oci.enforcer.monitor.behalf import acting, table
from scmm_oci.enforcer.monitor.behalf.deputies import Deputies, Impossible, Resolution
from scmm_oci.enforcer.monitor.behalf.lookup import Found
from scmm_oci.enforcer.monitor.model import Call
from scmm_oci.kernel import notify
from scmm_oci.kernel.notify import Notification

USER = "os.setgroups([]); os.setresgid(1234, 1234, 1234); os.setresuid(1234, 1234, 1234)\n"


pytestmark = pytest.mark.usefixtures("becoming")


@pytest.fixture
def tree(trees: tuple[Path, Path]) -> Path:
    return trees[1]


def deputy_of(resolution: Resolution) -> int:
    assert resolution._deputy is not None
    for line in Path(f"/proc/self/fdinfo/{resolution._deputy._handle}").read_text().splitlines():
        if line.startswith("Pid:"):
            return int(line.split()[1])
    raise AssertionError("no pidfd")


async def resolved(deputies: Deputies, it: Listened) -> tuple[Notification, Resolution]:
    call = it.next()
    what = calls.decode(call)
    return call, await deputies.resolve(it.fd, call, what, memory.look(it.fd, call, what))


SWAPS = {
    "openat": "call('openat', AT, 'name', 0)",
    "openat-create": "call('openat', AT, 'name', os.O_CREAT | os.O_TRUNC | 1, 0o600)",
    "truncate": "call('truncate', 'name', 0)",
    "chmod": "call('chmod', 'name', 0o777)",
    "chown": "call('chown', 'name', 1, 1)",
    "link": "call('linkat', AT, 'name', AT, 'hard', 0x400)",
    "parent-mkdir": "call('mkdir', 'parent/made', 0o755)",
    "parent-unlink": "call('unlink', 'parent/gone')",
    "parent-open": "call('openat', AT, 'parent/gone', 0)",
    "parent-rename": "call('rename', 'parent/gone', 'parent/went')",
}


@pytest.mark.parametrize("swap", SWAPS)
def test_a_link_put_in_place_of_what_was_found_leads_nowhere(served: Served, tree: Path, swap: str) -> None:
    (tree / "name").write_text("allowed")
    (tree / "target").write_text("forbidden")
    for name in ("parent", "other"):
        (tree / name).mkdir()
        (tree / name / "gone").write_text("allowed" if name == "parent" else "forbidden")

    def exchange(found: Resolution) -> None:
        if str(tree) not in "".join(found.paths):
            return  # a module of the program's
        for name, target in (("name", "target"), ("parent", "other")):
            (tree / name).rename(tree / f"{name}-was")
            (tree / name).symlink_to(target)

    served.before = exchange
    try:
        printed = behalf(served, f"{PRELUDE}\nos.chdir({str(tree)!r})\n{SWAPS[swap]}")
    finally:
        served.before = lambda found: None
    # The forbidden file is what it was, whatever became of the call.
    target = (tree / "target").stat()
    assert (tree / "target").read_text() == (tree / "other" / "gone").read_text() == "forbidden"
    assert (target.st_mode & 0o777, target.st_uid, target.st_nlink) == (0o644, 0, 1)
    assert os.listdir(tree / "other") == ["gone"]
    if swap == "openat-create":
        assert "replaced by a link" in served.impossible[0]
        assert os.strerror(REFUSED) in printed
    else:
        assert served.impossible == []
        # What was looked at is what it was done to.
        was = {"parent-mkdir": "made", "parent-rename": "went"}.get(swap)
        assert was is None or was in os.listdir(tree / "parent-was")
        assert swap != "truncate" or not (tree / "name-was").read_text()


def printed_with(served: Served, tree: Path, decide: Callable[[Call, Resolution], bool]) -> str:
    """What a program prints that opens a file, where `decide` may have another opened instead: nothing if it cannot."""
    served.decide = decide
    try:
        body = f"os.chdir({str(tree)!r})\nlibc.syscall(numbers['openat'], AT, b'file', 0) < 0 or print('opened')"
        return behalf(served, PRELUDE.replace("import fcntl, stat", "") + body, ["openat"])
    finally:
        served.decide, served.instead = lambda call, found: True, None


def test_a_deputy_opens_nothing_of_itself(served: Served, tree: Path) -> None:
    """As itself, the kernel would let it: memory of the monitor's, and its descriptors."""
    for name in ("mem", "fd/0", "environ", "task/{pid}/mem", "root", "cwd", "fd", "ns/mnt", ""):
        opened: list[bool] = []

        def decide(call: Call, found: Resolution, name: str = name, opened: list[bool] = opened) -> bool:
            pid = deputy_of(found)
            served.instead = f"/proc/{pid}/{name.format(pid=pid)}"
            opened.append(os.path.exists(served.instead))
            return True

        assert printed_with(served, tree, decide) == ""
        assert opened == [True]
        assert "what makes the call" in served.impossible[0]


@pytest.mark.parametrize("left", range(1, 6))
def test_a_deputy_that_can_open_little_still_knows_itself(served: Served, tree: Path, left: int) -> None:
    """Whoever has its user can lower its limits."""

    def decide(call: Call, found: Resolution) -> bool:
        pid = deputy_of(found)
        taken = max(int(name) for name in os.listdir(f"/proc/{pid}/fd")) + 1
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (taken + left, taken + left))
        served.instead = f"/proc/{pid}/mem"
        return True

    assert printed_with(served, tree, decide) == ""


def test_a_proc_that_is_mounted_in_pieces_is_not_gone_into(served: Served, tree: Path) -> None:
    body = f"""
os.chdir({str(tree)!r})
libc.unshare(0x20000)
libc.mount(None, b'/', None, 0x44000, None)
assert libc.mount(b'/proc/1', b'dir', None, 0x1000, None) == 0
call("openat", AT, "dir/status", 0)
call("openat", AT, "file", 0)
"""
    printed = behalf(served, PRELUDE + body)
    assert "mounted by itself" in served.impossible[0]
    assert len(served.impossible) == 1
    assert "'file'] 0o100644" in printed


ATTACK = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
os.setgroups([]); os.setresgid(1234, 1234, 1234); os.setresuid(1234, 1234, 1234)
libc.prctl(4, 1, 0, 0, 0)
pid = int(sys.argv[1])
def tries():
    yield "mem", lambda: os.close(os.open(f"/proc/{pid}/mem", os.O_RDWR))
    yield "fds", lambda: os.listdir(f"/proc/{pid}/fd")
    yield "root", lambda: os.close(os.open(f"/proc/{pid}/root", os.O_RDONLY))
    yield "ptrace", lambda: check(libc.ptrace(0x4206, pid, None, None))  # PTRACE_SEIZE
    yield "pidfd_getfd", lambda: check(libc.syscall(438, os.pidfd_open(pid), 0, 0))
def check(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), "")
for name, one in tries():
    try:
        one()
        print(name)
    except OSError as error:
        assert error.errno in (1, 13), error
"""


def attack(pid: int) -> list[str]:
    """What of a process another one with its ids gets hold of."""
    words = [sys.executable, "-I", "-S", "-c", ATTACK, str(pid)]
    return subprocess.run(words, check=True, capture_output=True, text=True, timeout=60).stdout.split()


def test_whoever_has_its_user_gets_nothing_of_a_deputy(served: Served, tree: Path) -> None:
    body = f"os.chdir({str(tree)!r})\n{USER}\nlibc.prctl(4, 1, 0, 0, 0)\ncall('mkdir', 'all/made', 0o755)"
    seen: list[list[str]] = []

    def decide(call: Call, found: Resolution) -> bool:
        pid = deputy_of(found)
        assert f"\nUid:\t{1234}\t{1234}\t{1234}\t{1234}\n" in Path(f"/proc/{pid}/status").read_text()
        seen.append(attack(pid))
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGCHLD, signal.SIGHUP, signal.SIGALRM):
            os.kill(pid, number)
        return True

    served.decide = decide
    try:
        printed = behalf(served, PRELUDE + body, ["mkdir"])
    finally:
        served.decide = lambda call, found: True
    assert seen == [[]]
    assert printed == "mkdir ['all/made', 493] 0\n"
    # The control: of a plain process of the same user, all of it.
    plain = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", f"import os, ctypes, sys\n{USER}\nctypes.CDLL(None).prctl(4, 1, 0, 0, 0)\n"
         "print(flush=True); sys.stdin.read()"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert plain.stdout is not None
    plain.stdout.readline()
    assert attack(plain.pid) == ["mem", "fds", "root", "ptrace", "pidfd_getfd"]
    plain.kill()
    plain.communicate()


def test_a_deputy_that_is_killed_denies(served: Served, tree: Path) -> None:
    served.decide = lambda call, found: os.kill(deputy_of(found), signal.SIGKILL) is None
    try:
        printed = behalf(served, f"{PRELUDE}\nos.chdir({str(tree)!r})\ncall('mkdir', 'made', 0o755)", ["mkdir"])
    finally:
        served.decide = lambda call, found: True
    assert os.strerror(REFUSED) in printed
    assert "the deputy has ended" in served.impossible[0]
    assert not (tree / "made").exists()
    behalf(served, f"{PRELUDE}\nos.chdir({str(tree)!r})\ncall('mkdir', 'made', 0o755)", ["mkdir"])
    assert (tree / "made").exists()


def test_nothing_is_done_for_who_has_died(served: Served, tree: Path) -> None:
    async def run(it: Listened) -> None:
        _, found = await resolved(served.deputies, it)
        assert found.paths == (f"{tree}/made",)
        it.process.kill()
        it.process.wait(60)
        with pytest.raises(Impossible, match="gone"):
            await found.perform()
        await served.deputies.idle()

    with listened(["mkdir"], f"{PRELUDE}\nos.chdir({str(tree)!r})\ncall('mkdir', 'made', 0o755)") as it:
        asyncio.run(run(it))
    assert not (tree / "made").exists()


def test_whoever_is_gone_before_it_is_read_is_not_taken_for_another(served: Served, tree: Path) -> None:
    async def run(it: Listened) -> None:
        call = it.next()
        what = calls.decode(call)
        seen = memory.look(it.fd, call, what)
        with pytest.raises(Impossible, match="no PID namespace"):
            await served.deputies.resolve(it.fd, call._replace(tid=0), what, seen)
        # Another process has the number, the call is none that waits.
        with pytest.raises(Impossible, match="gone"):
            await served.deputies.resolve(it.fd, call._replace(tid=os.getpid(), id=call.id + 1), what, seen)
        it.process.kill()
        it.process.wait(60)
        with pytest.raises(Impossible, match=r"cannot be looked at|has ended|gone"):
            await served.deputies.resolve(it.fd, call, what, seen)
        await served.deputies.idle()

    with listened(["mkdir"], f"{PRELUDE}\nos.chdir({str(tree)!r})\ncall('mkdir', 'made', 0o755)") as it:
        asyncio.run(run(it))


def test_what_hangs_is_ended_and_keeps_nobody_else(tree: Path) -> None:
    """A file system that does not answer, a listener that takes no connection, a pipe without a writer."""
    need("KERNEL", slow_files.unavailable())
    body = f"""
os.chdir({str(tree)!r})
import threading
listening = socket.socket(socket.AF_UNIX)
listening.bind("sock")
listening.listen(0)
hold_on = [socket.socket(socket.AF_UNIX) for _ in range(3)]
def run():
    call("connect", hold_on.pop().fileno(), b"\\1\\0sock", 6)
what = [lambda: call("openat", AT, "dir/hang", 0), lambda: call("openat", AT, "dir/dir/hang/x", 0),
        lambda: call("openat", AT, "fifo", 0), run, run, run]
threads = [threading.Thread(target=one, daemon=True) for one in what]
for one in threads: one.start()
threads[0].join()
threads[1].join()
call("mkdir", "through", 0o755)
print("done", flush=True)
os._exit(0)
"""
    names = ["openat", "connect", "mkdir"]
    with slow_files.mounted(tree / "dir") as stop, serving(deadline_s=3) as served:
        served.after = stop
        with listened(names, PRELUDE + body) as it:
            served.all_of(it)
            printed = it.output()
    assert (tree / "through").is_dir()
    assert printed.endswith("done\n")
    # Both names below it, as nobody answers; what blocks in the call itself is not bounded by that.
    assert sum("in 3 s" in why and "hang" in why for why in served.impossible) == 2
    assert not [why for why in served.impossible if "in 3 s" in why and "hang" not in why]
    assert served.deputies.busy == 0


# Where others have all that there may be, a listener has one in any case.
@pytest.mark.parametrize("most", [3, 2])
def test_no_more_deputies_than_there_may_be(tree: Path, most: int) -> None:
    async def run(deputies: Deputies, it: Listened, other: Listened) -> None:
        held = [await resolved(deputies, it) for _ in range(2)]
        deputies._deadline_s = 0.5
        with pytest.raises(Impossible, match=r"0\.5 s"):
            await resolved(deputies, it)
        deputies._deadline_s = 60
        # Another listener's have a place of their own.
        call, found = await resolved(deputies, other)
        assert deputies.busy == 3
        done = await found.perform()
        assert (done.error, done.value, done.fd) == (0, 0, None)
        notify.give(other.fd, call.id, done.value)
        for _, one in held:
            one.abandon()
            one.abandon()
            with pytest.raises(Impossible, match="made or abandoned"):
                await one.perform()
        await deputies.idle()
        assert deputies.busy == 0

    several = f"""{PRELUDE}
os.chdir({str(tree)!r})
import threading
threads = [threading.Thread(target=call, args=("mkdir", f"made{{n}}", 0o755)) for n in range(3)]
for one in threads: one.start()
for one in threads: one.join()
"""
    single = f"{PRELUDE}\nos.chdir({str(tree)!r})\ncall('mkdir', 'other', 0o755)"
    with (
        serving(most=most, each=2, deadline_s=60) as served,
        listened(["mkdir"], several) as it,
        listened(["mkdir"], single) as other,
    ):
        asyncio.run(run(served.deputies, it, other))
    assert (tree / "other").is_dir()
    assert not list(tree.glob("made*"))


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("how", ["close", "zygote-killed"])
def test_deputies_end_with_the_monitor(tree: Path, how: str) -> None:
    pids: list[int] = []

    async def run(it: Listened) -> None:
        _, found = await resolved(deputies, it)
        pids.append(deputy_of(found))
        end: Callable[[], None] = (
            deputies.close if how == "close" else lambda: os.kill(deputies._zygote, signal.SIGKILL)
        )
        end()
        wait_until(lambda: not _alive(pids[0]), deadline_s=60, what="the deputy's end")
        with pytest.raises(Impossible, match="ended"):
            await found.perform()
        await deputies.idle()

    deputies = Deputies()
    deputies.start()
    try:
        with listened(["mkdir"], f"{PRELUDE}\nos.chdir({str(tree)!r})\ncall('mkdir', 'made', 0o755)") as it:
            asyncio.run(run(it))
    finally:
        deputies.close()
    assert not (tree / "made").exists()


def test_who_has_no_deputies_denies(tree: Path) -> None:
    deputies = Deputies()
    deputies.start()
    deputies.close()

    async def run(it: Listened) -> None:
        with pytest.raises(Impossible, match="no deputies"):
            await resolved(deputies, it)
        await deputies.idle()

    with listened(["mkdir"], f"{PRELUDE}\nos.chdir({str(tree)!r})\ncall('mkdir', 'made', 0o755)") as it:
        asyncio.run(run(it))


def test_devices_are_for_who_is_in_the_same_control_group() -> None:
    """Which devices a container may open is asked of the control group of who opens: not of the container's here."""

    def check(status: tuple[int, int, int], *, same: bool) -> str:
        mode, major, minor = status
        reading = SimpleNamespace(same_cgroup=same, same_pids=True)
        act = table.Act("open", (table.AT_FDCWD,), 0, (0,))
        made = acting.Acting(act, reading, SimpleNamespace(), own=-1, raw=b"", text=None)  # type: ignore[arg-type]
        one = Found(b"/dev/x", -1, b"x", 0)
        found = SimpleNamespace(st_mode=mode, st_rdev=os.makedev(major, minor), st_size=0)
        try:
            made._check(one, found)  # type: ignore[arg-type]
        except Impossible as error:
            return str(error)
        return ""

    for device in ((1, 3), (1, 9), (5, 2), (136, 0), (143, 7)):
        assert check((stat.S_IFCHR, *device), same=False) == ""
    for kind, device in (
        (stat.S_IFBLK, (1, 3)),
        (stat.S_IFBLK, (8, 0)),
        (stat.S_IFCHR, (1, 1)),
        (stat.S_IFCHR, (10, 229)),
    ):
        assert "control group" in check((kind, *device), same=False)
        assert check((kind, *device), same=True) == ""
    assert "another terminal" in check((stat.S_IFCHR, 5, 0), same=True)


def test_a_node_for_a_device_is_not_made_from_another_control_group() -> None:
    made: list[str] = []
    for same in (False, True):
        act = table.Act("mknod", (table.AT_FDCWD,), 0, (stat.S_IFBLK | 0o600, os.makedev(8, 0)))
        reading = SimpleNamespace(same_cgroup=same)
        one = acting.Acting(act, reading, SimpleNamespace(), own=-1, raw=b"", text=None)  # type: ignore[arg-type]
        try:
            one.make([Found(b"/x", -1, b"x", None)])
        except Impossible:
            made.append("refused")
        except OSError:
            made.append("asked the kernel")  # EBADF: there is no such directory
    assert made == ["refused", "asked the kernel"]


def test_a_full_table_of_descriptors_is_told(served: Served, tree: Path) -> None:
    body = f"""
os.chdir({str(tree)!r})
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (4, 4))
opened = [libc.syscall(numbers["openat"], AT, b"file", 0) for _ in range(3)]
print(opened, os.strerror(ctypes.get_errno()))
"""
    printed = behalf(served, PRELUDE + body, ["openat"])
    assert printed.strip() == f"[3, -1, -1] {os.strerror(24)}"


def test_the_zygote_and_deputies_load_nothing_of_where_they_go(served: Served) -> None:
    """What a deputy would import after it has gone to a thread's root, the thread would have written."""
    script = (
        "import sys; sys.path[:0] = sys.argv[1:]\n"
        "from scmm_oci.enforcer.monitor.behalf import zygote\n"
        "import os\n"
        "zygote._get_ready(os.getppid())\n"
        "try:\n    import wave\nexcept ImportError:\n    os._exit(7)\nos._exit(8)\n"
    )
    words = [sys.executable, "-c", script, str(Path(__file__).parents[2])]
    assert subprocess.run(words, timeout=60).returncode == 7
    assert subprocess.run([*words[:2], script.replace("zygote._get_ready(os.getppid())", ""), words[3]]).returncode == 8
    assert ctypes.sizeof(ctypes.c_long) == 8
