"""Load a CO-RE object with the system's libbpf 1.x and pin what it makes. The one place that knows libbpf.

Only the first recording on a host comes here; see scmm_oci.recorder.pins.
"""

from __future__ import annotations

import ctypes
import errno
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

LIBRARY = "libbpf.so.1"

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
        ("bpf_object__find_map_by_name", pointer, [pointer, ctypes.c_char_p]),
        ("bpf_object__next_program", pointer, [pointer, pointer]),
        ("bpf_map__pin", ctypes.c_int, [pointer, ctypes.c_char_p]),
        ("bpf_program__name", ctypes.c_char_p, [pointer]),
        ("bpf_program__attach", pointer, [pointer]),
        ("bpf_link__pin", ctypes.c_int, [pointer, ctypes.c_char_p]),
        ("bpf_link__disconnect", None, [pointer]),
        ("bpf_link__destroy", ctypes.c_int, [pointer]),
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

    def last(self) -> str:
        # The first warning names the cause; what follows is the verifier's log and its consequences.
        return f" ({self.lines[0][:300]})" if self.lines else ""


def load_and_pin(path: str, *, maps: Mapping[str, str], directory: str) -> None:
    """Load the object at `path`, attach every program, pin the named maps and every link below `directory`.

    maps: name in the object → file name of the pin. Links are pinned as `link_<program>`. On any failure the
    links are gone again and what was pinned is left to the caller to remove. Raises LibbpfMissing, LoadError.
    """
    lib = library()
    words = _Words()
    lib.libbpf_set_print(words.callback)

    def check(result: int, what: str) -> None:
        if result:
            number = -result if result < 0 else ctypes.get_errno()
            raise LoadError(number, f"{what}: {os.strerror(number)}{_hint(number)}{words.last()}")

    def made(pointer: int | None, what: str) -> int:
        if not pointer:
            number = ctypes.get_errno()
            raise LoadError(number, f"{what}: {os.strerror(number)}{_hint(number)}{words.last()}")
        return pointer

    def pin(name: str) -> bytes:
        return os.fsencode(os.path.join(directory, name))

    handle = made(lib.bpf_object__open_file(os.fsencode(path), None), f"open {path}")
    try:
        check(lib.bpf_object__load(handle), f"load {os.path.basename(path)}")
        for name, file_name in maps.items():
            bpf_map = made(lib.bpf_object__find_map_by_name(handle, name.encode()), f"map {name}")
            check(lib.bpf_map__pin(bpf_map, pin(file_name)), f"pin map {name}")
        program = lib.bpf_object__next_program(handle, None)
        while program:
            name = lib.bpf_program__name(program).decode()
            link = made(lib.bpf_program__attach(program), f"attach {name}")
            try:
                check(lib.bpf_link__pin(link, pin(f"link_{name}")), f"pin link of {name}")
            finally:
                lib.bpf_link__destroy(link)  # the pin keeps it attached
            program = lib.bpf_object__next_program(handle, program)
    finally:
        lib.bpf_object__close(handle)


def _hint(number: int) -> str:
    if number in (errno.EPERM, errno.EACCES):
        return " (needs root, or CAP_BPF and CAP_PERFMON, and a kernel that is not locked down)"
    if number in (errno.ENOENT, errno.ESRCH, errno.EINVAL):
        return " (does this kernel have BTF, /sys/kernel/btf/vmlinux?)"
    return ""
