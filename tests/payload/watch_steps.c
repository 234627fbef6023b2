/*
 * Makes exactly the calls that its arguments name, so that a machine for it can be written by hand: a number is that
 * call without arguments (with zeros), `r` reads a byte of standard input, `w` writes one to standard output, `f` goes on
 * in a child as well, `c` in the child alone, `p` lets it end, `u` starts the arguments anew, for ever. No C library.
 */
#include <sys/syscall.h>

#define SIGCHLD 17

static long call(long number, long one, long two, long three)
{
#ifdef __x86_64__
	long result;

	register long four __asm__("r10") = 0;
	register long five __asm__("r8") = 0;
	register long six __asm__("r9") = 0;
	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(one), "S"(two), "d"(three), "r"(four), "r"(five), "r"(six)
			 : "rcx", "r11", "memory");
	return result;
#else
	register long nr __asm__("x8") = number;
	register long first __asm__("x0") = one;
	register long second __asm__("x1") = two;
	register long third __asm__("x2") = three;
	register long four __asm__("x3") = 0;
	register long five __asm__("x4") = 0;

	__asm__ volatile("svc 0" : "+r"(first) : "r"(nr), "r"(second), "r"(third), "r"(four), "r"(five) : "memory");
	return first;
#endif
}

static long number(const char *word)
{
	long value = 0;

	while (*word)
		value = value * 10 + *word++ - '0';
	return value;
}

static void run(char **words)
{
	char byte = '.';

	for (char **word = words; *word; word++) {
		switch (**word) {
		case 'r':
			if (call(SYS_read, 0, (long)&byte, 1) != 1)
				call(SYS_exit_group, 3, 0, 0);
			break;
		case 'w':
			byte = '.';
			call(SYS_write, 1, (long)&byte, 1);
			break;
		case 'f':
			call(SYS_clone, SIGCHLD, 0, 0);
			break;
		case 'c':
			if (call(SYS_clone, SIGCHLD, 0, 0))
				call(SYS_exit_group, 0, 0, 0);
			break;
		case 'p':
			call(SYS_exit_group, 0, 0, 0);
			break;
		case 'u':
			word = words - 1;
			break;
		default:
			call(number(*word), 0, 0, 0);
		}
	}
	call(SYS_exit_group, 0, 0, 0);
}

__attribute__((used)) static void begin(long *stack)
{
	run((char **)stack + 2);
}

#ifdef __x86_64__
__asm__(".globl _start\n_start:\n\tmov %rsp, %rdi\n\tand $-16, %rsp\n\tcall begin\n");
#else
__asm__(".globl _start\n_start:\n\tmov x0, sp\n\tbl begin\n");
#endif
