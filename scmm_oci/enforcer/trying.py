"""The place of one `scmm try`: a policy under a name of its own, a report beside it, and for podman a shim of its own.

All of it is removed at the end. What one that was killed has left, the next removes: who lives holds a lock on its
directory. Docker's store is the host's, so a dead one's policy there is found by what its directory says.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from scmm_oci import scratch
from scmm_oci.enforcer import shim_settings
from scmm_oci.enforcer.places import Places
from scmm_oci.enforcer.registration import parts
from scmm_oci.enforcer.store import REPORT, SUFFIX, BadStore, Store
from scmm_oci.errors import Failure, printable

# Where programs may be executed, on nearly all hosts; what is made there belongs to root alone.
PLACES = ("/var/tmp", "/tmp")
PREFIX = "scmm-try-"
# In a directory: a store, what the shim keeps of containers that run, and a file that says which store it is.
_STORE, _BUNDLES, _WHERE, _LOG = "store", "run/containers", "policy_dir", "shim.log"
# In a report until the launcher empties it: whether it ever ran.
_NOT_BEGUN = "scmm-try: the launcher has not begun\n"
# Seconds for engines that still remove containers, and between two looks at what is left.
_PATIENCE, _LOOK = 10.0, 0.02
# Bytes. The program may write there too, and 2048 kinds of calls take less.
_MOST_REPORT = 8 << 20
_MOST_LOG = 64 << 10  # bytes of the shim's log that are looked through
_GOES_ON = f"\nthe report has more than {_MOST_REPORT} bytes, and its end was not read"


@dataclass(frozen=True)
class Trial:
    """One that runs.

    Attributes:
        reference: what containers ask for, NAME@sha256:DIGEST.
        log_file: the shim's.
        starter: podman's, None for Docker.
    """

    directory: Path
    name: str
    reference: str
    store: Store
    log_file: str
    starter: Path | None

    @property
    def _report(self) -> Path:
        return Path(self.store.directory, self.name + REPORT)

    def expect_report(self) -> None:
        """Have the next permissive container tell what it would refuse. Raises Failure."""
        try:
            self._report.unlink(missing_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with os.fdopen(os.open(self._report, flags, 0o600), "w") as file:
                file.write(_NOT_BEGUN)
        except OSError as error:
            raise Failure(f"{self._report} cannot be written: {error.strerror}") from None

    def report(self) -> str | None:
        """What was told since, and no more is; None: no container began. Raises Failure."""
        try:
            with open(os.open(self._report, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
                read = file.read(_MOST_REPORT + 1)
            self._report.unlink()
        except OSError as error:
            raise Failure(f"{self._report} cannot be read: {error.strerror}") from None
        text = read[:_MOST_REPORT].decode(errors="surrogateescape")
        if len(read) > _MOST_REPORT:
            text += _GOES_ON
        return None if text == _NOT_BEGUN else text

    def overridden(self) -> str | None:
        """Why another policy or mode than what is tried held for a container of the trial, if one did."""
        # Who decides before the environment, by which we ask, is told by the shim (enforcer.wishes).
        asked = (f"SCMM_POLICY='{self.name}", *(["SCMM_MODE="] if self.starter is not None else []))
        try:
            with open(self.log_file, "rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - _MOST_LOG))
                lines = file.read(_MOST_LOG).decode(errors="replace").splitlines()
        except OSError:
            return None
        said = [line.partition(": ")[2].partition(": ")[2] for line in lines]
        return next((printable(each) for each in said if each.startswith(asked) and " is ignored: " in each), None)


@dataclass(frozen=True)
class Parts:
    """What podman's shim is made of: the starter's text, what it runs, the launcher, and the runtime below."""

    template: str
    python: Path
    package: Path
    launcher: bytes
    hook: Path
    runtime: str


@contextmanager
def for_podman(policy: bytes, of: Parts) -> Iterator[Trial]:
    """A trial with a shim, a store and bundles of its own: nothing of the host's is changed. Raises Failure."""
    with _directory() as directory:
        settings = {
            "runtimes": {shim_settings.DEFAULT: of.runtime},
            "launcher": str(directory / parts.LAUNCHER),
            "hook": str(of.hook),
            "policy_dir": str(directory / _STORE),
            "run_dir": str(directory / _BUNDLES),
            "log_file": str(directory / _LOG),
        }
        written = parts.files(
            libexec=directory,
            template=of.template,
            python=of.python,
            package=of.package,
            settings=json.dumps(settings).encode(),
            launcher=of.launcher,
            runtimes={shim_settings.DEFAULT: Path(of.runtime)},
        )
        with _writing(directory):
            for path, (content, mode) in written.items():
                path.write_bytes(content)
                path.chmod(mode)
            for each in (os.path.dirname(_BUNDLES), _BUNDLES, _STORE):
                # Whoever is root in a user namespace goes through to what is mounted, and sees no names.
                (directory / each).mkdir()
                (directory / each).chmod(0o711)
        starter = directory / parts.starter(shim_settings.DEFAULT)
        with _entry(directory, Store(str(directory / _STORE)), policy, str(directory / _LOG), starter) as trial:
            yield trial
            _await_empty(Places(str(directory / _BUNDLES)))


