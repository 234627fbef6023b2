#include "handover.h"
#include "connect.h"
#include "filters.h"
#include "stop.h"
#include "sys.h"

/* linux/sched.h, linux/prctl.h, asm-generic/ioctls.h, linux/socket.h */
#define CLONE_VM 0x100
#define CLONE_FS 0x200
#define CLONE_FILES 0x400
#define CLONE_SIGHAND 0x800
#define CLONE_THREAD 0x10000
#define CLONE_SYSVSEM 0x40000
#define PR_SET_PDEATHSIG 1
#define PR_GET_PDEATHSIG 2
#define TIOCOUTQ 0x5411
#define SOL_SOCKET 1
#define SO_ERROR 4
#define SCM_RIGHTS 1
#define MSG_DONTWAIT 0x40
#define MSG_NOSIGNAL 0x4000
#define SHUT_WR 1

/* ns. Looks at the monitor come at first soon, then less often; it has PATIENCE s in all, as far as naps are as long as
 * they were to be. */
enum { FIRST_NAP = 20000, LONGEST_NAP = 20000000 };
/* Looks at memory by who may make no call: more than 15 s of them on any machine, after which the other has given up. */
#define MOST_LOOKS (1ull << 32)

enum { STACK = 1 << 16, STATE = 1 << 17 };

struct waiting {
	uint64_t left, nap;
};

/* What the threads have in common. */
static struct {
	const struct handover *job;
	int death_signal;
	/* What seccomp(2) returned, and why there is no program, once `loaded` and `is_over` are 1. */
	long result, error;
	int loaded, taken, is_over;
	/* What the monitor is told. */
	struct text state;
} shared;
static unsigned char stack[STACK] __attribute__((aligned(16)));

static void pause_a_little(void)
{
#if defined(__x86_64__)
	__asm__ volatile("pause");
#else
	__asm__ volatile("isb");
#endif
}

static int is_set(const int *flag)
{
	return __atomic_load_n(flag, __ATOMIC_ACQUIRE);
}

static void set(int *flag)
{
	__atomic_store_n(flag, 1, __ATOMIC_RELEASE);
}

/* Until the other thread ends us, or for long. */
static void look_until(const int *flag)
{
	for (uint64_t looks = 0; looks < MOST_LOOKS; looks++) {
		if (flag && is_set(flag))
			return;
		pause_a_little();
	}
	sys_exit(EXIT_OURS);
}

/* The thread that becomes the program. */
static void become(void)
{
	const struct handover *job = shared.job;

	/* Of the first thread; others do not inherit it. */
	if (shared.death_signal)
		SYS2(NR_prctl, PR_SET_PDEATHSIG, shared.death_signal);
	shared.result = filter_listen(job->policy, job->is_twin);
	set(&shared.loaded);
	/* No call from here on, as it may be one that is asked about. */
	look_until(shared.result < 0 ? NULL : &shared.taken);
	shared.error = job->execute(job->program, job->environment);
	set(&shared.is_over);
	look_until(NULL);
}

/* A little while, or until something happens to the connection, if there is one. 0 when there is no time left. */
static int nap(struct waiting *waiting, int *connection)
{
	struct poll polled = {connection ? *connection : -1, (short)POLLRDHUP, 0};
	uint64_t length[2] = {0, waiting->nap};

	if (waiting->left < waiting->nap)
		return 0;
	waiting->left -= waiting->nap;
	waiting->nap = waiting->nap * 2 < LONGEST_NAP ? waiting->nap * 2 : LONGEST_NAP;
	/* What has hung up, has for good. */
	if (SYS5(NR_ppoll, &polled, 1, length, 0, 8) > 0 && connection)
		*connection = -1;
	return 1;
}

