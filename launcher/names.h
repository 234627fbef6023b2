/* Made by tools/make_launcher_names.py from scmm_oci/tables: change nothing here.
 *
 * A call is a letter for each argument, a space and its name: d a directory, p a path, a an address
 * of a socket whose length follows, x a number. Tables hold where it is by number; 0 is no call. */
#pragma once

#include <stdint.h>

#if defined(__x86_64__)
static const char CALLS[] =
	"\0xxx read\0xxx write\0pxx open\0x close\0px stat\0xx fstat\0px lstat\0xxx poll\0xxx lseek\0xxxxxx mmap\0"
	"xxx mprotect\0xx munmap\0x brk\0xxxx rt_sigaction\0xxxx rt_sigprocmask\0 rt_sigreturn\0xxx ioctl\0"
	"xxxx pread64\0xxxx pwrite64\0xxx readv\0xxx writev\0px access\0x pipe\0xxxxx select\0 sched_yield\0"
	"xxxxx mremap\0xxx msync\0xxx mincore\0xxx madvise\0xxx shmget\0xxx shmat\0xxx shmctl\0x dup\0xx dup2\0"
	" pause\0xx nanosleep\0xx getitimer\0x alarm\0xxx setitimer\0 getpid\0xxxx sendfile\0xxx socket\0"
	"xax connect\0xxx accept\0xxxxax sendto\0xxxxxx recvfrom\0xxx sendmsg\0xxx recvmsg\0xx shutdown\0xax bind\0"
	"xx listen\0xxx getsockname\0xxx getpeername\0xxxx socketpair\0xxxxx setsockopt\0xxxxx getsockopt\0"
	"xxxxx clone\0 fork\0 vfork\0pxx execve\0x exit\0xxxx wait4\0xx kill\0x uname\0xxx semget\0xxx semop\0"
	"xxxx semctl\0x shmdt\0xx msgget\0xxxx msgsnd\0xxxxx msgrcv\0xxx msgctl\0xxx fcntl\0xx flock\0x fsync\0"
	"x fdatasync\0px truncate\0xx ftruncate\0xxx getdents\0xx getcwd\0p chdir\0x fchdir\0pp rename\0px mkdir\0"
	"p rmdir\0px creat\0pp link\0p unlink\0pp symlink\0pxx readlink\0px chmod\0xx fchmod\0pxx chown\0xxx fchown\0"
	"pxx lchown\0x umask\0xx gettimeofday\0xx getrlimit\0xx getrusage\0x sysinfo\0x times\0xxxx ptrace\0 getuid\0"
	"xxx syslog\0 getgid\0x setuid\0x setgid\0 geteuid\0 getegid\0xx setpgid\0 getppid\0 getpgrp\0 setsid\0"
	"xx setreuid\0xx setregid\0xx getgroups\0xx setgroups\0xxx setresuid\0xxx getresuid\0xxx setresgid\0"
	"xxx getresgid\0x getpgid\0x setfsuid\0x setfsgid\0x getsid\0xx capget\0xx capset\0xx rt_sigpending\0"
	"xxxx rt_sigtimedwait\0xxx rt_sigqueueinfo\0xx rt_sigsuspend\0xx sigaltstack\0px utime\0pxx mknod\0p uselib\0"
	"x personality\0xx ustat\0px statfs\0xx fstatfs\0xxx sysfs\0xx getpriority\0xxx setpriority\0"
	"xx sched_setparam\0xx sched_getparam\0xxx sched_setscheduler\0x sched_getscheduler\0"
	"x sched_get_priority_max\0x sched_get_priority_min\0xx sched_rr_get_interval\0xx mlock\0xx munlock\0"
	"x mlockall\0 munlockall\0 vhangup\0xxx modify_ldt\0pp pivot_root\0x _sysctl\0xxxxx prctl\0xx arch_prctl\0"
	"x adjtimex\0xx setrlimit\0p chroot\0 sync\0p acct\0xx settimeofday\0xpxxx mount\0px umount2\0px swapon\0"
	"p swapoff\0xxxx reboot\0xx sethostname\0xx setdomainname\0x iopl\0xxx ioperm\0xxxxxx create_module\0"
	"xxx init_module\0xx delete_module\0xxxxxx get_kernel_syms\0xxxxxx query_module\0xpxx quotactl\0"
	"xxxxxx nfsservctl\0xxxxxx getpmsg\0xxxxxx putpmsg\0xxxxxx afs_syscall\0xxxxxx tuxcall\0xxxxxx security\0"
	" gettid\0xxx readahead\0pxxxx setxattr\0pxxxx lsetxattr\0xxxxx fsetxattr\0pxxx getxattr\0pxxx lgetxattr\0"
	"xxxx fgetxattr\0pxx listxattr\0pxx llistxattr\0xxx flistxattr\0px removexattr\0px lremovexattr\0"
	"xx fremovexattr\0xx tkill\0x time\0xxxxxx futex\0xxx sched_setaffinity\0xxx sched_getaffinity\0"
	"x set_thread_area\0xx io_setup\0x io_destroy\0xxxxx io_getevents\0xxx io_submit\0xxx io_cancel\0"
	"x get_thread_area\0xxx lookup_dcookie\0x epoll_create\0xxxx epoll_ctl_old\0xxxx epoll_wait_old\0"
	"xxxxx remap_file_pages\0xxx getdents64\0x set_tid_address\0 restart_syscall\0xxxx semtimedop\0"
	"xxxx fadvise64\0xxx timer_create\0xxxx timer_settime\0xx timer_gettime\0x timer_getoverrun\0x timer_delete\0"
	"xx clock_settime\0xx clock_gettime\0xx clock_getres\0xxxx clock_nanosleep\0x exit_group\0xxxx epoll_wait\0"
	"xxxx epoll_ctl\0xxx tgkill\0px utimes\0xxxxxx vserver\0xxxxxx mbind\0xxx set_mempolicy\0"
	"xxxxx get_mempolicy\0xxxx mq_open\0x mq_unlink\0xxxxx mq_timedsend\0xxxxx mq_timedreceive\0xx mq_notify\0"
	"xxx mq_getsetattr\0xxxx kexec_load\0xxxxx waitid\0xxxxx add_key\0xxxx request_key\0xxxxx keyctl\0"
	"xxx ioprio_set\0xx ioprio_get\0 inotify_init\0xpx inotify_add_watch\0xx inotify_rm_watch\0"
	"xxxx migrate_pages\0dpxx openat\0dpx mkdirat\0dpxx mknodat\0dpxxx fchownat\0dpx futimesat\0dpxx newfstatat\0"
	"dpx unlinkat\0dpdp renameat\0dpdpx linkat\0pdp symlinkat\0dpxx readlinkat\0dpx fchmodat\0dpx faccessat\0"
	"xxxxxx pselect6\0xxxxx ppoll\0x unshare\0xx set_robust_list\0xxx get_robust_list\0xxxxxx splice\0xxxx tee\0"
	"xxxx sync_file_range\0xxxx vmsplice\0xxxxxx move_pages\0dpxx utimensat\0xxxxxx epoll_pwait\0xxx signalfd\0"
	"xx timerfd_create\0x eventfd\0xxxx fallocate\0xxxx timerfd_settime\0xx timerfd_gettime\0xxxx accept4\0"
	"xxxx signalfd4\0xx eventfd2\0x epoll_create1\0xxx dup3\0xx pipe2\0x inotify_init1\0xxxxx preadv\0"
	"xxxxx pwritev\0xxxx rt_tgsigqueueinfo\0xxxxx perf_event_open\0xxxxx recvmmsg\0xx fanotify_init\0"
	"xxxdp fanotify_mark\0xxxx prlimit64\0dpxxx name_to_handle_at\0xxx open_by_handle_at\0xx clock_adjtime\0"
	"x syncfs\0xxxx sendmmsg\0xx setns\0xxx getcpu\0xxxxxx process_vm_readv\0xxxxxx process_vm_writev\0"
	"xxxxx kcmp\0xxx finit_module\0xxx sched_setattr\0xxxx sched_getattr\0dpdpx renameat2\0xxx seccomp\0"
	"xxx getrandom\0xx memfd_create\0xxxxx kexec_file_load\0xxx bpf\0dpxxx execveat\0x userfaultfd\0"
	"xxx membarrier\0xxx mlock2\0xxxxxx copy_file_range\0xxxxxx preadv2\0xxxxxx pwritev2\0xxxx pkey_mprotect\0"
	"xx pkey_alloc\0x pkey_free\0dpxxx statx\0xxxxxx io_pgetevents\0xxxx rseq\0 uretprobe\0 uprobe\0"
	"xxxx pidfd_send_signal\0xx io_uring_setup\0xxxxxx io_uring_enter\0xxxx io_uring_register\0dpx open_tree\0"
	"dpdpx move_mount\0xx fsopen\0xxxxx fsconfig\0xxx fsmount\0dpx fspick\0xx pidfd_open\0xx clone3\0"
	"xxx close_range\0dpxx openat2\0xxx pidfd_getfd\0dpxx faccessat2\0xxxxx process_madvise\0"
	"xxxxxx epoll_pwait2\0dpxxx mount_setattr\0xxxx quotactl_fd\0xxx landlock_create_ruleset\0"
	"xxxx landlock_add_rule\0xx landlock_restrict_self\0x memfd_secret\0xx process_mrelease\0xxxxx futex_waitv\0"
	"xxxx set_mempolicy_home_node\0xxxx cachestat\0dpxx fchmodat2\0xxx map_shadow_stack\0xxxx futex_wake\0"
	"xxxxxx futex_wait\0xxxx futex_requeue\0xxxx statmount\0xxxx listmount\0xxxx lsm_get_self_attr\0"
	"xxxx lsm_set_self_attr\0xxx lsm_list_modules\0xxx mseal\0dpxxxx setxattrat\0dpxxxx getxattrat\0"
	"dpxxx listxattrat\0dpxx removexattrat\0dpxxx open_tree_attr\0dpxxx file_getattr\0dpxxx file_setattr\0"
	"xxxx listns\0 rseq_slice_yield\0xxx waitpid\0xxxxxx break\0px oldstat\0p umount\0x stime\0xx oldfstat\0"
	"xxxxxx stty\0xxxxxx gtty\0x nice\0xxxxxx ftime\0xxxxxx prof\0xx signal\0xxxxxx lock\0xxxxxx mpx\0"
	"xxxxxx ulimit\0x oldolduname\0xxx sigaction\0 sgetmask\0x ssetmask\0xxx sigsuspend\0x sigpending\0x select\0"
	"px oldlstat\0xxx readdir\0x mmap\0xxxxxx profil\0xx socketcall\0x olduname\0xxxxxx idle\0x vm86old\0"
	"xxxxxx ipc\0 sigreturn\0xxx sigprocmask\0xx bdflush\0xxxxx _llseek\0xxxxx _newselect\0xx vm86\0"
	"xxxxx pread64\0xxxxx pwrite64\0xx ugetrlimit\0xxxxxx mmap2\0pxx truncate64\0xxx ftruncate64\0px stat64\0"
	"px lstat64\0xx fstat64\0pxx lchown32\0 getuid32\0 getgid32\0 geteuid32\0 getegid32\0xx setreuid32\0"
	"xx setregid32\0xx getgroups32\0xx setgroups32\0xxx fchown32\0xxx setresuid32\0xxx getresuid32\0"
	"xxx setresgid32\0xxx getresgid32\0pxx chown32\0x setuid32\0x setgid32\0x setfsuid32\0x setfsgid32\0"
	"xxx fcntl64\0xxxx readahead\0xxxx sendfile64\0xxxxx fadvise64\0px statfs64\0xx fstatfs64\0"
	"xxxxxx fadvise64_64\0dpxx fstatat64\0xxxxxx sync_file_range\0xxxxxx fallocate\0xxxxdp fanotify_mark\0"
	"xx clock_gettime64\0xx clock_settime64\0xx clock_adjtime64\0xx clock_getres_time64\0"
	"xxxx clock_nanosleep_time64\0xx timer_gettime64\0xxxx timer_settime64\0xx timerfd_gettime64\0"
	"xxxx timerfd_settime64\0dpxx utimensat_time64\0xxxxxx pselect6_time64\0xxxxx ppoll_time64\0"
	"xxxxxx io_pgetevents_time64\0xxxxx recvmmsg_time64\0xxxxx mq_timedsend_time64\0"
	"xxxxx mq_timedreceive_time64\0xxxx semtimedop_time64\0xxxx rt_sigtimedwait_time64\0xxxxxx futex_time64\0"
	"xx sched_rr_get_interval_time64\0";
