"""Root file systems made from Debian packages, built once and kept in a cache.

There is no registry to pull from on the machines this runs on, so `busybox` is the static busybox of the
package busybox-static and `services` is mmdebstrap's essential Debian with nginx, redis and Python. The cache is
`.cache/rig/` of the checkout or $SCMM_RIG_CACHE; a file's name holds the hash of its recipe.

Facts relied on: mmdebstrap(1) (MIRROR `-` reads sources.list from stdin), apt-get(8) indextargets,
apt-config(8), elf(5) (PT_INTERP).
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import re
import shutil
import struct
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rig.process import RigError, clean_environ, find_program, missing_programs, run

SUITE = "bookworm"
SERVICES = ("nginx-light", "redis-server", "python3-minimal")
_LEFT_OUT = tuple(f"path-exclude=/usr/share/{part}/*" for part in ("doc", "info", "locale", "man"))
_PASSWD = "root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"
_GROUP = "root:x:0:\nnogroup:x:65534:\n"
_DIRECTORIES = ("bin", "dev", "etc", "proc", "root", "run", "sys", "usr", "usr/bin", "usr/sbin", "var")
_PT_INTERP = 3
#: apt settings of this machine that decide whether its mirrors can be reached and are believed.
_APT_SETTINGS = re.compile(r"Acquire::(https?::|Check-|Retries|ForceIPv)")


def cache_dir() -> Path:
    """The cache: $SCMM_RIG_CACHE or .cache/rig of this checkout; made private, for it holds set-uid files."""
    path = Path(os.environ.get("SCMM_RIG_CACHE") or Path(__file__).resolve().parents[1] / ".cache" / "rig")
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path.resolve()


def busybox_unavailable() -> str | None:
    """Why the busybox image cannot be built here, or None."""
    reason = missing_programs("busybox")
    if reason:
        return reason + " (Debian package busybox-static)"
    if _needs_loader(Path(find_program("busybox") or "")):
        return "busybox is dynamically linked (install the Debian package busybox-static)"
    return None


def services_unavailable() -> str | None:
    """Why the services image cannot be built here, or None. A cached one needs nothing."""
    return None if _services_path().exists() else missing_programs("mmdebstrap", "apt-get", "apt-config")


def busybox() -> Path:
    """The tar of a root with a static busybox and a symlink for each of its applets."""
    reason = busybox_unavailable()
    if reason:
        raise RigError(reason)
    program = Path(find_program("busybox") or "")
    binary = program.read_bytes()
    applets = sorted(set(run([program, "--list"]).stdout.split()) - {"busybox"})
    recipe = {"version": 1, "sha256": hashlib.sha256(binary).hexdigest(), "applets": applets}
    return _cached("busybox", ".tar", recipe, lambda path: _write_busybox(path, binary, applets))


def services() -> Path:
    """The tar of a Debian root with nginx, redis and Python, from this machine's apt sources (15 to 30 s, once)."""
    reason = services_unavailable()
    if reason:
        raise RigError(reason)
    return _cached("services", ".tar", _services_recipe(), _write_services)


def rootfs(tar: Path) -> Path:
    """The directory into which a tar is unpacked, once; read-only by agreement (put an overlay on it)."""
    recipe = {"version": 1, "tar": tar.name, "size": tar.stat().st_size}

    def unpack(path: Path) -> None:
        path.mkdir(mode=0o755)
        run(["tar", "--numeric-owner", "-C", path, "-xpf", tar], timeout=300)

    return _cached(f"root-{tar.name.split('-')[0]}", "", recipe, unpack)


def _cached(name: str, suffix: str, recipe: object, build: Callable[[Path], None]) -> Path:
    """The cached file, built under a lock into a temporary name and renamed."""
    target = _target(name, suffix, recipe)
    if target.exists():
        return target
    with _lock(target.parent / f".{name}.lock"):
        if target.exists():
            return target
        scratch = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=target.parent))
        try:
            build(scratch / "new")
            (scratch / "new").rename(target)
        finally:
            shutil.rmtree(scratch)
    return target


