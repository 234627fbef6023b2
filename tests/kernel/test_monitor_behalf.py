"""Each call made on behalf is the call that the process itself would have made: result, errno, what is there then.

Every case runs twice, in two trees that are alike: let go on, and on behalf.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from behalf_served import Served
from behalf_trees import PRELUDE, behalf, same

from scmm_oci.kernel import notify

pytestmark = pytest.mark.usefixtures("becoming")

#: Of names and ways to open them, every so many is tried; with SCMM_SOAK=1 all are.
THIN = 1 if os.environ.get("SCMM_SOAK") else 5
EXISTING = [
    "file",
    "secret",
    "link",
    "dirlink",
    "dangling",
    "loop",
    "up",
    "slashed",
    "dir",
    "dir/",
    "link/",
    "file/",
    "file/x",
    ".",
    "..",
    "/",
    "./file",
    "../tree/file",
    "fifo",
    "null",
    "dirlink/inner",
    "dirlink/../file",
    "nothing",
    "nothing/x",
    "closed/x",
]

OPENS = """
for at, name in enumerate(NAMES):
    for place, flags in enumerate((0, 1, 2, os.O_NOFOLLOW, os.O_DIRECTORY,
                  os.O_NOFOLLOW | os.O_DIRECTORY, os.O_RDWR | os.O_TRUNC, os.O_RDONLY | os.O_CLOEXEC, os.O_APPEND | 1,
                  os.O_TMPFILE | 2, os.O_TMPFILE | 1 | os.O_EXCL, os.O_TMPFILE, 3, os.O_NOATIME)):
        if (at + place) % THIN and flags not in (0, os.O_NOATIME):
            continue
        if name != "fifo" or flags & os.O_DIRECTORY:
            call("openat", AT, name, flags, 0o640)
"""
USER = """
os.setgroups([1300, 1301]); os.setresgid(1234, 1234, 1234); os.setresuid(1234, 1234, 1234)
"""


def test_opening_what_there_is(served: Served, trees: tuple[Path, Path]) -> None:
    printed = same(served, trees, f"NAMES, THIN = {EXISTING!r}, {THIN}\n{OPENS}")
    assert "Is a directory" in printed
    assert "Too many levels" in printed
    assert "[-100, 'file'] 0o100644 1234 1234 9" in printed


def test_opening_as_another_user(served: Served, trees: tuple[Path, Path]) -> None:
    printed = same(served, trees, f"NAMES, THIN = {EXISTING!r}, {THIN}\n{OPENS}", before=USER)
    assert "[-100, 'secret'] Permission denied" in printed
    assert "Operation not permitted" in printed  # O_NOATIME


CREATES = """
os.umask(0o027)
for index, name in enumerate(("new", "dir/new", "dangling", "link", "file", "dir", "dir/", "newdir/",
        "all/new", "setgid/new",
                              "closed/new", "nothing/new", ".", "..", "loop", "fifo/x", "null")):
    for flags in (os.O_CREAT | 1, os.O_CREAT | os.O_EXCL | 2, os.O_CREAT | os.O_TRUNC | 1 | os.O_CLOEXEC,
                  os.O_CREAT | os.O_NOFOLLOW | 1):
        call("openat", AT, name, flags, 0o6775)
call("creat", "created", 0o666)
call("open", "opened", os.O_CREAT | 2, 0o606)
"""


def test_creating(served: Served, trees: tuple[Path, Path]) -> None:
    assert "[-100, 'dangling'] 0o10" in same(served, trees, CREATES)


def test_creating_as_another_user(served: Served, trees: tuple[Path, Path]) -> None:
    printed = same(served, trees, CREATES, before=USER)
    assert "Permission denied" in printed
    assert "'all/new'] 0o10" in printed


DIRECTORIES = """
os.umask(0o022)
for name in ("made", "dir/made", "made/", "file", "link/", "dangling", "dangling/", ".", "..", "/",
        "nothing/x", "setgid/d", "all/d"):
    call("mkdir", name, 0o3777)
    call("mkdirat", AT, name.rstrip("/") + "2", 0o777) if name != "/" else None
for name in ("made", "dir/made/", "full", "file", "link", "dirlink/", "dirlink", ".", "dir/.", "..", "/", "nothing"):
    call("rmdir", name)
    call("unlinkat", AT, name, 0x200)
for name in ("link", "dir", "file/", "dirlink/", "nothing", ".", "..", "/", "full/inner", "fifo", "closed"):
    call("unlink", name)
    call("unlinkat", AT, name, 0)
