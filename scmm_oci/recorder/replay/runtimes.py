"""The OCI runtimes of this host that a replay uses: where they are, which version, and the digest of the binary."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Sequence

from scmm_oci.errors import BadInput, Problem, short
from scmm_oci.recorder.replay.cells import Runtime
from scmm_oci.recorder.runtimes import KNOWN, parse_version

# Where they are on hosts whose users have no /usr/sbin on PATH.
_MORE = ("/usr/local/sbin", "/usr/sbin", "/usr/local/bin", "/usr/bin")
_PATIENCE = 30.0  # seconds


def find(words: Sequence[str]) -> tuple[Runtime, ...]:
    """The runtimes of these names or paths; without any, those of KNOWN that are here.

    Raises:
        BadInput: one of them is not here, or there is none at all; with all such.
    """
    found: list[Runtime] = []
    problems: list[Problem] = []
    for word in words or KNOWN:
        path = shutil.which(word, path=os.pathsep.join([os.environ.get("PATH", os.defpath), *_MORE]))
        if path is not None:
            found.append(_runtime(os.path.abspath(path)))
        elif words:
            problems.append(Problem("--runtime", f"{short(word)}: there is no such program", "give a name or a path"))
    if not found and not problems:
        problems.append(Problem("--runtime", f"none of {', '.join(KNOWN)} is here", "give the path of one"))
    if problems:
        raise BadInput(problems)
    return tuple(dict.fromkeys(found))


def _runtime(path: str) -> Runtime:
    try:
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        done = subprocess.run(
            [path, "--version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PATIENCE,
            check=False,
            start_new_session=True,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        message = getattr(error, "strerror", None) or "does not end when it is asked for its version"
        raise BadInput([Problem("--runtime", f"{short(path)} cannot be used: {message}")]) from None
    version = parse_version(done.stdout.decode(errors="replace"))
    return Runtime(path, os.path.basename(path), version, digest)
