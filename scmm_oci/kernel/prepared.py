"""A BPF object that is relocated for the running kernel: made by libbpf once per boot, loaded in plain system calls.

Loading through libbpf costs a container start 45 ms, from here 7. What is kept is tied to the boot and to the
object's file; anything that does not fit is made anew. Standard library only (hook).
"""

from __future__ import annotations

import os
import struct
from types import MappingProxyType

from scmm_oci import quickjson
from scmm_oci.kernel import bpf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

LICENSE = "Dual MIT/GPL"
_MAX_SIZE = 16 << 20


def _key(object_path: str, sources: Sequence[str]) -> str:
    status = os.stat(object_path)
    others = [os.stat(path) for path in sources]
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        boot = file.read().strip()
    files = ":".join(f"{each.st_ino}:{each.st_size}:{each.st_mtime_ns}" for each in (status, *others))
    return f"{boot}:{object_path}:{files}"


def read_or_make(
    object_path: str,
    *,
    cache: str,
    sources: Sequence[str] = (),
    more: Mapping[str, Callable[[], str]] = MappingProxyType({}),
) -> dict[str, Any]:
    """The prepared form of the object: from the file `cache`, where only root can write, or made and kept there.

    more: key → what makes a text that is to be kept with it; sources: files that it comes from, besides the object.
    Raises scmm_oci.kernel.libbpf's errors, or OSError when the object cannot be read.
    """
    key = _key(object_path, sources)
    try:
        with open(cache, "rb") as file:
            prepared = quickjson.loads(file.read(_MAX_SIZE))
        if isinstance(prepared, dict) and prepared.get("key") == key:
            return prepared
    except (OSError, ValueError):
        pass
    from scmm_oci.kernel import libbpf

    prepared = {"key": key, **libbpf.relocate(object_path), **{name: make() for name, make in more.items()}}
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    temporary = cache + ".tmp"
    with os.fdopen(os.open(temporary, flags, 0o600), "wb") as file:
        file.write(quickjson.dumps(prepared))
    os.rename(temporary, cache)
    return prepared


def load_and_pin(
    prepared: Mapping[str, Any],
    *,
    entries: Mapping[str, int],
    pins: Mapping[str, str],
    values: Mapping[str, bytes] = MappingProxyType({}),
) -> None:
    """Make the maps, load and attach every program, pin the maps named in `pins` and every link.

    entries: map name → size, where it is not the object's. values: map name → its first value. pins: map name or
    `link` → path, for `link` a prefix that the program's name is appended to; with none, this only proves it can be
    done. What is not pinned is gone on return; what is pinned when this fails is the caller's to remove. Raises
    BpfError.
    """
    opened: list[int] = []
    try:
        btf = bpf.load_btf(bytes.fromhex(prepared["btf"]))
        opened.append(btf)
        maps: list[int] = []
        for each in prepared["maps"]:
            types = (btf, each["key_type"], each["value_type"]) if each["key_type"] else (0, 0, 0)
            fd = bpf.create_map(
                type=each["type"],
                key_size=each["key_size"],
                value_size=each["value_size"],
                max_entries=entries.get(each["name"], each["max_entries"]),
                flags=each["flags"],
                name=each["name"].replace(".", "_").lstrip("_"),
                btf=types,
            )
            opened.append(fd)
            maps.append(fd)
            if each["name"] in values:
                made = bpf.Map(fd, name=each["name"], key_size=each["key_size"], value_size=each["value_size"])
                made.put(bytes(4), values[each["name"]])
            if each["name"] in pins:
                bpf.pin(fd, pins[each["name"]])

        def load(each: Mapping[str, Any]) -> None:
            code = bytearray.fromhex(each["code"])
            for position in bpf.map_references(bytes(code)):
                number = struct.unpack_from("=i", code, position + 4)[0]
                struct.pack_into("=i", code, position + 4, maps[number])
            program = bpf.load_tracing_program(
                bytes(code),
                name=each["name"],
                license=LICENSE,
                attach_btf_id=each["attach_btf_id"],
                btf=btf,
                functions=bytes.fromhex(each["functions"]),
            )
            opened.append(program)
            loaded[each["name"]] = program

        loaded: dict[str, int] = {}
        _in_two_threads(load, sorted(prepared["programs"], key=lambda each: len(each["code"])))
        for each in prepared["programs"]:
            link = bpf.attach_tracing_program(loaded[each["name"]], name=each["name"])
            opened.append(link)
            if "link" in pins:
                bpf.pin(link, pins["link"] + each["name"])
    finally:
        for fd in opened:
            os.close(fd)


def _in_two_threads(work: Callable[[Any], None], items: list[Any]) -> None:
    """Call `work` for every item; the last ones in a thread of their own, until both have met.

    Verifying the programs is most of what a container's start waits for, and the kernel does it without a lock.
    Raises the first error, when both threads are done.
    """
    import _thread

    errors: list[BaseException] = []

    def run(take: int) -> None:
        try:
            while not errors:
                try:
                    item = items.pop(take)
                except IndexError:
                    return
                work(item)
        except BaseException as error:
            errors.append(error)

    done = _thread.allocate_lock()
    done.acquire()

    def other() -> None:
        run(-1)
        done.release()

    _thread.start_new_thread(other, ())
    run(0)
    done.acquire()
    if errors:
        raise errors[0]
