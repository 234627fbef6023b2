/*
 * A program whose calls wait for an answer: it loads a filter with a listener, hands that over as the OCI runtime
 * specification says (seccomp, containerProcessState), and is told on standard input what to call. Static.
 *
 * asks FILTER SOCKET NAME   load the instructions in the file, and send the listener to that UNIX socket: by a parent
 *                           that has no filter, as runtimes do it
 * asks - OUT                no filter of its own: somebody else's; answers go to OUT, which is opened first
 *
 * It says `ready PID`, then answers lines. NR and arguments are numbers; results are as the kernel's: -errno for errors.
 *   call NR ARG…                  one call; the answer is its result
 *   named NR PATH ARG…            one call of (AT_FDCWD, PATH, ARG…); the answer is its result
 *   time THREADS N NR ARG…        N calls by each of so many threads
 *   open THREADS N FLAGS PATH     the same of openat, relative to the working directory, and what it gives is closed
 *      the answer to both: ns in all, median and 99th percentile of one call in ns, the first result (0 for any
 *      descriptor), and how many calls had another one
 *   flood THREADS MS NR           calls for that long; the answer: calls, how many gave -ENOSYS, how many -EPERM
 *   die COUNT NR                  that many children call NR, and are killed meanwhile, each a little later than the
 *                                 one before; the answer: children, how many got an answer before, and how many of
 *                                 these no error
 *   flip MS FLAGS GOOD BAD        openat of a name that another thread changes between GOOD and BAD, which are equally
 *                                 long; the answer: calls, those that opened GOOD's file, those that opened BAD's
 *   unmap MS FLAGS PATH           openat of a name whose page another thread takes away and brings back; the answer:
 *                                 calls, those that opened it, those that gave -EFAULT
 *   absent FLAGS                  openat of a name on a page that never comes (userfaultfd(2)); the answer is its result
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096
#define MOST_THREADS 512

/* What one thread does, and what came of it. */
struct work {
	long count, call[7];
	int opens;
	uint32_t *took; /* ns of each call */
	long first, others, enosys, eperm;
	long long until; /* of floods: when to stop */
};

static pthread_barrier_t begin;
static volatile int stop;

static long long now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static long make(const long *call)
{
	long result = syscall(call[0], call[1], call[2], call[3], call[4], call[5], call[6]);

	return result == -1 ? -errno : result;
}

static void *timed(void *given)
{
	struct work *work = given;
	long long began, ended;

	pthread_barrier_wait(&begin);
	for (long i = 0; i < work->count; i++) {
		long result;

		began = now();
		result = make(work->call);
		ended = now();
		if (work->opens && result >= 0) {
			close(result);
			result = 0;
		}
		work->took[i] = ended - began > UINT32_MAX ? UINT32_MAX : ended - began;
		if (!i)
			work->first = result;
		work->others += result != work->first;
	}
	return NULL;
}

static void *flooding(void *given)
{
	struct work *work = given;

	pthread_barrier_wait(&begin);
	while (now() < work->until) {
		long result = make(work->call);

		work->count++;
		work->enosys += result == -ENOSYS;
		work->eperm += result == -EPERM;
	}
	return NULL;
}

/* The threads, from when all of them are there to the end of the last: ns, or -1. */
static long long together(struct work *works, long threads, void *(*act)(void *))
{
	static pthread_t ids[MOST_THREADS];
	pthread_attr_t small;
	long long began;

	if (pthread_barrier_init(&begin, NULL, threads + 1) || pthread_attr_init(&small) ||
	    pthread_attr_setstacksize(&small, 1 << 16))
		return -1;
	for (long i = 0; i < threads; i++)
		if (pthread_create(&ids[i], &small, act, &works[i]))
			return -1;
	began = now();
	pthread_barrier_wait(&begin);
	for (long i = 0; i < threads; i++)
		pthread_join(ids[i], NULL);
	pthread_barrier_destroy(&begin);
	return now() - began;
}

static int by_size(const void *one, const void *other)
{
	uint32_t left = *(const uint32_t *)one, right = *(const uint32_t *)other;

	return (left > right) - (left < right);
}

static int time_calls(long threads, long count, const long *call, int opens)
{
	static struct work works[MOST_THREADS];
	uint32_t *took;
	long long all;
	long others = 0, total = threads * count;

	if (threads < 1 || threads > MOST_THREADS || count < 1 || !(took = calloc(total, sizeof(*took))))
		return -1;
	for (long i = 0; i < threads; i++) {
		works[i] = (struct work){ .count = count, .opens = opens, .took = took + i * count };
		memcpy(works[i].call, call, sizeof(works[i].call));
	}
	all = together(works, threads, timed);
	if (all < 0)
		return -1;
	for (long i = 0; i < threads; i++)
		others += works[i].first == works[0].first ? works[i].others : count - works[i].others;
	qsort(took, total, sizeof(*took), by_size);
	dprintf(1, "%lld %u %u %ld %ld\n", all, took[(total - 1) / 2], took[(99 * total + 99) / 100 - 1], works[0].first,
		others);
	free(took);
	return 0;
}

