/*
 * A program without a C library that makes the calls its arguments say, and no other: its traces are known to the call.
 *
 * Words, from the first to the last, then exit_group(0):
 *   c,NR,A,B…   a call; d,NR,A,B… from another place; C,NR,A… the same by int 0x80 (x86). Arguments: numbers; @text: its address; $: of a buffer;
 *               *: what the last call returned; ^: the process's id, once `p` was there; !: address of code
 *   p           getpid
 *   f{ … }      fork, and wait4 for it; F{ … } without waiting; v{ … } vfork; 3{ … } clone3, and wait4
 *   t{ … }      a thread, waited for without a call
 *   h,SIG{ … }  rt_sigaction: a handler that does this; H,SIG{ … } with SA_RESTART
 *   k,SIG       kill(its own id, SIG); S: a place to come back to; j,N: N words after it, as siglongjmp(3)
 *   r           the end of a handler that never began: rt_sigreturn with a frame of its own
 *   E,PATH      execve of PATH (E alone: itself) with the words after it
 *   b,N{ … }    N times; w: read a byte from standard input; o,text: write it to standard output; q,N: exit_group(N)
 *   n,N         N threads, that each call getppid, wait in futex, and go when a byte comes from standard input
 *   i           until it is killed, without a call
 */
#include <asm/unistd.h>
#include <linux/futex.h>
#include <linux/sched.h>
#include <linux/signal.h>
#include <stddef.h>

#define NOINLINE __attribute__((noinline))
#define THREAD_FLAGS (CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM)

typedef unsigned long word;

static char **words;
static int count_of_words;
static long own_pid, last;
static char buffer[8192];
static char texts[6][512];
static int handlers[65];
static word jump[5];
static volatile int jump_from, jump_by;
static char stacks[64][16384] __attribute__((aligned(16)));
static int stacks_used;
static volatile int go, alive;

static long call6(long nr, long a, long b, long c, long d, long e, long f)
{
#if defined(__x86_64__)
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
#elif defined(__i386__)
	long arguments[3] = { a, f, nr }, result;

	/* The stack pointer moves, so that nothing but this register may say where the arguments are. */
	__asm__ volatile("push %%ebp; push %%ebx; mov 8(%%eax), %%ebp; push %%ebp; mov 4(%%eax), %%ebp;"
			 "mov (%%eax), %%ebx; pop %%eax; int $0x80; pop %%ebx; pop %%ebp"
			 : "=a"(result)
			 : "a"(arguments), "c"(b), "d"(c), "S"(d), "D"(e)
			 : "memory");
	return result;
#else
	register long x8 __asm__("x8") = nr;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	register long x5 __asm__("x5") = f;

	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
	return x0;
#endif
}

#define CALL(nr, a, b, c, d) call6(nr, (long)(a), (long)(b), (long)(c), (long)(d), 0, 0)

static long narrow_call(long nr, long a, long b, long c)
{
#if defined(__x86_64__)
	long result;

	__asm__ volatile("int $0x80" : "=a"(result) : "a"(nr), "b"(a), "c"(b), "d"(c) : "r8", "r9", "r10", "r11", "memory");
	return result;
#else
	return call6(nr, a, b, c, 0, 0, 0);
#endif
}

static void leave(long code)
{
	CALL(__NR_exit_group, code, 0, 0, 0);
}

static long number(const char **text)
{
	const char *at = *text;
	word value = 0;
	int minus = *at == '-', base = 10;

	at += minus;
	if (at[0] == '0' && at[1] == 'x') {
		base = 16;
		at += 2;
	}
	for (;; at++) {
		int digit = *at >= '0' && *at <= '9' ? *at - '0' : *at >= 'a' && *at <= 'f' ? *at - 'a' + 10 : 99;

		if (digit >= base)
			break;
		value = value * base + digit;
	}
	*text = at;
	return minus ? -(long)value : (long)value;
}

/* What comes after the first comma of a word, up to six arguments. */
static void parse(const char *text, long *values)
{
	for (int i = 0; i < 7; i++)
		values[i] = 0;
	while (*text && *text != ',')
		text++;
	for (int i = 0; *text == ',' && i < 7; i++) {
		text++;
		if (*text == '@') {
			int length = 0;

			for (text++; *text && *text != ',' && length < 511; text++)
				texts[i % 6][length++] = *text;
			texts[i % 6][length] = 0;
			values[i] = (long)texts[i % 6];
		} else if (*text == '$') {
			values[i] = (long)buffer;
			text++;
		} else if (*text == '*') {
			values[i] = last;
			text++;
		} else if (*text == '^') {
			values[i] = own_pid;
			text++;
		} else {
			values[i] = number(&text);
		}
	}
}

static int opens(const char *text)
{
	int length = 0;

	while (text[length])
		length++;
	return length && text[length - 1] == '{';
}