static const uint16_t CALLS_X86_64[] = {
	1, 10, 20, 29, 37, 45, 54, 63, 72, 82, 94, 107, 117, 123, 141, 161, 175, 185, 198, 212, 222, 233, 243, 250,
	263, 276, 289, 299, 311, 323, 334, 344, 355, 361, 369, 376, 389, 402, 410, 424, 432, 446, 457, 469, 480,
	494, 510, 522, 534, 546, 555, 565, 581, 597, 613, 630, 647, 659, 665, 672, 683, 690, 701, 709, 717, 728,
	738, 750, 758, 768, 780, 793, 804, 814, 823, 831, 843, 855, 868, 881, 891, 899, 908, 918, 927, 935, 944,
	952, 961, 972, 985, 994, 1004, 1014, 1025, 1036, 1044, 1060, 1073, 1086, 1096, 1104, 1116, 1124, 1135, 1143,
	1152, 1161, 1170, 1179, 1190, 1199, 1208, 1216, 1228, 1240, 1253, 1266, 1280, 1294, 1308, 1322, 1332, 1343,
	1354, 1363, 1373, 1383, 1400, 1421, 1441, 1458, 1473, 1482, 1492, 1501, 1515, 1524, 1534, 1545, 1555, 1570,
	1586, 1604, 1622, 1645, 1666, 1691, 1716, 1741, 1750, 1761, 1772, 1784, 1793, 1808, 1822, 1832, 1844, 1858,
	1869, 1882, 1891, 1897, 1904, 1920, 1932, 1943, 1953, 1963, 1975, 1990, 2007, 2014, 2025, 2046, 2062, 2079,
	2102, 2122, 2136, 2154, 2169, 2184, 2203, 2218, 2234, 2242, 2256, 2271, 2287, 2303, 2317, 2332, 2347, 2361,
	2376, 2391, 2406, 2422, 2438, 2447, 2454, 2467, 2489, 2511, 2529, 2541, 2554, 2573, 2587, 2601, 2619, 2638,
	2653, 2672, 2692, 2715, 2730, 2748, 2765, 2781, 2796, 2813, 2832, 2849, 2868, 2883, 2900, 2917, 2933, 2954,
	2967, 2983, 2998, 3009, 3019, 3034, 3047, 3065, 3085, 3098, 3110, 3129, 3151, 3164, 3182, 3198, 3211, 3225,
	3242, 3255, 3270, 3284, 3298, 3320, 3340, 3359, 3371, 3383, 3396, 3411, 3425, 3441, 3454, 3468, 3481, 3495,
	3511, 3524, 3538, 3554, 3566, 3576, 3595, 3615, 3629, 3638, 3659, 3673, 3691, 3706, 3725, 3738, 3756, 3766,
	3781, 3802, 3821, 3834, 3849, 3861, 3877, 3886, 3895, 3911, 3924, 3938, 3961, 3983, 3998, 4015, 4035, 4050,
	4074, 4096, 4113, 4122, 4136, 4145, 4156, 4180, 4205, 4216, 4233, 4251, 4270, 4286, 4298, 4312, 4328, 4350,
	4358, 4373, 4387, 4402, 4413, 4436, 4451, 4467, 4486, 4500, 4512, 4524, 4545, 4555, 4566, 0, 0, 0, 0, 0, 0,
	0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
	0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
	0, 0, 0, 0, 0, 0, 0, 0, 0, 4574, 4597, 4615, 4637, 4660, 4674, 4691, 4701, 4716, 4728, 4739, 4753, 4763,
	4779, 4792, 4808, 4824, 4846, 4866, 4886, 4903, 4931, 4954, 4980, 4995, 5015, 5033, 5062, 5077, 5092, 5113,
	5129, 5147, 5166, 5181, 5196, 5219, 5242, 5263, 5273, 5291, 5309, 5327, 5346, 5367, 5386, 5405, 5417,
};
static const uint16_t CALLS_X86[] = {
	2748, 683, 659, 1, 10, 20, 29, 5435, 935, 944, 952, 672, 891, 2447, 1482, 985, 1025, 5447, 5460, 72, 424,
	1920, 5471, 1143, 1116, 5480, 1104, 402, 5488, 369, 1473, 5500, 5512, 233, 5524, 5531, 1891, 701, 908, 918,
	927, 355, 243, 1096, 5544, 117, 1152, 1135, 5556, 1161, 1170, 1897, 1932, 5566, 175, 804, 5578, 1179, 5589,
	5603, 1036, 1882, 1515, 361, 1190, 1199, 1208, 5617, 5631, 5641, 1216, 1228, 5652, 5667, 1975, 1869, 1060,
	1073, 1044, 1904, 1240, 1253, 5680, 961, 5689, 972, 1492, 1943, 1963, 5701, 5713, 107, 843, 855, 994, 1014,
	1555, 1570, 5720, 1524, 1534, 2014, 5734, 1124, 410, 389, 37, 54, 45, 5748, 2007, 1784, 5759, 5771, 690,
	1953, 1086, 5781, 823, 5792, 647, 1990, 709, 1793, 1858, 94, 5803, 2025, 2046, 2062, 2079, 2122, 1322, 899,
	5819, 1545, 1501, 2184, 1332, 1343, 5830, 868, 5844, 814, 289, 212, 222, 1354, 831, 1822, 1741, 1750, 1761,
	1772, 1586, 1604, 1622, 1645, 263, 1666, 1691, 1716, 376, 276, 1266, 1280, 5861, 2102, 63, 2136, 1294, 1308,
	1832, 161, 123, 141, 1383, 1400, 1421, 1441, 5869, 5883, 1004, 881, 1363, 1373, 1458, 432, 2154, 2169, 665,
	5898, 5912, 5925, 5940, 5956, 5966, 5977, 5988, 6001, 6011, 6021, 6032, 6043, 6057, 6071, 6086, 6101, 6114,
	6130, 6146, 6162, 6178, 6190, 6201, 6212, 6225, 1808, 299, 311, 2715, 6238, 0, 0, 2234, 6250, 2256, 2271,
	2287, 2303, 2317, 2332, 2347, 2361, 2376, 2391, 2406, 2422, 2438, 6265, 2454, 2467, 2489, 2511, 2601, 2529,
	2541, 2554, 2573, 2587, 6281, 0, 2954, 2619, 2638, 2983, 2967, 2692, 2730, 2796, 2813, 2832, 2849, 2868,
	2883, 2900, 2917, 2933, 6297, 6309, 2998, 3009, 6322, 3019, 3034, 3065, 3047, 3085, 3098, 3110, 3129, 3151,
	3164, 3182, 3198, 0, 3211, 3225, 3242, 3255, 3270, 3284, 3298, 3320, 3340, 3359, 3371, 3383, 3396, 3411,
	6342, 3441, 3454, 3468, 3481, 3495, 3511, 3524, 3538, 3554, 3566, 3576, 3595, 3615, 6357, 3629, 3659, 3673,
	4145, 3706, 3691, 3725, 3738, 3756, 6380, 3781, 3802, 3834, 3849, 3861, 3877, 3886, 3895, 3911, 3924, 3938,
	3961, 3983, 3998, 6397, 4035, 4050, 4074, 4096, 4113, 4122, 4136, 4156, 4180, 4205, 4216, 4233, 4251, 4270,
	4286, 4298, 4312, 4350, 4358, 446, 597, 546, 457, 555, 3821, 630, 613, 565, 581, 480, 510, 494, 522, 534,
	4373, 4387, 4402, 4413, 4436, 4451, 4467, 4486, 4500, 4512, 1844, 4524, 4545, 0, 0, 0, 0, 0, 0, 717, 738,
	323, 344, 334, 750, 758, 768, 780, 793, 6418, 6437, 6456, 6475, 6498, 6526, 6545, 6566, 6587, 6610, 6632,
	6655, 0, 6674, 6702, 6724, 6750, 6779, 6802, 6830, 6850, 4574, 4597, 4615, 4637, 4660, 4674, 4691, 4701,
	4716, 4728, 4739, 4753, 4763, 4779, 4792, 4808, 4824, 4846, 4866, 4886, 4903, 4931, 4954, 4980, 4995, 5015,
	5033, 5062, 5077, 5092, 5113, 5129, 5147, 5166, 5181, 5196, 5219, 5242, 5263, 5273, 5291, 5309, 5327, 5346,
	5367, 5386, 5405, 5417,
};
static const uint16_t CALLS_X32[] = {
	1, 10, 20, 29, 37, 45, 54, 63, 72, 82, 94, 107, 117, 0, 141, 0, 0, 185, 198, 0, 0, 233, 243, 250, 263, 276,
	289, 299, 311, 323, 334, 344, 355, 361, 369, 376, 389, 402, 410, 424, 432, 446, 457, 469, 480, 0, 0, 0, 534,
	546, 555, 565, 581, 597, 0, 0, 647, 659, 665, 0, 683, 690, 701, 709, 717, 728, 738, 750, 758, 768, 780, 793,
	804, 814, 823, 831, 843, 855, 868, 881, 891, 899, 908, 918, 927, 935, 944, 952, 961, 972, 985, 994, 1004,
	1014, 1025, 1036, 1044, 1060, 1073, 1086, 1096, 0, 1116, 1124, 1135, 1143, 1152, 1161, 1170, 1179, 1190,
	1199, 1208, 1216, 1228, 1240, 1253, 1266, 1280, 1294, 1308, 1322, 1332, 1343, 1354, 1363, 1373, 0, 0, 0,
	1441, 0, 1473, 1482, 0, 1501, 1515, 1524, 1534, 1545, 1555, 1570, 1586, 1604, 1622, 1645, 1666, 1691, 1716,
	1741, 1750, 1761, 1772, 1784, 1793, 1808, 0, 1832, 1844, 1858, 1869, 1882, 1891, 1897, 1904, 1920, 1932,
	1943, 1953, 1963, 1975, 1990, 2007, 2014, 0, 2046, 2062, 0, 0, 2122, 0, 2154, 2169, 2184, 2203, 2218, 2234,
	2242, 2256, 2271, 2287, 2303, 2317, 2332, 2347, 2361, 2376, 2391, 2406, 2422, 2438, 2447, 2454, 2467, 2489,
	0, 0, 2541, 2554, 0, 2587, 0, 2619, 2638, 0, 0, 2692, 2715, 2730, 2748, 2765, 2781, 0, 2813, 2832, 2849,
	2868, 2883, 2900, 2917, 2933, 2954, 2967, 2983, 2998, 3009, 0, 3034, 3047, 3065, 3085, 3098, 3110, 3129, 0,
	3164, 0, 0, 3211, 3225, 3242, 3255, 3270, 3284, 3298, 3320, 3340, 3359, 3371, 3383, 3396, 3411, 3425, 3441,
	3454, 3468, 3481, 3495, 3511, 3524, 3538, 3554, 3566, 0, 0, 3615, 3629, 3638, 0, 0, 3691, 3706, 3725, 3738,
	3756, 3766, 3781, 3802, 3821, 3834, 3849, 3861, 3877, 3886, 3895, 0, 0, 0, 3961, 0, 3998, 4015, 4035, 4050,
	4074, 4096, 4113, 0, 4136, 4145, 0, 0, 4205, 4216, 4233, 4251, 4270, 4286, 4298, 4312, 4328, 4350, 0, 4373,
	4387, 4402, 4413, 0, 0, 4467, 4486, 4500, 4512, 4524, 4545, 4555, 4566, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
	0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
	0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
	0, 0, 0, 4574, 4597, 4615, 4637, 4660, 4674, 4691, 4701, 4716, 4728, 4739, 4753, 4763, 4779, 4792, 4808,
	4824, 4846, 4866, 4886, 4903, 4931, 4954, 4980, 4995, 5015, 5033, 5062, 5077, 5092, 5113, 5129, 5147, 5166,
	5181, 5196, 5219, 5242, 5263, 5273, 5291, 5309, 5327, 5346, 5367, 5386, 5405, 5417, 0, 0, 0, 0, 0, 0, 0, 0,
	0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 123, 161,
	175, 212, 222, 494, 510, 522, 672, 1104, 1383, 1400, 1421, 1458, 2796, 3151, 3182, 3198, 3576, 3595, 3659,
	3673, 3911, 3924, 3938, 3983, 4122, 4156, 4180, 613, 630, 2529, 2573, 4358, 4436, 4451,
};

