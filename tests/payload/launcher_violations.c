/* launcher/violations.c in a hosted program, for sanitizers: calls with any numbers, from processes with any memory.
 *
 *   launcher_violations SEED COUNT      what is told of so many calls, and their sum, on stdout */
#include "../../launcher/sys.h"
#include "../../launcher/violations.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t state;

static uint64_t number(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static int one_of(int count)
{
	return (int)(number() % (uint64_t)count);
}

/* Memory of the caller: some of what was asked for, mostly bytes of paths and addresses. */
static long read_memory(unsigned char *at, size_t length)
{
	static const char some[] = "/etc/a\0\n\"\\\x1b\xff\1\2\12";
	long got = one_of(8) ? (long)length : (long)(number() % (length + 1));

	if (!one_of(8))
		return -14;
	for (long i = 0; i < got; i++)
		at[i] = one_of(200) ? (unsigned char)"/abcdefg"[one_of(8)] : (unsigned char)some[one_of(sizeof(some))];
	if (got && one_of(2))
		at[0] = (unsigned char)some[one_of(sizeof(some))];
	if (got > 1 && one_of(2))
		at[1] = 0;
	return got;
}

/* The beginning of /proc/PID/status, or something else. */
static long read_status(char *to, size_t room)
{
	char text[2048];
	int length;

	if (!one_of(10))
		return -3;
	length = snprintf(text, sizeof(text), "Name:\t%.*s%s\nUmask:\t0022\nState:\tR (running)\nTgid:\t%d\nNgid:\t0\n", one_of(16),
			  "a\\nb \x1b[31m\xc3\xa9xyz", one_of(20) ? "" : "long", one_of(1 << 22));
	if (!one_of(4))
		length = one_of(length + 1);
	for (int i = 0; i < length && !one_of(4); i++)
		text[one_of(length)] = (char)number();
	length = (size_t)length < room ? length : (int)room;
	memcpy(to, text, (size_t)length);
	return length;
}

long sys(long nr, long a, long b, long c, long d, long e, long f)
{
	(void)d, (void)e, (void)f;
	switch (nr) {
	case NR_process_vm_readv:
		return read_memory((unsigned char *)(uintptr_t)((const uint64_t *)b)[0], ((const uint64_t *)b)[1]);
	case NR_pread64:
		return read_memory((unsigned char *)b, (size_t)c);
	case NR_getpid:
		return 4711;
	case NR_readlinkat:
		/* /proc/self of this namespace, of another, or none. */
		if (!one_of(10))
			return -2;
		memcpy((char *)c, one_of(10) ? "4711" : "4712", 4);
		return 4;
	case NR_openat:
		return one_of(10) ? 9 : -2;
	case NR_close:
		return 0;
	case NR_read:
		return read_status((char *)b, (size_t)c);
	case NR_write:
		return a == 5 ? (long)fwrite((const void *)b, 1, (size_t)c, stdout) : -9;
	}
	abort();
}

int main(int count, char **words)
{
	static const uint32_t arches[] = {0xC000003E, 0x40000003, 0xC00000B7, 0x40000028, 0, 0xffffffff};
	/* Refuses everything: with an errno that the number of the call chooses, or by an action. */
	static const unsigned char program[][8] = {
		{0x20, 0, 0, 0, 0, 0, 0, 0},		/* the number */
		{0x35, 0, 0, 1, 200, 0, 0, 0},		/* from 200 on */
		{0x06, 0, 0, 0, 0xff, 0x0f, 5, 0},	/* errno 4095 */
		{0x35, 0, 0, 1, 100, 0, 0, 0},		/* from 100 on */
		{0x06, 0, 0, 0, 0, 0, 3, 0},		/* SIGSYS */
		{0x35, 0, 0, 1, 50, 0, 0, 0},
		{0x06, 0, 0, 0, 0xff, 0xff, 5, 0},	/* errno 65535 */
		{0x06, 0, 0, 0, 13, 0, 5, 0},		/* EACCES */
	};
	struct filter filter = {.count = sizeof(program) / sizeof(*program), .instructions = program[0]};
	struct violations *violations;

	if (count != 3)
		return 2;
	state = strtoull(words[1], NULL, 10) * 2654435761u + 1;
	violations = violations_begin(&filter, 5);
	for (long i = strtol(words[2], NULL, 10); i; i--) {
		struct notification call = {.pid = (uint32_t)one_of(1 << 22), .arch = arches[one_of(6)]};

		call.nr = one_of(8) ? (uint32_t)one_of(600) : (uint32_t)number();
		if (!one_of(4))
			call.nr |= 0x40000000;
		for (int j = 0; j < 6; j++)
			call.args[j] = one_of(3) ? number() : (uint64_t)one_of(200);
		violation_look(violations, &call);
		/* Else it is gone before it could go on. */
		if (one_of(20))
			violation_tell(violations);
	}
	violations_sum(violations);
	return 0;
}