"""


def test_directories_and_unlinking(served: Served, trees: tuple[Path, Path]) -> None:
    printed = same(served, trees, DIRECTORIES)
    assert "Directory not empty" in printed


def test_directories_and_unlinking_as_another_user(served: Served, trees: tuple[Path, Path]) -> None:
    assert "Permission denied" in same(served, trees, DIRECTORIES, before=USER)


NAMES_AND_NODES = """
os.umask(0o002)
for old, new in (("file", "file2"), ("file2", "file"), ("link", "link2"), ("dir", "dir2/"), ("dir2/", "dir"),
        ("file", "dir"),
                 ("dir", "file"), ("nothing", "x"), ("file", "nothing/x"), (".", "x"), ("file", "."), ("full",
                         "full/x"),
                 ("file/", "x"), ("dirlink/", "x"), ("file", "all/file")):
    call("rename", old, new)
call("renameat", AT, "fifo", AT, "dir/fifo")
for flags in (0, 1, 2, 3, 4):
    call("renameat2", AT, "up", AT, "loop", flags)
for old, new in (("secret", "hard"), ("link2", "hardlink"), ("dir", "harddir"), ("secret", "hard"), ("nothing",
        "x"), ("secret", "dir/")):
    call("link", old, new)
    call("linkat", AT, old, AT, new + "2", 0x400)
call("linkat", AT, "link2", AT, "hard3", 0)
for text, name in (("text", "s1"), ("", "s2"), ("text", "dir"), ("a" * 4095, "s3"), ("a" * 4096, "s4"), ("t",
        "s5/"), (b"\\xff", b"\\xfe")):
    call("symlink", text, name)
    call("symlinkat", text, AT, os.fsencode(name) + b"-2")
for mode in (0o644, stat.S_IFREG | 0o6777, stat.S_IFIFO | 0o666, stat.S_IFSOCK | 0o777, stat.S_IFCHR | 0o666,
        stat.S_IFDIR, 0o170000):
    call("mknod", f"node{mode}", mode, 0)
    call("mknodat", AT, f"dir/node{mode}", mode, 0)
"""


def test_renaming_linking_and_nodes(served: Served, trees: tuple[Path, Path]) -> None:
    same(served, trees, NAMES_AND_NODES)


def test_renaming_linking_and_nodes_as_another_user(served: Served, trees: tuple[Path, Path]) -> None:
    assert "Permission denied" in same(served, trees, NAMES_AND_NODES, before=USER)


ATTRIBUTES = """
for name in ("file", "link", "dir/", "dangling", "loop", "nothing", "closed/x", "secret", "fifo", "socket",
        ".", "full"):
    call("chmod", name, 0o2751)
    call("fchmodat", AT, name, 0o664)
    for flags in (0, 0x100, 0x1000):
        call("fchmodat2", AT, name, 0o4755, flags)
        call("fchownat", AT, name, 1234, 1301, flags)
    call("chown", name, -1, 1234)
    call("lchown", name, 1234, -1)
    call("truncate", name, 5)
    call("truncate", name, -1)
here, link = hold("full"), hold("link", os.O_NOFOLLOW)
for fd in (here, link, hold("null"), 999):
    call("fchownat", fd, "", 1234, 1300, 0x1000)
    call("fchownat", fd, "", 1234, 1301, 0x1100)
    call("fchmodat2", fd, "", 0o711, 0x1000)
    call("fchownat", fd, "", 1, 1, 0)
"""


def test_attributes(served: Served, trees: tuple[Path, Path]) -> None:
    same(served, trees, ATTRIBUTES)


def test_attributes_as_another_user(served: Served, trees: tuple[Path, Path]) -> None:
    assert "Operation not permitted" in same(served, trees, ATTRIBUTES, before=USER)


WHERE = """
dir = hold("full")
file, pair = os.open("file", os.O_RDONLY), socket.socketpair()
for fd in (dir, file, pair[0].fileno(), 999, -1, -5, AT):
    for name in ("inner", "../file", "", "/etc/hostname", ".", "x" * 255, "x" * 256, b"\\xff"):
        call("openat", fd, name, 0)
    call("mkdirat", fd, f"in{fd}", 0o777)
    call("renameat", fd, "inner", dir, "inner")
for name in ("./" * 2047 + "x", "./" * 2048, "/" + "a/" * 2000, "dirlink/../" * 30 + "file",
        "dirlink/../" * 50 + "file",
             "full/../" * 500 + "file", b"not\\xffutf8"):
    call("openat", AT, name, 0)
