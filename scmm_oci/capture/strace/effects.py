"""What single calls mean beyond being made: descriptors, directories, handlers, and the facts of files and sockets.

``apply`` is called by the importer for each call whose arguments matter, when it has ended.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from scmm_oci.capture.facts import PathState
from scmm_oci.capture.strace import paths, sockets, values
from scmm_oci.capture.strace.files import Files
from scmm_oci.capture.strace.lexer import Result
from scmm_oci.capture.strace.order import learn_handler, signal_name
from scmm_oci.capture.strace.paths import Bases
from scmm_oci.capture.strace.sockets import Sockets
from scmm_oci.capture.strace.threads import Open, Place, Socket, Thread
from scmm_oci.capture.strace.values import Address
from scmm_oci.tables.arch import Arch
from scmm_oci.tables.operations import AT_EMPTY_PATH, FileCall

_ARM_LIKE = (Arch.ARM, Arch.AARCH64, Arch.PPC64LE)
# Descriptors are ints; close_range(2) takes ~0 for the last.
_LAST = 0x7FFFFFFF


@dataclass
class Facts:
    """Where facts go, and counts of what could not be kept."""

    bases: Bases
    files: Files = field(init=False)
    sockets: Sockets = field(default_factory=Sockets)
    cut: int = 0  # names that strace cut
    unplaced: int = 0  # names relative to a directory that the trace does not show
    rings: int = 0  # io_uring
    roots: int = 0  # pivot_root

    def __post_init__(self) -> None:
        self.files = Files(self.bases)


@dataclass(slots=True, eq=False)
class Done:
    """A call that has ended, or was seen to begin only (``ended`` is False)."""

    thread: Thread
    name: str
    arguments: list[str]
    result: Result
    now: int
    ended: bool = True

    @property
    def good(self) -> bool:
        """Whether it succeeded."""
        return self.result.value is not None and self.result.error is None


def apply(facts: Facts, call: Done, plan: FileCall | None) -> None:
    """Everything that a call means."""
    if plan is not None:
        _file_call(facts, call, plan)
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


# Files.


def _file_call(facts: Facts, call: Done, plan: FileCall) -> None:
    if plan.kind in ("address", "listen", "message", "messages"):
        _socket_call(facts, call, plan)
        return
    if plan.kind in ("descriptor", "device"):
        _through_descriptor(facts, call, plan)
        return
    if plan.kind == "exec" and call.good:
        return  # the importer knows the program
    flags = _flags(call, plan)
    found = [_named(facts, call, directory, index, flags) for directory, index, _ in plan.names]
    for number, (_, _, operation) in enumerate(plan.names):
        place = found[number]
        if place is None:
            continue
        other = found[1 - number] if len(found) == 2 and operation.startswith(("link-", "rename-")) else None
        if plan.kind == "open" and call.good:
            place = _opened(call, place)
            if place.state is PathState.INTERNAL:
                continue
        _use(facts, call, place, operation, flags=(flags & plan.mask) | plan.implied, other=other)
        if call.good and "st_mode=S_IFDIR" in call.arguments[-1 if len(call.arguments) < 3 else 2]:
            facts.files.is_directory(place.path)


def _flags(call: Done, plan: FileCall) -> int:
    if plan.flags is None or plan.flags >= len(call.arguments):
        return 0
    text = call.arguments[plan.flags]
    if call.name == "openat2":
        text = values.field(text, "flags") or "0"
    return (values.flags(text, call.thread.arch) or 0) & 0xFFFFFFFF


def _named(facts: Facts, call: Done, directory: int | None, index: int, flags: int) -> Place | None:
    if index >= len(call.arguments):
        return None
    name = values.name(call.arguments[index])
    where = None if directory is None else call.arguments[directory]
    if name is None:
        # No string: a pointer that could not be read, or NULL, which some calls take for the descriptor itself.
        if call.good and call.arguments[index] == "NULL" and where is not None:
            return paths.own(paths.of_descriptor(call.thread, where), call.thread)
        return None
    if name.cut:
        facts.cut += 1
        return None
    if "\0" in name.text:
        return None
    if not name.text:
        if not flags & AT_EMPTY_PATH or where is None:
            return None  # ENOENT, path_resolution(7)
        # A descriptor from before the trace is no use of a name.
        return paths.own(paths.of_descriptor(call.thread, where), call.thread)
    place = paths.absolute(call.thread, where, name.text)
    if place is None:
        facts.unplaced += 1
    elif where is not None and not name.text.startswith("/"):
        base = paths.of_descriptor(call.thread, where)
        if base is not None:
            facts.files.is_directory(base.path)
    return place


def _opened(call: Done, named: Place) -> Place:
    """The file that an open ended up with, and its descriptor."""
    place = named
    if call.result.path is not None:
        place = paths.own(paths.shown(call.result.path), call.thread) or named
    assert call.result.value is not None
    cloexec = any("O_CLOEXEC" in text for text in call.arguments[1:])
    if not cloexec:
        cloexec = any((values.number(text) or 0) & 0o2000000 for text in call.arguments[1:3])
    call.thread.descriptors.set(call.result.value, Open(place, cloexec=cloexec))
    return place


def _use(facts: Facts, call: Done, place: Place, operation: str, *, flags: int = 0, other: Place | None = None) -> None:
    if place.state is PathState.INTERNAL:
        return
    facts.files.use(
        place,
        operation,
        flags=flags,
        other=None if other is None else other.path,
        error=call.result.error,
        ended=call.good or call.result.error is not None,
        program=call.thread.process.program,
        now=call.now,
        arm=call.thread.arch in _ARM_LIKE,
    )


def _through_descriptor(facts: Facts, call: Done, plan: FileCall) -> None:
    if not call.arguments:
        return
    place = paths.own(paths.of_descriptor(call.thread, call.arguments[0]), call.thread)
    if place is None:
        return  # opened before the trace: whoever did so asked for the right
    if plan.kind == "device" and not _is_device(call, place):
        return
    _use(facts, call, place, plan.names[0][2])


def _is_device(call: Done, place: Place) -> bool:
    if "<char " in call.arguments[0] or "<block " in call.arguments[0]:
        return True
    # Without -yy the place has to tell: device files stand in /dev, and little else does.
    return place.path.startswith("/dev/") and not place.path.startswith(
        ("/dev/shm/", "/dev/mqueue/", "/dev/hugepages/")
    )


# Sockets.


def _socket_call(facts: Facts, call: Done, plan: FileCall) -> None:
    if not call.arguments:
        return
    socket = sockets.of_descriptor(call.thread, call.arguments[0])
    if plan.kind == "listen":
        family = socket.family if socket else "unspec"
        bound = Address(family, socket.address if socket else None, socket.port if socket else None)
        _address(facts, call, "listen", socket, bound)
        return
    _, index, operation = plan.names[0]
    if index >= len(call.arguments):
        return
    for address in values.addresses(call.arguments[index]):
        _address(facts, call, operation, socket, address)
        if operation == "bind" and call.good and socket is not None:
            socket.address, socket.port = address.address, address.port


def _address(facts: Facts, call: Done, operation: str, socket: Socket | None, address: Address) -> None:
    facts.sockets.use(
        operation,
        socket,
        address,
        error=call.result.error,
        ended=call.good or call.result.error is not None,
        program=call.thread.process.program,
        now=call.now,
    )
    path = address.address
    if address.family == "unix" and path and not path.startswith("@") and operation != "listen" and not address.cut:
        place = paths.absolute(call.thread, None, path) if "\0" not in path else None
        if place is None:
            facts.unplaced += 1
        else:
            _use(facts, call, place, "bind" if operation == "bind" else "connect")


# What changes descriptors, directories and handlers.


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
    if name is not None and not name.cut and name.text.startswith("/") and not call.thread.directories.root:
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
    first = values.number(call.arguments[0])
    last = values.number(call.arguments[1]) if len(call.arguments) > 2 else None
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
