"""Two trees that are alike, and programs that do the same in both: once let go on, and once on behalf."""

from __future__ import annotations

import difflib
import os
import socket
import stat
from collections.abc import Sequence
from pathlib import Path

from behalf_served import Served
from listened import listened

from scmm_oci.enforcer.monitor.behalf.table import CALLS
from scmm_oci.tables.arch import from_machine
from scmm_oci.tables.syscalls import numbers

NUMBERS = numbers(from_machine(os.uname().machine))
NAMES = sorted(CALLS & NUMBERS.keys() - {"openat2"})  # which programs here hold directories with
#: What every program here has: `call` makes a system call and prints what came of it, and says more of descriptors.
PRELUDE = f"""
import fcntl, stat
numbers = {{name: number for name, number in {dict(NUMBERS)!r}.items()}}
libc.syscall.restype = ctypes.c_long
AT = -100
def call(name, *words, keep=False):
    given = [ctypes.c_char_p(os.fsencode(w)) if isinstance(w, (str, bytes)) else
             ctypes.c_ulong(w & (1 << 64) - 1) if isinstance(w, int) else w for w in words]
    words = [w for w in words if isinstance(w, (int, str, bytes))]
    result = libc.syscall(ctypes.c_long(numbers[name]), *given)
    if result < 0:
        print(name, words[:2], os.strerror(ctypes.get_errno()), flush=True)
        return -1
    if name not in ("open", "openat", "openat2", "creat"):
        print(name, words[:2], result, flush=True)
        return result
    status = os.fstat(result)
    said = [oct(status.st_mode), status.st_uid, status.st_gid, status.st_size if stat.S_ISREG(status.st_mode) else 0]
    said += [oct(fcntl.fcntl(result, fcntl.F_GETFL) & ~0o400000), fcntl.fcntl(result, fcntl.F_GETFD)]
    print(name, words[:2], *said, flush=True)
    if keep:
        return result
    os.close(result)
    return result
def how(flags, mode=0, resolve=0, more=b"", size=None):
    text = struct.pack("=QQQ", flags, mode, resolve) + more
    held = ctypes.create_string_buffer(text, len(text))
    return [held, len(text) if size is None else size]
def hold(name, flags=0):
    fd = libc.syscall(numbers["openat2"], -100, ctypes.c_char_p(os.fsencode(name)), *how(0o10000000 | flags))
    assert fd >= 0
    return fd
"""


def trees_in(place: Path) -> tuple[Path, Path]:
    """Two directories that are alike."""
    return _tree(place / "native" / "tree"), _tree(place / "behalf" / "tree")


def _tree(top: Path) -> Path:
    top.mkdir(parents=True)
    for each in (top, top.parent):
        each.chmod(0o755)
    (top / "file").write_text("some text")
    (top / "secret").write_text("of root's")
    (top / "secret").chmod(0o600)
    for name, mode in (("dir", 0o755), ("full", 0o755), ("closed", 0o700), ("all", 0o1777), ("setgid", 0o2777)):
        (top / name).mkdir()
        (top / name).chmod(mode)
    (top / "full" / "inner").write_text("inner")
    (top / "link").symlink_to("file")
    (top / "dirlink").symlink_to("full")
    (top / "dangling").symlink_to("dir/made")
    (top / "loop").symlink_to("loop")
    (top / "up").symlink_to("../tree/file")
    (top / "slashed").symlink_to("full/")
    os.mkfifo(top / "fifo", 0o666)
    os.mknod(top / "null", 0o666 | stat.S_IFCHR, os.makedev(1, 3))
    with socket.socket(socket.AF_UNIX) as bound:
        # Its name is too long for an address when it is written whole.
        directory = os.open(top, os.O_PATH)
        bound.bind(f"/proc/self/fd/{directory}/socket")
        os.close(directory)
    for one in ("file", "full", "fifo"):
        os.chown(top / one, 1234, 1234)
    (top / os.fsdecode(b"not\xffutf8")).write_text("bytes")
    return top


def _snapshot(top: Path) -> list[tuple[object, ...]]:
    found: list[tuple[object, ...]] = []
    for path in sorted(top.rglob("*")):
        status = path.lstat()
        content: object = None
        if stat.S_ISLNK(status.st_mode):
            content = os.readlink(path)
        elif stat.S_ISREG(status.st_mode):
            content = path.read_bytes()
        where = str(path.relative_to(top))
        found.append((where, oct(status.st_mode), status.st_uid, status.st_gid, status.st_nlink, content))
    return found


def native(body: str) -> str:
    with listened(["getsid"], body) as it:
        return it.output()


def behalf(served: Served, body: str, names: Sequence[str] = NAMES) -> str:
    served.paths.clear()
    served.impossible.clear()
    with listened(names, body) as it:
        served.all_of(it)
        return it.output()


def _difference(native: str, behalf: str) -> str:
    return "\n".join(difflib.unified_diff(native.splitlines(), behalf.splitlines(), "native", "behalf", n=0))


def same(served: Served, trees: tuple[Path, Path], body: str, *, before: str = "", names: Sequence[str] = NAMES) -> str:
    """Run a body both ways, and compare; what it printed."""
    texts = []
    for tree in trees:
        # What comes before the calls is not made on behalf: it is let be.
        whole = f"{PRELUDE}\nos.chdir({str(tree)!r})\ntree = {str(tree)!r}\n{before}\n{body}\nprint('end')"
        text = native(whole) if tree is trees[0] else behalf(served, whole, names)
        assert text.endswith("end\n"), text
        texts.append(text.replace(str(tree), "TREE"))
    assert served.impossible == [], served.impossible
    assert texts[1] == texts[0], _difference(*texts)
    found = ["\n".join(map(str, _snapshot(tree))) for tree in trees]
    assert found[1] == found[0], _difference(*found)
    return texts[0]
