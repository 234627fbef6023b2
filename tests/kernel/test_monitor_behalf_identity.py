"""Whoever calls: another user, fewer capabilities,
        in namespaces and roots of its own. On behalf is neither more nor less.

Every body runs twice, let go on and on behalf, in two trees that are alike (behalf_trees).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from behalf_served import Served, serving
from behalf_trees import PRELUDE, behalf, same, trees_in
from behalf_trees import native as native_of
from support import need

from scmm_oci.enforcer.monitor.behalf.identity import Impossible, Own, Reading

pytestmark = pytest.mark.usefixtures("becoming")


#: What is tried by each of them: some of it takes a right that some lack.
TRIES = """
for name in ("file", "secret", "closed/x", "/etc/shadow", "/etc/hostname", "all", "."):
    call("openat", AT, name, 0)
    call("openat", AT, name, os.O_RDWR)
os.umask(0o007)
call("mkdir", "all/made", 0o777)
call("openat", AT, "all/new", os.O_CREAT | 1, 0o666)
call("mkdir", "made", 0o777)
call("chmod", "file", 0o4640)
call("chown", "file", 0, 0)
call("chown", "all/new", 1300, 1300)
call("mknod", "all/pipe", stat.S_IFIFO | 0o622, 0)
call("unlink", "file")
call("rename", "all/made", "all/moved")
for fd in ("status",):
    call("openat", AT, "/proc/self/" + fd, 0)
    call("openat", AT, "/proc/thread-self/" + fd, 0)
call("openat", AT, "/proc/1/environ", 0)
call("truncate", "all/new", 5000)
call("truncate", "all/new", 50)
"""

BECOMES = {
    "root": "",
    "user": "os.setgroups([1300]); os.setresgid(1234, 1234, 1234); os.setresuid(1234, 1234, 1234)",
    "effective": "os.setgroups([]); os.setresgid(0, 1234, 0); os.setresuid(0, 1234, 0)",
    "file-system": "libc.setfsgid(1234); libc.setfsuid(1234)",
    "group": "os.setgroups([1234])",
    "no-capabilities": "capset(0, 0)",
    "chown-only": "capset(1 << 0, 1 << 0 | 1 << 1)",
    "user-with-override": """
libc.prctl(8, 1, 0, 0, 0)
os.setresuid(1234, 1234, 1234); capset(1 << 1, 1 << 1)""",
    "file-size": "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 2000))",
    "descriptors": "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (5, 5))",
    "user-namespace": "userns(0, 0)",
    "user-namespace-of-a-user": "os.setgroups([]); os.setresgid(1234, 1234, 1234); os.setresuid(1234, 1234, 1234); "
    "libc.prctl(4, 1, 0, 0, 0); userns(1234, 1234)",
    "user-namespace-without-ids": "assert libc.unshare(0x10000000) == 0",
    "user-namespace-and-mounts": "userns(0, 0, 0x10000000 | 0x20000)\n"
    "assert libc.mount(b'none', os.fsencode(tree) + b'/all', b'tmpfs', 0, b'mode=1777') == 0",
    "mounts": "assert libc.unshare(0x20000) == 0\nassert libc.mount(None, b'/', None, 0x44000, None) == 0\n"
    "assert libc.mount(b'none', os.fsencode(tree) + b'/all', b'tmpfs', 0, b'mode=755') == 0",
    "read-only": "assert libc.unshare(0x20000) == 0\nassert libc.mount(None, b'/', None, 0x44000, None) == 0\n"
    "assert libc.mount(os.fsencode(tree), os.fsencode(tree), None, 0x1000, None) == 0\n"
    "assert libc.mount(None, os.fsencode(tree), None, 0x1021, None) == 0\nos.chdir(tree)",
    "chroot": "os.chroot(tree); os.chdir('/')",
    "net-and-others": "assert libc.unshare(0x40000000 | 0x08000000 | 0x04000000 | 0x02000000) == 0",
}
HELPERS = """
def capset(effective, permitted):
    text = struct.pack("=6I", effective & 0xFFFFFFFF, permitted & 0xFFFFFFFF, 0, effective >> 32, permitted >> 32, 0)
    header = struct.pack("=Ii", 0x20080522, 0)
    assert libc.capset(ctypes.c_char_p(header), ctypes.c_char_p(text)) == 0
def userns(uid, gid, flags=0x10000000):
    assert libc.unshare(flags) == 0
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        fd = libc.syscall(numbers["openat2"], -100, ctypes.c_char_p(b"/proc/self/" + name.encode()), *how(1))
        assert fd >= 0 and os.write(fd, text.encode())
        os.close(fd)
