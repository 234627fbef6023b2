"""What is kept of names, addresses and arguments: exactly what the kernel was given."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from scripts import below, losses, record
from support import ROOT, Hooks
from trial import Trial

from scmm_oci.capture import file as capture_file

NASTY = (
    b"\xff" * 255,
    b"n" * 255,
    b"line\nfeed\r",
    b"\x1b]0;title\x07\x1b[31mred",
    b"\xc3(",
    "ü€😀".encode(),
    b" \\ \"'",
)


def test_names_of_any_bytes_are_kept_exactly_and_shown_without_harm(
    hooks: Hooks, payload: Path, tmp_path: Path
) -> None:
    place = tmp_path / "nasty"
    place.mkdir()
    script = """
os.chdir(sys.argv[1])
for hexed in sys.argv[2:]:
    name = bytes.fromhex(hexed)
    os.close(os.open(name, os.O_CREAT | os.O_WRONLY))
    call(ACCESS, name + b".gone", 0) if len(name) < 250 else None
    os.mkdir(b"d"); os.rename(b"d", name + b"/../" + name[:200] + b".dir"); os.rmdir(name[:200] + b".dir")
""".replace('name + b"/../" + ', "")
    capture = record(hooks, payload, script, str(place), *[name.hex() for name in NASTY])
    assert losses(capture) == {}
    read = capture_file.read(hooks.path("facts"))
    found = {(str(use.operation), use.path.encode(errors="surrogateescape")) for use in read.files}
    for name in NASTY:
        whole = bytes(place) + b"/" + name
        assert ("open", whole) in found
        assert ("rename-to", bytes(place) + b"/" + name[:200] + b".dir") in found
        assert len(name) >= 250 or ("access", whole + b".gone") in found
    shown = subprocess.run(
        [Path(sys.executable).parent / "scmm", "show", "--limit", "0", hooks.path("facts")],
        capture_output=True, check=True, cwd=ROOT,
    ).stdout.decode()  # fmt: skip
    assert "title" in shown and "red" in shown
    assert not [each for each in shown if not each.isprintable() and each != "\n"]


def test_the_longest_names_are_kept_and_deeper_ones_counted(hooks: Hooks, payload: Path, tmp_path: Path) -> None:
    script = """
os.chdir(sys.argv[1])
for length in (4094, 4095, 4096, 5000):
    name = (b"/%04d" % length + b"/x" * 3000)[:length - 1] + b"y"
    print(call(ACCESS, name, 0))
# Deeper than any name: one directory at a time. Every step is a chdir.
for depth in range(60):
    os.mkdir(b"%02d" % depth + b"d" * 198)
    os.chdir(b"%02d" % depth + b"d" * 198)
    if depth in (20, 36, 59):
        os.close(os.open("file", os.O_CREAT | os.O_WRONLY))
"""
    place = tmp_path / "deep"
    place.mkdir()
    capture = record(hooks, payload, script, str(place))
    subprocess.run(["rm", "-rf", place], check=True)  # too deep for others to clean up
    names = {len(path): path for operation, path, _ in below(capture, "/") if operation == "access"}
    assert {4093, 4094} <= names.keys() and not names.keys() & {4095, 4999}
    opened = [len(path) for operation, path, _ in below(capture, str(place)) if operation == "open"]
    assert sorted(opened) == [21 * 201 + 5, 37 * 201 + 5]
    # Each file and directory whose path does not fit into 8 KiB: what is below the 39th directory or so.
    lost = losses(capture)
    assert lost.keys() == {"lost-files"}
    steps = [path for operation, path, _ in below(capture, str(place)) if operation == "chdir"]
    made = [path for operation, path, _ in below(capture, str(place)) if operation == "mkdir"]
    assert len(steps) + len(made) + len(opened) + lost["lost-files"] == 60 + 1 + 60 + 3


def test_names_at_the_end_of_memory(hooks: Hooks, payload: Path) -> None:
    script = """
end = page()
print(call(ACCESS, put(end - 10, b"/at-end-1\\0"), 0))
print(call(ACCESS, put(end - 9, b"/past-end"), 0))
print(call(ACCESS, end, 0), call(ACCESS, 0, 0), call(ACCESS, -1, 0), call(ACCESS, 1 << 63, 0))
"""
    capture = record(hooks, payload, script)
    assert losses(capture) == {}
    assert [path for operation, path, _ in below(capture, "/") if operation == "access" and "-end" in path] == [
        "at-end-1"
    ]


def test_calls_without_a_name_lose_none(hooks: Hooks, payload: Path) -> None:
    """Some calls take no name at all, and then use the descriptor."""
    script = """
fd = os.open("/tmp", os.O_RDONLY)
print(call(280, fd, 0, 0, 0), "utimensat")
print(call(163, 0), "acct")
print(call(179, 0x800001 << 8, 0, 0, 0), "quotactl")
print(call(262, fd, b"", ctypes.create_string_buffer(256), 0x1000), "newfstatat")
"""
    capture = record(hooks, payload, script)
    assert losses(capture) == {}


ADDRESS_LENGTHS = (0, 1, 2, 3, 109, 110, 111, 128, 129, 65535, -1, 1 << 31)


def test_addresses_of_any_length(hooks: Hooks, payload: Path) -> None:
    script = """
