"""Verbs that read what others wrote give up, before they do, what they will not need: by Landlock, as far as there is
any, calls that Landlock does not ask about, and root's capabilities but for those that reach other users' files.

A domain is for the life of a process, so only a command that is a process of its own confines itself: `output.run`
marks it as click's object, for what `main()` was called with no arguments but the process's. Whoever calls a verb from
Python, as tests do, passes arguments and is left as it is. Nothing that a user or a file says turns it off.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

import click

import scmm_oci
from scmm_oci.cli.output import OWN, say
from scmm_oci.kernel import capabilities, landlock, refusing
from scmm_oci.kernel.capabilities import CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER, FSETID, SYS_RESOURCE
from scmm_oci.kernel.landlock import READ, READ_DIR, READ_FILE, REPLACE, WRITE_FILE

# What modules that are imported late, and the C library, look at.
_LIBRARIES = ("/usr/lib", "/usr/lib64", "/usr/local/lib", "/lib", "/lib64", "/etc/ld.so.cache")

# Root reads the files of all users, replaces them also in sticky directories, and takes what is reserved of the disk.
_OF_FILES = (CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER, FSETID, SYS_RESOURCE)


def confine(
    reads: Sequence[str],
    writes: Iterable[str | None] = (),
    *,
    also: Iterable[tuple[str | int, int]] = (),
    capable: Iterable[int] = (),
    sockets: Collection[int] = (),
) -> None:
    """From here on only these files can be read, and only what `files.atomic_write_all` needs can be written.

    Landlock knows directories and all beneath them, so writing is possible there, and beneath. Whatever else the verb
    loads that is not Python's own or of the package must have been loaded. Without a kernel that has Landlock only
    capabilities and calls are given up; in a process that is somebody else's, nothing is. Where the kernel refuses,
    that is told, and the verb goes on.

    Args:
        reads: the inputs; what is not there is left to the verb to tell.
        writes: the outputs; None for one that was not asked for.
        also: further paths with their rights, for what is neither.
        capable: capabilities that are kept beyond those for files.
        sockets: families of sockets that it makes.
    """
    context = click.get_current_context(silent=True)
    if context is None or context.obj is not OWN:
        return
    # A file of Python's that cannot be written is no error, but each try would be told to the kernel's audit.
    sys.dont_write_bytecode = True
    for give_up in (
        lambda: capabilities.keep([*_OF_FILES, *capable]),
        lambda: landlock.confine([*_python(), *_system(), *_inputs(reads), *_outputs(writes), *also]),
        lambda: refusing.refuse(families=sockets),
    ):
        try:
            give_up()
        except OSError as error:
            say(f"note: not confined: {error.strerror}")


def _python() -> Iterator[tuple[str, int]]:
    package = Path(scmm_oci.__file__).resolve().parent
    yield str(package), READ
    yield str(package.parent / "schemas"), READ  # of a source tree; in a wheel they are in the package
    # Where the command lies is no place for modules.
    command = Path(sys.argv[0])
    scripts = {Path(), command.parent, command.resolve().parent}
    for place in map(Path, sys.path):
        if place not in scripts and place.is_absolute():
            yield str(place), READ


def _system() -> Iterator[tuple[str, int]]:
    # gettext looks for translations of usage errors in the second.
    for place in (*_LIBRARIES, str(Path(sys.base_prefix, "share/locale"))):
        yield place, READ
    yield os.devnull, READ_FILE | WRITE_FILE


def _inputs(paths: Sequence[str]) -> Iterator[tuple[str, int]]:
    for path in paths:
        # A directory is no input, and that is told by who opens it.
        yield path, READ_DIR if _type(path) == stat.S_IFDIR else READ_FILE


def _outputs(paths: Iterable[str | None]) -> Iterator[tuple[str, int]]:
    for path in filter(None, paths):
        directory = str(Path(path).parent)
        if _type(directory) == stat.S_IFDIR:
            yield directory, REPLACE | READ_DIR  # a directory is opened to be synced
        if _type(path, follow=False) == stat.S_IFREG:
            yield path, READ_FILE  # what was there is kept meanwhile, as a copy where it cannot be linked to


def _type(path: str, *, follow: bool = True) -> int:
    try:
        return stat.S_IFMT(Path(path).stat(follow_symlinks=follow).st_mode)
    except (OSError, ValueError):
        return 0
