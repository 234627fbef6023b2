/* System calls without a C library: numbers, calling conventions and constants of the two machines that the launcher
 * is built for. Constants are our own, as headers of build machines are older than the kernels that we run on.
 * Sources: asm/unistd.h, linux/landlock.h, linux/seccomp.h, linux/prctl.h, linux/capability.h, asm-generic/fcntl.h. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#if defined(__x86_64__)
#define MACHINE_AUDIT 0xC000003Eu
#define MACHINE_NAME "x86_64"
enum {
	NR_read = 0, NR_write = 1, NR_close = 3, NR_fstat = 5, NR_lseek = 8, NR_mmap = 9, NR_munmap = 11, NR_getpid = 39,
	NR_execve = 59, NR_fcntl = 72, NR_umask = 95, NR_getuid = 102, NR_getgid = 104, NR_geteuid = 107, NR_getgroups = 115, NR_setgroups = 116,
	NR_setresuid = 117, NR_getresuid = 118, NR_setresgid = 119, NR_getresgid = 120, NR_setfsuid = 122, NR_setfsgid = 123, NR_capget = 125, NR_capset = 126,
	NR_prctl = 157, NR_getdents64 = 217, NR_exit_group = 231, NR_openat = 257, NR_mkdirat = 258, NR_fchownat = 260,
	NR_readlinkat = 267, NR_faccessat = 269, NR_seccomp = 317, NR_close_range = 436, NR_faccessat2 = 439,
	NR_landlock_create_ruleset = 444, NR_landlock_add_rule = 445, NR_landlock_restrict_self = 446, NR_fstatfs = 138,
	NR_mount = 165, NR_umount2 = 166, NR_pivot_root = 155, NR_move_mount = 429,
	/* To supervise. */
	NR_rt_sigaction = 13, NR_rt_sigprocmask = 14, NR_ioctl = 16, NR_clone = 56, NR_wait4 = 61, NR_kill = 62, NR_getppid = 110,
	NR_pread64 = 17, NR_ftruncate = 77, NR_ppoll = 271, NR_unshare = 272, NR_signalfd4 = 289, NR_prlimit64 = 302, NR_process_vm_readv = 310,
	/* To hand a listener over. */
	NR_socket = 41, NR_connect = 42, NR_sendmsg = 46, NR_shutdown = 48, NR_setsockopt = 54, NR_getsockopt = 55,
};
#define O_DIRECTORY 0200000
#define O_NOFOLLOW 0400000
#elif defined(__aarch64__)
#define MACHINE_AUDIT 0xC00000B7u
#define MACHINE_NAME "aarch64"
enum {
	NR_fcntl = 25, NR_mkdirat = 34, NR_faccessat = 48, NR_fchownat = 54, NR_openat = 56, NR_close = 57,
	NR_getdents64 = 61, NR_lseek = 62, NR_read = 63, NR_write = 64, NR_readlinkat = 78, NR_fstat = 80, NR_capget = 90,
	NR_capset = 91, NR_exit_group = 94, NR_setresuid = 147, NR_getresuid = 148, NR_setresgid = 149, NR_getresgid = 150, NR_setfsuid = 151, NR_setfsgid = 152,
	NR_getgroups = 158, NR_setgroups = 159, NR_umask = 166, NR_prctl = 167, NR_getpid = 172, NR_getuid = 174, NR_geteuid = 175, NR_getgid = 176,
	NR_munmap = 215, NR_execve = 221, NR_mmap = 222, NR_seccomp = 277, NR_close_range = 436, NR_faccessat2 = 439,
	NR_landlock_create_ruleset = 444, NR_landlock_add_rule = 445, NR_landlock_restrict_self = 446, NR_fstatfs = 44,
	NR_mount = 40, NR_umount2 = 39, NR_pivot_root = 41, NR_move_mount = 429,
	/* To supervise. */
	NR_ioctl = 29, NR_ftruncate = 46, NR_pread64 = 67, NR_ppoll = 73, NR_signalfd4 = 74, NR_unshare = 97, NR_kill = 129, NR_rt_sigaction = 134,
	NR_rt_sigprocmask = 135, NR_getppid = 173, NR_clone = 220, NR_wait4 = 260, NR_prlimit64 = 261, NR_process_vm_readv = 270,
	/* To hand a listener over. */
	NR_socket = 198, NR_connect = 203, NR_setsockopt = 208, NR_getsockopt = 209, NR_shutdown = 210, NR_sendmsg = 211,
};
#define O_DIRECTORY 040000
#define O_NOFOLLOW 0100000
#else
#error "the launcher is for x86_64 and aarch64"
#endif

