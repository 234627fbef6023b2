"""What calls do with names, descriptors and socket addresses (tables.operations) → uses of paths and addresses.

``use`` is called by effects.apply for each call of FILE_CALLS. Holds Facts and Done, which effects shares.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice

from scmm_oci.capture.facts import PathState
from scmm_oci.capture.strace import paths, sockets, values
from scmm_oci.capture.strace.files import Files
from scmm_oci.capture.strace.lexer import Result, members
from scmm_oci.capture.strace.paths import Bases
from scmm_oci.capture.strace.sockets import Sockets
from scmm_oci.capture.strace.threads import Open, Place, Socket, Thread
from scmm_oci.capture.strace.values import Address
from scmm_oci.tables.arch import Arch
from scmm_oci.tables.operations import AT_EMPTY_PATH, FileCall

# Operations whose rights depend on flags.
_FLAGGED = frozenset({"open", "unlink", "mknod", "rename-to"})

# UIO_MAXIOV of linux/uio.h: sendmmsg(2) sends no more at once.
_MAX_MESSAGES = 1024

_ARM_LIKE = (Arch.ARM, Arch.AARCH64, Arch.PPC64LE)


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
    flags: int = 0  # of opens and the like, with words that are not known

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


def use(facts: Facts, call: Done, plan: FileCall) -> None:
    """What one call did with what it names."""
    if plan.kind in ("address", "listen", "message", "messages"):
        _socket_call(facts, call, plan)
        return
    if plan.kind in ("descriptor", "device"):
        _through_descriptor(facts, call, plan)
        return
    if plan.kind == "exec" and call.good:
        return  # the importer knows the program
    flags = _flags(facts, call, plan)
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
        bits = (flags & plan.mask) | plan.implied
        device = plan.kind == "open" and call.good and _opens_device(call, place)
        _use(facts, call, place, operation, flags=bits, other=other, device=device)
        if call.good and "st_mode=S_IFDIR" in call.arguments[-1 if len(call.arguments) < 3 else 2]:
            facts.files.is_directory(place.path)


def _flags(facts: Facts, call: Done, plan: FileCall) -> int:
    if plan.flags is None or plan.flags >= len(call.arguments):
        return 0
    text = call.arguments[plan.flags]
    if call.name == "openat2":
        text = values.field(text, "flags") or "0"
    bits, whole = values.flags(text, call.thread.arch)
    if not whole and any(operation in _FLAGGED for _, _, operation in plan.names):
        facts.flags += 1
    return bits & 0xFFFFFFFF


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
        # Without a descriptor there is no directory, and names can be too long for any.
        facts.unplaced += call.result.error not in ("EBADF", "ENAMETOOLONG")
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


def _use(
    facts: Facts,
    call: Done,
    place: Place,
    operation: str,
    *,
    flags: int = 0,
    other: Place | None = None,
    device: bool = False,
) -> None:
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
        device=device,
    )


def _through_descriptor(facts: Facts, call: Done, plan: FileCall) -> None:
    if not call.arguments:
        return
    place = paths.own(paths.of_descriptor(call.thread, call.arguments[0]), call.thread)
    if place is None:
        return  # opened before the trace: whoever did so asked for the right
    if plan.kind == "device" and not _is_device(call.arguments[0], place):
        return
    _use(facts, call, place, plan.names[0][2])


def _opens_device(call: Done, place: Place) -> bool:
    # The standard streams' names are links to whatever these are.
    if place.path.startswith(("/dev/fd/", "/dev/std")):
        return False
    return _is_device(call.result.path or "", place)


def _is_device(shown: str, place: Place) -> bool:
    if "<char " in shown or "<block " in shown:
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
    if socket is None and call.result.error in ("EBADF", "ENOTSOCK"):
        return
    if plan.kind == "listen":
        family = socket.family if socket else "unspec"
        bound = Address(family, socket.address if socket else None, socket.port if socket else None)
        _address(facts, call, "listen", socket, bound)
        return
    _, index, operation = plan.names[0]
    if index >= len(call.arguments):
        return
    text = call.arguments[index]
    if plan.kind == "messages":
        # Of those that were sent; when none was, the first is to blame.
        sent = call.result.value if call.good else None
        text = "".join(islice(members(text), min(max(sent or 1, 1), _MAX_MESSAGES)))
    for address in values.addresses(text):
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
