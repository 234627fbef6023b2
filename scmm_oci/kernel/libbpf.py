"""Fit a CO-RE object to the running kernel with the system's libbpf 1.x. The one place that knows libbpf.

Comes up once per boot, see scmm_oci.kernel.prepared: it takes 30 ms or more, most of them for the kernel's BTF.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct

from scmm_oci.kernel import bpf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

LIBRARY = "libbpf.so.1"
_BTF_KIND_TYPEDEF = 8

_PRINT_FUNCTION = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)


class LibbpfMissing(OSError):
    """The shared library libbpf.so.1 cannot be loaded."""


class LoadError(OSError):
    """The kernel or libbpf refused the object; `strerror` ends with libbpf's own last words."""


def library() -> ctypes.CDLL:
    """The loaded library with the prototypes used here. Raises LibbpfMissing."""
    try:
        lib = ctypes.CDLL(LIBRARY, use_errno=True)
    except OSError as error:
        raise LibbpfMissing(
            errno.ENOENT, f"{LIBRARY} cannot be loaded ({error}); install libbpf 1.x (Debian: apt install libbpf1)"
        ) from None
    pointer = ctypes.c_void_p
    for name, result, arguments in (
        ("libbpf_set_print", pointer, [_PRINT_FUNCTION]),
        ("libbpf_version_string", ctypes.c_char_p, []),
        ("bpf_object__open_file", pointer, [ctypes.c_char_p, pointer]),
        ("bpf_object__load", ctypes.c_int, [pointer]),
        ("bpf_object__close", None, [pointer]),
        ("bpf_object__next_map", pointer, [pointer, pointer]),
        ("bpf_object__next_program", pointer, [pointer, pointer]),
        ("bpf_object__btf", pointer, [pointer]),
        ("btf__raw_data", pointer, [pointer, ctypes.POINTER(ctypes.c_uint32)]),
        ("bpf_map__name", ctypes.c_char_p, [pointer]),
        ("bpf_map__fd", ctypes.c_int, [pointer]),
        ("bpf_map__type", ctypes.c_int, [pointer]),
        ("bpf_map__key_size", ctypes.c_uint32, [pointer]),
        ("bpf_map__value_size", ctypes.c_uint32, [pointer]),
        ("bpf_map__max_entries", ctypes.c_uint32, [pointer]),
        ("bpf_map__map_flags", ctypes.c_uint32, [pointer]),
        ("bpf_map__btf_key_type_id", ctypes.c_uint32, [pointer]),
        ("bpf_map__btf_value_type_id", ctypes.c_uint32, [pointer]),
        ("bpf_program__name", ctypes.c_char_p, [pointer]),
        ("bpf_program__section_name", ctypes.c_char_p, [pointer]),
        ("bpf_program__insns", pointer, [pointer]),
        ("bpf_program__insn_cnt", ctypes.c_size_t, [pointer]),
        ("bpf_program__fd", ctypes.c_int, [pointer]),
        ("btf__load_vmlinux_btf", pointer, []),
        ("btf__find_by_name_kind", ctypes.c_int32, [pointer, ctypes.c_char_p, ctypes.c_uint32]),
        ("btf__free", None, [pointer]),
    ):
        function = getattr(lib, name)
        function.restype = result
        function.argtypes = arguments
    return lib