/* All of the text, and the listener with its first byte. 0, an error, or -ETIMEDOUT where there was no time left. */
static long send_all(int connection, int listener, const struct text *text, struct waiting *waiting)
{
	/* struct cmsghdr and struct msghdr of linux/socket.h, with 64-bit words. */
	struct {
		uint64_t length;
		int32_t level, type;
		int32_t descriptor, padding;
	} rights = {20, SOL_SOCKET, SCM_RIGHTS, listener, 0};
	size_t done = 0;

	while (done < text->length) {
		struct {
			const char *at;
			uint64_t length;
		} rest = {text->at + done, text->length - done};
		struct {
			const void *name;
			uint64_t name_length;
			const void *pieces;
			uint64_t piece_count;
			const void *control;
			uint64_t control_length;
			uint64_t flags;
		} message = {NULL, 0, &rest, 1, done ? NULL : &rights, done ? 0 : sizeof(rights), 0};
		long sent = SYS3(NR_sendmsg, connection, &message, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (sent > 0)
			done += (size_t)sent;
		else if (sent == -EAGAIN && !nap(waiting, NULL))
			return -ETIMEDOUT;
		else if (sent != -EINTR && sent != -EAGAIN)
			return sent ? sent : -EIO;
	}
	/* Whoever else has the descriptor, there comes no more. */
	SYS2(NR_shutdown, connection, SHUT_WR);
	return 0;
}

/* Until all of it has been read: as long as bytes wait, there is something to pay for. Who hangs up before that leaves an
 * error (net/unix/af_unix.c, unix_release_sock), and so does a monitor that ends before it knows of us. */
static long wait_taken(int connection, struct waiting *waiting)
{
	int polled = connection, error = 0;
	uint32_t size = sizeof(error);

	waiting->nap = FIRST_NAP;
	for (;;) {
		int32_t waits = 0;
		long result = SYS3(NR_ioctl, connection, TIOCOUTQ, &waits);

		if (result < 0)
			return result;
		if (!waits)
			break;
		if (!nap(waiting, &polled))
			return -ETIMEDOUT;
	}
	SYS5(NR_getsockopt, connection, SOL_SOCKET, SO_ERROR, &error, &size);
	return -error;
}

static void failed(const char *what, long error)
{
	TEXT(reason, 192);

	text_string(&reason, "calls: ");
	text_string(&reason, what);
	if (error == -EPIPE || error == -ECONNRESET)
		text_string(&reason, "it has hung up");
	else if (error == -ETIMEDOUT)
		text_string(&reason, "there was no answer in 10 s");
	else
		filter_words(&reason, error);
	shared.job->end(shared.job, &reason, error);
}

/* The thread that hands the listener over; it has no filter. */
static void give(void)
{
	const struct handover *job = shared.job;
	struct waiting waiting = {PATIENCE * 1000000000ull, FIRST_NAP};
	long result;
	int listener;

	while (!is_set(&shared.loaded))
		if (!nap(&waiting, NULL))
			failed("there is no filter: ", -ETIMEDOUT);
	if (shared.result < 0)
		failed("the kernel gives no listener: ", shared.result);
	listener = (int)shared.result;
	result = send_all(job->connection, listener, &shared.state, &waiting);
	if (!result)
		result = wait_taken(job->connection, &waiting);
	/* As long as it is open here, calls would wait for a monitor that has ended. */
	SYS1(NR_close, listener);
	SYS1(NR_close, job->connection);
	if (result < 0)
		failed("the monitor has not taken the listener: ", result);
	waiting = (struct waiting){~0ull, FIRST_NAP};
	set(&shared.taken);
	/* The monitor may be asked about execve, too, and a person take some time. */
	while (!is_set(&shared.is_over))
		nap(&waiting, NULL);
	job->end(job, NULL, shared.error);
}

_Noreturn void hand_over(const struct handover *job)
{
	static char room[STATE];
	void (*const first)(void) = job->is_met ? become : give;
	void (*const second)(void) = job->is_met ? give : become;
	long result;

	shared.job = job;
	shared.state = (struct text){room, 0, sizeof(room)};
	tell_state(&job->told, job->policy, &shared.state);
	if (shared.state.length == shared.state.room)
		failed("the monitor would be told too much: ", -E2BIG);
	if (!job->is_met)
		SYS2(NR_prctl, PR_GET_PDEATHSIG, &shared.death_signal);
	result = sys_thread(CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM, stack + STACK, second);
	if (result < 0)
		failed("there is no second thread: ", result);
	first();
	sys_exit(EXIT_OURS);
}
