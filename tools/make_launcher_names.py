#!/usr/bin/env python3
"""Write launcher/names.h: names of system calls and errors for what the launcher reports, from scmm_oci.tables.

A call's entry says how its arguments are written, a letter for each, and then its name: ``d`` a directory's descriptor,
``p`` a path, ``a`` a socket address whose length follows, ``x`` a number. Each machine has the tables of the ABIs that
its kernel runs. A unit test makes the file again and compares.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scmm_oci.tables.arch import Arch
from scmm_oci.tables.errnos import NAMES
from scmm_oci.tables.operations import FILE_CALLS
from scmm_oci.tables.syscalls import numbers

TARGET = Path(__file__).resolve().parent.parent / "launcher" / "names.h"

#: How many arguments calls have (linux/syscalls.h; fields of the sys_enter events of Linux 6.18). All six are written
#: of calls that stand nowhere here: the kernel no longer has them.
COUNTS = {
    0: (
        "breakpoint fork get_tls getegid getegid32 geteuid geteuid32 getgid getgid32 getpgrp getpid getppid gettid "
        "getuid getuid32 inotify_init munlockall pause restart_syscall rseq_slice_yield rt_sigreturn sched_yield "
        "setsid sgetmask sigreturn sync uprobe uretprobe usr26 usr32 vfork vhangup"
    ),
    1: (
        "_sysctl acct adjtimex alarm brk chdir chroot close dup epoll_create epoll_create1 eventfd exit exit_group "
        "fchdir fdatasync fsync get_thread_area getpgid getsid inotify_init1 io_destroy iopl memfd_secret mlockall "
        "mq_unlink nice oldolduname olduname personality pipe pkey_free rmdir sched_get_priority_max "
        "sched_get_priority_min sched_getscheduler set_thread_area set_tid_address set_tls setfsgid setfsgid32 "
        "setfsuid setfsuid32 setgid setgid32 setuid setuid32 shmdt sigpending ssetmask stime swapoff syncfs sysinfo "
        "time timer_delete timer_getoverrun times umask umount uname unlink unshare uselib userfaultfd vm86old"
    ),
    2: (
        "access arch_prctl bdflush capget capset chmod clock_adjtime clock_adjtime64 clock_getres "
        "clock_getres_time64 clock_gettime clock_gettime64 clock_settime clock_settime64 clone3 creat delete_module "
        "dup2 eventfd2 fanotify_init fchmod flock fremovexattr fsopen fstat fstat64 fstatfs fstatfs64 ftruncate "
        "ftruncate64 getcwd getgroups getgroups32 getitimer getpriority getrlimit getrusage gettimeofday "
        "inotify_rm_watch io_setup io_uring_setup ioprio_get kill landlock_restrict_self link listen lremovexattr "
        "lstat lstat64 memfd_create mkdir mlock mq_notify msgget munlock munmap nanosleep oldfstat oldlstat oldstat "
        "pidfd_open pipe2 pivot_root pkey_alloc process_mrelease removexattr rename rt_sigpending rt_sigsuspend "
        "sched_getparam sched_rr_get_interval sched_rr_get_interval_time64 sched_setparam set_robust_list "
        "setdomainname setgroups setgroups32 sethostname setns setpgid setregid setregid32 setreuid setreuid32 "
        "setrlimit settimeofday shutdown sigaltstack signal socketcall stat stat64 statfs statfs64 swapon symlink "
        "timer_gettime timer_gettime64 timerfd_create timerfd_gettime timerfd_gettime64 tkill truncate truncate64 "
        "ugetrlimit umount2 ustat utime utimes vm86"
    ),
    3: (
        "accept bind bpf cacheflush chown chown32 close_range connect dup3 execve faccessat fchmodat fchown "
        "fchown32 fcntl fcntl64 finit_module flistxattr fsmount fspick futimesat get_robust_list getcpu getdents "
        "getdents64 getpeername getrandom getresgid getresgid32 getresuid getresuid32 getsockname init_module "
        "inotify_add_watch io_cancel io_submit ioctl ioperm ioprio_set landlock_create_ruleset lchown lchown32 "
        "listxattr llistxattr lookup_dcookie lseek lsm_list_modules madvise map_shadow_stack membarrier mincore "
        "mkdirat mknod mlock2 modify_ldt mprotect mq_getsetattr mseal msgctl msync open open_by_handle_at open_tree "
        "pciconfig_iobase pidfd_getfd poll read readahead readdir readlink readv recvmsg rt_sigqueueinfo "
        "sched_getaffinity sched_setaffinity sched_setattr sched_setscheduler seccomp semget semop sendmsg "
        "set_mempolicy setitimer setpriority setresgid setresgid32 setresuid setresuid32 shmat shmctl shmget "
        "sigaction signalfd sigprocmask sigsuspend socket symlinkat sysfs syslog tgkill timer_create unlinkat "
        "waitpid write writev"
    ),
    4: (
        "accept4 cachestat clock_nanosleep clock_nanosleep_time64 epoll_ctl epoll_ctl_old epoll_wait epoll_wait_old "
        "faccessat2 fadvise64 fallocate fchmodat2 fgetxattr fstatat64 futex_requeue futex_wake getxattr "
        "io_uring_register kexec_load landlock_add_rule lgetxattr listmount listns lsm_get_self_attr "
        "lsm_set_self_attr migrate_pages mknodat mq_open msgsnd newfstatat openat openat2 pidfd_send_signal "
        "pkey_mprotect pread64 prlimit64 ptrace pwrite64 quotactl quotactl_fd readlinkat reboot recv removexattrat "
        "renameat request_key rseq rt_sigaction rt_sigprocmask rt_sigtimedwait rt_sigtimedwait_time64 "
        "rt_tgsigqueueinfo sched_getattr semctl semtimedop semtimedop_time64 send sendfile sendfile64 sendmmsg "
        "set_mempolicy_home_node signalfd4 socketpair statmount sync_file_range sync_file_range2 tee timer_settime "
        "timer_settime64 timerfd_settime timerfd_settime64 utimensat utimensat_time64 vmsplice wait4"
    ),
    5: (
        "_llseek _newselect add_key clone execveat fanotify_mark fchownat file_getattr file_setattr fsconfig "
        "fsetxattr futex_waitv get_mempolicy getsockopt io_getevents kcmp kexec_file_load keyctl linkat listxattrat "
        "lsetxattr mount mount_setattr move_mount mq_timedreceive mq_timedreceive_time64 mq_timedsend "
        "mq_timedsend_time64 mremap msgrcv name_to_handle_at open_tree_attr pciconfig_read pciconfig_write "
        "perf_event_open ppoll ppoll_time64 prctl preadv process_madvise pwritev recvmmsg recvmmsg_time64 "
        "remap_file_pages renameat2 select setsockopt setxattr statx waitid"
    ),
    6: (
        "arm_fadvise64_64 copy_file_range epoll_pwait epoll_pwait2 fadvise64_64 futex futex_time64 futex_wait "
        "getxattrat io_pgetevents io_pgetevents_time64 io_uring_enter ipc mbind mmap mmap2 move_pages preadv2 "
        "process_vm_readv process_vm_writev pselect6 pselect6_time64 pwritev2 recvfrom sendto setxattrat splice"
    ),
}

#: Where a 32-bit ABI has others: it halves numbers of 64 bits, and arm begins each at an even register (syscall(2));
#: x86's mmap and select take a structure.
OF_32_BITS = {
    Arch.X86: {
        "fadvise64": "xxxxx", "fallocate": "xxxxxx", "fanotify_mark": "xxxxdp", "ftruncate64": "xxx", "mmap": "x",
        "pread64": "xxxxx", "pwrite64": "xxxxx", "readahead": "xxxx", "select": "x", "sync_file_range": "xxxxxx",
        "truncate64": "pxx",
    },
    Arch.ARM: {
        "fallocate": "xxxxxx", "fanotify_mark": "xxxxdp", "ftruncate64": "xxxx", "pread64": "xxxxxx",
        "pwrite64": "xxxxxx", "readahead": "xxxxx", "sync_file_range2": "xxxxxx", "truncate64": "pxxx",
    },
}  # fmt: skip

#: Socket addresses, and paths that name no file that is used: call → index and letter.
_OTHERS = {
    "bind": {1: "a"},
    "connect": {1: "a"},
    "sendto": {4: "a"},
    "symlink": {0: "p"},
    "symlinkat": {0: "p", 1: "d"},
}

_COUNT_OF = {name: count for count, names in COUNTS.items() for name in names.split()}
# Kinds of operations.FILE_CALLS whose names are paths in memory.
_NAMING = ("open", "names", "chdir", "exec")

# Numbers from here on are far from all others (arm's own calls).
_DENSE = 1024

_BLOCKS = (("__x86_64__", (Arch.X86_64, Arch.X86, Arch.X32)), ("__aarch64__", (Arch.AARCH64, Arch.ARM)))


def signature(arch: Arch, name: str) -> str:
    """A letter for each argument of a call."""
    if name in OF_32_BITS.get(arch, {}):
        return OF_32_BITS[arch][name]
    letters = ["x"] * _COUNT_OF.get(name, 6)
    call = FILE_CALLS.get(name)
    for directory, path, _ in call.names if call is not None and call.kind in _NAMING else ():
        letters[path] = "p"
        if directory is not None:
            letters[directory] = "d"
    for index, letter in _OTHERS.get(name, {}).items():
        letters[index] = letter
    return "".join(letters)


def document() -> str:
    """The whole file."""
    lines = [
        "/* Made by tools/make_launcher_names.py from scmm_oci/tables: change nothing here.",
        " *",
        " * A call is a letter for each argument, a space and its name: d a directory, p a path, a an address",
        " * of a socket whose length follows, x a number. Tables hold where it is by number; 0 is no call. */",
        "#pragma once",
        "",
        "#include <stdint.h>",
    ]
    for index, (macro, arches) in enumerate(_BLOCKS):
        lines += ["", f"#{'el' if index else ''}if defined({macro})", *_block(arches)]
    lines += ["", "#endif", "", *_errors()]
    return "\n".join(lines) + "\n"


def _block(arches: Iterable[Arch]) -> Iterator[str]:
    texts: dict[str, int] = {}
    tables: dict[Arch, dict[int, int]] = {}
    size = 1
    for arch in arches:
        for name, number in sorted(numbers(arch).items(), key=lambda one: one[1]):
            text = f"{signature(arch, name)} {name}"
            if text not in texts:
                texts[text] = size
                size += len(text) + 1
            tables.setdefault(arch, {})[number] = texts[text]
    assert size < 1 << 16
    yield from _text("CALLS", texts)
    for arch, table in tables.items():
        dense = {number: at for number, at in table.items() if number < _DENSE}
        yield f"static const uint16_t CALLS_{arch.value.upper()}[] = {{"
        yield from _rows(str(dense.get(number, 0)) for number in range(max(dense) + 1))
        yield "};"
    far = sorted((number, at) for table in tables.values() for number, at in table.items() if number >= _DENSE)
    if far:
        yield "static const struct {"
        yield "\tuint32_t nr;"
        yield "\tuint16_t at;"
        yield "} CALLS_FAR[] = {"
        yield from _rows(f"{{{number:#x}, {at}}}" for number, at in far)
        yield "};"


def _errors() -> Iterator[str]:
    texts: dict[str, int] = {}
    size = 1
    for name in NAMES.values():
        texts[name] = size
        size += len(name) + 1
    yield from _text("ERRORS", texts)
    yield "static const uint16_t ERRORS_BY_NUMBER[] = {"
    yield from _rows(str(texts[NAMES[number]] if number in NAMES else 0) for number in range(max(NAMES) + 1))
    yield "};"


def _text(name: str, texts: Iterable[str]) -> Iterator[str]:
    yield f"static const char {name}[] ="
    parts = ["\\0", *(f"{text}\\0" for text in texts)]
    rows = list(_lines(parts, 108, ""))
    for index, row in enumerate(rows):
        yield f'\t"{row}"{";" if index + 1 == len(rows) else ""}'


def _rows(values: Iterable[str]) -> Iterator[str]:
    for row in _lines([f"{value}," for value in values], 108, " "):
        yield f"\t{row}"


def _lines(words: Iterable[str], width: int, between: str) -> Iterator[str]:
    row = ""
    for word in words:
        if row and len(row) + len(between) + len(word) > width:
            yield row
            row = word
        else:
            row = f"{row}{between}{word}" if row else word
    yield row


def main() -> None:
    """Write the file."""
    TARGET.write_text(document(), encoding="ascii")


if __name__ == "__main__":
    main()
