"""How many arguments a system call has, and of which kind: what is needed to print one that `tables.arguments` does not
know. On ABIs of 64 bits; where registers have 32, a number of 64 takes two.

Source: the kernel's own description of its calls, sys_enter_* below /sys/kernel/tracing/events/syscalls (Linux 6.18),
and the manual pages of calls that such a kernel need not have.
"""

from __future__ import annotations

# A letter for each argument, then the calls that have these; "-" has none.
# d: directory descriptor; f: descriptor; i: int; u: unsigned int; x: int, of bits; m: file mode; l: long;
# n: unsigned long, size_t; h: unsigned long, of bits; p: pointer.
_TEXT = """
- fork getegid geteuid getgid getpgrp getpid getppid gettid getuid inotify_init munlockall pause
- restart_syscall rt_sigreturn sched_yield setsid sync vfork vhangup
dpdp renameat
dpdpx linkat move_mount renameat2
dpi faccessat
dpix faccessat2
dpm fchmodat mkdirat
dpmu mknodat
dpmx fchmodat2
dpp futimesat
dppi readlinkat
dppn openat2
dppnu file_getattr file_setattr
dpppx name_to_handle_at
dppx fstatat64 newfstatat utimensat
dpup removexattrat
dpupn listxattrat
dpuppn getxattrat setxattrat
dpuux fchownat
dpx fspick open_tree unlinkat
dpxm openat
dpxpn mount_setattr open_tree_attr
dpxxp statx
f close dup fchdir fdatasync fsync syncfs
ff dup2
ffnpn kexec_file_load
ffnx tee
ffpn sendfile
ffx dup3 pidfd_getfd
fi listen
fifp epoll_ctl
fiipi setsockopt
fiipp getsockopt
fill fallocate
fipx pidfd_send_signal
fl ftruncate
fllx sync_file_range
fln readahead
flni fadvise64
flu lseek
fm fchmod
fn inotify_rm_watch
fp fremovexattr fstat fstatfs mq_notify timerfd_gettime
fpfpnx copy_file_range splice
fpi bind connect
fpii epoll_wait
fpiipn epoll_pwait
fpippn epoll_pwait2
fpn flistxattr read readv signalfd write writev
fpnix process_madvise
fpnl pread64 pwrite64
fpnnn preadv pwritev
fpnnnn preadv2 pwritev2
fpnpp mq_timedreceive
fpnup mq_timedsend
fpnx signalfd4 vmsplice
fpnxpi sendto
fpnxpp recvfrom
fpp accept getpeername getsockname mq_getsetattr
fppn fgetxattr
fppnx fsetxattr
dpppx execveat
fppx accept4 cachestat
fpu getdents getdents64
fpux sendmmsg
fpuxp recvmmsg
fpx finit_module inotify_add_watch recvmsg sendmsg
fupu io_uring_register
fupx landlock_add_rule
fuu fchown
fuupx _llseek
fuuxpn io_uring_enter
fux close_range
fx flock landlock_restrict_self process_mrelease setns shutdown
fxh fcntl ioctl
fxip quotactl_fd
fxndp fanotify_mark
fxpp timerfd_settime
fxppi fsconfig
fxu fsmount
i epoll_create exit exit_group getpgid getsid pkey_free sched_get_priority_max sched_get_priority_min
i sched_getscheduler timer_delete timer_getoverrun
ii getpriority ioprio_get kill setpgid tkill
iii ioprio_set setpriority socket tgkill
iiinn kcmp
iiip rt_tgsigqueueinfo socketpair
iip rt_sigqueueinfo sched_setscheduler
iixh semctl
iixp reboot
inpp migrate_pages
inpppx move_pages
ip clock_adjtime clock_getres clock_gettime clock_settime getgroups getitimer getrusage sched_getparam
ip sched_rr_get_interval sched_setparam setgroups timer_gettime
ipi syslog
ipn modify_ldt set_mempolicy
ipni msgsnd
ipnli msgrcv
ipnpnn process_vm_readv process_vm_writev
ipp get_robust_list setitimer timer_create
ipppp select
ippppp pselect6
ipu semop
ipup semtimedop
ipux sched_getattr
ipx open_by_handle_at sched_setattr shmat waitpid
ipxp wait4
iup sched_getaffinity sched_setaffinity
iupp prlimit64
ix pidfd_open timerfd_create
ixp msgctl shmctl
ixpp clock_nanosleep timer_settime
l io_destroy
lllpp io_getevents
lllppp io_pgetevents
llp io_submit
lpp io_cancel
n unshare
nn pkey_alloc
nni ioperm
npn lookup_dcookie
nppn kexec_load
npppn clone
p acct adjtimex brk chdir chroot get_thread_area mq_unlink pipe rmdir set_thread_area set_tid_address shmdt
p swapoff sysinfo time times umount uname unlink uselib
pdp symlinkat
pi access setdomainname sethostname swapon
piifn perf_event_open
pimp mq_open
piuppu futex
pl truncate
pm chmod creat mkdir
pmu mknod
pn clone3 getcwd mlock munlock munmap rt_sigpending rt_sigsuspend set_robust_list
pnix futex_wake
pnn mprotect mseal
pnni pkey_mprotect
pnnn set_mempolicy_home_node
pnnnfn mmap
pnnnn remap_file_pages
pnnpnx mbind
pnnxp mremap
pnnxpi futex_wait
pnp init_module mincore
pnx getrandom landlock_create_ruleset madvise map_shadow_stack mlock2 msync
pp capget capset gettimeofday link lremovexattr lstat nanosleep pivot_root removexattr rename settimeofday
pp sigaltstack stat statfs symlink utime utimes
ppi readlink
ppn listxattr llistxattr
ppnpn get_mempolicy
ppnx listmount statmount
ppp execve getcpu getresgid getresuid
pppi request_key
pppn getxattr lgetxattr rt_sigtimedwait
pppni add_key
pppnp mount
pppnx lsetxattr setxattr
ppx lsm_list_modules
pui poll
puppn ppoll
puu chown lchown
puxpi futex_waitv
puxu rseq
px delete_module fsopen memfd_create pipe2 umount2
pxii futex_requeue
pxm open
u alarm eventfd iopl setfsgid setfsuid setgid setuid
ui msgget
uii semget
uni shmget
up getrlimit io_setup io_uring_setup setrlimit ustat
uppx lsm_get_self_attr
upux lsm_set_self_attr
uu setregid setreuid
uuu setresgid setresuid
ux eventfd2
uxp seccomp
x epoll_create1 inotify_init1 memfd_secret mlockall personality umask userfaultfd
xh arch_prctl
xhhhh keyctl prctl
xihh ptrace
xiiipn ipc
xipxp waitid
xnh sysfs
xp signal socketcall
xpip quotactl
xppn rt_sigaction rt_sigprocmask
xpu bpf
xu fanotify_init
xxi membarrier
"""