static int flood(long threads, long ms, long nr)
{
	static struct work works[MOST_THREADS];
	long count = 0, enosys = 0, eperm = 0;

	if (threads < 1 || threads > MOST_THREADS)
		return -1;
	for (long i = 0; i < threads; i++)
		works[i] = (struct work){ .call = { nr }, .until = now() + ms * 1000000LL };
	if (together(works, threads, flooding) < 0)
		return -1;
	for (long i = 0; i < threads; i++) {
		count += works[i].count;
		enosys += works[i].enosys;
		eperm += works[i].eperm;
	}
	dprintf(1, "%ld %ld %ld\n", count, enosys, eperm);
	return 0;
}

static int die(long count, long nr)
{
	long ended = 0, made = 0;

	for (long i = 0; i < count; i++) {
		long long until = now() + i * 10000LL % 2000000;
		pid_t child = fork();
		int status;

		if (!child)
			_exit(make((long[7]){ nr }) >= 0);
		if (child < 0)
			return -1;
		while (now() < until)
			;
		kill(child, SIGKILL);
		if (waitpid(child, &status, 0) != child)
			return -1;
		ended += WIFEXITED(status);
		made += WIFEXITED(status) && WEXITSTATUS(status);
	}
	dprintf(1, "%ld %ld %ld\n", count, ended, made);
	return 0;
}

static char *shared;
static const char *names[2];

static void *flipping(void *nothing)
{
	size_t length = strlen(names[0]);

	while (!stop)
		for (int i = 0; i < 2; i++)
			memcpy(shared, names[i], length);
	return nothing;
}

static void *unmapping(void *nothing)
{
	while (!stop) {
		munmap(shared, PAGE);
		mmap(shared, PAGE, PROT_READ | PROT_WRITE, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		strcpy(shared, names[0]);
	}
	return nothing;
}

static int is_file(int fd, const struct stat *wanted)
{
	struct stat found;

	return !fstat(fd, &found) && found.st_ino == wanted->st_ino && found.st_dev == wanted->st_dev;
}

/* openat of `shared` for so long, while another thread does something to it. `good` and `bad` are of names[0] and [1]. */
static int while_changed(void *(*change)(void *), long ms, long flags, const struct stat *good, const struct stat *bad)
{
	long calls = 0, first = 0, second = 0;
	long long until = now() + ms * 1000000LL;
	pthread_t other;

	stop = 0;
	if (pthread_create(&other, NULL, change, NULL))
		return -1;
	while (now() < until) {
		long fd = make((long[7]){ SYS_openat, AT_FDCWD, (long)shared, flags });

		calls++;
		if (fd >= 0) {
			first += is_file(fd, good);
			second += bad && is_file(fd, bad);
			close(fd);
		} else if (!bad) {
			second += fd == -EFAULT;
		}
	}
	stop = 1;
	pthread_join(other, NULL);
	dprintf(1, "%ld %ld %ld\n", calls, first, second);
	return 0;
}

static int absent(long flags)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register area = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	char *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int fd = syscall(SYS_userfaultfd, O_CLOEXEC);

	area.range.start = (unsigned long)page;
	area.range.len = PAGE;
	if (page == MAP_FAILED || fd < 0 || ioctl(fd, UFFDIO_API, &api) || ioctl(fd, UFFDIO_REGISTER, &area))
		return -1;
	dprintf(1, "%ld\n", make((long[7]){ SYS_openat, AT_FDCWD, (long)page, flags }));
	close(fd);
	munmap(page, PAGE);
	return 0;
}

static int obey(char *line)
{
	char *word = strtok(line, " \n"), *words[12] = { 0 };
	long numbers[12] = { 0 };
	struct stat files[2];
	int count = 0;

	while (count < 11 && (words[count] = strtok(NULL, " \n"))) {
		numbers[count] = strtol(words[count], NULL, 0);
		count++;
	}
	if (!word)
		return -1;
	if (!strcmp(word, "call") && count) {
		dprintf(1, "%ld\n", make(numbers));
		return 0;
	}
	if (!strcmp(word, "named") && count > 1) {
		dprintf(1, "%ld\n",
			make((long[7]){ numbers[0], AT_FDCWD, (long)words[1], numbers[2], numbers[3], numbers[4] }));
		return 0;
	}
	if (!strcmp(word, "time") && count > 2)
		return time_calls(numbers[0], numbers[1], numbers + 2, 0);
	if (!strcmp(word, "open") && count == 4)
		return time_calls(numbers[0], numbers[1],
				  (long[7]){ SYS_openat, AT_FDCWD, (long)words[3], numbers[2], 0600 }, 1);
	if (!strcmp(word, "flood") && count == 3)
		return flood(numbers[0], numbers[1], numbers[2]);
	if (!strcmp(word, "die") && count == 2)
		return die(numbers[0], numbers[1]);
	if (!strcmp(word, "absent") && count == 1)
		return absent(numbers[0]);
	if (!strcmp(word, "flip") && count == 4) {
		names[0] = words[2];
		names[1] = words[3];
		if (strlen(names[0]) != strlen(names[1]) || stat(names[0], &files[0]) || stat(names[1], &files[1]))
			return -1;
		strcpy(shared, names[0]);
		return while_changed(flipping, numbers[0], numbers[1], &files[0], &files[1]);
	}
	if (!strcmp(word, "unmap") && count == 3) {
		names[0] = words[2];
		if (stat(names[0], &files[0]))
			return -1;
		strcpy(shared, names[0]);
		return while_changed(unmapping, numbers[0], numbers[1], &files[0], NULL);
	}
	return -1;
}

