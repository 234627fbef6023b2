/* launcher/told.c in a hosted program: what a monitor is told.
 *
 *   launcher_told      reads records: length (32 bits) and bytes of the policy's metadata, and of the program's path, until
 *                      there are no more; prints a line for each */
#include "../../launcher/sys.h"
#include "../../launcher/told.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

long sys(long nr, long a, long b, long c, long d, long e, long f)
{
	(void)a, (void)b, (void)c, (void)d, (void)e, (void)f;
	if (nr != NR_getpid)
		abort();
	return 4711;
}

/* Of a size of its own, so that a sanitizer sees what is read beyond it. */
static unsigned char *read_bytes(uint32_t *size, int end)
{
	unsigned char *bytes;

	if (fread(size, sizeof(*size), 1, stdin) != 1)
		return NULL;
	bytes = calloc(1, *size + (size_t)end);
	if (!bytes || fread(bytes, 1, *size, stdin) != *size)
		abort();
	return bytes;
}

int main(void)
{
	unsigned char *metadata;
	uint32_t size, length;

	while ((metadata = read_bytes(&size, 0))) {
		char *file = (char *)read_bytes(&length, 1), *room = malloc(1 << 17);
		struct policy policy = {.metadata = {metadata, size}, .file = {metadata, size}};
		struct told told = {"ask", NULL, NULL, file};
		struct text text = {room, 0, 1 << 17};

		if (!file || !room)
			abort();
		tell_state(&told, &policy, &text);
		fwrite(text.at, 1, text.length, stdout);
		putchar('\n');
		free(metadata);
		free(file);
		free(room);
	}
	return 0;
}