for pointer in (0, 1, -1, 1 << 63):
    call("openat", AT, pointer, 0)
    call("mkdir", pointer, 0)
    call("symlink", pointer, "x")
    call("rename", "file", pointer)
os.chdir("full")
call("openat", AT, "inner", 0)
call("openat", AT, "../dirlink/../file", 0)
"""


def test_where_names_begin(served: Served, trees: tuple[Path, Path]) -> None:
    printed = same(served, trees, WHERE)
    for words in ("Bad file descriptor", "Not a directory", "File name too long", "Bad address", "Too many levels"):
        assert words in printed


HOW = """
dir = os.open("full", os.O_DIRECTORY)
NO_XDEV, NO_MAGIC, NO_LINKS, BENEATH, IN_ROOT = 1, 2, 4, 8, 16
for name in ("inner", "/inner", "../file", "..", ".", "/", "../../../x", "/../inner", "abs", "rel", "loop",
        "new", "nothing/x", "/proc/self/exe"):
    for resolve in (0, NO_MAGIC, NO_LINKS, BENEATH, IN_ROOT, BENEATH | IN_ROOT, BENEATH | NO_LINKS):
        call("openat2", dir, name, *how(0, 0,
                resolve)) if not (name == "/proc/self/exe" and resolve == IN_ROOT) else None
call("openat2", dir, "made", *how(os.O_CREAT | 1, 0o600, BENEATH))
call("openat2", dir, "/made2", *how(os.O_CREAT | 1, 0o600, IN_ROOT))
call("openat2", AT, "/proc/version", *how(0, 0, NO_XDEV))
call("openat2", AT, "file", *how(0, 0, NO_XDEV))
call("openat2", AT, "file", *how(0, 0o600))
call("openat2", AT, "file", *how(os.O_CREAT, 0o10000))
call("openat2", AT, "file", *how(0, more=bytes(8)))
call("openat2", AT, "file", *how(0, size=23))
call("openat2", AT, "file", *how(0, size=5000))
call("openat2", AT, "file", 0, 24)
"""


def test_openat2(served: Served, trees: tuple[Path, Path]) -> None:
    for tree in trees:
        (tree / "full" / "abs").symlink_to("/inner")
        (tree / "full" / "rel").symlink_to("../full/inner")
        (tree / "full" / "loop").symlink_to("loop")
    printed = same(served, trees, HOW, names=["openat2"])
    assert "Invalid cross-device link" in printed
    assert "Invalid argument" in printed


SOCKETS = """
import errno
os.umask(0o027)
def address(name):
    return struct.pack("=H", 1) + os.fsencode(name)
def unix():
    return socket.socket(socket.AF_UNIX)
def connect(one, raw, size=None):
    call("connect", one.fileno(), ctypes.c_char_p(raw), len(raw) if size is None else size)
def bind(one, raw, size=None):
    call("bind", one.fileno(), ctypes.c_char_p(raw), len(raw) if size is None else size)
def tell(one):
    try: print(one.getsockname() or "", one.getpeername() or "")
    except OSError as error: print(error)
listening = unix()
bind(listening, address("dir/sock"))
print(oct(os.stat("dir/sock").st_mode))
listening.listen(8)
os.symlink("dir/sock", "socklink")
for name in ("dir/sock", "socklink", "socket", "file", "nothing", "dir", "nothing/x", "closed/x", "",
        "dir/sock\\0tail", "\\0name", "loop"):
    one = unix()
    connect(one, address(name))
    two = unix()
    bind(two, address(name))
for size in (0, 1, 2, 3, 110, 111, 128, 129, -1):
    connect(unix(), address("dir/sock").ljust(130, b"\\0"), size)
    bind(unix(), address("b%d" % size).ljust(130, b"\\0"), size)
inet = socket.socket()
bind(inet, struct.pack("=H", 2) + struct.pack("!H", 0) + bytes([127, 0, 0, 1]) + bytes(8))
inet.listen(1)
port = inet.getsockname()[1]
for flags in (0, socket.SOCK_NONBLOCK):
    one = socket.socket(socket.AF_INET, socket.SOCK_STREAM | flags)
    connect(one, struct.pack("=H", 2) + struct.pack("!H", port) + bytes([127, 0, 0, 1]) + bytes(8))
    print(one.getpeername() == inet.getsockname()) if not flags else None
    connect(one, struct.pack("=H", 2) + struct.pack("!H", port) + bytes([127, 0, 0, 1]) + bytes(8))