/* The place after the end of the block that begins at `at`. */
static int after(int at)
{
	int depth = 1;

	for (at++; at < count_of_words && depth; at++)
		depth += opens(words[at]) - (words[at][0] == '}');
	return at;
}

static int run(int at);

static void handle(int number)
{
	run(handlers[number] + 1);
}

#if defined(__x86_64__)
__asm__("restore: mov $15, %eax\nsyscall\n");
#elif defined(__i386__)
__asm__("restore: mov $173, %eax\nint $0x80\n");
#else
__asm__("restore: mov x8, 139\nsvc 0\n");
#endif
extern char restore[];

static void install(int at, int more)
{
	struct {
		void (*handler)(int);
		unsigned long flags;
		void *restorer;
		unsigned long mask[2];
	} action = { handle, 0x04000000 | SA_SIGINFO | SA_NODEFER | more, restore, { 0, 0 } };
	long values[7];

	parse(words[at], values);
	handlers[values[0]] = at;
	CALL(__NR_rt_sigaction, values[0], &action, 0, 8);
}

#if defined(__x86_64__)
/* What the kernel takes for a handler's frame: everything 0 but where to go on. */
static NOINLINE void false_return(void)
{
	static word frame[128];
	word stack;

	__asm__ volatile("mov %%rsp, %0" : "=r"(stack));
	for (int i = 0; i < 128; i++)
		frame[i] = 0;
	/* struct ucontext at frame[0], as the stack pointer is after the handler's return: uc_mcontext at 5 words. */
	frame[5 + 15] = stack;
	frame[5 + 17] = 0x202;
	frame[5 + 18] = 0x33 | (word)0x2b << 48;
	__asm__ volatile("push %%rbx; push %%rbp; push %%r12; push %%r13; push %%r14; push %%r15; push %%rax;"
			 "lea 1f(%%rip), %%rax; mov %%rax, %c[ip](%[frame]); mov %%rsp, %c[sp](%[frame]);"
			 "mov %[frame], %%rsp; mov $15, %%eax; syscall;"
			 "1: pop %%rax; pop %%r15; pop %%r14; pop %%r13; pop %%r12; pop %%rbp; pop %%rbx"
			 :
			 : [frame] "b"(frame), [ip] "i"(8 * (5 + 16)), [sp] "i"(8 * (5 + 15))
			 : "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "memory");
}
#else
static void false_return(void)
{
	CALL(__NR_rt_sigreturn, 0, 0, 0, 0);
}
#endif

/* What a thread does: a block, then exit. */
static NOINLINE void thread_body(int at)
{
	run(at);
	CALL(__NR_exit, 0, 0, 0, 0);
}

static NOINLINE void pool_body(int unused)
{
	(void)unused;
	CALL(__NR_getppid, 0, 0, 0, 0);
	while (!go)
		CALL(__NR_futex, &go, FUTEX_WAIT, 0, 0);
	__atomic_sub_fetch(&alive, 1, __ATOMIC_SEQ_CST);
	CALL(__NR_exit, 0, 0, 0, 0);
}

/* clone(2) of a thread on another stack. */
static NOINLINE long begin_thread(char *top, void (*body)(int), int at, volatile int *tid)
{
	long flags = THREAD_FLAGS | (tid ? CLONE_CHILD_CLEARTID : 0);
#if defined(__x86_64__)
	register volatile int *r10 __asm__("r10") = tid;
	long result;

	((word *)top)[-1] = (word)at;
	((word *)top)[-2] = (word)body;
	__asm__ volatile("xor %%edx, %%edx; syscall; test %%rax, %%rax; jnz 1f;"
			 "pop %%rax; pop %%rdi; call *%%rax; 1:"
			 : "=a"(result)
			 : "a"(__NR_clone), "D"(flags), "S"(top - 16), "r"(r10)
			 : "rcx", "rdx", "r11", "memory");
	return result;
#elif defined(__i386__)
	long result;

	((word *)top)[-4] = (word)body;
	((word *)top)[-3] = (word)at;
	__asm__ volatile("push %%ebx; mov %[flags], %%ebx; int $0x80; pop %%ecx; test %%eax, %%eax; jnz 1f;"
			 "mov %%ecx, %%eax; pop %%ecx; call *%%eax; 1: mov %%ecx, %%ebx"
			 : "=a"(result)
			 : "a"(__NR_clone), [flags] "r"(flags), "c"(top - 16), "d"(0), "S"(0), "D"(tid)
			 : "memory");
	return result;
#else
	(void)top, (void)body, (void)at, (void)flags;
	return -38;
#endif
}

static void pool(long threads)
{
	char *memory;
	long made = 0;

	memory = (char *)call6(
#if defined(__i386__)
		__NR_mmap2,
#else
		__NR_mmap,
#endif
		0, threads * 4096, 3, 0x22, -1, 0);
	alive = threads;
	for (long i = 0; i < threads; i++)
		made += begin_thread(memory + (i + 1) * 4096, pool_body, 0, 0) > 0;
	__atomic_sub_fetch(&alive, threads - made, __ATOMIC_SEQ_CST);
	CALL(__NR_write, 1, made == threads ? "+" : "-", 1, 0);
	CALL(__NR_read, 0, buffer, 1, 0);
	go = 1;
	CALL(__NR_futex, &go, FUTEX_WAKE, 0x7fffffff, 0);
	while (alive)
		__asm__ volatile("" ::: "memory");
}

static long fork_by(int how)
{
#if defined(__NR_fork)
	if (how == 'f' || how == 'F')
		return CALL(__NR_fork, 0, 0, 0, 0);
	if (how == 'v')
		return CALL(__NR_vfork, 0, 0, 0, 0);
#endif
	if (how == '3') {
		static word arguments[11];

		arguments[4] = 17;	/* exit_signal: SIGCHLD */
		return CALL(__NR_clone3, arguments, sizeof(arguments), 0, 0);
	}
	return CALL(__NR_clone, 17, 0, 0, 0);
}

/* A block, up to its `}`, of which this gives the place. */
static int run(int at)
{
	static char *arguments[257];
	long values[7];

	while (at < count_of_words) {
		const char *word = words[at];

		parse(word, values);
		switch (word[0]) {
		case '}':
			return at;
		case 'c':
			last = call6(values[0], values[1], values[2], values[3], values[4], values[5], values[6]);
			break;
		case 'd':
			last = call6(values[0], values[1], values[2], values[3], values[4], values[5], values[6]);
			break;
		case 'C':
			last = narrow_call(values[0], values[1], values[2], values[3]);
			break;
		case 'p':
			own_pid = CALL(__NR_getpid, 0, 0, 0, 0);
			break;
		case 'f':
		case 'F':
		case 'v':
		case '3':
			last = fork_by(word[0]);
			if (last < 0)
				leave(92);
			if (!last) {
				run(at + 1);
				leave(0);
			}
			if (word[0] != 'F')
				CALL(__NR_wait4, last, 0, 0, 0);
			at = after(at) - 1;
			break;
		case 't': {
			static volatile int tids[64];
			int index = stacks_used++ & 63;

			tids[index] = 1;
			begin_thread(stacks[index] + sizeof(stacks[0]), thread_body, at + 1, &tids[index]);
			while (tids[index])
				__asm__ volatile("" ::: "memory");
			at = after(at) - 1;
			break;
		}
		case 'h':
		case 'H':
			install(at, word[0] == 'H' ? SA_RESTART : 0);
			at = after(at) - 1;
			break;
		case 'k':
			CALL(__NR_kill, own_pid, values[0], 0, 0);
			break;
		case 'S':
			jump_from = at;
			if (__builtin_setjmp(jump))
				at = jump_from + jump_by - 1;
			break;
		case 'j':
			jump_by = values[0];
			__builtin_longjmp(jump, 1);
		case 'r':
			false_return();
			break;
		case 'E':
			/* In an array of its own: who made this process by vfork has the same memory. */
			arguments[0] = words[0];
			for (int i = 1; i <= count_of_words - at && i < 256; i++)
				arguments[i] = at + i < count_of_words ? words[at + i] : 0;
			CALL(__NR_execve, word[1] == ',' ? word + 2 : words[0], arguments, (char *[]){ 0 }, 0);
			leave(90);
			break;
		case 'b': {
			int end = after(at);

			for (long i = values[0]; i > 0; i--)
				run(at + 1);
			at = end - 1;
			break;
		}
		case 'w':
			CALL(__NR_read, 0, buffer, 1, 0);
			break;
		case 'o': {
			int length = 0;

			while (word[2 + length])
				length++;
			CALL(__NR_write, 1, word + 2, length, 0);
			break;
		}
		case 'q':
			leave(values[0]);
			break;
		case 'n':
			pool(values[0]);
			break;
		case 'i':
			for (;;)
				__asm__ volatile("" ::: "memory");
		default:
			leave(91);
		}
		at++;
	}
	leave(0);
	return at;
}

void begin(word *stack)
{
	count_of_words = (int)stack[0];
	words = (char **)(stack + 1);
	run(1);
	leave(0);
}

#if defined(__x86_64__)
__asm__(".globl _start\n_start: mov %rsp, %rdi\nand $-16, %rsp\ncall begin\n");
#elif defined(__i386__)
__asm__(".globl _start\n_start: mov %esp, %eax\nand $-16, %esp\nsub $12, %esp\npush %eax\ncall begin\n");
#else
__asm__(".globl _start\n_start: mov x0, sp\nbl begin\n");
#endif