static int load(const char *path)
{
	static struct sock_filter code[4096];
	struct sock_fprog program = { .filter = code };
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t size = fd < 0 ? -1 : read(fd, code, sizeof(code));

	if (size <= 0 || close(fd) || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return -1;
	program.len = size / sizeof(code[0]);
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
		       SECCOMP_FILTER_FLAG_NEW_LISTENER | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, &program);
}

static int hand_over(int listener, const char *path, const char *name, pid_t child)
{
	static const char format[] =
		"{\"ociVersion\": \"1.0.2\", \"fds\": [\"seccompFd\"], \"pid\": %d, \"metadata\": \"%s\", \"state\": "
		"{\"ociVersion\": \"1.0.2\", \"id\": \"%s\", \"status\": \"creating\", \"pid\": %d, \"bundle\": \"/\"}}";
	struct sockaddr_un where = { .sun_family = AF_UNIX };
	char text[1024], control[CMSG_SPACE(sizeof(int))] = { 0 };
	struct iovec part = { text, snprintf(text, sizeof(text), format, child, name, name, child) };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = control,
				  .msg_controllen = sizeof(control) };
	struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
	int to = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (part.iov_len >= sizeof(text) || strlen(path) >= sizeof(where.sun_path))
		return -1;
	strcpy(where.sun_path, path);
	rights->cmsg_level = SOL_SOCKET;
	rights->cmsg_type = SCM_RIGHTS;
	rights->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(rights), &listener, sizeof(int));
	if (to < 0 || connect(to, (struct sockaddr *)&where, sizeof(where)) ||
	    sendmsg(to, &message, MSG_NOSIGNAL) != (ssize_t)part.iov_len)
		return -1;
	return close(to) || close(listener);
}

/* Returns in a child that has the filter. This process hands the listener over, and ends as the child does. */
static void start(const char *filter, const char *path, const char *name)
{
	int listener, handle, status, there[2], over[2];
	pid_t child;
	char sent;

	if (pipe2(there, O_CLOEXEC) || pipe2(over, O_CLOEXEC) || (child = fork()) < 0)
		exit(1);
	if (!child) {
		prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
		listener = load(filter);
		if (listener < 0)
			dprintf(2, "asks: %s: %s\n", filter, strerror(errno));
		close(over[1]);
		if (write(there[1], &listener, sizeof(listener)) != sizeof(listener) || read(over[0], &sent, 1) != 1)
			_exit(1);
		close(listener);
		close(there[0]);
		close(there[1]);
		close(over[0]);
		return;
	}
	close(0);
	handle = syscall(SYS_pidfd_open, child, 0);
	if (read(there[0], &listener, sizeof(listener)) != sizeof(listener) || handle < 0 ||
	    (listener = syscall(SYS_pidfd_getfd, handle, listener, 0)) < 0 || hand_over(listener, path, name, child) ||
	    write(over[1], "", 1) != 1) {
		dprintf(2, "asks: %s: %s\n", path, strerror(errno));
		exit(1);
	}
	exit(waitpid(child, &status, 0) == child && WIFEXITED(status) ? WEXITSTATUS(status) : 1);
}

int main(int argc, char **argv)
{
	static char line[3 * PAGE];
	int out;

	shared = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (argc == 4) {
		start(argv[1], argv[2], argv[3]);
	} else if (argc == 3) {
		out = open(argv[2], O_WRONLY | O_CLOEXEC);
		if (out < 0 || dup2(out, 1) < 0)
			return 1;
	} else {
		return 2;
	}
	dprintf(1, "ready %d\n", getpid());
	for (;;) {
		ssize_t length = read(0, line, sizeof(line) - 1);

		if (length <= 0)
			return length < 0;
		line[length] = 0;
		if (obey(line)) {
			dprintf(2, "asks: %s: %s\n", line, strerror(errno));
			return 1;
		}
	}
}
