"""Put a capture document into the capture directory, whole or not at all. Standard library only (hook)."""

from __future__ import annotations

import os

from scmm_oci import quickjson
from scmm_oci.recorder.ledger import private_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SUFFIX = ".scmm-cap"


def encode(document: dict[str, Any]) -> bytes:
    """The bytes of a capture file."""
    return quickjson.dumps(document)


def store(directory: str, document: dict[str, Any]) -> str:
    """Write DIRECTORY/NAME.scmm-cap and return its path.

    A capture of that name that is there already is kept, renamed to NAME.<time it was written>.scmm-cap. The
    name was checked when the recording began (scmm_oci.oci.annotations). Raises OSError; nothing is left then.
    """
    private_directory(directory)
    path = os.path.join(directory, document["name"] + SUFFIX)
    temporary = os.path.join(directory, f".{document['name']}.tmp")  # one that a killed hook left is used again
    data = encode(document)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
    descriptor = os.open(temporary, flags, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        _keep_earlier(path)
        os.rename(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    return path


def find(directory: str, entry: dict[str, Any]) -> str | None:
    """The path of the capture of exactly this recording, if `store` has written it there.

    entry: its file in scmm_oci.recorder.ledger, with the time it ended.
    """
    path = os.path.join(directory, entry["name"] + SUFFIX)
    try:
        with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW), "rb") as file:
            document = quickjson.loads(file.read())
    except (OSError, ValueError):
        return None
    same = all(document.get(key) == entry[key] for key in ("started_at", "ended_at", "container"))
    return path if same and document.get("complete") is not None else None


def _keep_earlier(path: str) -> None:
    try:
        written = os.lstat(path).st_mtime
    except FileNotFoundError:
        return
    import time

    stem = path.removesuffix(SUFFIX) + time.strftime(".%Y%m%dT%H%M%SZ", time.gmtime(written))
    other, number = stem + SUFFIX, 1
    while os.path.lexists(other):
        number += 1
        other = f"{stem}-{number}{SUFFIX}"
    os.rename(path, other)
