/* Text into a buffer of fixed size, and from there to a descriptor. What does not fit is cut, never written beyond. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct text {
	char *at;
	size_t length, room;
};

/* A buffer on the stack: TEXT(name, size). */
#define TEXT(name, size)                                                                                               \
	char name##_room[size];                                                                                        \
	struct text name = {name##_room, 0, sizeof(name##_room)}

void text_string(struct text *text, const char *string);
/* Bytes as they are, known to be printable. */
void text_raw(struct text *text, const char *bytes, size_t length);
/* Bytes of a policy or a path: what is not printable ASCII as \xff, so that nothing steers a terminal. */
void text_bytes(struct text *text, const void *bytes, size_t length);
/* The same between quotes, as a JSON string: what is not printable ASCII as \u00ff. */
void text_json(struct text *text, const void *bytes, size_t length);
void text_number(struct text *text, uint64_t number);
void text_hex(struct text *text, uint64_t number);
/* All of it, waiting if need be. 0, or the error. */
long text_write(const struct text *text, int fd);

size_t length_of(const char *string);
int same(const char *one, const char *other);
/* A decimal number up to the limit; -1 if it is none. */
int64_t number_of(const char *string, int64_t limit);
/* The name of an error, or its number: "EACCES". */
void text_error(struct text *text, long error);
