"""Which OCI runtime started this hook, and its version, asked once per binary. Standard library only (hook)."""

from __future__ import annotations

import os

from scmm_oci import quickjson

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

KNOWN = ("runc", "crun")
_CACHE = "runtimes.json"
_MAX_OUTPUT = 4096
_PATIENCE = 1.0  # seconds
_DIRECTORIES = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin")


def executable_of(caller: int) -> str | None:
    """The program of the process that called the hook: runtimes execute hooks themselves. None if /proc does not say.

    crun runs from a detached copy of itself, so that its exe link reads "/" (its cloned_binary.c); then it is
    looked up by the name it was started with.
    """
    process = f"/proc/{caller}"
    try:
        path = os.readlink(f"{process}/exe")
        if os.path.isfile(path):
            return path
        with open(f"{process}/cmdline", "rb") as file:
            started = os.fsdecode(file.read(4096).split(b"\0")[0])
    except OSError:
        return None
    for candidate in (started, *(os.path.join(each, os.path.basename(started)) for each in _DIRECTORIES)):
        if candidate.startswith("/") and os.path.isfile(candidate):
            return candidate
    return None


def parse_version(output: str) -> str | None:
    """The version in the first line of `PROGRAM --version`: "runc version 1.1.5+ds1", "Docker version 20.10, …"."""
    words = output.partition("\n")[0].split()
    if len(words) >= 3 and words[1] == "version" and len(words[2]) <= 64 and words[2].isprintable():
        return words[2].rstrip(",")
    return None


class Question:
    """`RUNTIME --version` on its way. The answer is remembered in the run directory until the binary changes."""

    def __init__(self, executable: str | None, *, directory: str) -> None:
        self._name = os.path.basename(executable) if executable else None
        self._version: str | None = None
        self._pid = 0
        self._cache_path = os.path.join(directory, _CACHE)
        self._cache: dict[str, Any] = {}
        if executable is None or self._name not in KNOWN:
            return
        try:
            status = os.stat(executable)
        except OSError:
            return
        self._key = f"{executable}:{status.st_dev}:{status.st_ino}:{status.st_size}:{status.st_mtime_ns}"
        self._cache = self._read_cache()
        self._version = self._cache.get(self._key)
        if self._version is None:
            self._ask(executable)

    def _read_cache(self) -> dict[str, Any]:
        try:
            with open(self._cache_path, "rb") as file:
                cache = quickjson.loads(file.read(1 << 16))
        except (OSError, ValueError):
            return {}
        return cache if isinstance(cache, dict) and len(cache) < 64 else {}

    def _ask(self, executable: str) -> None:
        reading, writing = os.pipe()
        null = os.open(os.devnull, os.O_RDWR)
        actions = [(os.POSIX_SPAWN_DUP2, null, 0), (os.POSIX_SPAWN_DUP2, writing, 1), (os.POSIX_SPAWN_DUP2, null, 2)]
        try:
            self._pid = os.posix_spawn(executable, [executable, "--version"], {}, file_actions=actions)
        except OSError:
            os.close(reading)
        else:
            self._reading = reading
        finally:
            os.close(writing)
            os.close(null)

    def answer(self) -> dict[str, Any]:
        """{"name": …, "version": …}; None where it is not known. Waits for the runtime's answer."""
        if self._pid:
            output = b""
            import select

            with os.fdopen(self._reading, "rb", buffering=0) as pipe:
                if select.select([pipe], [], [], _PATIENCE)[0]:
                    output = pipe.read(_MAX_OUTPUT) or b""
            os.kill(self._pid, 9)  # it has ended by itself, unless it hangs
            os.waitpid(self._pid, 0)
            self._pid = 0
            self._version = parse_version(output.decode(errors="replace"))
            if self._version is not None:
                self._remember()
        return {"name": self._name, "version": self._version}

    def _remember(self) -> None:
        self._cache[self._key] = self._version
        temporary = self._cache_path + ".tmp"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
        with os.fdopen(os.open(temporary, flags, 0o600), "wb") as file:
            file.write(quickjson.dumps(self._cache))
        os.rename(temporary, self._cache_path)