def _target(name: str, suffix: str, recipe: object) -> Path:
    digest = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()
    return cache_dir() / f"{name}-{digest[:16]}{suffix}"


@contextmanager
def _lock(path: Path) -> Iterator[None]:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _write_busybox(path: Path, binary: bytes, applets: list[str]) -> None:
    """A reproducible tar: fixed owner, time and order. /tmp has the sticky bit, as every root has."""
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as archive:

        def add(name: str, mode: int, kind: bytes, *, data: bytes = b"", link: str = "") -> None:
            entry = tarfile.TarInfo(name)
            entry.mode, entry.type, entry.linkname, entry.size = mode, kind, link, len(data)
            archive.addfile(entry, io.BytesIO(data))

        for directory in _DIRECTORIES:
            add(directory, 0o755, tarfile.DIRTYPE)
        add("tmp", 0o1777, tarfile.DIRTYPE)
        add("sbin", 0o777, tarfile.SYMTYPE, link="bin")
        add("etc/passwd", 0o644, tarfile.REGTYPE, data=_PASSWD.encode())
        add("etc/group", 0o644, tarfile.REGTYPE, data=_GROUP.encode())
        add("bin/busybox", 0o755, tarfile.REGTYPE, data=binary)
        for applet in applets:
            add(f"bin/{applet}", 0o777, tarfile.SYMTYPE, link="busybox")


def _services_recipe() -> dict[str, object]:
    return {"version": 1, "suite": SUITE, "variant": "essential", "include": SERVICES, "dpkg": _LEFT_OUT}


def _services_path() -> Path:
    return _target("services", ".tar", _services_recipe())


def _write_services(path: Path) -> None:
    sources = apt_sources(SUITE)
    options = [f"--aptopt={setting}" for setting in _apt_settings()]
    options += [f"--dpkgopt={setting}" for setting in _LEFT_OUT]
    cmd = ["mmdebstrap", "--variant=essential", f"--include={','.join(SERVICES)}", "--format=tar", *options]
    env = clean_environ(TMPDIR=str(path.parent))
    run([*cmd, SUITE, path, "-"], input="\n".join(sources) + "\n", timeout=900, env=env)


def apt_sources(suite: str) -> list[str]:
    """This machine's own apt sources for a Debian suite, as one-line entries; other archives are left out."""
    listing = run(["apt-get", "indextargets", "Identifier: Packages"]).stdout
    lines = []
    for stanza in listing.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in stanza.splitlines() if ": " in line)
        release = fields.get("Release", "")
        if release != suite and not release.startswith(f"{suite}-"):
            continue
        signed = f"[signed-by={fields['Signed-By']}] " if fields.get("Signed-By", "").startswith("/") else ""
        lines.append(f"deb {signed}{fields['Repo-URI']} {release} {fields['Component']}")
    if not lines:
        raise RigError(f"no apt source for {suite} in /etc/apt, which the services image is made from")
    return list(dict.fromkeys(lines))


def _apt_settings() -> list[str]:
    dump = run(["apt-config", "dump", "Acquire"]).stdout
    return [line for line in dump.splitlines() if _APT_SETTINGS.match(line) and not line.endswith(' "";')]


def _needs_loader(program: Path) -> bool:
    """Whether an ELF file has a PT_INTERP header, that is, is dynamically linked."""
    data = program.read_bytes()
    if data[:4] != b"\x7fELF" or data[4] != 2:
        return True
    offset, size, count = (
        struct.unpack_from("<Q", data, 32)[0],
        *struct.unpack_from("<HH", data, 54),
    )
    kinds = (struct.unpack_from("<I", data, offset + i * size)[0] for i in range(count))
    return _PT_INTERP in kinds
