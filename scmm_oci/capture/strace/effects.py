"""What single calls mean beyond being made: descriptors, directories and signal handlers; and, in naming, files.

``apply`` is called by the importer for each call whose arguments matter, when it has ended.
"""

from __future__ import annotations

from collections.abc import Callable

from scmm_oci.capture.facts import PathState
from scmm_oci.capture.strace import naming, paths, sockets, values
from scmm_oci.capture.strace.naming import Done, Facts
from scmm_oci.capture.strace.order import learn_handler, signal_name
from scmm_oci.capture.strace.threads import Open, Place, Socket, Thread
from scmm_oci.tables.operations import FileCall

# Descriptors are ints; close_range(2) takes ~0 for the last.
_LAST = 0x7FFFFFFF


def apply(facts: Facts, call: Done, plan: FileCall | None) -> None:
    """Everything that a call means."""
    if plan is not None:
        naming.use(facts, call, plan)
    effect = EFFECTS.get(call.name)
    if effect is not None and call.good:
        effect(facts, call)


def learn_directory(facts: Facts, call: Done) -> None:
    """-y prints the current directory behind AT_FDCWD: from here on it is known."""
    for text in call.arguments:
        if text.startswith(("AT_FDCWD<", "-100<")):
            found = values.descriptor(text)
            if found is not None and found.path is not None:
                _set_cwd(facts, call.thread, paths.shown(found.path))
            return


def _set_cwd(facts: Facts, thread: Thread, place: Place) -> None:
    if place.state is PathState.RESOLVED:
        facts.bases.learn(thread.directories.cwd.path, place.path)
        thread.directories.cwd = place


def _fd(call: Done, index: int = 0) -> int | None:
    found = values.descriptor(call.arguments[index]) if index < len(call.arguments) else None
    return None if found is None else found.fd


def _cloexec(call: Done, index: int, word: str, bit: int) -> bool:
    text = call.arguments[index] if index < len(call.arguments) else ""
    return word in text or bool((values.number(text) or 0) & bit)


def _chdir(facts: Facts, call: Done) -> None:
    name = values.name(call.arguments[0]) if call.arguments else None
    place = None if name is None or name.cut else paths.absolute(call.thread, None, name.text)
    call.thread.directories.cwd = facts.bases.unknown() if place is None else place


def _fchdir(facts: Facts, call: Done) -> None:
    place = paths.of_descriptor(call.thread, call.arguments[0]) if call.arguments else None
    if place is None or place.state in (PathState.INTERNAL, PathState.DELETED):
        place = facts.bases.unknown()
    else:
        facts.files.is_directory(place.path)
    call.thread.directories.cwd = place


def _getcwd(facts: Facts, call: Done) -> None:
    name = values.name(call.arguments[0]) if call.arguments else None
    if name is None or name.cut or "\0" in name.text or paths.too_long(name.text):
        return
    if name.text.startswith("/") and not call.thread.directories.root:
        _set_cwd(facts, call.thread, Place(name.text, PathState.RESOLVED))


def _chroot(facts: Facts, call: Done) -> None:
    name = values.name(call.arguments[0]) if call.arguments else None
    place = None if name is None or name.cut else paths.absolute(call.thread, None, name.text)
    if place is None or place.path.startswith("\0"):
        facts.roots += 1
    else:
        call.thread.directories.root = place.path.rstrip("/")


def _new_root(facts: Facts, call: Done) -> None:
    facts.roots += 1


def _close(facts: Facts, call: Done) -> None:
    fd = _fd(call)
    if fd is not None:
        call.thread.descriptors.close(fd, fd)


def _close_range(facts: Facts, call: Done) -> None:
    if len(call.arguments) < 3:
        return
    first, last = values.number(call.arguments[0]), values.number(call.arguments[1])
    if first is None or last is None:
        return
    last = min(last, _LAST) if last >= 0 else _LAST
    if _cloexec(call, 2, "CLOSE_RANGE_UNSHARE", 2):
        call.thread.descriptors = call.thread.descriptors.copy()
    if _cloexec(call, 2, "CLOSE_RANGE_CLOEXEC", 4):
        call.thread.descriptors.close_on_exec(first, last)
    else:
        call.thread.descriptors.close(first, last)


