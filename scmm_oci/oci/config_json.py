"""config.json and process files of the OCI runtime-spec: read with a bound, and written back with nothing lost.

Members that we do not know stay, in their order; numbers stay as they are written, whatever their size and precision.
What runtimes would read in two ways is refused: a key that stands twice (Go takes the last and merges objects, yajl
the first), a key with a NUL (crun's reader ends it there), and at the places that decide what runs a text with a NUL,
or a key that is another's but for the case of its letters (Go's encoding/json takes both for one). Standard library
only, and no json package where all is well (scmm_oci.quickjson).
"""

from __future__ import annotations

import os
import stat

from scmm_oci.oci.state import MAX_CONFIG, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

MAX_DEPTH = 200  # objects and arrays within each other; the runtime-spec needs 8

# The members at whose places another spelling is looked for. Maps with keys of the user's own (annotations, sysctl)
# are not among these places.
_KNOWN = (
    "ociVersion process root hostname mounts hooks annotations linux terminal user args commandLine env cwd rlimits"
    " noNewPrivileges capabilities apparmorProfile selinuxLabel uid gid additionalGids umask path readonly destination"
    " source type options uidMappings gidMappings containerID hostID size namespaces seccomp rootfsPropagation"
    " resources cgroupsPath sysctl devices maskedPaths readonlyPaths mountLabel defaultAction defaultErrnoRet"
    " architectures flags listenerPath listenerMetadata syscalls names action errnoRet prestart createRuntime"
    " createContainer startContainer poststart poststop timeout bounding effective inheritable permitted ambient"
)
_PLACES = (
    *("process", "process.user", "process.capabilities", "root", "linux", "linux.seccomp", "hooks"),
    *("user", "capabilities"),  # where the document is a process
)