"""


@pytest.mark.parametrize("who", BECOMES)
def test_every_caller(served: Served, trees: tuple[Path, Path], who: str) -> None:
    same(served, trees, TRIES, before=HELPERS + BECOMES[who])


def test_what_only_a_process_itself_may_look_at_is_not_refused_as_if_by_the_kernel(
    served: Served, trees: tuple[Path, Path]
) -> None:
    look = "call('openat', AT, '/proc/self/environ', 0); call('openat', AT, '/proc/self/mem', 2)"
    same(served, trees, look)
    # Somebody with the same ids and effective capabilities, but not all that it could have, is not let in.
    assert "Permission denied" not in behalf(served, f"{PRELUDE}{HELPERS}{BECOMES['chown-only']}\n{look}")
    assert len(served.impossible) == 2
    assert all("may not be to the process itself" in why for why in served.impossible)


def test_a_current_directory_out_of_the_root_has_no_paths(served: Served, trees: tuple[Path, Path]) -> None:
    top = trees[1]
    (top / "full" / "bin").mkdir()
    body = f"""{PRELUDE}
os.chdir({str(top)!r})
os.chroot("full")
call("openat", AT, "file", 0)
call("mkdir", "made", 0o777)
call("openat", AT, "../secret", 0)
call("mkdir", "/bin/made", 0o777)
call("openat", AT, "/inner", 0)
"""
    printed = behalf(served, body)
    assert printed.count(os.strerror(126)) == len(served.impossible) == 3
    assert served.paths[-2:] == [("/bin/made",), ("/inner",)]
    assert not (top / "made").exists()
    assert (top / "full" / "bin" / "made").is_dir()


def test_what_callers_have_is_not_the_same(served: Served, trees: tuple[Path, Path]) -> None:
    """The control of the above: the monitor's own rights would have done more."""
    printed = same(served, trees, TRIES, before=HELPERS + BECOMES["user"])
    assert "[-100, 'secret'] Permission denied" in printed
    printed = same(served, trees, "call('openat', AT, 'secret', 2)", before="")
    assert "[-100, 'secret'] 0o100600" in printed


def test_threads_have_ids_and_directories_of_their_own(served: Served, trees: tuple[Path, Path]) -> None:
    body = """
import threading
gates = [threading.Event() for _ in range(3)]
def one():
    libc.unshare(0x200)  # CLONE_FS
    os.chdir("full")
    os.umask(0o077)
    # Of this thread only: the library would change all.
    libc.syscall(numbers["setresgid"], 1234, 1234, 1234)
    libc.syscall(numbers["setresuid"], 1234, 1234, 1234)
    call("openat", AT, "inner", 0)
    call("openat", AT, "../secret", 0)
    call("openat", AT, "../all/thread", os.O_CREAT | 1, 0o666)
    call("openat", AT, "/proc/thread-self/comm", 0)
thread = threading.Thread(target=one)
thread.start()
thread.join()
call("openat", AT, "secret", 0)
call("openat", AT, "inner", 0)
"""
    printed = same(served, trees, body)
    assert printed.count("Permission denied") == 1


def test_a_pid_namespace_with_a_proc_of_its_own(served: Served, trees: tuple[Path, Path]) -> None:
    body = """
assert libc.unshare(0x20000000 | 0x20000) == 0
pid = os.fork()
if pid:
    status = os.waitpid(pid, 0)[1]
    assert status == 0, status
else:
    assert libc.mount(None, b'/', None, 0x44000, None) == 0
    assert libc.mount(b'proc', b'/proc', b'proc', 0, None) == 0
    for name in ("/proc/self/status", "/proc/self", "/proc/thread-self/comm", "/proc/mounts", "/proc/1/status",
            "/proc/2/status", "/proc/self/" + "root/etc/hostname",
                 "/proc/self/fd/0", "/proc/self/cwd/file", "/dev/stdin", "/dev/fd/0",
                 "/proc/self/fd/99", "/proc/self/nothing", "/proc/meminfo", "/proc/self/fd", "/proc/self/ns/pid/x"):
        call("openat", AT, name, 0)
    fd = libc.syscall(numbers["openat"], AT, ctypes.c_char_p(b"/proc/self/status"), 0)
    text = os.read(fd, 4096).decode()
    print([line for line in text.splitlines() if line.startswith(("Pid:", "Name:"))], flush=True)
    os._exit(0)
"""
    printed = same(served, trees, body)
    assert "'Pid:\\t1'" in printed
    assert ("/proc/1/status",) in served.paths


