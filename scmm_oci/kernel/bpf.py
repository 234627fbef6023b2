"""bpf(2) on maps and pins, without libbpf.

The end of a recording and every recording but the first need nothing else, so they do not pay for libbpf.
Used by scmm_oci.recorder; loading the object is scmm_oci.kernel.libbpf's job.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

# enum bpf_cmd, linux/bpf.h.
_MAP_CREATE = 0
_MAP_LOOKUP_ELEM = 1
_MAP_UPDATE_ELEM = 2
_MAP_DELETE_ELEM = 3
_MAP_GET_NEXT_KEY = 4
_OBJ_GET = 7
_MAP_GET_FD_BY_ID = 14

# enum bpf_map_type.
MAP_TYPE_ARRAY = 2

BPF_ANY = 0
BPF_NOEXIST = 1

# f_type of statfs(2) on a mounted bpffs, linux/magic.h.
BPF_FS_MAGIC = 0xCAFE4A11

_NR_BPF = {"x86_64": 321, "aarch64": 280}

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


class BpfError(OSError):
    """An operation of bpf(2) that failed; `strerror` says which and what to do about it."""


def _number() -> int:
    machine = os.uname().machine
    try:
        return _NR_BPF[machine]
    except KeyError:
        raise BpfError(errno.ENOSYS, f"no bpf() number known for machine {machine!r}") from None


def _bpf(command: int, attr: bytes, what: str) -> int:
    buffer = ctypes.create_string_buffer(attr, len(attr))
    result: int = _libc.syscall(_number(), command, buffer, len(attr))
    if result < 0:
        number = ctypes.get_errno()
        hint = " (needs root, or CAP_BPF and CAP_PERFMON)" if number in (errno.EPERM, errno.EACCES) else ""
        raise BpfError(number, f"{what}: {os.strerror(number)}{hint}")
    return result


def is_bpffs(path: str) -> bool:
    """Whether `path` lies on a mounted BPF file system (statfs(2))."""
    buffer = ctypes.create_string_buffer(256)
    if _libc.statfs(os.fsencode(path), buffer) != 0:
        return False
    # f_type is the first member, a signed long.
    return bool(ctypes.c_long.from_buffer(buffer).value & 0xFFFFFFFF == BPF_FS_MAGIC)


class Map:
    """A BPF map by descriptor; keys and values are bytes of the sizes the map was made with.

    Raises BpfError with the kernel's errno. Closes its descriptor when used as a context manager.
    """

    def __init__(self, fd: int, *, name: str, key_size: int, value_size: int) -> None:
        self.fd = fd
        self.name = name
        self.key_size = key_size
        self.value_size = value_size

    @classmethod
    def pinned(cls, path: str, *, key_size: int, value_size: int) -> Map:
        """Open the map pinned at `path`; FileNotFoundError-like BpfError (ENOENT) if nothing is."""
        name = ctypes.create_string_buffer(os.fsencode(path))
        attr = struct.pack("=QII", ctypes.addressof(name), 0, 0)
        return cls(_bpf(_OBJ_GET, attr, f"open {path}"), name=path, key_size=key_size, value_size=value_size)

    @classmethod
    def by_id(cls, number: int, *, name: str, key_size: int, value_size: int) -> Map:
        """Open the map with id `number`."""
        attr = struct.pack("=III", number, 0, 0)
        fd = _bpf(_MAP_GET_FD_BY_ID, attr, f"open map {name} (id {number})")
        return cls(fd, name=name, key_size=key_size, value_size=value_size)

    @classmethod
    def array(cls, *, name: str, value_size: int, max_entries: int) -> Map:
        """Make a BPF_MAP_TYPE_ARRAY of zeroed values."""
        attr = struct.pack("=IIIIII", MAP_TYPE_ARRAY, 4, value_size, max_entries, 0, 0)
        # map_flags, inner_map_fd; then numa_node and the 16 bytes of map_name (linux/bpf.h, BPF_MAP_CREATE).
        attr += struct.pack("=I16s", 0, name.encode()[:15])
        fd = _bpf(_MAP_CREATE, attr, f"make map {name} ({value_size * max_entries} bytes)")
        return cls(fd, name=name, key_size=4, value_size=value_size)

    def close(self) -> None:
        os.close(self.fd)

    def __enter__(self) -> Map:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _element(self, command: int, key: bytes | None, value: ctypes.Array[ctypes.c_char] | None, flags: int) -> None:
        if key is not None and len(key) != self.key_size:
            raise ValueError(f"{self.name}: key of {len(key)} bytes, {self.key_size} expected")
        key_buffer = ctypes.create_string_buffer(key, self.key_size) if key is not None else None
        attr = struct.pack(
            "=IIQQQ",
            self.fd,
            0,
            ctypes.addressof(key_buffer) if key_buffer is not None else 0,
            ctypes.addressof(value) if value is not None else 0,
            flags,
        )
        verb = {_MAP_LOOKUP_ELEM: "read", _MAP_UPDATE_ELEM: "write", _MAP_DELETE_ELEM: "delete"}.get(command, "walk")
        _bpf(command, attr, f"{verb} map {os.path.basename(self.name)}")

    def get(self, key: bytes) -> bytes | None:
        """The value under `key`, or None."""
        value = ctypes.create_string_buffer(self.value_size)
        try:
            self._element(_MAP_LOOKUP_ELEM, key, value, 0)
        except BpfError as error:
            if error.errno == errno.ENOENT:
                return None
            raise
        return value.raw

    def put(self, key: bytes, value: bytes, *, flags: int = BPF_ANY) -> None:
        if len(value) != self.value_size:
            raise ValueError(f"{self.name}: value of {len(value)} bytes, {self.value_size} expected")
        self._element(_MAP_UPDATE_ELEM, key, ctypes.create_string_buffer(value, len(value)), flags)

    def delete(self, key: bytes) -> bool:
        """Delete `key`; False if it was not there."""
        try:
            self._element(_MAP_DELETE_ELEM, key, None, 0)
        except BpfError as error:
            if error.errno == errno.ENOENT:
                return False
            raise
        return True

    def keys(self) -> Iterator[bytes]:
        """Every key there is while walking; a key deleted meanwhile makes a hash map begin anew."""
        current: bytes | None = None
        while True:
            following = ctypes.create_string_buffer(self.key_size)
            try:
                self._element(_MAP_GET_NEXT_KEY, current, following, 0)
            except BpfError as error:
                if error.errno == errno.ENOENT:
                    return
                raise
            current = following.raw
            yield current
