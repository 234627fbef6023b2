#include "told.h"
#include "sha256.h"
#include "sys.h"

/* How long the bytes are that are one character in UTF-8 (RFC 3629); 0 where they are none. */
static size_t character(const unsigned char *at, size_t left)
{
	size_t length = at[0] < 0x80 ? 1 : at[0] < 0xc2 ? 0 : at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : at[0] < 0xf5 ? 4 : 0;
	unsigned second = length > 1 && left > 1 ? at[1] : 0;

	if (length > left)
		return 0;
	for (size_t i = 1; i < length; i++)
		if ((at[i] & 0xc0) != 0x80)
			return 0;
	/* Longer than it need be, a surrogate, or beyond U+10FFFF. */
	if ((at[0] == 0xe0 && second < 0xa0) || (at[0] == 0xed && second > 0x9f) || (at[0] == 0xf0 && second < 0x90) || (at[0] == 0xf4 && second > 0x8f))
		return 0;
	return length;
}

static int is_utf8(const unsigned char *at, size_t length)
{
	size_t one;

	for (; length; at += one, length -= one)
		if (!(one = character(at, length)))
			return 0;
	return 1;
}

/* A JSON string. What is no text in UTF-8 is taken for one in Latin-1: so no two are the same. */
static void put_string(struct text *text, const char *string)
{
	size_t length = length_of(string), begin = 0;
	const unsigned char *at = (const unsigned char *)string;

	if (!is_utf8(at, length)) {
		text_json(text, string, length);
		return;
	}
	text_string(text, "\"");
	for (size_t i = 0; i <= length; i++) {
		if (i < length && at[i] >= ' ' && at[i] != '"' && at[i] != '\\' && at[i] != 0x7f)
			continue;
		text_raw(text, string + begin, i - begin);
		if (i < length && (at[i] == '"' || at[i] == '\\')) {
			text_string(text, "\\");
			text_raw(text, string + i, 1);
		} else if (i < length) {
			text_string(text, at[i] == 0x7f ? "\\u007" : at[i] & 0x10 ? "\\u001" : "\\u000");
			text_raw(text, &"0123456789abcdef"[at[i] & 15], 1);
		}
		begin = i + 1;
	}
	text_string(text, "\"");
}

/* How long what follows a backslash is in a JSON string; 0 where it is nothing that may. */
static size_t escape(const unsigned char *at, size_t left)
{
	static const char simple[] = "\"\\/bfnrt";

	for (size_t i = 0; left && i < sizeof(simple) - 1; i++)
		if (at[0] == (unsigned char)simple[i])
			return 1;
	if (left < 5 || at[0] != 'u')
		return 0;
	for (int i = 1; i < 5; i++)
		if (!((at[i] >= '0' && at[i] <= '9') || (at[i] >= 'a' && at[i] <= 'f')))
			return 0;
	return 5;
}

/* The policy's name with its quotes, as its metadata have it: JSON in one form (docs/formats.md), where every quote in a
 * text has a backslash before it. 0 bytes where there is none, or anything else: nobody has checked it. */
static struct bytes name_of(const struct policy *policy)
{
	static const char key[] = ",\"name\":\"";
	const unsigned char *at = policy->metadata.at, *end = at + policy->metadata.size, *begin;
	size_t i = 0, one;

	for (; at < end && i < sizeof(key) - 1; at++)
		i = *at == (unsigned char)key[i] ? i + 1 : *at == (unsigned char)key[0];
	begin = at;
	for (; at < end && *at != '"'; at += one) {
		one = *at == '\\' ? escape(at + 1, (size_t)(end - at) - 1) : character(at, (size_t)(end - at));
		if (*at < ' ' || !one)
			return (struct bytes){NULL, 0};
		one += *at == '\\';
	}
	return at < end && at > begin ? (struct bytes){begin - 1, (size_t)(at - begin) + 2} : (struct bytes){NULL, 0};
}

/* What the runtime-spec calls a ContainerProcessState (config-linux.md), of a program without a container. */
void tell_state(const struct told *told, const struct policy *policy, struct text *text)
{
	static const char version[] = "{\"ociVersion\":\"1.1.0\"";
	struct bytes name = name_of(policy);
	unsigned char digest[32];
	uint64_t pid = (uint64_t)SYS0(NR_getpid);

	text_string(text, version);
	text_string(text, ",\"fds\":[\"seccompFd\"],\"pid\":");
	text_number(text, pid);
	text_string(text, ",\"metadata\":");
	if (!told->metadata && name.size)
		text_raw(text, (const char *)name.at, name.size);
	else
		put_string(text, told->metadata ? told->metadata : told->file);
	text_string(text, ",\"state\":");
	if (told->state) {
		/* As it is: who calls us vouches for it, and the monitor looks at it. */
		text_string(text, told->state);
		text_string(text, "}");
		return;
	}
	text_string(text, version);
	text_string(text, ",\"id\":\"scmm-enforce-");
	text_number(text, pid);
	text_string(text, "\",\"status\":\"running\",\"pid\":");
	text_number(text, pid);
	text_string(text, ",\"bundle\":\"\",\"annotations\":{\"scmm.executable\":");
	put_string(text, told->file);
	text_string(text, ",\"scmm.mode\":");
	put_string(text, told->mode);
	text_string(text, ",\"scmm.policy.sha256\":\"");
	sha256(policy->file.at, policy->file.size, digest);
	for (size_t i = 0; i < sizeof(digest); i++) {
		text_raw(text, &"0123456789abcdef"[digest[i] >> 4], 1);
		text_raw(text, &"0123456789abcdef"[digest[i] & 15], 1);
	}
	text_string(text, "\"}}}");
}