#define O_RDONLY 0
#define O_WRONLY 1
#define O_RDWR 2
#define O_CREAT 0100
#define O_EXCL 0200
#define O_NONBLOCK 04000
#define O_CLOEXEC 02000000
#define O_PATH 010000000
#define AT_FDCWD (-100)
#define AT_EMPTY_PATH 0x1000
#define AT_EACCESS 0x200
#define X_OK 1
/* linux/magic.h */
#define PROC_SUPER_MAGIC 0x9fa0
#define S_IFMT 0170000
#define S_IFDIR 0040000
#define S_IFREG 0100000
#define S_IFSOCK 0140000
#define S_IFLNK 0120000
#define F_GETFD 1
#define F_SETFD 2
#define FD_CLOEXEC 1
#define CLOSE_RANGE_CLOEXEC 4
#define SEEK_SET 0
#define PROT_READ 1
#define PROT_WRITE 2
#define MAP_SHARED 1
#define MAP_PRIVATE 2
#define MAP_ANONYMOUS 0x20

#define EPERM 1
#define ENOENT 2
#define EINTR 4
#define EIO 5
#define E2BIG 7
#define ECHILD 10
#define EAGAIN 11
#define EACCES 13
#define EBUSY 16
#define EEXIST 17
#define ENOTDIR 20
#define EINVAL 22
#define EPIPE 32
#define ENOSYS 38
#define ELOOP 40
#define EOPNOTSUPP 95
#define ECONNRESET 104
#define ETIMEDOUT 110

/* linux/sched.h's child, as wait4(2) knows it; asm-generic/signal.h, linux/wait.h, asm-generic/resource.h. */
#define SIGKILL 9
#define SIGPIPE 13
#define SIGCHLD 17
#define SIGXFSZ 25
#define WNOHANG 1
#define WALL 0x40000000
#define RLIMIT_CORE 4

#define PR_CAPBSET_READ 23
#define PR_CAPBSET_DROP 24
#define PR_SET_KEEPCAPS 8
#define PR_SET_NO_NEW_PRIVS 38
#define PR_CAP_AMBIENT 47
#define PR_CAP_AMBIENT_RAISE 2
#define PR_CAP_AMBIENT_CLEAR_ALL 4
#define CAP_LAST 40
#define LINUX_CAPABILITY_VERSION_3 0x20080522u

#define SECCOMP_SET_MODE_FILTER 1
#define LANDLOCK_CREATE_RULESET_VERSION 1
#define LANDLOCK_RULE_PATH_BENEATH 1
#define LANDLOCK_RULE_NET_PORT 2
#define LANDLOCK_RESTRICT_SELF_LOG_NEW_EXEC_ON 2

long sys(long nr, long a, long b, long c, long d, long e, long f);
#define SYS0(nr) sys(nr, 0, 0, 0, 0, 0, 0)
#define SYS1(nr, a) sys(nr, (long)(a), 0, 0, 0, 0, 0)
#define SYS2(nr, a, b) sys(nr, (long)(a), (long)(b), 0, 0, 0, 0)
#define SYS3(nr, a, b, c) sys(nr, (long)(a), (long)(b), (long)(c), 0, 0, 0)
#define SYS4(nr, a, b, c, d) sys(nr, (long)(a), (long)(b), (long)(c), (long)(d), 0, 0)
#define SYS5(nr, a, b, c, d, e) sys(nr, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), 0)
#define SYS6(nr, a, b, c, d, e, f) sys(nr, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))

_Noreturn void sys_exit(int status);
/* clone(2) of a thread that runs a function which does not return; `stack` is where its stack ends, above. Its id, or an
 * error. start.S */
long sys_thread(uint64_t flags, void *stack, void (*function)(void));

/* asm-generic/poll.h */
#define POLLIN 1
#define POLLOUT 4
#define POLLRDHUP 0x2000

/* The kernel's struct sigaction on both machines; all 0 is SIG_DFL. */
struct action {
	uint64_t handler, flags, restorer, mask;
};
#define SIG_IGN 1

struct poll {
	int fd;
	short events, seen;
};

/* What fstat(2) fills, as far as we look: the members are in another order on the two machines. */
struct file_status {
	uint32_t mode, uid, gid, links;
	uint64_t device, inode, size;
};
long sys_fstat(int fd, struct file_status *status);