@contextmanager
def for_docker(policy: bytes, policy_dir: str, log_file: str) -> Iterator[Trial]:
    """A trial in the store that Docker's shim reads; log_file: where that shim writes. Raises Failure."""
    with _directory() as directory, _entry(directory, Store(policy_dir), policy, log_file, None) as trial:
        yield trial


@contextmanager
def _entry(directory: Path, store: Store, policy: bytes, log_file: str, starter: Path | None) -> Iterator[Trial]:
    name = directory.name
    with _writing(directory):
        (directory / _WHERE).write_text(store.directory)
    try:
        digest = store.add(name, policy)
        yield Trial(directory, name, f"{name}@sha256:{digest}", store, log_file, starter)
    except BadStore as error:
        raise Failure(str(error)) from None
    finally:
        _forget(store.directory, name)


@contextmanager
def _directory() -> Iterator[Path]:
    """A directory of this trial's own, locked."""
    _sweep()
    place = next((each for each in PLACES if _can_execute(each)), None)
    if place is None:
        raise Failure(f"no program can be executed in {' or '.join(PLACES)} (noexec)")
    with _writing(place):
        made = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
    handle = scratch.lock(made)
    try:
        made.chmod(0o711)
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
        os.close(handle)


@contextmanager
def _writing(where: str | Path) -> Iterator[None]:
    """Tell what cannot be written there. Raises Failure."""
    try:
        yield
    except OSError as error:
        raise Failure(f"{where} cannot be written: {error.strerror}") from None


def _can_execute(place: str) -> bool:
    try:
        return not os.statvfs(place).f_flag & os.ST_NOEXEC and os.access(place, os.W_OK | os.X_OK)
    except OSError:
        return False


def _sweep() -> None:
    """Remove what trials have left that are dead."""
    for path in scratch.abandoned(each for place in PLACES for each in sorted(Path(place).glob(f"{PREFIX}*"))):
        with suppress(FileNotFoundError):
            if os.listdir(path / _BUNDLES):
                continue  # its container goes on, and needs the shim to end
        with suppress(OSError, ValueError):
            _forget((path / _WHERE).read_text(), path.name)
        shutil.rmtree(path, ignore_errors=True)


def _forget(directory: str, name: str) -> None:
    """Take a trial's policy and report out of a store."""
    for each in (name + SUFFIX, name + REPORT):
        with suppress(FileNotFoundError):
            os.unlink(os.path.join(directory, each))


def _await_empty(places: Places) -> None:
    """Wait until nothing is left of containers: the engine may still call the shim to have them removed.

    Those whose engine does not call it (crun's that could not be created) are swept. What lives on is the engine's.
    """
    end = time.monotonic() + _PATIENCE
    while os.path.isdir(places.directory) and os.listdir(places.directory) and time.monotonic() < end:
        if not places.sweep():
            time.sleep(_LOOK)
