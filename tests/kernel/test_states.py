"""Which file a path is said to be: after links, mounts, roots, scripts and deletion; and how long looking takes."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from scripts import PRELUDE, PYTHON, losses, record
from support import Hooks
from trial import Trial, calls

LONG_CALL = """
import time
os.chdir(sys.argv[1])
fd = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
fd.setsockopt(socket.SOL_SOCKET, 32, 1 << 24)  # SO_SNDBUFFORCE
times = {}
for depth in (0, 36):
    for step in range(depth):
        os.mkdir("d" * 200)
        os.chdir("d" * 200)
    # A UNIX socket takes some ten messages until they are read.
    sockets = [socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) for number in range(120)]
    for number, each in enumerate(sockets):
        each.bind("s%03d" % number)
    at = [ctypes.create_string_buffer(b"\\1\\0s%03d" % (number % 120), 128) for number in range(1000)]
    heads = b"".join(struct.pack("<QixxxxQQQQixxxxixxxx", ctypes.addressof(a), 7, 0, 0, 0, 0, 0, 0) for a in at)
    before = time.perf_counter()
    sent = call(307, fd.fileno(), heads, 1000, 0x40)
    times[depth] = time.perf_counter() - before
    assert sent == 1000
    for each in sockets:
        each.close()
os.write(1, b"%d %d" % (times[0] * 1e6, times[36] * 1e6))
"""


def test_no_call_takes_long_in_the_recorder(hooks: Hooks, payload: Path, tmp_path: Path) -> None:
    """A thousand messages to addresses that are files 7 KB deep: bounded, and what was not looked at is counted."""
    extra = []
    for attempt in range(4):  # the machine does other things, too: the best of some
        place = tmp_path / f"slow-{attempt}"
        place.mkdir()
        words = ("gate", PYTHON, "-I", "-S", "-c", PRELUDE + LONG_CALL, str(place))
        with Trial(hooks, payload, *words, name="slow", gate=False) as trial:
            shallow, deep = map(int, trial.release().split())
            capture = trial.finish()
        subprocess.run(["rm", "-rf", place], check=True)
        extra.append(deep - shallow)
    assert min(extra) < 5000  # µs
    kept = {row["path"] for row in capture["files"] if row["operation"] == "connect"}
    # Of the shallow ones all, of the deep ones some; the rest is counted.
    assert 120 < len(kept) < 240
    assert losses(capture).keys() == {"lost-files", "lost-sockets"}
    assert {row["address"] for row in capture["sockets"]} >= {f"s{number:03d}" for number in range(120)}


STATES = """
os.chdir(sys.argv[1])
opened = lambda name, flags=os.O_RDONLY: os.open(name, flags | os.O_CREAT if flags else flags)
RW = os.O_RDWR
# Unlinked, while it is open: its name goes, not the file.
fd = opened("unlinked", RW)
os.unlink("unlinked")
os.close(os.open("/proc/self/fd/%d" % fd, os.O_RDONLY))
call(ACCESS, b"/proc/self/fd/%d" % fd, 0)
# Of a descriptor, another file than the name says.
other = opened("behind", RW)
os.close(os.open("/proc/self/fd/%d" % other, os.O_RDONLY))
memory = os.memfd_create("memory/with/slashes")
os.close(os.open("/proc/self/fd/%d" % memory, os.O_RDONLY))
call(77, memory, 0)
os.close(os.open(".", os.O_TMPFILE | os.O_RDWR))
# A directory that is gone.
os.mkdir("gone"); os.chdir("gone"); os.rmdir("../gone")
call(ACCESS, b"inside", 0)
os.chdir(sys.argv[1])
os.symlink("behind", "link"); os.symlink("nowhere", "dangling"); os.symlink("loop", "loop")
for name in (b"link", b"dangling", b"loop", b"link/x", b"./sub/../behind", b"/../../../etc/../etc/passwd"):
    call(ACCESS, name, 0)