#elif defined(__aarch64__)
static const char CALLS[] =
	"\0xx io_setup\0x io_destroy\0xxx io_submit\0xxx io_cancel\0xxxxx io_getevents\0pxxxx setxattr\0"
	"pxxxx lsetxattr\0xxxxx fsetxattr\0pxxx getxattr\0pxxx lgetxattr\0xxxx fgetxattr\0pxx listxattr\0"
	"pxx llistxattr\0xxx flistxattr\0px removexattr\0px lremovexattr\0xx fremovexattr\0xx getcwd\0"
	"xxx lookup_dcookie\0xx eventfd2\0x epoll_create1\0xxxx epoll_ctl\0xxxxxx epoll_pwait\0x dup\0xxx dup3\0"
	"xxx fcntl\0x inotify_init1\0xpx inotify_add_watch\0xx inotify_rm_watch\0xxx ioctl\0xxx ioprio_set\0"
	"xx ioprio_get\0xx flock\0dpxx mknodat\0dpx mkdirat\0dpx unlinkat\0pdp symlinkat\0dpdpx linkat\0"
	"dpdp renameat\0px umount2\0xpxxx mount\0pp pivot_root\0xxxxxx nfsservctl\0px statfs\0xx fstatfs\0"
	"px truncate\0xx ftruncate\0xxxx fallocate\0dpx faccessat\0p chdir\0x fchdir\0p chroot\0xx fchmod\0"
	"dpx fchmodat\0dpxxx fchownat\0xxx fchown\0dpxx openat\0x close\0 vhangup\0xx pipe2\0xpxx quotactl\0"
	"xxx getdents64\0xxx lseek\0xxx read\0xxx write\0xxx readv\0xxx writev\0xxxx pread64\0xxxx pwrite64\0"
	"xxxxx preadv\0xxxxx pwritev\0xxxx sendfile\0xxxxxx pselect6\0xxxxx ppoll\0xxxx signalfd4\0xxxx vmsplice\0"
	"xxxxxx splice\0xxxx tee\0dpxx readlinkat\0dpxx newfstatat\0xx fstat\0 sync\0x fsync\0x fdatasync\0"
	"xxxx sync_file_range\0xx timerfd_create\0xxxx timerfd_settime\0xx timerfd_gettime\0dpxx utimensat\0p acct\0"
	"xx capget\0xx capset\0x personality\0x exit\0x exit_group\0xxxxx waitid\0x set_tid_address\0x unshare\0"
	"xxxxxx futex\0xx set_robust_list\0xxx get_robust_list\0xx nanosleep\0xx getitimer\0xxx setitimer\0"
	"xxxx kexec_load\0xxx init_module\0xx delete_module\0xxx timer_create\0xx timer_gettime\0x timer_getoverrun\0"
	"xxxx timer_settime\0x timer_delete\0xx clock_settime\0xx clock_gettime\0xx clock_getres\0"
	"xxxx clock_nanosleep\0xxx syslog\0xxxx ptrace\0xx sched_setparam\0xxx sched_setscheduler\0"
	"x sched_getscheduler\0xx sched_getparam\0xxx sched_setaffinity\0xxx sched_getaffinity\0 sched_yield\0"
	"x sched_get_priority_max\0x sched_get_priority_min\0xx sched_rr_get_interval\0 restart_syscall\0xx kill\0"
	"xx tkill\0xxx tgkill\0xx sigaltstack\0xx rt_sigsuspend\0xxxx rt_sigaction\0xxxx rt_sigprocmask\0"
	"xx rt_sigpending\0xxxx rt_sigtimedwait\0xxx rt_sigqueueinfo\0 rt_sigreturn\0xxx setpriority\0"
	"xx getpriority\0xxxx reboot\0xx setregid\0x setgid\0xx setreuid\0x setuid\0xxx setresuid\0xxx getresuid\0"
	"xxx setresgid\0xxx getresgid\0x setfsuid\0x setfsgid\0x times\0xx setpgid\0x getpgid\0x getsid\0 setsid\0"
	"xx getgroups\0xx setgroups\0x uname\0xx sethostname\0xx setdomainname\0xx getrlimit\0xx setrlimit\0"
	"xx getrusage\0x umask\0xxxxx prctl\0xxx getcpu\0xx gettimeofday\0xx settimeofday\0x adjtimex\0 getpid\0"
	" getppid\0 getuid\0 geteuid\0 getgid\0 getegid\0 gettid\0x sysinfo\0xxxx mq_open\0x mq_unlink\0"
	"xxxxx mq_timedsend\0xxxxx mq_timedreceive\0xx mq_notify\0xxx mq_getsetattr\0xx msgget\0xxx msgctl\0"
	"xxxxx msgrcv\0xxxx msgsnd\0xxx semget\0xxxx semctl\0xxxx semtimedop\0xxx semop\0xxx shmget\0xxx shmctl\0"
	"xxx shmat\0x shmdt\0xxx socket\0xxxx socketpair\0xax bind\0xx listen\0xxx accept\0xax connect\0"
	"xxx getsockname\0xxx getpeername\0xxxxax sendto\0xxxxxx recvfrom\0xxxxx setsockopt\0xxxxx getsockopt\0"
	"xx shutdown\0xxx sendmsg\0xxx recvmsg\0xxx readahead\0x brk\0xx munmap\0xxxxx mremap\0xxxxx add_key\0"
	"xxxx request_key\0xxxxx keyctl\0xxxxx clone\0pxx execve\0xxxxxx mmap\0xxxx fadvise64\0px swapon\0p swapoff\0"
	"xxx mprotect\0xxx msync\0xx mlock\0xx munlock\0x mlockall\0 munlockall\0xxx mincore\0xxx madvise\0"
	"xxxxx remap_file_pages\0xxxxxx mbind\0xxxxx get_mempolicy\0xxx set_mempolicy\0xxxx migrate_pages\0"
	"xxxxxx move_pages\0xxxx rt_tgsigqueueinfo\0xxxxx perf_event_open\0xxxx accept4\0xxxxx recvmmsg\0xxxx wait4\0"
	"xxxx prlimit64\0xx fanotify_init\0xxxdp fanotify_mark\0dpxxx name_to_handle_at\0xxx open_by_handle_at\0"
	"xx clock_adjtime\0x syncfs\0xx setns\0xxxx sendmmsg\0xxxxxx process_vm_readv\0xxxxxx process_vm_writev\0"
	"xxxxx kcmp\0xxx finit_module\0xxx sched_setattr\0xxxx sched_getattr\0dpdpx renameat2\0xxx seccomp\0"
	"xxx getrandom\0xx memfd_create\0xxx bpf\0dpxxx execveat\0x userfaultfd\0xxx membarrier\0xxx mlock2\0"
	"xxxxxx copy_file_range\0xxxxxx preadv2\0xxxxxx pwritev2\0xxxx pkey_mprotect\0xx pkey_alloc\0x pkey_free\0"
	"dpxxx statx\0xxxxxx io_pgetevents\0xxxx rseq\0xxxxx kexec_file_load\0xxxx pidfd_send_signal\0"
	"xx io_uring_setup\0xxxxxx io_uring_enter\0xxxx io_uring_register\0dpx open_tree\0dpdpx move_mount\0"
	"xx fsopen\0xxxxx fsconfig\0xxx fsmount\0dpx fspick\0xx pidfd_open\0xx clone3\0xxx close_range\0"
	"dpxx openat2\0xxx pidfd_getfd\0dpxx faccessat2\0xxxxx process_madvise\0xxxxxx epoll_pwait2\0"
	"dpxxx mount_setattr\0xxxx quotactl_fd\0xxx landlock_create_ruleset\0xxxx landlock_add_rule\0"
	"xx landlock_restrict_self\0x memfd_secret\0xx process_mrelease\0xxxxx futex_waitv\0"
	"xxxx set_mempolicy_home_node\0xxxx cachestat\0dpxx fchmodat2\0xxx map_shadow_stack\0xxxx futex_wake\0"
	"xxxxxx futex_wait\0xxxx futex_requeue\0xxxx statmount\0xxxx listmount\0xxxx lsm_get_self_attr\0"
	"xxxx lsm_set_self_attr\0xxx lsm_list_modules\0xxx mseal\0dpxxxx setxattrat\0dpxxxx getxattrat\0"
	"dpxxx listxattrat\0dpxx removexattrat\0dpxxx open_tree_attr\0dpxxx file_getattr\0dpxxx file_setattr\0"
	"xxxx listns\0 rseq_slice_yield\0 fork\0pxx open\0px creat\0pp link\0p unlink\0pxx mknod\0px chmod\0"
	"pxx lchown\0 pause\0px access\0x nice\0pp rename\0px mkdir\0p rmdir\0x pipe\0xx ustat\0xx dup2\0 getpgrp\0"
	"xxx sigaction\0xxx sigsuspend\0x sigpending\0pp symlink\0pxx readlink\0p uselib\0px stat\0px lstat\0"
	" sigreturn\0xxx sigprocmask\0xx bdflush\0xxx sysfs\0xxxxx _llseek\0xxx getdents\0xxxxx _newselect\0"
	"x _sysctl\0xxx poll\0xxxxxx pread64\0xxxxxx pwrite64\0pxx chown\0 vfork\0xx ugetrlimit\0xxxxxx mmap2\0"
	"pxxx truncate64\0xxxx ftruncate64\0px stat64\0px lstat64\0xx fstat64\0pxx lchown32\0 getuid32\0 getgid32\0"
	" geteuid32\0 getegid32\0xx setreuid32\0xx setregid32\0xx getgroups32\0xx setgroups32\0xxx fchown32\0"
	"xxx setresuid32\0xxx getresuid32\0xxx setresgid32\0xxx getresgid32\0pxx chown32\0x setuid32\0x setgid32\0"
	"x setfsuid32\0x setfsgid32\0xxx fcntl64\0xxxxx readahead\0xxxx sendfile64\0x epoll_create\0xxxx epoll_wait\0"
	"px statfs64\0xx fstatfs64\0px utimes\0xxxxxx arm_fadvise64_64\0xxx pciconfig_iobase\0xxxxx pciconfig_read\0"
	"xxxxx pciconfig_write\0xxxx send\0xxxx recv\0xxxxxx vserver\0 inotify_init\0dpx futimesat\0dpxx fstatat64\0"
	"xxxxxx sync_file_range2\0xxx signalfd\0x eventfd\0xxxxxx fallocate\0xxxxdp fanotify_mark\0"
	"xx clock_gettime64\0xx clock_settime64\0xx clock_adjtime64\0xx clock_getres_time64\0"
	"xxxx clock_nanosleep_time64\0xx timer_gettime64\0xxxx timer_settime64\0xx timerfd_gettime64\0"
	"xxxx timerfd_settime64\0dpxx utimensat_time64\0xxxxxx pselect6_time64\0xxxxx ppoll_time64\0"
	"xxxxxx io_pgetevents_time64\0xxxxx recvmmsg_time64\0xxxxx mq_timedsend_time64\0"
	"xxxxx mq_timedreceive_time64\0xxxx semtimedop_time64\0xxxx rt_sigtimedwait_time64\0xxxxxx futex_time64\0"
	"xx sched_rr_get_interval_time64\0 breakpoint\0xxx cacheflush\0 usr26\0 usr32\0x set_tls\0 get_tls\0";
