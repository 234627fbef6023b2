"""System calls that programs try and do without: refused, they must be answered ENOSYS ("not implemented"), not EPERM.

A C library or language runtime asks for the newer call first and takes the older one when it hears ENOSYS; EPERM it
takes for an answer and fails (clone3 and faccessat2 broke containers that way). A recording on a kernel, libc or
runtime that did not try them says nothing about the next one, so profiles name them all.

Two sets make up the class. Every call of the unified numbering from 424 on (Linux 5.1), which is the same on all
architectures, is younger than the libcs that must run without it; so are the 64-bit time calls of 32-bit
architectures (403 to 423). Older ones are named one by one below, each with who goes on without it; one too many there
costs nothing but another errno for a call that is refused either way.
"""

from __future__ import annotations

from functools import cache

from scmm_oci.tables import syscalls

# First number of the calls that all architectures share: pidfd_send_signal, Linux 5.1 (syscall.tbl of each).
UNIFIED_FROM = 424
# *_time64 on 32-bit architectures, Linux 5.1.
TIME64_FROM = 403

# Name → who goes on without it.
OLDER = {
    "accept4": "musl: accept, then fcntl",
    "copy_file_range": "coreutils, Go, Rust: read and write",
    "dup3": "musl: dup2",
    "epoll_create1": "musl: epoll_create",
    "epoll_pwait": "musl: epoll_wait",
    "eventfd2": "musl: eventfd",
    "execveat": "glibc and musl fexecve: execve of /proc/self/fd/N",
    "getrandom": "glibc, OpenSSL, Go: /dev/urandom",
    "inotify_init1": "musl: inotify_init",
    "membarrier": "liburcu, musl: another kind of barrier",
    "memfd_create": "many: a temporary file",
    "mlock2": "glibc: mlock",
    "pipe2": "musl: pipe, then fcntl",
    "pkey_alloc": "glibc: no memory protection keys",
    "pkey_mprotect": "glibc: mprotect",
    "preadv2": "glibc: preadv",
    "prlimit64": "musl: getrlimit, setrlimit",
    "pwritev2": "glibc: pwritev",
    "renameat2": "glibc, coreutils: renameat",
    "rseq": "glibc, tcmalloc: the processor's number in another way",
    "signalfd4": "musl: signalfd",
    "statx": "glibc, coreutils, Rust, Qt: newfstatat",
    "utimensat": "musl: futimesat",
}


@cache
def probes() -> frozenset[str]:
    """The names of the whole class, over all architectures."""
    unified = {name for name, number in syscalls.numbers("x86_64").items() if number >= UNIFIED_FROM}
    time64 = {name for name, number in syscalls.numbers("x86").items() if TIME64_FROM <= number < UNIFIED_FROM}
    return frozenset(unified | time64 | set(OLDER))