call(STAT + 2, b"link", ctypes.create_string_buffer(256))  # lstat
# A mount over a file, and a tree of mounts that is cut off.
os.mkdir("mount")
opened("mount/below", RW)
below = os.open("mount", os.O_RDONLY)
libc.mount(b"none", b"mount", b"tmpfs", 0, 0)
opened("mount/on-top", RW)
call(ACCESS, b"mount/on-top-named", 0)
os.close(os.open("below", os.O_RDONLY, dir_fd=below))
top = os.open("mount", os.O_RDONLY)
libc.umount2(b"mount", 2)
os.close(os.open("on-top", os.O_RDONLY, dir_fd=top))
call(269, top, b"on-top-too", 0)
# A root of our own.
os.mkdir("root"); os.mkdir("root/etc")
os.chroot("root"); os.chdir("/")
opened("/etc/inside-chroot", RW)
call(ACCESS, b"/etc/named-in-chroot", 0)
call(ACCESS, b"/../../etc/above", 0)
"""


def test_path_states(hooks: Hooks, payload: Path, tmp_path: Path) -> None:
    place = tmp_path / "states"
    place.mkdir()
    capture = record(hooks, payload, STATES, str(place), prefix=("/usr/bin/unshare", "--mount"))
    assert losses(capture) == {}
    found = {
        (row["operation"], row["path"].replace(str(place), "P"), row["state"], row["created"])
        for row in capture["files"]
    }
    expected = {
        *(("open", "P/unlinked", "resolved", True), ("open", "P/unlinked", "deleted", False)),
        *(("access", "/proc/self/fd/3", "named", False), ("open", "P/behind", "resolved", False)),
        *(("open", "/memfd:memory/with/slashes", "internal", False), ("open", "P", "resolved", False)),
        *(
            ("ftruncate", "/memfd:memory/with/slashes", "internal", False),
            ("access", "P/gone/inside", "deleted", False),
        ),
        *(("access", "P/behind", "resolved", False), ("access", "P/nowhere", "resolved", False)),
        *(("access", "P/loop", "named", False), ("access", "/etc/passwd", "resolved", False)),
        *(("stat", "P/link", "resolved", False), ("open", "P/mount/below", "resolved", False)),
        *(("open", "P/mount/on-top", "resolved", True), ("open", "/on-top", "outside", False)),
        *(("access", "/on-top-too", "outside", False), ("open", "P/root/etc/inside-chroot", "resolved", True)),
        *(
            ("access", "P/root/etc/named-in-chroot", "resolved", False),
            ("access", "P/root/etc/above", "resolved", False),
        ),
    }
    assert expected <= found, expected - found
    # The control: nothing else is said of these names, and nothing of what a link or descriptor only led through.
    ours = {each for each in found if each[0] in ("open", "access") and each[1].startswith(("P/", "/on", "/memfd"))}
    assert ours - expected == {
        *(("open", "P/behind", "resolved", True), ("open", "P/mount/below", "resolved", True)),
        *(("open", "P/mount", "resolved", False), ("access", "P/behind/x", "resolved", False)),
        ("access", "P/mount/on-top-named", "resolved", False),
    }


def test_names_after_chroot_stay_below_that_root_where_nothing_can_be_looked_up(
    hooks: Hooks, payload: Path, tmp_path: Path
) -> None:
    script = """
os.chdir(sys.argv[1])
call(ACCESS, b"../../above", 0)
os.chroot(".")
call(ACCESS, b"/../../above", 0)
"""
    words = ("gate", PYTHON, "-I", "-S", "-c", PRELUDE + script, str(tmp_path))
    with Trial(hooks, payload, *words, name="chroots", gate=False) as trial:
        trial.release()
        capture = trial.finish()
    found = {row["path"] for row in capture["files"] if row["path"].endswith("/above")}
    assert found == {f"{tmp_path}/above", f"{tmp_path.parent.parent}/above"}


def test_program_below_more_directories_than_fit_is_no_other_program(
    hooks: Hooks, payload: Path, tmp_path: Path
) -> None:
    script = """
os.chdir(sys.argv[1])
for depth in range(int(sys.argv[3])):
    os.mkdir("d" * 200)
    os.chdir("d" * 200)
copy = os.open("program", os.O_CREAT | os.O_WRONLY, 0o700)
os.sendfile(copy, os.open(sys.argv[2], os.O_RDONLY), 0, 1 << 24)
os.close(copy)
os.execv("program", ["program", "try", "124"])
"""
    for depth, number in ((3, 1), (45, 63)):
        place = tmp_path / str(depth)
        place.mkdir()
        capture = record(hooks, payload, script, str(place), str(payload), str(depth))
        subprocess.run(["rm", "-rf", place], check=True)
        assert calls(capture)["getsid"]["programs"] == [number]
        assert losses(capture).get("lost-programs", 0) == (number == 63)


@pytest.mark.parametrize("own", [True, False])
def test_paths_in_another_mount_namespace_are_outside(hooks: Hooks, payload: Path, tmp_path: Path, own: bool) -> None:
    """After pivot_root(2) in a namespace of the program's own, its paths are not the container's."""
    script = """
libc.unshare(0x20000) if sys.argv[2] == "True" else None
os.chdir(sys.argv[1])
os.mkdir("new")
if sys.argv[2] == "True":
    libc.mount(b"none", b"/", 0, 1 << 18 | 1 << 14, 0)  # private
    libc.mount(b"none", b"new", b"tmpfs", 0, 0)
    os.mkdir("new/old")
    assert not call(155, b"new", b"new/old")
    os.chdir("/")
else:
    os.chdir("new")
