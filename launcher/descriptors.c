#include "descriptors.h"
#include "sys.h"
#include "text.h"

/* Kernels give none from here on, unless fs.nr_open says otherwise (proc_sys_fs(5)). */
enum { MOST = 1 << 20 };

static void close_later(long fd)
{
	SYS3(NR_fcntl, fd, F_SETFD, FD_CLOEXEC);
}

/* Those that procfs lists. 1 if it is there and has listed all. */
static int close_listed(int least)
{
	/* struct statfs of asm-generic/statfs.h: 120 bytes, the type first. */
	int64_t system[32];
	unsigned char entries[4096] __attribute__((aligned(8)));
	long got = -1, list = SYS4(NR_openat, AT_FDCWD, "/proc/self/fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0);

	if (list < 0)
		return 0;
	/* An image can have any directory by that name. */
	if (!SYS2(NR_fstatfs, list, system) && system[0] == PROC_SUPER_MAGIC)
		while ((got = SYS3(NR_getdents64, list, entries, sizeof(entries))) > 0) {
			/* struct linux_dirent64: u64 ino, u64 off, u16 length, u8 type, name. */
			for (long i = 0; i < got; i += entries[i + 16] | entries[i + 17] << 8) {
				int64_t fd = number_of((const char *)entries + i + 19, INT32_MAX);

				if (fd >= least)
					close_later(fd);
			}
		}
	SYS1(NR_close, list);
	return !got;
}

void descriptors_close_from(int least)
{
	if (SYS3(NR_close_range, least, ~0u, CLOSE_RANGE_CLOEXEC) >= 0)
		return;
	/* Before Linux 5.11, and where an engine's profile refuses the call. */
	if (close_listed(least))
		return;
	for (int fd = least; fd < MOST; fd++)
		close_later(fd);
}
