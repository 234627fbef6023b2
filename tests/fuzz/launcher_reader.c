/* libFuzzer's target for the launcher's reader (tests/fuzz/run.py builds it): any bytes as a compiled policy, and the
 * same with a right size and digest. What is found good is used as the launcher uses it. */
#include "../../launcher/sha256.h"
#include "../payload/launcher_uses.h"

#include <string.h>

static void read_as(const unsigned char *data, size_t size)
{
	static const uint32_t machines[] = {0xC000003Eu, 0xC00000B7u};

	for (size_t i = 0; i < sizeof(machines) / sizeof(*machines); i++) {
		struct policy policy;
		struct wrong wrong = {NULL, ~0ull};

		if (!policy_check((struct bytes){data, size}, machines[i], &policy, &wrong)) {
			use_policy(&policy);
			continue;
		}
		MUST(wrong.why && wrong.offset <= size);
		/* Of a damaged file nothing else is said on either machine. */
		return;
	}
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
	unsigned char *copy;

	read_as(data, size);
	if (size < 64)
		return 0;
	copy = malloc(size);
	MUST(copy);
	memcpy(copy, data, size);
	for (int i = 0; i < 8; i++) {
		copy[16 + i] = (unsigned char)((uint64_t)size >> 8 * i);
		copy[24 + i] = 0;
	}
	sha256(copy + 64, size - 64, copy + 32);
	read_as(copy, size);
	free(copy);
	return 0;
}