os.close(os.open("opened-there", os.O_CREAT | os.O_WRONLY))
call(ACCESS, b"named-there", 0)
"""
    # The container has a mount namespace already, as containers do.
    words = ("gate", PYTHON, "-I", "-S", "-c", PRELUDE + script, str(tmp_path), str(own))
    with Trial(
        hooks, payload, *words, name="pivots", prefix=["unshare", "--mount"], config={"root": {"path": "/"}}
    ) as trial:
        trial.pass_gate()
        trial.release()
        capture = trial.finish()
    assert losses(capture) == {}
    found = {row["path"]: row["state"] for row in capture["files"] if row["path"].endswith("-there")}
    above = "" if own else f"{tmp_path}/new"
    assert found == dict.fromkeys((f"{above}/opened-there", f"{above}/named-there"), "outside" if own else "resolved")


def test_root_that_another_took_the_place_of(hooks: Hooks, payload: Path, tmp_path: Path) -> None:
    """After pivot_root(2), the root that was stands below the new one; so do names of whoever goes back to it."""
    script = """
call(ACCESS, b"/at-root-before", 0)
os.chdir(sys.argv[1])
os.mkdir("new")
libc.mount(b"none", b"/", 0, 1 << 18 | 1 << 14, 0)
libc.mount(b"none", b"new", b"tmpfs", 0, 0)
os.mkdir("new/old")
assert not call(155, b"new", b"new/old")
os.chroot("/old")
call(ACCESS, b"/at-root-of-old", 0)
os.chroot("/usr/lib")
call(ACCESS, b"/at-root-of-lib", 0)
"""
    words = ("gate", PYTHON, "-I", "-S", "-c", PRELUDE + script, str(tmp_path))
    with Trial(hooks, payload, *words, name="turns", prefix=["unshare", "--mount"]) as trial:
        trial.pass_gate()
        trial.release()
        capture = trial.finish()
    found = {row["path"] for row in capture["files"] if "at-root" in row["path"]}
    assert found == {"/at-root-before", "/old/at-root-of-old", "/old/usr/lib/at-root-of-lib"}
    assert {r["path"] for r in capture["files"] if r["operation"] == "chroot"} == {"/old", "/old/usr/lib"}


def test_programs_by_links_scripts_and_descriptors(hooks: Hooks, payload: Path, tmp_path: Path) -> None:
    files = {"single": f"#!{payload} true\n", "inner": f"#!{payload} true\n", "outer": f"#!{tmp_path}/inner\n"}
    files["option"] = f"#!{tmp_path}/inner -x\n"
    for name, text in files.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    (tmp_path / "link").symlink_to(payload)
    script = """
os.chdir(sys.argv[1])
def run(function, *words):
    if not os.fork():
        function(*words)
        os._exit(127)
    print(os.wait()[1])
run(os.execv, "link", ["by-link", "true"])
run(os.execv, "./single", ["relative"])
run(os.execv, sys.argv[1] + "/single", ["absolute"])
run(os.execv, sys.argv[1] + "/outer", ["nested"])
run(os.execv, sys.argv[1] + "/option", ["optional"])
fd = os.open(sys.argv[2], os.O_PATH)
run(os.execve, fd, ["by-descriptor", "true"], {})
fd = os.open("single", os.O_RDONLY)
os.set_inheritable(fd, True)
run(os.execve, fd, ["script-by-descriptor"], {})
memory = os.memfd_create("program")
os.sendfile(memory, os.open(sys.argv[2], os.O_RDONLY), 0, 1 << 24)
run(os.execve, memory, ["of-memory", "true"], {})
"""
    capture = record(hooks, payload, script, str(tmp_path), str(payload))
    assert losses(capture) == {}
    ran = {row["argv0"]: row for row in capture["programs"] if not row["script"]}
    scripts = {row["script"]: row for row in capture["programs"] if row["script"]}
    for words in ("by-link", "by-descriptor"):
        assert (ran[words]["path"], ran[words]["state"]) == (str(payload), "resolved")
    assert (ran["of-memory"]["path"], ran["of-memory"]["state"]) == ("/memfd:program", "internal")
    assert scripts.keys() == {f"{tmp_path}/{name}" for name in ("single", "outer", "option")}
    assert {row["path"] for row in scripts.values()} == {str(payload)}
    assert capture["notes"] == []
    # Landlock asks for every script on the way, too.
    rights = {row["path"]: row["access"] for row in capture["files"] if row["operation"] in ("script", "execute")}
    for name in ("single", "outer", "option", "inner"):
        assert rights[f"{tmp_path}/{name}"] == ["execute", "read_file"], name
    assert rights.keys() - {str(payload), os.path.realpath(PYTHON), "/memfd:program"} == {
        f"{tmp_path}/{name}" for name in ("single", "outer", "option", "inner")
    }
