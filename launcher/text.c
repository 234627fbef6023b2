#include "text.h"
#include "sys.h"

void *memcpy(void *to, const void *from, size_t length);
void *memset(void *to, int byte, size_t length);
int memcmp(const void *one, const void *other, size_t length);

/* Compilers call these where we copy or compare structures. */
__attribute__((used)) void *memcpy(void *to, const void *from, size_t length)
{
	unsigned char *out = to;
	const unsigned char *in = from;

	while (length--)
		*out++ = *in++;
	return to;
}

__attribute__((used)) void *memset(void *to, int byte, size_t length)
{
	volatile unsigned char *out = to;

	while (length--)
		*out++ = (unsigned char)byte;
	return to;
}

__attribute__((used)) int memcmp(const void *one, const void *other, size_t length)
{
	const unsigned char *a = one, *b = other;

	for (; length--; a++, b++)
		if (*a != *b)
			return *a < *b ? -1 : 1;
	return 0;
}

static void put(struct text *text, char c)
{
	if (text->length < text->room)
		text->at[text->length++] = c;
}

void text_string(struct text *text, const char *string)
{
	while (*string)
		put(text, *string++);
}

void text_raw(struct text *text, const char *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++)
		put(text, bytes[i]);
}

static void put_hex(struct text *text, unsigned number)
{
	put(text, "0123456789abcdef"[number & 15]);
}

static void escaped(struct text *text, const unsigned char *bytes, size_t length, int json)
{
	for (size_t i = 0; i < length; i++) {
		unsigned char c = bytes[i];

		if (c == '\\' || (json && c == '"')) {
			put(text, '\\');
			put(text, (char)c);
		} else if (c >= ' ' && c < 0x7f) {
			put(text, (char)c);
		} else {
			text_string(text, json ? "\\u00" : "\\x");
			put_hex(text, c >> 4);
			put_hex(text, c);
		}
	}
}

void text_bytes(struct text *text, const void *bytes, size_t length)
{
	escaped(text, bytes, length, 0);
}

void text_json(struct text *text, const void *bytes, size_t length)
{
	put(text, '"');
	escaped(text, bytes, length, 1);
	put(text, '"');
}

void text_number(struct text *text, uint64_t number)
{
	char digits[20];
	int count = 0;

	do
		digits[count++] = (char)('0' + number % 10);
	while (number /= 10);
	while (count)
		put(text, digits[--count]);
}

void text_hex(struct text *text, uint64_t number)
{
	int bits = 60;

	text_string(text, "0x");
	while (bits && !(number >> bits))
		bits -= 4;
	for (; bits >= 0; bits -= 4)
		put_hex(text, (unsigned)(number >> bits));
}

long text_write(const struct text *text, int fd)
{
	size_t done = 0;

	while (done < text->length) {
		long written = SYS3(NR_write, fd, text->at + done, text->length - done);
		struct poll polled = {fd, POLLOUT, 0};

		if (written > 0)
			done += (size_t)written;
		/* Somebody may have made a pipe or a terminal so that it does not wait. */
		else if (written != -EINTR && (written != -EAGAIN || SYS5(NR_ppoll, &polled, 1, 0, 0, 8) < 0))
			return written ? written : -EIO;
	}
	return 0;
}

size_t length_of(const char *string)
{
	size_t length = 0;

	while (string[length])
		length++;
	return length;
}

int same(const char *one, const char *other)
{
	while (*one && *one == *other)
		one++, other++;
	return *one == *other;
}

int64_t number_of(const char *string, int64_t limit)
{
	int64_t number = 0;

	if (!*string)
		return -1;
	for (; *string; string++) {
		if (*string < '0' || *string > '9')
			return -1;
		number = number * 10 + (*string - '0');
		if (number > limit)
			return -1;
	}
	return number;
}

void text_error(struct text *text, long error)
{
	/* The number as a byte, in octal; and the name. */
	static const char names[] =
		"\001EPERM\0\002ENOENT\0\003ESRCH\0\004EINTR\0\005EIO\0\007E2BIG\0\010ENOEXEC\0\011EBADF\0"
		"\012ECHILD\0\013EAGAIN\0\014ENOMEM\0\015EACCES\0\016EFAULT\0\020EBUSY\0\021EEXIST\0\022EXDEV\0"
		"\024ENOTDIR\0\025EISDIR\0\026EINVAL\0\030EMFILE\0\032ETXTBSY\0\033EFBIG\0\034ENOSPC\0\036EROFS\0"
		"\040EPIPE\0\044ENAMETOOLONG\0\046ENOSYS\0\050ELOOP\0\137EOPNOTSUPP\0\150ECONNRESET\0\153ENOTCONN\0"
		"\157ECONNREFUSED\0";
	uint64_t number = error < 0 ? -(uint64_t)error : (uint64_t)error;

	for (const char *at = names; *at; at += length_of(at) + 1)
		if ((uint64_t)*at == number) {
			text_string(text, at + 1);
			return;
		}
	text_string(text, "error ");
	text_number(text, number);
}