connect(socket.socket(socket.AF_INET6), struct.pack("=H", 10) + struct.pack("!H",
        1) + bytes(4) + bytes(15) + b"\\1" + bytes(4))
connect(socket.socket(), struct.pack("=H", 2) + struct.pack("!H", 1) + bytes([127, 0, 0, 1]) + bytes(8))
bind(socket.socket(), struct.pack("=H", 2) + struct.pack("!H", 80) + bytes([127, 0, 0, 9]) + bytes(8))
connect(socket.socket(), address("dir/sock"))
connect(unix(), struct.pack("=H", 2) + bytes(14))
call("connect", 999, address("x"), 3)
call("connect", 0, address("x"), 3)
one = unix()
call("connect", one.fileno(), 0, 16)
call("connect", one.fileno(), 1, 16)
"""


def test_sockets(served: Served, trees: tuple[Path, Path]) -> None:
    printed = same(served, trees, SOCKETS)
    for words in ("Connection refused", "Address already in use", "non-socket", "Bad address", "in progress"):
        assert words.lower() in printed.lower()


def test_sockets_as_another_user(served: Served, trees: tuple[Path, Path]) -> None:
    for tree in trees:
        (tree / "dir").chmod(0o777)
        tree.chmod(0o777)
    assert "Permission denied" in same(served, trees, SOCKETS, before=USER)


def test_what_was_found_is_told_without_links_and_dots(served: Served, trees: tuple[Path, Path]) -> None:
    body = """
for name in ("link", "./dirlink/inner", "dir/../up", "dangling", "dirlink/.."):
    call("openat", AT, name, os.O_RDONLY)
call("openat", AT, "dangling", os.O_CREAT | 1, 0o600)
call("renameat", AT, "dirlink/inner", AT, "all/../moved")
call("symlink", "whatever", "slashed/s")
call("openat", AT, b"not\\xffutf8", 0)
"""
    same(served, trees, body)
    top = str(trees[1])
    full = f"{top}/full"
    assert served.paths[-9:] == [
        (f"{top}/file",),
        (f"{full}/inner",),
        (f"{top}/file",),
        (),
        (top,),
        (f"{top}/dir/made",),
        (f"{full}/inner", f"{top}/moved"),
        (f"{full}/s",),
        (f"{top}/not\udcffutf8",),
    ]
    assert os.fsencode(served.paths[-1][0]).endswith(b"not\xffutf8")


def test_what_is_refused_is_not_done(served: Served, trees: tuple[Path, Path]) -> None:
    body = f"""
os.chdir({str(trees[1])!r})
for name in ("denied", "allowed"):
    call("mkdir", name, 0o755)
    call("openat", AT, name + "-file", os.O_CREAT | 1, 0o600)
    call("rename", "file" if name == "denied" else "secret", name + "-new")
"""
    served.decide = lambda call, found: not any("denied" in path for path in found.paths)
    try:
        printed = behalf(served, PRELUDE + body)
    finally:
        served.decide = lambda call, found: True
    assert printed.count(os.strerror(126)) == 3
    names = os.listdir(trees[1])
    assert {"allowed", "allowed-file", "allowed-new", "file"} <= set(names)
    assert not [name for name in names if "denied" in name]


def test_a_program_that_decides_gives_another_path(served: Served, trees: tuple[Path, Path]) -> None:
    served.instead = "dir/instead"
    try:
        body = f"os.chdir({str(trees[1])!r})\ncall('mkdir', 'asked', 0o751)\ncall('rename', 'file', 'x')"
        printed = behalf(served, PRELUDE + body, ["mkdir", "rename"])
    finally:
        served.instead = None
    assert "mkdir ['asked', 489] 0" in printed
    assert (trees[1] / "dir" / "instead").is_dir()
    assert not (trees[1] / "asked").exists()
    # Of two names, nobody says which.
    assert os.strerror(126) in printed
    assert len(served.impossible) == 1
    assert (trees[1] / "file").exists()


def test_nothing_is_left_over(served: Served, trees: tuple[Path, Path]) -> None:
    before = len(os.listdir("/proc/self/fd"))
    body = f"os.chdir({str(trees[1])!r})\n" + "call('openat', AT, 'file', 0); call('mkdir', 'file', 0)\n" * 20
    behalf(served, PRELUDE + body)
    assert served.impossible == []
    assert len(os.listdir("/proc/self/fd")) == before
    assert served.deputies.busy == 0
    shutil.rmtree(trees[1])
    assert notify.is_waiting(0, 1) is False
