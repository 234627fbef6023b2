"""bpf(2): maps, programs that are relocated already, links and pins.

What a recording needs on every container start, in plain system calls. Relocating the object for the running
kernel is scmm_oci.kernel.libbpf's job, once per boot.
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
_PROG_LOAD = 5
_OBJ_PIN = 6
_OBJ_GET = 7
_OBJ_GET_INFO_BY_FD = 15
_RAW_TRACEPOINT_OPEN = 17
_BTF_LOAD = 18
_MAP_LOOKUP_BATCH = 24
_MAP_DELETE_BATCH = 27

# enum bpf_prog_type, enum bpf_attach_type.
PROG_TYPE_TRACING = 26
FUNC_INFO_SIZE = 8  # struct bpf_func_info: u32 insn_off, u32 type_id
TRACE_RAW_TP = 23

BPF_ANY = 0
BPF_NOEXIST = 1

# Buffer for values that are read with one system call.
_BATCH_BYTES = 1 << 18

# f_type of statfs(2) on a mounted bpffs, linux/magic.h.
BPF_FS_MAGIC = 0xCAFE4A11

# Offsets in struct bpf_prog_info, linux/bpf.h.
_PROG_INFO_SIZE = 192
_PROG_INFO_FUNC_INFO_REC_SIZE = 132
_PROG_INFO_FUNC_INFO = 136
_PROG_INFO_NR_FUNC_INFO = 144

_NR_BPF = {"x86_64": 321, "aarch64": 280}
_NR_MEMBARRIER = {"x86_64": 324, "aarch64": 283}
_MEMBARRIER_CMD_GLOBAL = 1
_MACHINE = os.uname().machine

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


class BpfError(OSError):
    """An operation of bpf(2) that failed; `strerror` says which and what to do about it."""


def _number() -> int:
    if _MACHINE not in _NR_BPF:
        raise BpfError(errno.ENOSYS, f"no bpf() number known for machine {_MACHINE!r}")
    return _NR_BPF[_MACHINE]


def _bpf(command: int, attr: bytes, what: str) -> int:
    buffer = ctypes.create_string_buffer(attr, len(attr))
    result: int = _libc.syscall(_number(), command, buffer, len(attr))
    if result < 0:
        number = ctypes.get_errno()
        hint = " (needs root, or CAP_BPF and CAP_PERFMON)" if number in (errno.EPERM, errno.EACCES) else ""
        raise BpfError(number, f"{what}: {os.strerror(number)}{hint}")
    return result


def wait_for_programs() -> None:
    """Wait until every BPF program that runs now on a tracepoint has returned (some 10 ms).

    They run inside RCU read-side sections, and MEMBARRIER_CMD_GLOBAL waits out a grace period (membarrier(2)).
    """
    if _libc.syscall(_NR_MEMBARRIER[_MACHINE], _MEMBARRIER_CMD_GLOBAL, 0, 0) < 0:
        number = ctypes.get_errno()
        raise BpfError(number, f"membarrier: {os.strerror(number)}")


def is_bpffs(path: str) -> bool:
    """Whether `path` lies on a mounted BPF file system (statfs(2))."""
    buffer = ctypes.create_string_buffer(256)
    if _libc.statfs(os.fsencode(path), buffer) != 0:
        return False
    # f_type is the first member, a signed long.
    return bool(ctypes.c_long.from_buffer(buffer).value & 0xFFFFFFFF == BPF_FS_MAGIC)


def pin(fd: int, path: str) -> None:
    """Keep a map, program or link alive under `path` of a BPF file system."""
    name = ctypes.create_string_buffer(os.fsencode(path))
    _bpf(_OBJ_PIN, struct.pack("=QII", ctypes.addressof(name), fd, 0), f"pin {path}")


def load_btf(data: bytes) -> int:
    """Load type information for map keys and values; its descriptor."""
    buffer = ctypes.create_string_buffer(data, len(data))
    attr = struct.pack("=QQIIII", ctypes.addressof(buffer), 0, len(data), 0, 0, 0)
    return _bpf(_BTF_LOAD, attr, "load BTF")


def load_tracing_program(
    instructions: bytes, *, name: str, license: str, attach_btf_id: int, btf: int, functions: bytes
) -> int:
    """Load a tp_btf program whose instructions are relocated for this kernel; its descriptor.

    btf: descriptor of its types. functions: struct bpf_func_info for each of its functions; callbacks need it.
    """
    info = ctypes.create_string_buffer(functions, len(functions))
    code = ctypes.create_string_buffer(instructions, len(instructions))
    terms = ctypes.create_string_buffer(license.encode())
    attr = struct.pack(
        "=IIQQIIQII16sIIIIQIIQIIII",
        PROG_TYPE_TRACING,
        len(instructions) // 8,
        ctypes.addressof(code),
        ctypes.addressof(terms),
        *(0, 0, 0),  # log_level, log_size, log_buf
        *(0, 0),  # kern_version, prog_flags
        name.encode()[:15],
        0,  # prog_ifindex
        TRACE_RAW_TP,
        *(btf, FUNC_INFO_SIZE, ctypes.addressof(info), len(functions) // FUNC_INFO_SIZE),
        *(0, 0, 0),  # line_info
        attach_btf_id,
        *(0, 0),  # attach_prog_fd, core_relo_cnt
    )
    return _bpf(_PROG_LOAD, attr, f"load program {name}")


def attach_tracing_program(fd: int, *, name: str) -> int:
    """Attach a tp_btf program to the tracepoint it was loaded for; the link's descriptor."""
    return _bpf(_RAW_TRACEPOINT_OPEN, struct.pack("=QII", 0, fd, 0), f"attach program {name}")


