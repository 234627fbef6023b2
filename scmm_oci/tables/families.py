"""Families: system calls that kernels and C libraries use in one another's place.

Calls are of one family when they do the same job: the same thing to the same kind of object, whoever is allowed one
of them being allowed the others. They are newer or wider forms (stat, statx), forms of other ABIs (chown32,
clock_gettime64), or what one C library takes where another takes the first (tkill, tgkill). Options may differ, and
where those reach further it is said here:

- clone and clone3, which libraries use for fork and vfork, can also make threads and namespaces. Conditions on clone's
  flags (the groups @process-create and @thread-create) hold that; of clone3 a filter sees nothing.
- openat2 can do what openat can, but a filter cannot see with which flags.
- prlimit64, which libraries use for getrlimit, also sets limits; unlinkat also removes directories.

Not in one family, though they are alike: send and sendmsg (the second hands over descriptors), execve and execveat
(runs what a descriptor holds), nice and setpriority (of others), setrlimit and rmdir with the calls above (getrlimit
must not bring the setting, nor unlink the removal of directories), futex and the calls that came with futex_waitv,
and the multiplexers ipc and socketcall with anything.

`wider` is for ``--portable`` only: a policy is never widened by itself. Sources: the manual page of each call
("C library/kernel differences"), syscalls(2), sysdeps/unix/sysv/linux of glibc, src of musl.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

from scmm_oci.tables import syscalls

# One family on each line.
_TEXT = """
accept accept4
access faccessat faccessat2
chmod fchmodat fchmodat2
chown chown32 fchownat lchown lchown32
adjtimex clock_adjtime clock_adjtime64
alarm setitimer
clock_getres clock_getres_time64
clock_gettime clock_gettime64 gettimeofday time
clock_nanosleep clock_nanosleep_time64 nanosleep
clock_settime clock_settime64 settimeofday stime
clone clone3 fork vfork
creat open openat openat2
dup2 dup3
epoll_create epoll_create1
epoll_pwait epoll_pwait2 epoll_wait
eventfd eventfd2
exit exit_group
fadvise64 fadvise64_64 arm_fadvise64_64
fchown fchown32
fcntl fcntl64
fgetxattr getxattr getxattrat lgetxattr
flistxattr listxattr listxattrat llistxattr
fremovexattr lremovexattr removexattr removexattrat
fsetxattr lsetxattr setxattr setxattrat
fstat fstat64 fstatat64 lstat lstat64 newfstatat oldfstat oldlstat oldstat stat stat64 statx
fstatfs fstatfs64
ftruncate ftruncate64
futex futex_time64
futimesat utime utimensat utimensat_time64 utimes
getdents getdents64 readdir
getegid getegid32
geteuid geteuid32
getgid getgid32
getgroups getgroups32
getpgid getpgrp
getresgid getresgid32
getresuid getresuid32
getrlimit prlimit64 ugetrlimit
getuid getuid32
inotify_init inotify_init1
io_getevents io_pgetevents io_pgetevents_time64
link linkat
_llseek lseek
mkdir mkdirat
mknod mknodat
mlock mlock2
mmap mmap2
mq_timedreceive mq_timedreceive_time64
mq_timedsend mq_timedsend_time64
_newselect pselect6 pselect6_time64 select
olduname oldolduname uname
pipe pipe2
poll ppoll ppoll_time64
preadv preadv2
pwritev pwritev2
read readv
readlink readlinkat
recv recvfrom
recvmmsg recvmmsg_time64 recvmsg
rename renameat renameat2
rt_sigaction sigaction signal
rt_sigpending sigpending
rt_sigprocmask sgetmask sigprocmask ssetmask
rt_sigreturn sigreturn
rt_sigsuspend sigsuspend
rt_sigtimedwait rt_sigtimedwait_time64
sched_rr_get_interval sched_rr_get_interval_time64
semop semtimedop semtimedop_time64
send sendto
sendmmsg sendmsg
sendfile sendfile64
setfsgid setfsgid32
setfsuid setfsuid32
setgid setgid32
setgroups setgroups32
setregid setregid32
setresgid setresgid32
setresuid setresuid32
setreuid setreuid32
setuid setuid32
signalfd signalfd4
statfs statfs64
symlink symlinkat
sync_file_range sync_file_range2
tgkill tkill
timer_gettime timer_gettime64
timer_settime timer_settime64
timerfd timerfd_create
timerfd_gettime timerfd_gettime64
timerfd_settime timerfd_settime64
truncate truncate64
umount umount2
unlink unlinkat
wait4 waitid waitpid
write writev
"""

FAMILIES: tuple[frozenset[str], ...] = tuple(frozenset(line.split()) for line in _TEXT.strip().splitlines())


@cache
def _table() -> dict[str, frozenset[str]]:
    return {name: family for family in FAMILIES for name in family}


def family_of(name: str) -> frozenset[str]:
    """The family that a call is of; of one that has none, the call alone."""
    return _table().get(name, frozenset((name,)))


def wider(names: Iterable[str], arch: str) -> dict[str, tuple[str, ...]]:
    """What the families of these calls add on an architecture: each added call → those of `names` that brought it.

    Both are sorted; calls that are in `names` are not added, nor are those that the architecture lacks.

    Raises:
        BadInput: the architecture is not known.
    """
    given = frozenset(names)
    here = syscalls.numbers(arch).keys()
    added: dict[str, list[str]] = {}
    for name in sorted(given):
        for other in family_of(name) - given:
            if other in here:
                added.setdefault(other, []).append(name)
    return {name: tuple(added[name]) for name in sorted(added)}