static const uint16_t CALLS_AARCH64[] = {
	1, 13, 26, 40, 54, 73, 88, 104, 120, 134, 149, 164, 178, 193, 208, 223, 239, 255, 265, 284, 296, 312, 327,
	346, 352, 361, 371, 387, 409, 429, 439, 454, 468, 477, 490, 502, 515, 529, 542, 556, 567, 579, 593, 611,
	621, 632, 644, 657, 672, 686, 694, 703, 712, 722, 735, 750, 761, 773, 781, 790, 799, 813, 828, 838, 847,
	857, 867, 878, 891, 905, 918, 932, 946, 962, 974, 989, 1003, 1017, 1026, 1042, 1058, 1067, 1073, 1081, 1093,
	1114, 1132, 1153, 1172, 1187, 1194, 1204, 1214, 1228, 1235, 1248, 1261, 1279, 1289, 1302, 1321, 1341, 1354,
	1367, 1381, 1397, 1413, 1430, 1447, 1464, 1483, 1502, 1517, 1534, 1551, 1567, 1588, 1599, 1611, 1629, 1652,
	1673, 1691, 1713, 1735, 1748, 1773, 1798, 1823, 1840, 1848, 1857, 1868, 1883, 1900, 1918, 1938, 1955, 1976,
	1996, 2010, 2026, 2041, 2053, 2065, 2074, 2086, 2095, 2109, 2123, 2137, 2151, 2162, 2173, 2181, 2192, 2202,
	2211, 2219, 2232, 2245, 2253, 2268, 2285, 2298, 2311, 2324, 2332, 2344, 2355, 2371, 2387, 2398, 2406, 2415,
	2423, 2432, 2440, 2449, 2457, 2467, 2480, 2492, 2511, 2533, 2546, 2564, 2574, 2585, 2598, 2610, 2621, 2633,
	2649, 2659, 2670, 2681, 2691, 2699, 2710, 2726, 2735, 2745, 2756, 2768, 2784, 2800, 2814, 2830, 2847, 2864,
	2876, 2888, 2900, 2914, 2920, 2930, 2943, 2957, 2974, 2987, 2999, 3010, 3022, 3037, 3047, 3057, 3070, 3080,
	3089, 3100, 3111, 3123, 3135, 3147, 3170, 3183, 3203, 3221, 3240, 3258, 3281, 3303, 3316, 0, 0, 0, 0, 0, 0,
	0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3331, 3342, 3357, 3374, 3394, 3418, 3440, 3457, 3466, 3475, 3489, 3513, 3538,
	3549, 3566, 3584, 3603, 3619, 3631, 3645, 3661, 3669, 3684, 3698, 3713, 3724, 3747, 3762, 3778, 3797, 3811,
	3823, 3835, 3856, 3866, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
	0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
	0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
	0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3888, 3911, 3929,
	3951, 3974, 3988, 4005, 4015, 4030, 4042, 4053, 4067, 4077, 4093, 4106, 4122, 4138, 4160, 4180, 4200, 4217,
	4245, 4268, 4294, 4309, 4329, 4347, 4376, 4391, 4406, 4427, 4443, 4461, 4480, 4495, 4510, 4533, 4556, 4577,
	4587, 4605, 4623, 4641, 4660, 4681, 4700, 4719, 4731,
};
static const uint16_t CALLS_ARM[] = {
	1823, 1228, 4749, 838, 847, 4755, 773, 0, 4764, 4773, 4781, 2999, 686, 0, 4790, 4800, 4809, 0, 0, 828, 2398,
	567, 0, 2086, 2415, 0, 1599, 0, 0, 4820, 0, 0, 0, 4827, 4837, 0, 1067, 1840, 4844, 4854, 4863, 346, 4871,
	2173, 0, 2914, 2065, 2432, 0, 2423, 2440, 1187, 556, 0, 429, 361, 0, 2181, 0, 0, 2324, 703, 4878, 4887,
	2406, 4895, 2211, 4904, 0, 0, 2074, 2053, 4918, 4933, 2253, 2298, 0, 2311, 2355, 2371, 2219, 2232, 0, 4946,
	0, 4957, 4970, 3037, 2041, 0, 0, 2920, 632, 644, 712, 750, 2026, 2010, 0, 611, 621, 0, 0, 1588, 1367, 1354,
	4979, 4987, 1058, 0, 0, 781, 0, 0, 3331, 3047, 2457, 0, 1073, 4996, 2987, 2268, 2245, 0, 2387, 3057, 5007,
	0, 1397, 1413, 0, 799, 2192, 694, 5023, 5034, 1214, 0, 2151, 2162, 5044, 5058, 5071, 468, 3070, 857, 867,
	2202, 1081, 5088, 3080, 3089, 3100, 3111, 1611, 1673, 1629, 1652, 1735, 1748, 1773, 1798, 1341, 2930, 2095,
	2109, 0, 0, 5098, 593, 2123, 2137, 2332, 1996, 1900, 1918, 1938, 1955, 1976, 1883, 5107, 5122, 5138, 255,
	1194, 1204, 1868, 932, 0, 0, 5148, 5155, 5169, 5182, 5198, 5215, 5225, 5236, 5247, 5260, 5270, 5280, 5291,
	5302, 5316, 5330, 5345, 5360, 5373, 5389, 5405, 5421, 5437, 5449, 5460, 5471, 5484, 813, 579, 3123, 3135,
	5497, 0, 0, 2449, 5509, 73, 88, 104, 120, 134, 149, 164, 178, 193, 208, 223, 239, 1848, 5525, 1289, 1691,
	1713, 1, 13, 54, 26, 40, 1235, 265, 5541, 312, 5556, 3147, 0, 0, 1261, 1430, 1483, 1447, 1464, 1502, 1517,
	1534, 1551, 1567, 5572, 5584, 1857, 5597, 5607, 5631, 5652, 5673, 2467, 2480, 2492, 2511, 2533, 2546, 1248,
	2699, 2726, 2756, 2735, 2745, 2768, 2784, 2710, 5695, 2800, 5705, 2814, 2864, 2830, 2847, 2876, 2888, 2649,
	2610, 2621, 2598, 2585, 2564, 2574, 2681, 2691, 2659, 2670, 2943, 2957, 2974, 2633, 5715, 439, 454, 5730,
	387, 409, 3170, 3183, 3203, 761, 490, 477, 735, 5744, 5758, 502, 542, 529, 515, 1026, 722, 672, 946, 962,
	1279, 1302, 1321, 1003, 5773, 1017, 989, 3240, 2344, 327, 1381, 1172, 5797, 1114, 5810, 5820, 1132, 1153,
	974, 284, 296, 352, 790, 371, 905, 918, 3258, 3281, 3316, 3303, 3357, 5837, 3342, 3394, 3418, 3440, 3457,
	3475, 3466, 3489, 3513, 3538, 3549, 3566, 3584, 3603, 3619, 3631, 3645, 3661, 3669, 3684, 3698, 3713, 3724,
	3747, 3762, 3778, 3797, 3811, 3823, 3856, 3835, 3221, 3866, 0, 5858, 5877, 5896, 5915, 5938, 5966, 5985,
	6006, 6027, 6050, 6072, 6095, 0, 6114, 6142, 6164, 6190, 6219, 6242, 6270, 6290, 3888, 3911, 3929, 3951,
	3974, 3988, 4005, 4015, 4030, 4042, 4053, 4067, 4077, 4093, 4106, 4122, 4138, 4160, 4180, 4200, 4217, 4245,
	4268, 0, 4309, 4329, 4347, 4376, 4391, 4406, 4427, 4443, 4461, 4480, 4495, 4510, 4533, 4556, 4577, 4587,
	4605, 4623, 4641, 4660, 4681, 4700, 4719, 4731,
};
static const struct {
	uint32_t nr;
	uint16_t at;
} CALLS_FAR[] = {
	{0xf0001, 6322}, {0xf0002, 6334}, {0xf0003, 6349}, {0xf0004, 6356}, {0xf0005, 6363}, {0xf0006, 6373},
};

