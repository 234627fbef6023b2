"""What a system call is about, in the seed system's categories: `scmm record --files` and the like choose by them.

Every call is in one. Calls that hardly any program does without (time, signals and what is left) are kept whichever
categories are chosen.
"""

from __future__ import annotations

from enum import StrEnum
from functools import cache

from scmm_oci.tables import syscalls


class Category(StrEnum):
    """What a call is about."""

    FILES = "files"
    NETWORK = "network"
    PROCESS = "process"
    MEMORY = "memory"
    IPC = "ipc"
    TIME = "time"
    SIGNAL = "signal"
    OTHER = "other"


# Those that can be left out of a recording.
CHOICES = (Category.FILES, Category.NETWORK, Category.PROCESS, Category.MEMORY, Category.IPC)

_NAMES = {
    Category.FILES: """
    _llseek access acct arm_fadvise64_64 cachestat chdir chmod chown chown32 chroot close close_range copy_file_range
    creat dup dup2 dup3 faccessat faccessat2 fadvise64 fadvise64_64 fallocate fanotify_init fanotify_mark fchdir fchmod
    fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr file_getattr file_setattr flistxattr
    flock fremovexattr fsconfig fsetxattr fsmount fsopen fspick fstat fstat64 fstatat64 fstatfs fstatfs64 fsync
    ftruncate ftruncate64 futimesat getcwd getdents getdents64 getxattr getxattrat inotify_add_watch inotify_init
    inotify_init1 inotify_rm_watch io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup
    io_submit io_uring_enter io_uring_register io_uring_setup ioctl lchown lchown32 lgetxattr link linkat listmount
    listxattr listxattrat llistxattr lremovexattr lseek lsetxattr lstat lstat64 mkdir mkdirat mknod mknodat mount
    mount_setattr move_mount name_to_handle_at newfstatat nfsservctl oldfstat oldlstat oldstat open open_by_handle_at
    open_tree open_tree_attr openat openat2 pivot_root pread64 preadv preadv2 pwrite64 pwritev pwritev2 quotactl
    quotactl_fd read readahead readdir readlink readlinkat readv removexattr removexattrat rename renameat renameat2
    rmdir sendfile sendfile64 setxattr setxattrat splice stat stat64 statfs statfs64 statmount statx swapoff swapon
    symlink symlinkat sync sync_file_range sync_file_range2 syncfs tee truncate truncate64 umask umount umount2 unlink
    unlinkat ustat utime utimensat utimensat_time64 utimes vmsplice write writev
    """,
    Category.NETWORK: """
    accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom recvmmsg recvmmsg_time64
    recvmsg send sendmmsg sendmsg sendto setdomainname sethostname setsockopt shutdown socket socketcall socketpair
    """,
    Category.PROCESS: """
    arch_prctl capget capset clone clone3 execve execveat exit exit_group fork get_robust_list get_thread_area get_tls
    getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getpgid getpgrp getpid getppid
    getpriority getresgid getresgid32 getresuid getresuid32 getrlimit getrusage getsid gettid getuid getuid32
    ioprio_get ioprio_set kcmp landlock_add_rule landlock_create_ruleset landlock_restrict_self nice personality
    pidfd_getfd pidfd_open prctl prlimit64 process_mrelease ptrace rseq rseq_slice_yield sched_get_priority_max
    sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval
    sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield seccomp
    set_robust_list set_thread_area set_tid_address set_tls setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32
    setgroups setgroups32 setns setpgid setpriority setregid setregid32 setresgid setresgid32 setresuid setresuid32
    setreuid setreuid32 setrlimit setsid setuid setuid32 ugetrlimit unshare vfork wait4 waitid waitpid
    """,
    Category.MEMORY: """
    brk get_mempolicy madvise map_shadow_stack mbind membarrier memfd_create memfd_secret migrate_pages mincore mlock
    mlock2 mlockall mmap mmap2 move_pages mprotect mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free
    pkey_mprotect process_madvise process_vm_readv process_vm_writev remap_file_pages set_mempolicy
    set_mempolicy_home_node userfaultfd
    """,
    Category.IPC: """
    eventfd eventfd2 futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake ipc mq_getsetattr mq_notify
    mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink msgctl msgget msgrcv
    msgsnd pipe pipe2 semctl semget semop semtimedop semtimedop_time64 shmat shmctl shmdt shmget
    """,
    Category.TIME: """
    adjtimex alarm clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64
    clock_nanosleep clock_nanosleep_time64 clock_settime clock_settime64 ftime getitimer gettimeofday nanosleep
    setitimer settimeofday stime time timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64
    timer_settime timer_settime64 timerfd timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime
    timerfd_settime64 times
    """,
    Category.SIGNAL: """
    kill pause pidfd_send_signal restart_syscall rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn
    rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sgetmask sigaction sigaltstack signal
    signalfd signalfd4 sigpending sigprocmask sigreturn sigsuspend ssetmask tgkill tkill
    """,
    Category.OTHER: """
    _newselect _sysctl add_key afs_syscall bdflush bpf break breakpoint cacheflush create_module delete_module
    epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old finit_module
    get_kernel_syms getcpu getpmsg getrandom gtty idle init_module ioperm iopl kexec_file_load kexec_load keyctl listns
    lock lookup_dcookie lsm_get_self_attr lsm_list_modules lsm_set_self_attr modify_ldt mpx multiplexer oldolduname
    olduname pciconfig_iobase pciconfig_read pciconfig_write perf_event_open poll ppoll ppoll_time64 prof profil
    pselect6 pselect6_time64 putpmsg query_module reboot request_key riscv_flush_icache riscv_hwprobe rtas
    s390_guarded_storage s390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr s390_sthyi security select spu_create
    spu_run stty subpage_prot swapcontext switch_endian sys_debug_setcontext sysfs sysinfo syslog tuxcall ulimit uname
    uprobe uretprobe uselib usr26 usr32 vhangup vm86 vm86old vserver
    """,
}


@cache
def _table() -> dict[str, Category]:
    return {name: category for category, names in _NAMES.items() for name in names.split()}


def category_of(name: str | None) -> Category:
    """The category of a call; one that we do not know is OTHER."""
    return _table().get(name or "", Category.OTHER)


def unknown_names() -> set[str]:
    """Names in this table that no architecture has; empty unless one was mistyped."""
    return set(_table()) - syscalls.all_names()


def missing_names() -> set[str]:
    """Names that some architecture has and that are in no category; empty unless the tables have new ones."""
    return set(syscalls.all_names() - _table().keys())