def function_types(fd: int) -> list[int]:
    """The BTF type ids of a loaded program's functions, in the order of their first instructions.

    From struct bpf_prog_info (linux/bpf.h), whose offsets are of the code as the kernel rewrote it.
    """
    info = ctypes.create_string_buffer(_PROG_INFO_SIZE)
    _bpf(_OBJ_GET_INFO_BY_FD, struct.pack("=IIQ", fd, len(info), ctypes.addressof(info)), "ask for a program")
    (count,) = struct.unpack_from("=I", info, _PROG_INFO_NR_FUNC_INFO)
    records = ctypes.create_string_buffer(FUNC_INFO_SIZE * count)
    info = ctypes.create_string_buffer(_PROG_INFO_SIZE)
    struct.pack_into("=I", info, _PROG_INFO_FUNC_INFO_REC_SIZE, FUNC_INFO_SIZE)
    struct.pack_into("=Q", info, _PROG_INFO_FUNC_INFO, ctypes.addressof(records))
    struct.pack_into("=I", info, _PROG_INFO_NR_FUNC_INFO, count)
    _bpf(_OBJ_GET_INFO_BY_FD, struct.pack("=IIQ", fd, len(info), ctypes.addressof(info)), "ask for a program")
    return [struct.unpack_from("=II", records, FUNC_INFO_SIZE * index)[1] for index in range(count)]