class Number:
    """A number that Python's would change: its text as it stood in the file."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Number) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"Number({self.text!r})"


def _integer(text: str) -> int | Number:
    # -0 is no integer of Python's, and reading one of a million digits takes seconds.
    return int(text) if len(text) < 20 and text != "-0" else Number(text)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if "\0" in "".join(found):
        raise ValueError(f"the key {shown(next(key for key in found if chr(0) in key))} has a NUL, where crun ends it")
    if len(found) != len(pairs):
        seen = set()
        for key, _ in pairs:
            if key in seen:
                raise ValueError(f"{shown(key)} stands twice in one object")
            seen.add(key)
    return found


def _constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


class _Context:
    # What _json.make_scanner reads of a json.decoder.JSONDecoder (CPython Modules/_json.c).
    strict = True
    object_hook = None
    object_pairs_hook = staticmethod(_object)
    parse_float = Number
    parse_int = staticmethod(_integer)
    parse_constant = staticmethod(_constant)


def loads(data: bytes) -> Any:
    """The value of one JSON document in UTF-8; numbers with a fraction or an exponent, and long ones, as Number.

    Raises ValueError, also for what is nested deeper than MAX_DEPTH, for a key that stands twice or has a NUL, and for
    text behind.
    """
    text = data.decode("utf-8").strip(" \t\n\r")
    value: Any = None
    done = False
    try:
        from _json import make_scanner

        value, end = make_scanner(_Context)(text, 0)  # type: ignore[arg-type]
        done = end == len(text)
    except (ImportError, AttributeError, TypeError, StopIteration, ValueError, RecursionError, SystemError):
        pass  # the json package has words for what is wrong
    if not done:
        import json

        try:
            value = json.loads(
                text, object_pairs_hook=_object, parse_float=Number, parse_int=_integer, parse_constant=_constant
            )
        except RecursionError:
            raise ValueError(f"nested deeper than {MAX_DEPTH}") from None
    _check_depth(value, MAX_DEPTH)
    return value


def _check_depth(value: Any, left: int) -> None:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for each in inner:
        if isinstance(each, (dict, list)):
            if left <= 1:
                raise ValueError(f"nested deeper than {MAX_DEPTH}")
            _check_depth(each, left - 1)


def dumps(value: Any) -> bytes:
    """`value` as one line of JSON: keys in their order, ASCII only, each Number as it was written.

    Raises TypeError for what is none of JSON's, ValueError for a float that is no number.
    """
    from _json import encode_basestring_ascii, make_encoder

    encode = make_encoder({}, _is_number, encode_basestring_ascii, None, ":", ",", False, False, False)
    try:
        pieces = encode(value, 0)
    except _FoundNumber:
        pieces = _pieces(value, encode)
    return "".join(pieces).encode("ascii") + b"\n"


class _FoundNumber(Exception):
    """The C encoder has met a Number, whose text it has no way to write."""


def _is_number(value: object) -> Any:
    if isinstance(value, Number):
        raise _FoundNumber
    raise TypeError(f"{type(value).__name__} is not JSON")


def _pieces(value: Any, encode: Callable[[Any, int], Iterable[str]]) -> Iterator[str]:
    """What the C encoder would give, and the text of each Number."""
    if isinstance(value, Number):
        yield value.text
    elif isinstance(value, dict) and value:
        before = "{"
        for key, inner in value.items():
            yield before
            yield from encode(key, 0)
            yield ":"
            yield from _pieces(inner, encode)
            before = ","
        yield "}"
    elif isinstance(value, (list, tuple)) and value:
        before = "["
        for inner in value:
            yield before
            yield from _pieces(inner, encode)
            before = ","
        yield "]"
    else:
        yield from encode(value, 0)


def _check_spellings(document: dict[str, Any]) -> None:
    """Raise ValueError, with all of them, if there are keys or texts that runc and crun take for different ones."""
    from_folded = {name.casefold(): name for name in _KNOWN.split()}
    problems = []
    for place, value in _decisive(document):
        for key, text in value.items():
            if isinstance(text, str) and "\0" in text:
                problems.append(f"{place}.{shown(key)[1:-1]}: {shown(text)} has a NUL, where crun ends it")
            meant = from_folded.get(key.casefold())
            if meant is not None and key != meant:
                problems.append(f"{place}.{shown(key)[1:-1]}: runc reads it as {meant!r}, crun does not")
    if problems:
        raise ValueError("; ".join(problems))


def _decisive(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of a config.json or process file that decide what runs under which filter, with their places."""
    yield "", document
    for path in _PLACES:
        value: Any = document
        for name in path.split("."):
            value = value.get(name) if isinstance(value, dict) else None
        if isinstance(value, dict):
            yield f".{path}", value
            for name in {"linux.seccomp": ("syscalls",), "hooks": tuple(value)}.get(path, ()):
                yield from _objects(f".{path}.{name}", value.get(name))
    yield from _objects(".mounts", document.get("mounts"))


def _objects(place: str, value: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    for index, each in enumerate(value if isinstance(value, list) else ()):
        if isinstance(each, dict):
            yield f"{place}[{index}]", each


def read(path: str, *, limit: int = MAX_CONFIG, pipe: bool = False) -> dict[str, Any]:
    """The object in the JSON file at `path`; a link is followed, as runtimes do.

    limit: the most bytes that it may have. pipe: it may be a pipe, which nobody else can read then. Raises OSError;
    ValueError for a file that is no regular one, is larger, was changed meanwhile, is not JSON of an object (`loads`)
    or has keys that runc and crun read differently.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
    try:
        before = os.fstat(descriptor)
        if pipe and stat.S_ISFIFO(before.st_mode):
            os.set_blocking(descriptor, True)  # whoever writes may not have begun
        elif not stat.S_ISREG(before.st_mode):
            raise ValueError("not a regular file")
        pieces = []
        left = limit + 1
        while left > 0 and (piece := os.read(descriptor, left)):
            pieces.append(piece)
            left -= len(piece)
        after = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    if left <= 0:
        raise ValueError(f"larger than {limit} bytes")
    if stat.S_ISREG(before.st_mode) and (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, after.st_size):
        raise ValueError("changed while it was read")
    value = loads(b"".join(pieces))
    if not isinstance(value, dict):
        raise ValueError(f"an object expected, not {shown(value)}")
    _check_spellings(value)
    return value