for length in map(int, sys.argv[1:]):
    for family in (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, 0, 99):
        fd = socket.socket(socket.AF_UNIX if family in (0, 99) else family, socket.SOCK_DGRAM)
        # As many bytes as there are said to be, and then nothing; of what is too long, the kernel reads none.
        end = page()
        size = length if 0 <= length <= 128 else 16
        at = put(end - size, (struct.pack("<H", family) + b"/%d" % length + b"u" * 128)[:size])
        for nr in (CONNECT, BIND):
            call(nr, fd.fileno(), at, length)
        call(44, fd.fileno(), at, 0, 0, at, length)
        if length > 128:
            at -= 128  # a message's is cut to 128 bytes
        head = struct.pack("<QixxxxQQQQixxxx", at, ctypes.c_int(length).value, 0, 0, 0, 0, 0)
        call(46, fd.fileno(), head, 0)
        call(307, fd.fileno(), head + bytes(8), 1, 0)
        fd.close()
"""
    capture = record(hooks, payload, script, *map(str, ADDRESS_LENGTHS))
    assert losses(capture) == {}
    unix = {row["address"] for row in capture["sockets"] if row["family"] == "unix"}
    assert {f"/{length}" + "u" * (length - 2 - len(str(length)) - 1) for length in (109, 110)} <= unix
    capture_file.read(hooks.path("facts"))


def test_abstract_addresses_with_any_bytes(hooks: Hooks, payload: Path) -> None:
    script = """
for name in (b"\\0a\\0b\\0", b"\\0\\xff\\x1b[1m\\n"):
    fd = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    fd.bind(name)
    fd.listen(1)
"""
    capture = record(hooks, payload, script)
    assert losses(capture) == {}
    read = capture_file.read(hooks.path("facts"))
    found = {(str(use.operation), use.address) for use in read.sockets if use.address and use.address[0] == "@"}
    assert found == {(w, a) for w in ("bind", "listen") for a in ("@a\0b\0", "@\udcff\x1b[1m\n")}


@pytest.mark.parametrize("many", [16, 17, 300])
def test_messages_of_one_call(hooks: Hooks, payload: Path, many: int) -> None:
    script = """
many = int(sys.argv[1])
fd = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
at = [ctypes.create_string_buffer(struct.pack(">HHI8x", 0x0200, 9, 0x7f000001 + i)) for i in range(many)]
heads = b"".join(struct.pack("<QixxxxQQQQixxxxixxxx", ctypes.addressof(a), 16, 0, 0, 0, 0, 0, 0) for a in at)
print(call(307, fd.fileno(), heads, many, 0))
print(call(307, fd.fileno(), heads, 1 << 30, 0x40))
"""
    capture = record(hooks, payload, script, str(many))
    kept = [row for row in capture["sockets"] if (row["address"] or "").startswith("127.")]
    assert (len(kept), losses(capture)) == (many, {})


def values(
    capture: dict[str, Any], name: str, *, index: int, field: str | None = None, arch: str = "x86_64"
) -> list[int]:
    rows = [
        row for row in capture["arguments"] if row["name"] == name and row["arch"] == arch and row["field"] == field
    ]
    [found] = [row["values"] for row in rows if row["indexes"][0] == index]
    return found


def test_arguments_are_as_wide_as_the_kernel_takes_them(hooks: Hooks, payload: Path) -> None:
    script = """
wide = 1 << 40
call(FCNTL, 0, wide | 4711, 0)
call(239, 0, 0, 0, 0, wide | 3)  # get_mempolicy, whose flags are a long
how = struct.pack("<QQQ", wide | 0x80000, 0, wide | 8)
call(437, -100, b"/nowhere", how, 24)
call(435, struct.pack("<11Q", wide | 0x100, *[0] * 10), 88)
call(435, 0, 88); call(437, -100, b"/nowhere", 0, 24); call(437, -100, b"/nowhere", 0, 0)
"""
    capture = record(hooks, payload, script)
    assert losses(capture) == {}
    assert 4711 in (found := values(capture, "fcntl", index=1)) and max(found) == 4711
    assert values(capture, "get_mempolicy", index=4) == [1 << 40 | 3]
    assert values(capture, "openat2", index=2, field="resolve") == [1 << 40 | 8]
    assert values(capture, "openat2", index=2, field="flags") == [1 << 40 | 0x80000]
    assert values(capture, "clone3", index=0, field="flags") == [1 << 40 | 0x100]


def test_calls_of_other_abis_have_facts_too(hooks: Hooks, payload: Path) -> None:
    with Trial(hooks, payload, "compat", "x", name="compat") as trial:
        trial.release()
        capture = trial.finish()
    assert losses(capture) == {}
    files = {(row["operation"], row["path"]): row["errnos"] for row in capture["files"]}
    for operation, path in (
        *(("open", "/i386-open"), ("rename-from", "/i386-rename-from"), ("access", "/i386-access")),
        *(("open", "/i386-openat2"), ("connect", "/i386-connect"), ("connect", "/i386-sendmsg")),
    ):
        assert files[operation, path], path
    assert files["open", "/x32-open"] == ["ENOSYS"]
    assert {(row["operation"], row["address"]) for row in capture["sockets"]} == {
        ("connect", "/i386-connect"),
        ("sendto", "/i386-sendmsg"),
    }
    assert values(capture, "fcntl", index=1, arch="x86") == [0x12345678]
    assert values(capture, "fcntl", index=1, arch="x32") == [0x4321]
    assert values(capture, "openat2", index=2, field="resolve", arch="x86") == [1 << 40 | 8]
    assert not [row for row in capture["arguments"] if row["name"] == "fcntl" and row["arch"] == "x86_64"]