#endif

static const char ERRORS[] =
	"\0EPERM\0ENOENT\0ESRCH\0EINTR\0EIO\0ENXIO\0E2BIG\0ENOEXEC\0EBADF\0ECHILD\0EAGAIN\0ENOMEM\0EACCES\0EFAULT\0"
	"ENOTBLK\0EBUSY\0EEXIST\0EXDEV\0ENODEV\0ENOTDIR\0EISDIR\0EINVAL\0ENFILE\0EMFILE\0ENOTTY\0ETXTBSY\0EFBIG\0"
	"ENOSPC\0ESPIPE\0EROFS\0EMLINK\0EPIPE\0EDOM\0ERANGE\0EDEADLK\0ENAMETOOLONG\0ENOLCK\0ENOSYS\0ENOTEMPTY\0"
	"ELOOP\0ENOMSG\0EIDRM\0ECHRNG\0EL2NSYNC\0EL3HLT\0EL3RST\0ELNRNG\0EUNATCH\0ENOCSI\0EL2HLT\0EBADE\0EBADR\0"
	"EXFULL\0ENOANO\0EBADRQC\0EBADSLT\0EBFONT\0ENOSTR\0ENODATA\0ETIME\0ENOSR\0ENONET\0ENOPKG\0EREMOTE\0ENOLINK\0"
	"EADV\0ESRMNT\0ECOMM\0EPROTO\0EMULTIHOP\0EDOTDOT\0EBADMSG\0EOVERFLOW\0ENOTUNIQ\0EBADFD\0EREMCHG\0ELIBACC\0"
	"ELIBBAD\0ELIBSCN\0ELIBMAX\0ELIBEXEC\0EILSEQ\0ERESTART\0ESTRPIPE\0EUSERS\0ENOTSOCK\0EDESTADDRREQ\0EMSGSIZE\0"
	"EPROTOTYPE\0ENOPROTOOPT\0EPROTONOSUPPORT\0ESOCKTNOSUPPORT\0EOPNOTSUPP\0EPFNOSUPPORT\0EAFNOSUPPORT\0"
	"EADDRINUSE\0EADDRNOTAVAIL\0ENETDOWN\0ENETUNREACH\0ENETRESET\0ECONNABORTED\0ECONNRESET\0ENOBUFS\0EISCONN\0"
	"ENOTCONN\0ESHUTDOWN\0ETOOMANYREFS\0ETIMEDOUT\0ECONNREFUSED\0EHOSTDOWN\0EHOSTUNREACH\0EALREADY\0EINPROGRESS\0"
	"ESTALE\0EUCLEAN\0ENOTNAM\0ENAVAIL\0EISNAM\0EREMOTEIO\0EDQUOT\0ENOMEDIUM\0EMEDIUMTYPE\0ECANCELED\0ENOKEY\0"
	"EKEYEXPIRED\0EKEYREVOKED\0EKEYREJECTED\0EOWNERDEAD\0ENOTRECOVERABLE\0ERFKILL\0EHWPOISON\0";
static const uint16_t ERRORS_BY_NUMBER[] = {
	0, 1, 7, 14, 20, 26, 30, 36, 42, 50, 56, 63, 70, 77, 84, 91, 99, 105, 112, 118, 125, 133, 140, 147, 154,
	161, 168, 176, 182, 189, 196, 202, 209, 215, 220, 227, 235, 248, 255, 262, 272, 0, 278, 285, 291, 298, 307,
	314, 321, 328, 336, 343, 350, 356, 362, 369, 376, 384, 0, 392, 399, 406, 414, 420, 426, 433, 440, 448, 456,
	461, 468, 474, 481, 491, 499, 507, 517, 526, 533, 541, 549, 557, 565, 573, 582, 589, 598, 607, 614, 623,
	636, 645, 656, 668, 684, 700, 711, 724, 737, 748, 762, 771, 783, 793, 806, 817, 825, 833, 842, 852, 865,
	875, 888, 898, 911, 920, 932, 939, 947, 955, 963, 970, 980, 987, 997, 1009, 1019, 1026, 1038, 1050, 1063,
	1074, 1090, 1098,
};
