"""How the shim hands over: it becomes the real runtime, or reads what the runtime prints. Standard library only.

Called by enforcer.shim (scmm-runc).
"""

from __future__ import annotations

import _signal as signal
import os

from scmm_oci import quickjson

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import NoReturn

ENDED = "--scmm-ended"  # the word that our poststop hook begins with
MAX_OUTPUT = 64 << 20  # bytes; a container in `list` takes some hundred


def become(runtime: str, words: Sequence[str], inherited: Mapping[int, int] | None = None) -> NoReturn:
    """Become `runtime` with these words after its name: process id, descriptors and environment stay.

    inherited: numbers that the runtime has besides → descriptors of ours that it has there. What was at such a number
    is closed.

    Raises OSError where the kernel refuses, ValueError where it does not give such a number.
    """
    for number, descriptor in (inherited or {}).items():
        if number == descriptor:
            os.set_inheritable(descriptor, True)
            continue
        try:
            os.dup2(descriptor, number)
        except OSError as error:
            raise ValueError(f"descriptor {number} cannot be had: {error.strerror}") from None
    # Python ignores these two, and what is ignored stays so in every program that is executed.
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execve(runtime, [runtime, *words], environment())
    finally:
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)


def output(runtime: str, words: Sequence[str]) -> tuple[bytes, int]:
    """What `runtime` prints with these words, and its exit code (128 and the signal's number if one ended it).

    Raises OSError where it cannot be started, ValueError for more than MAX_OUTPUT.
    """
    reading, writing = os.pipe()
    try:
        pid = os.posix_spawn(
            runtime,
            [runtime, *words],
            environment(),
            file_actions=[(os.POSIX_SPAWN_DUP2, writing, 1)],
            setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],
        )
    finally:
        os.close(writing)
    chunks, size = [], 0
    while chunk := os.read(reading, 1 << 16):
        size += len(chunk)
        if size <= MAX_OUTPUT:
            chunks.append(chunk)
    os.close(reading)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if size > MAX_OUTPUT:
        raise ValueError(f"{runtime} printed more than {MAX_OUTPUT} bytes")
    return b"".join(chunks), status if status >= 0 else 128 - status


def with_original_bundles(printed: bytes, bundles: Mapping[str, str]) -> bytes:
    """What `state` or `list` printed, with each private bundle (a key) as the caller's own (its value).

    Nothing else changes in JSON. Tables are laid out as the runtime would have done it: runc's by Go's tabwriter, with
    three blanks between columns of at least twelve; crun's with 39 characters for the bundle.
    """
    if printed.lstrip()[:1] in (b"{", b"["):
        for private, original in bundles.items():
            # A private bundle is ASCII that JSON has as it is.
            printed = printed.replace(b'"%s"' % private.encode(), quickjson.dumps(original).strip())
        return printed
    lines = printed.decode("utf-8", "surrogateescape").split("\n")
    begin, end = lines[0].find("BUNDLE"), lines[0].find("CREATED")
    if lines[0].startswith("ID") and 0 < begin < end:
        rows = [(line, line[begin:end].rstrip(" ")) for line in lines]
        shown = [bundles.get(path, path) for _, path in rows]
        width = max(12, *(len(path) + 3 for path in shown))
        lines = [
            f"{line[:begin]}{path:{width}}{line[end:]}" if line else ""
            for (line, _), path in zip(rows, shown, strict=True)
        ]
    else:
        for private, original in bundles.items():
            lines = [line.replace(f" {private} ", f" {original:39} ") for line in lines]
    return "\n".join(lines).encode("utf-8", "surrogateescape")


def environment() -> dict[bytes, bytes]:
    """The environment that this process was given, without what Python has changed in it.

    In the locale C, Python sets LC_CTYPE for itself and for all that it starts (PEP 538), also over another value.
    """
    try:
        with open("/proc/self/environ", "rb", buffering=0) as file:
            given = b"".join(iter(lambda: file.read(1 << 20), b""))
    except OSError:
        return {name: value for name, value in os.environb.items() if name}
    found: dict[bytes, bytes] = {}
    for each in given.split(b"\0"):
        name, equals, value = each.partition(b"=")
        if name and equals:
            found.setdefault(name, value)  # getenv(3) finds the first
    return found