def function_starts(code: bytes) -> list[int]:
    """Indices of the first instructions of a program's functions, sorted.

    The targets of calls (BPF_JMP | BPF_CALL with src_reg BPF_PSEUDO_CALL) and of references to functions
    (BPF_LD | BPF_IMM | BPF_DW with BPF_PSEUDO_FUNC), whose `imm` is relative to the next instruction.
    """
    starts = {0}
    position = 0
    while position < len(code):
        opcode, source = code[position], code[position + 1] >> 4
        if (opcode == 0x85 and source == 1) or (opcode == 0x18 and source == 4):
            starts.add(position // 8 + 1 + int(struct.unpack_from("=i", code, position + 4)[0]))
        position += 16 if opcode == 0x18 else 8
    return sorted(starts)


def map_references(code: bytes) -> Iterator[int]:
    """Byte offsets of the instructions that name a map by descriptor, in their `imm` (linux/bpf.h).

    BPF_LD | BPF_IMM | BPF_DW (0x18) with src_reg BPF_PSEUDO_MAP_FD (1) or BPF_PSEUDO_MAP_VALUE (2).
    """
    position = 0
    while position < len(code):
        wide = code[position] == 0x18
        if wide and code[position + 1] >> 4 in (1, 2):
            yield position
        position += 16 if wide else 8


def create_map(
    *,
    type: int,
    key_size: int,
    value_size: int,
    max_entries: int,
    flags: int,
    name: str,
    btf: tuple[int, int, int] = (0, 0, 0),
) -> int:
    """BPF_MAP_CREATE; btf: descriptor, key type id, value type id. The map's descriptor."""
    attr = struct.pack(
        "=IIIIIII16sIIII", type, key_size, value_size, max_entries, flags, 0, 0, name.encode()[:15], 0, *btf
    )
    return _bpf(_MAP_CREATE, attr, f"make map {name} ({value_size * max_entries} bytes)")


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
        opened = cls(_bpf(_OBJ_GET, attr, f"open {path}"), name=path, key_size=key_size, value_size=value_size)
        # The kernel writes as many bytes as the map's values have, whatever the buffer's size.
        if opened._info()[:2] != (key_size, value_size):
            opened.close()
            raise BpfError(errno.EINVAL, f"{path} is not a map of this version of scmm-oci (sizes differ)")
        return opened

    def max_entries(self) -> int:
        """How many entries it was made with room for."""
        return self._info()[2]

    def _info(self) -> tuple[int, int, int]:
        # struct bpf_map_info: type, id, key_size, value_size, max_entries, …
        info = ctypes.create_string_buffer(64)
        attr = struct.pack("=IIQ", self.fd, len(info), ctypes.addressof(info))
        _bpf(_OBJ_GET_INFO_BY_FD, attr, f"ask for {self.name}")
        _, _, key_size, value_size, max_entries = struct.unpack_from("=IIIII", info)
        return key_size, value_size, max_entries

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

    def push(self, value: bytes) -> None:
        """Put `value` into a queue or stack map."""
        self._element(_MAP_UPDATE_ELEM, None, ctypes.create_string_buffer(value, len(value)), 0)

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

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Every (key, value) of a hash map, many with each system call.

        What is added or deleted meanwhile may be among them or not.
        """
        token: bytes | None = None
        batch = max(64, _BATCH_BYTES // self.value_size)
        while True:
            following = ctypes.create_string_buffer(max(self.key_size, 8))
            before = ctypes.create_string_buffer(token, len(token)) if token is not None else None
            keys = ctypes.create_string_buffer(batch * self.key_size)
            values = ctypes.create_string_buffer(batch * self.value_size)
            # struct { in_batch, out_batch, keys, values, count, map_fd, elem_flags, flags }
            attr = ctypes.create_string_buffer(
                struct.pack(
                    "=QQQQIIQQ",
                    ctypes.addressof(before) if before is not None else 0,
                    *(ctypes.addressof(following), ctypes.addressof(keys), ctypes.addressof(values)),
                    *(batch, self.fd, 0, 0),
                )
            )
            over = False
            if _libc.syscall(_number(), _MAP_LOOKUP_BATCH, attr, len(attr) - 1) < 0:
                number = ctypes.get_errno()
                if number == errno.ENOSPC:
                    batch *= 2  # one bucket holds more
                    continue
                if number != errno.ENOENT:
                    raise BpfError(number, f"read map {os.path.basename(self.name)}: {os.strerror(number)}")
                over = True
            (count,) = struct.unpack_from("=I", attr, 32)
            key_bytes, value_bytes = keys.raw, values.raw
            for index in range(count):
                yield (
                    key_bytes[index * self.key_size : (index + 1) * self.key_size],
                    value_bytes[index * self.value_size : (index + 1) * self.value_size],
                )
            if over:
                return
            token = following.raw

    def delete_all(self, doomed: list[bytes]) -> None:
        """Delete these keys, all that are there."""
        rest = b"".join(doomed)
        while rest:
            keys = ctypes.create_string_buffer(rest, len(rest))
            total = len(rest) // self.key_size
            attr = ctypes.create_string_buffer(
                struct.pack("=QQQQIIQQ", 0, 0, ctypes.addressof(keys), 0, total, self.fd, 0, 0)
            )
            if _libc.syscall(_number(), _MAP_DELETE_BATCH, attr, len(attr) - 1) >= 0:
                return
            number = ctypes.get_errno()
            if number != errno.ENOENT:
                raise BpfError(number, f"delete from map {os.path.basename(self.name)}: {os.strerror(number)}")
            # The count is of those that went; the next one was gone already.
            (count,) = struct.unpack_from("=I", attr, 32)
            rest = rest[(count + 1) * self.key_size :]

    def __iter__(self) -> Iterator[bytes]:
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