def _duplicate(call: Done, *, cloexec: bool) -> None:
    fd = _fd(call)
    opened = None if fd is None else call.thread.descriptors.get(fd)
    assert call.result.value is not None
    if opened is not None:
        call.thread.descriptors.set(call.result.value, Open(opened.place, opened.socket, cloexec))
    elif call.result.value != fd:
        call.thread.descriptors.close(call.result.value, call.result.value)


def _dup(facts: Facts, call: Done) -> None:
    if _fd(call) != call.result.value:
        _duplicate(call, cloexec=_cloexec(call, 2, "O_CLOEXEC", 0o2000000))


def _fcntl(facts: Facts, call: Done) -> None:
    command = values.plain(call.arguments[1]) if len(call.arguments) > 1 else ""
    # fcntl(2); the numbers are the same on all architectures of tables.arch.
    if command in ("F_DUPFD", "F_DUPFD_CLOEXEC", "0", "0x406", "1030"):
        _duplicate(call, cloexec=command not in ("F_DUPFD", "0"))
    elif command in ("F_SETFD", "2", "0x2"):
        fd = _fd(call)
        opened = None if fd is None else call.thread.descriptors.get(fd)
        if fd is not None and opened is not None:
            cloexec = _cloexec(call, 2, "FD_CLOEXEC", 1)
            call.thread.descriptors.set(fd, Open(opened.place, opened.socket, cloexec))


def _socket(facts: Facts, call: Done) -> None:
    made = sockets.made(call.arguments)
    if made is not None and call.result.value is not None:
        cloexec = _cloexec(call, 1, "SOCK_CLOEXEC", 0o2000000)
        call.thread.descriptors.set(call.result.value, Open(socket=made, cloexec=cloexec))


def _socketpair(facts: Facts, call: Done) -> None:
    made = sockets.made(call.arguments)
    both = values.pair(call.arguments[3]) if len(call.arguments) > 3 else None
    for fd in both or ():
        if made is not None:
            call.thread.descriptors.set(fd, Open(socket=made, cloexec=_cloexec(call, 1, "SOCK_CLOEXEC", 0o2000000)))


def _accept(facts: Facts, call: Done) -> None:
    listening = sockets.of_descriptor(call.thread, call.arguments[0]) if call.arguments else None
    if listening is not None and call.result.value is not None:
        made = Socket(listening.family, listening.type, listening.protocol)
        cloexec = _cloexec(call, 3, "SOCK_CLOEXEC", 0o2000000)
        call.thread.descriptors.set(call.result.value, Open(socket=made, cloexec=cloexec))


def _read_directory(facts: Facts, call: Done) -> None:
    place = paths.of_descriptor(call.thread, call.arguments[0]) if call.arguments else None
    if place is not None:
        facts.files.is_directory(place.path)


def _unshare(facts: Facts, call: Done) -> None:
    if _cloexec(call, 0, "CLONE_FS", 0x200) or _cloexec(call, 0, "CLONE_NEWNS", 0x20000):
        call.thread.directories = call.thread.directories.copy()
    if _cloexec(call, 0, "CLONE_FILES", 0x400):
        call.thread.descriptors = call.thread.descriptors.copy()


def _handler(facts: Facts, call: Done) -> None:
    if len(call.arguments) > 1:
        learn_handler(call.thread.handlers, signal_name(call.arguments[0]), call.arguments[1])


def _ring(facts: Facts, call: Done) -> None:
    facts.rings += 1


EFFECTS: dict[str, Callable[[Facts, Done], None]] = {
    "chdir": _chdir,
    "fchdir": _fchdir,
    "getcwd": _getcwd,
    "chroot": _chroot,
    "pivot_root": _new_root,
    "unshare": _unshare,
    "close": _close,
    "close_range": _close_range,
    "dup": _dup,
    "dup2": _dup,
    "dup3": _dup,
    "fcntl": _fcntl,
    "fcntl64": _fcntl,
    "socket": _socket,
    "socketpair": _socketpair,
    "accept": _accept,
    "accept4": _accept,
    "getdents": _read_directory,
    "getdents64": _read_directory,
    "rt_sigaction": _handler,
    "sigaction": _handler,
    "io_uring_setup": _ring,
}