class _Words:
    """What libbpf has to say, kept for the error message instead of going to the hook's stderr."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        libc = ctypes.CDLL(None)

        def keep(level: int, pattern: bytes, arguments: int) -> int:
            if level > 0:  # LIBBPF_WARN is 0
                return 0
            buffer = ctypes.create_string_buffer(512)
            libc.vsnprintf(buffer, len(buffer), ctypes.c_char_p(pattern), ctypes.c_void_p(arguments))
            self.lines.append(buffer.value.decode(errors="replace").strip())
            return 0

        self.callback = _PRINT_FUNCTION(keep)

    def first(self) -> str:
        # The first warning names the cause; what follows is the verifier's log and its consequences.
        return f" ({self.lines[0][:300]})" if self.lines else ""


def relocate(path: str) -> dict[str, Any]:
    """Have libbpf fit the object at `path` to the running kernel, and prove it by loading it.

    The result (see scmm_oci.kernel.prepared) is JSON: maps, BTF and the relocated instructions of each tp_btf
    program, with map descriptors replaced by map numbers. Nothing stays loaded. Raises LibbpfMissing, LoadError.
    """
    lib = library()
    lib.libbpf_set_print(_PRINT_FUNCTION())  # hundreds of debug messages, each of them a call into Python
    try:
        return _relocate(lib, path, words=None)
    except LoadError:
        # Once more, to hear what libbpf says of it.
        words = _Words()
        lib.libbpf_set_print(words.callback)
        return _relocate(lib, path, words=words)


def _relocate(lib: ctypes.CDLL, path: str, *, words: _Words | None) -> dict[str, Any]:
    def check(result: int | None, what: str) -> int:
        # Pointers are None and numbers are negative on failure; libbpf sets errno for both.
        if result is None or result < 0:
            number = -result if result else ctypes.get_errno()
            raise LoadError(number, f"{what}: {os.strerror(number)}{_hint(number)}{words.first() if words else ''}")
        return result

    vmlinux = None
    handle = check(lib.bpf_object__open_file(os.fsencode(path), None), f"open {path}")
    try:
        check(lib.bpf_object__load(handle), f"load {os.path.basename(path)}")
        size = ctypes.c_uint32()
        data = check(lib.btf__raw_data(check(lib.bpf_object__btf(handle), "BTF of object"), size), "BTF of object")
        maps: list[dict[str, Any]] = []
        numbers: dict[int, int] = {}
        for bpf_map in _each(lib.bpf_object__next_map, handle):
            numbers[lib.bpf_map__fd(bpf_map)] = len(maps)
            maps.append(
                {
                    "name": lib.bpf_map__name(bpf_map).decode(),
                    "type": lib.bpf_map__type(bpf_map),
                    "key_size": lib.bpf_map__key_size(bpf_map),
                    "value_size": lib.bpf_map__value_size(bpf_map),
                    "max_entries": lib.bpf_map__max_entries(bpf_map),
                    "flags": lib.bpf_map__map_flags(bpf_map),
                    "key_type": lib.bpf_map__btf_key_type_id(bpf_map),
                    "value_type": lib.bpf_map__btf_value_type_id(bpf_map),
                }
            )
        programs = []
        vmlinux = check(lib.btf__load_vmlinux_btf(), "BTF of the kernel")
        for program in _each(lib.bpf_object__next_program, handle):
            tracepoint = lib.bpf_program__section_name(program).decode().removeprefix("tp_btf/")
            count = lib.bpf_program__insn_cnt(program)
            code = ctypes.string_at(lib.bpf_program__insns(program), 8 * count)
            programs.append(
                {
                    "name": lib.bpf_program__name(program).decode(),
                    # The type that stands for a tp_btf tracepoint is a typedef (libbpf's attach_type BPF_TRACE_RAW_TP).
                    "attach_btf_id": check(
                        lib.btf__find_by_name_kind(vmlinux, f"btf_trace_{tracepoint}".encode(), _BTF_KIND_TYPEDEF),
                        f"tracepoint {tracepoint}",
                    ),
                    "code": _with_map_numbers(code, numbers).hex(),
                    "functions": _functions(code, lib.bpf_program__fd(program)).hex(),
                }
            )
        return {"btf": ctypes.string_at(data, size.value).hex(), "maps": maps, "programs": programs}
    finally:
        lib.btf__free(vmlinux)
        lib.bpf_object__close(handle)


def _each(following: Any, handle: int) -> Iterator[int]:
    item = following(handle, None)
    while item:
        yield item
        item = following(handle, item)


def _with_map_numbers(code: bytes, numbers: Mapping[int, int]) -> bytes:
    result = bytearray(code)
    for position in bpf.map_references(code):
        fd = struct.unpack_from("=i", code, position + 4)[0]
        struct.pack_into("=i", result, position + 4, numbers[fd])
    return bytes(result)


def _functions(code: bytes, fd: int) -> bytes:
    """struct bpf_func_info for each function of a program.

    libbpf 1.1 does not hand out what it makes of .BTF.ext, but the kernel tells the types, in the functions' order.
    """
    starts, types = bpf.function_starts(code), bpf.function_types(fd)
    if len(starts) != len(types):
        raise LoadError(errno.EINVAL, f"{len(starts)} functions, but types of {len(types)}: some are never called")
    return b"".join(struct.pack("=II", *pair) for pair in zip(starts, types, strict=True))


def _hint(number: int) -> str:
    if number in (errno.EPERM, errno.EACCES):
        return " (needs root, or CAP_BPF and CAP_PERFMON, and a kernel that is not locked down)"
    if number in (errno.ENOENT, errno.ESRCH, errno.EINVAL):
        return " (does this kernel have BTF, /sys/kernel/btf/vmlinux?)"
    return ""