# System call → its letters.
SIGNATURES: dict[str, str] = {}
for _line in _TEXT.split("\n"):
    _letters, *_names = _line.split() or ["-"]
    SIGNATURES |= dict.fromkeys(_names, _letters.strip("-"))

# Of these the kernel takes 32 bits, and of no others: `int` and its kin. The letters are about what is printed, which
# is not the same for some; tests/kernel/test_signatures_live.py compares both with the kernel's own words.
_INTS = frozenset("dfiuxm")
_OTHERWISE = {
    **dict.fromkeys((("ptrace", 0), ("mremap", 3)), False),
    **dict.fromkeys((("inotify_rm_watch", 1), ("preadv2", 5), ("pwritev2", 5)), True),
}
_LOW, _FULL = (1 << 32) - 1, (1 << 64) - 1
# Of modes: chmod(2), open(2), mq_open(3); mkdir(2); umask(2). What kind of file it is to be, only mknod(2) looks at.
_MODE = 0o7777
_MODES = {"mkdir": 0o1777, "mkdirat": 0o1777, "umask": 0o777, "mknod": 0xFFFF, "mknodat": 0xFFFF}


def is_int(call: str, arg: int) -> bool:
    """Whether the kernel takes the low 32 bits of an argument at most.

    False also for what is not known. On ABIs whose registers have 32 bits it makes no difference.
    """
    letters = SIGNATURES.get(call, "")
    return _OTHERWISE.get((call, arg), arg < len(letters) and letters[arg] in _INTS)


def taken(call: str, arg: int) -> int:
    """The bits of an argument that the kernel looks at: whatever stands in the others makes no other call of it."""
    if SIGNATURES.get(call, "")[arg : arg + 1] == "m" or (call, arg) == ("umask", 0):
        return _MODES.get(call, _MODE)
    return _LOW if is_int(call, arg) else _FULL
