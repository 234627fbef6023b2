"""The cases: fetch runc's source package from this machine's own Debian mirrors, and make what the cases need.

What was fetched and made stays in the rig's cache, for the version that is installed.

Facts relied on: apt-get(8) source, apt.conf(5) Dir::, dpkg-source(1); tests/integration/helpers.bash of runc 1.1, which
takes the runtime from $RUNC, images from what get-images.sh prints, and helpers from contrib/cmd.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rig import images
from rig.process import RigError, clean_environ, missing_programs, run

#: Programs that the first cases take, and those that all take, or what makes their helpers.
FIRST = ("apt-get", "dpkg-source", "bats", "jq", "runc")
ALL = (*FIRST, "gawk", "go", "gcc", "pkg-config")
_HELPERS = ("recvtty", "sd-helper", "seccompagent")
_GOCODE = Path("/usr/share/gocode")  # where Debian's golang-*-dev packages put sources
_IMPORT = Path("src/github.com/opencontainers/runc")
_CASES = Path("tests/integration")
_GET_IMAGES = """#!/bin/sh
printf '%s_IMAGE=%s\\n' BUSYBOX "$CASES_BUSYBOX" DEBIAN "$CASES_DEBIAN"
"""


@dataclass(frozen=True)
class Suite:
    """What was unpacked: `files` are the *.bats in order, `version` is the source package's, `images` are tar files."""

    directory: Path
    version: str
    files: tuple[Path, ...]
    images: Mapping[str, Path]


def unavailable(programs: Sequence[str] = ALL) -> str | None:
    """Why the cases cannot be had here, or None."""
    reason = missing_programs(*programs) or images.busybox_unavailable() or images.services_unavailable()
    return f"{reason} (tools/setup-debian conformance)" if reason else None


def fetch(*, helpers: bool = True) -> Suite:
    """The cases, fetched and made unless they are in the cache. Raises RigError.

    helpers: with upstream's own programs, in Go, for cases that give a console socket or a seccomp agent.
    """
    version = _version("runc")
    target = images.cache_dir() / f"runc-cases-{version}{'-helpers' if helpers else ''}"
    if not target.is_dir():
        scratch = Path(tempfile.mkdtemp(prefix=".runc-cases-", dir=target.parent))
        try:
            tree = _make(scratch, version, helpers=helpers)
            try:
                tree.rename(target)
            except OSError as error:
                if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):  # another was faster: it is the same
                    raise
        finally:
            shutil.rmtree(scratch)
    files = tuple(sorted((target / _CASES).glob("*.bats")))
    if not files:
        raise RigError(f"runc {version} has no cases in {_CASES}")
    return Suite(target / _CASES, version, files, {"BUSYBOX": images.busybox(), "DEBIAN": images.services()})


def _make(directory: Path, version: str, *, helpers: bool) -> Path:
    tree = directory / _IMPORT
    tree.parent.mkdir(parents=True)
    apt = _apt(directory / "apt")
    run([*apt, "update"], timeout=300)
    run([*apt, "source", "--download-only", f"runc={version}"], cwd=directory, timeout=300)
    descriptions = list(directory.glob("runc_*.dsc"))
    if len(descriptions) != 1:
        raise RigError(f"apt-get source left {len(descriptions)} descriptions of runc {version}, not one")
    run(["dpkg-source", "--no-copy", "--extract", descriptions[0], tree], timeout=120)
    for name in _HELPERS if helpers else ():
        _build(directory, tree, name)
    # Upstream's downloads two images; ours are made of Debian's packages, as for all tests.
    script = tree / _CASES / "get-images.sh"
    script.write_text(_GET_IMAGES)
    script.chmod(0o755)
    return tree


def _version(package: str) -> str:
    """The version of the source package that an installed package was built from."""
    fields = run(["dpkg-query", "-W", "-f", "${source:Version}", package]).stdout.strip()
    if not re.fullmatch(r"[0-9A-Za-z.+~:-]+", fields):
        raise RigError(f"dpkg-query: {fields!r} is no version of {package}")
    return fields


def _apt(directory: Path) -> list[str]:
    """apt-get with lists and caches of its own, and this machine's sources as sources of source packages."""
    for each in ("lists/partial", "cache/archives/partial"):
        (directory / each).mkdir(parents=True)
    entries = directory / "sources.list"
    entries.write_text("".join(f"deb-src{line.removeprefix('deb')}\n" for line in images.apt_sources(images.SUITE)))
    options = {
        "Dir::Etc::sourcelist": entries,
        "Dir::Etc::sourceparts": "-",
        "Dir::State::Lists": directory / "lists",
        "Dir::Cache": directory / "cache",
        "APT::Sandbox::User": "root",  # _apt cannot write into a directory of ours
    }
    return ["apt-get", "-q", *(word for name, value in options.items() for word in ("-o", f"{name}={value}"))]


def _build(directory: Path, tree: Path, name: str) -> None:
    """A helper from contrib/cmd, in the way of Go before modules: Debian has all that it imports as packages."""
    env = clean_environ(
        GO111MODULE="off", GOFLAGS="", GOCACHE=str(directory / "gocache"), GOPATH=f"{directory}{os.pathsep}{_GOCODE}"
    )
    where = f"contrib/cmd/{name}"
    run(["go", "build", "-tags", "seccomp", "-o", f"{where}/{name}", f"./{where}"], cwd=tree, env=env, timeout=300)
