"""What a peer says when it hands a listener over: the ContainerProcessState of the runtime-spec (config-linux.md,
"Container Process State"). Pure.

It comes on a stream, in any pieces, and the peer need not close the connection after it: runc keeps it open while it
waits for the container's end.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from scmm_oci import quickjson
from scmm_oci.oci import state as container_state
from scmm_oci.oci.state import MAX_STATE, shown

# Metadata are a name here: of the container in rules, in every line of the log, and in what is remembered. A path fits.
MAX_METADATA = 4096  # characters
MAX_DESCRIPTORS = 253  # SCM_MAX_FD of the kernel's include/net/scm.h
_LISTENER = "seccompFd"
_BLANK = b" \t\r\n"


class BadPeer(ValueError):
    """What came is no such state; the message names every problem."""


@dataclass(frozen=True, slots=True)
class Handed:
    """A state that was checked.

    Attributes:
        index: which of the descriptors is the listener.
        pid: of the process, in the peer's PID namespace.
        metadata: the profile's listenerMetadata, or "".
    """

    index: int
    pid: int
    metadata: str
    state: container_state.State


class Document:
    """The bytes of one JSON object, as they come."""

    def __init__(self) -> None:
        self.data = bytearray()
        self._seen = 0
        self._depth = 0
        self._in_text = False
        self._escaped = False

    def feed(self, piece: bytes) -> bool:
        """Whether the object is whole now. Raises BadPeer for what can become none, or is too long."""
        self.data += piece
        if len(self.data) > MAX_STATE:
            raise BadPeer(f"more than {MAX_STATE} bytes of container state")
        for at in range(self._seen, len(self.data)):
            self._seen = at + 1
            byte = self.data[at]
            if self._in_text:
                self._text(byte)
            elif not self._depth and byte not in b"{ \t\r\n":
                raise BadPeer("no JSON object")
            elif byte == 0x22:
                self._in_text = True
            elif byte in b"{[":
                self._depth += 1
            elif byte in b"}]":
                self._depth -= 1
                if not self._depth:
                    if self.data[at + 1 :].strip(_BLANK):
                        raise BadPeer("more than one JSON object: a connection is for one descriptor")
                    return True
        return False

    def _text(self, byte: int) -> None:
        if self._escaped:
            self._escaped = False
        elif byte == 0x5C:
            self._escaped = True
        elif byte == 0x22:
            self._in_text = False


def parse(data: bytes, descriptors: int) -> Handed:
    """Check a whole state.

    Args:
        descriptors: how many came with it.

    Raises:
        BadPeer: with all that is wrong.
    """
    try:
        document: Any = quickjson.loads(data)
    except (ValueError, RecursionError) as error:
        raise BadPeer(f"no JSON: {error}") from None
    if not isinstance(document, dict):
        raise BadPeer(f"an object expected, not {shown(document)}")
    found: list[str] = []
    version = document.get("ociVersion")
    if not isinstance(version, str):
        found.append(f".ociVersion: a text expected, not {shown(version)}")
    index = _index(document.get("fds"), descriptors, found)
    pid: Any = document.get("pid")
    if not isinstance(pid, int) or isinstance(pid, bool) or not 0 <= pid < 1 << 31:
        found.append(f".pid: {shown(pid)} is not a process id")
    metadata = document.get("metadata", "")
    if not isinstance(metadata, str):
        found.append(f".metadata: a text expected, not {shown(metadata)}")
    elif len(metadata) > MAX_METADATA:
        found.append(f".metadata: {shown(metadata)} is longer than {MAX_METADATA} characters")
    given = document.get("state")
    state = None
    if isinstance(given, dict):
        # crun's exec says ".", where that is of no process that is left.
        bundle = given.get("bundle")
        unknown = isinstance(bundle, str) and not bundle.startswith("/")
        state, problems = container_state.checked({**given, "bundle": ""} if unknown else given, ".state")
        found += problems
    else:
        found.append(f".state: an object expected, not {shown(given)}")
    if found or state is None:
        raise BadPeer("; ".join(found))
    return Handed(index, pid, metadata, state)


def _index(names: object, descriptors: int, found: list[str]) -> int:
    if not isinstance(names, list) or not all(isinstance(one, str) for one in names):
        found.append(f".fds: a list of names expected, not {shown(names)}")
        return 0
    if len(names) != descriptors:
        found.append(f".fds: {len(names)} names, and {descriptors} descriptors came")
    if names.count(_LISTENER) != 1:
        found.append(f".fds: {_LISTENER} expected once, among {shown(names)}")
        return 0
    return names.index(_LISTENER)
