/* The launcher's reader in a hosted program, for tests with sanitizers: what it says to what it is asked.
 *
 *   launcher_reader files FILE…    for each file "ok", or why it is none
 *   launcher_reader ask            records on stdin, an answer in a line for each:
 *     P u32 audit, u32 length, bytes            a compiled policy: "ok", or "BYTE why"; the last good one is kept
 *     V u32 audit, u32 nr, 6 × u64              what its filter and its twin return for a call
 *     G u32 length, glob, u32 length, name      whether the glob matches
 *     A u64 mask                                the ABIs of rights on files and on ports
 *     H u32 length, bytes                       SHA-256
 *     N u32 length, text                        the number that a text is, at most 1048576
 *     T u32 length, bytes                       the bytes as text_bytes and text_json have them, in hexadecimal digits
 *     E u64 number                              as text_number, text_hex and text_error have it
 */
#include "../../launcher/sha256.h"
#include "../../launcher/text.h"
#include "launcher_uses.h"

#include <stdio.h>
#include <string.h>

/* text.c writes by this. */
long sys(long nr, long a, long b, long c, long d, long e, long f);
long sys(long nr, long a, long b, long c, long d, long e, long f)
{
	(void)nr, (void)a, (void)b, (void)c, (void)d, (void)e, (void)f;
	abort();
}

static int check(struct bytes file, uint32_t audit, struct policy *policy)
{
	struct wrong wrong = {NULL, ~0ull};

	if (policy_check(file, audit, policy, &wrong)) {
		MUST(wrong.why && wrong.offset <= file.size);
		printf("%llu %s\n", (unsigned long long)wrong.offset, wrong.why);
		return -1;
	}
	use_policy(policy);
	puts("ok");
	return 0;
}

static void must_read(void *to, size_t size)
{
	if (size && fread(to, size, 1, stdin) != 1)
		exit(2);
}

static uint32_t u32(void)
{
	unsigned char raw[4];

	must_read(raw, 4);
	return (uint32_t)raw[0] | (uint32_t)raw[1] << 8 | (uint32_t)raw[2] << 16 | (uint32_t)raw[3] << 24;
}

static uint64_t u64(void)
{
	uint64_t low = u32();

	return low | (uint64_t)u32() << 32;
}

/* In memory of exactly that size, so that the sanitizer sees a byte too many. */
static struct bytes bytes(void)
{
	size_t size = u32();
	unsigned char *at = malloc(size ? size : 1);

	MUST(at);
	must_read(at, size);
	return (struct bytes){at, size};
}

static void drop(struct bytes one)
{
	free((void *)(uintptr_t)one.at);
}

static void print_hex(const void *at, size_t size)
{
	for (size_t i = 0; i < size; i++)
		printf("%02x", ((const unsigned char *)at)[i]);
}

static void answer_text(void)
{
	struct bytes given = bytes();
	/* Also into too little room. */
	size_t rooms[] = {6 * given.size + 2, given.size / 2};

	for (size_t i = 0; i < 4; i++) {
		char *room = malloc(rooms[i / 2] ? rooms[i / 2] : 1);
		struct text text = {room, 0, rooms[i / 2]};

		MUST(room);
		(i % 2 ? text_json : text_bytes)(&text, given.at, given.size);
		MUST(text.length <= text.room);
		print_hex(room, text.length);
		putchar(i < 3 ? ' ' : '\n');
		free(room);
	}
	drop(given);
}

static void answer_number(void)
{
	TEXT(text, 64);
	uint64_t number = u64();

	text_number(&text, number);
	text_string(&text, " ");
	text_hex(&text, number);
	text_string(&text, " ");
	text_error(&text, (long)number);
	printf("%.*s\n", (int)text.length, text.at);
}

static void answer_verdict(const struct policy *policy)
{
	uint32_t audit = u32(), nr = u32();
	uint64_t args[6];

	for (int i = 0; i < 6; i++)
		args[i] = u64();
	printf("%u %u\n", filter_verdict(&policy->filter, audit, nr, args), filter_verdict(&policy->permissive, audit, nr, args));
}

static void answer(int what)
{
	static struct bytes kept;
	static struct policy policy;
	struct bytes one, other;
	unsigned char digest[32];
	uint32_t audit;
	uint64_t mask;

	switch (what) {
	case 'P':
		audit = u32();
		drop(kept);
		kept = bytes();
		if (check(kept, audit, &policy))
			policy = (struct policy){0};
		return;
	case 'V':
		answer_verdict(&policy);
		return;
	case 'G':
		one = bytes();
		other = bytes();
		printf("%d\n", glob_matches(one.at, one.size, other.at, other.size));
		drop(other);
		drop(one);
		return;
	case 'A':
		mask = u64();
		printf("%u %u\n", abi_of_fs(mask), abi_of_net(mask));
		return;
	case 'H':
		one = bytes();
		sha256(one.at, one.size, digest);
		print_hex(digest, sizeof(digest));
		putchar('\n');
		drop(one);
		return;
	case 'N':
		/* A text as arguments are: with a zero at its end. */
		one = bytes();
		MUST(one.size && !one.at[one.size - 1]);
		printf("%lld %zu\n", (long long)number_of((const char *)one.at, 1 << 20), length_of((const char *)one.at));
		drop(one);
		return;
	case 'T':
		answer_text();
		return;
	case 'E':
		answer_number();
		return;
	}
	exit(2);
}

static int read_file(const char *name)
{
	FILE *file = fopen(name, "rb");
	struct policy policy;
	unsigned char *at;
	long size;

	if (!file || fseek(file, 0, SEEK_END) || (size = ftell(file)) < 0 || fseek(file, 0, SEEK_SET))
		return -1;
	at = malloc(size ? (size_t)size : 1);
	MUST(at && (!size || fread(at, (size_t)size, 1, file) == 1));
	fclose(file);
	printf("%s: ", name);
	check((struct bytes){at, (size_t)size}, 0xC000003Eu, &policy);
	free(at);
	return 0;
}

int main(int count, char **words)
{
	int what;

	if (count >= 2 && !strcmp(words[1], "files")) {
		for (int i = 2; i < count; i++)
			if (read_file(words[i]))
				return 2;
		return 0;
	}
	if (count != 2 || strcmp(words[1], "ask"))
		return 2;
	while ((what = getchar()) != EOF)
		answer(what);
	return 0;
}