def test_links_of_proc_that_lead_out_are_told_for_what_they_lead_to(served: Served, trees: tuple[Path, Path]) -> None:
    """In a root of its own, a descriptor that came from outside leads out of it."""
    body = f"""
os.mkdir("proc")
libc.unshare(0x20000)
libc.mount(None, b'/', None, 0x44000, None)
outside = os.open("/etc", os.O_RDONLY)
inside = os.open("full", os.O_RDONLY)
assert libc.mount(b'/proc', b'proc', None, 0x1000 | 0x4000, None) == 0
os.chroot(".")
os.chdir("/")
for fd in (outside, inside):
    call("openat", fd, ".", 0)
    call("openat", fd, "hostname", 0)
    call("openat", fd, "inner", 0)
    call("openat", AT, f"/proc/self/fd/{{fd}}/hostname", 0)
    call("openat", AT, f"/proc/self/fd/{{fd}}/inner", 0)
call("openat", AT, f"/proc/{os.getpid()}/" "root/etc/hostname", 0)
print("end")
"""
    printed = behalf(served, f"{PRELUDE}\nos.chdir({str(trees[1])!r})\n{body}", ["openat"])
    # All that leads out cannot be made: its path would be taken for another's of this name.
    assert printed.count(os.strerror(126)) == len(served.impossible)
    assert ("/full/inner",) in served.paths
    assert not any("hostname" in path for paths in served.paths[-4:] for path in paths)
    assert printed.count("0o100644") == 2
    assert "0o100755" not in printed


#: Debian's, which other users can run wherever the tests' own is.
PYTHON = "/usr/bin/python3"
BY_A_USER = """
call("openat", AT, "file", 0)
call("openat", AT, "secret", 0)
call("mkdir", "all/made", 0o755)
call("openat", AT, "/proc/self/status", 0)
call("unlink", "file")
call("chown", "all/made", 0, 0)
call("chown", "all/made", 1300, 1300)
call("connect", socket.socket(socket.AF_UNIX).fileno(), b"\\1\\0nothing", 9)
"""


@pytest.mark.parametrize(
    "before", ["", "userns(1234, 1234)", "userns(1234, 1234, 0x10000000 | 0x20000)"], ids=["alike", "user", "mounts"]
)
def test_a_monitor_that_is_not_root_serves_its_own_user(
    place: Path, before: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("KERNEL", None if os.access(PYTHON, os.X_OK) else "no Python in /usr that other users can run")
    monkeypatch.setattr(sys, "executable", PYTHON)
    body = HELPERS + before + BY_A_USER
    native, ours = trees_in(place)

    def as_the_user(run: Callable[[], str]) -> str:
        out, end = os.pipe()
        child = os.fork()
        if not child:
            try:
                os.setgroups([1300])
                os.setresgid(1234, 1234, 1234)
                os.setresuid(1234, 1234, 1234)
                os.write(end, run().encode())
            finally:
                os._exit(0)
        os.close(end)
        with os.fdopen(out) as file:
            text = file.read()
        os.waitpid(child, 0)
        return text

    def on_behalf() -> str:
        with serving() as served:
            return behalf(served, f"{PRELUDE}\nos.chdir({str(ours)!r})\n{body}") + repr(served.impossible)

    # Once as root: what Python loads late is where the user may not be.
    with serving() as served:
        behalf(served, f"{PRELUDE}\nos.chdir({str(ours)!r})\ncall('openat', AT, 'file', 0)")
    expected = as_the_user(lambda: native_of(f"{PRELUDE}\nos.chdir({str(native)!r})\n{body}"))
    assert "'secret'] Permission denied" in expected
    assert "mkdir ['all/made', 493] 0" in expected
    assert as_the_user(on_behalf) == expected + "[]"
    assert (ours / "all" / "made").stat().st_uid == 1234


def test_a_monitor_that_is_not_root_serves_nobody_else(
    place: Path, monkeypatch: pytest.MonkeyPatch, served: Served
) -> None:
    """It has root's rights no more, and says so instead of making a call as itself."""
    ours = trees_in(place)[1]
    own = Own()
    reading = Reading(os.getpid(), own, directories=())
    monkeypatch.setattr(reading, "_strong", False)
    monkeypatch.setattr(reading, "who", replace(reading.who, uids=(1234,) * 4))
    with pytest.raises(Impossible, match="other ids"):
        reading.become(os.getppid())
    assert os.geteuid() == 0
    behalf(served, f"{PRELUDE}\nos.chdir({str(ours)!r})\ncall('mkdir', 'all/made', 0o755)", ["mkdir"])
    assert (ours / "all" / "made").exists()
