/* Names opened as descriptors (O_PATH), links followed where nobody else could have put them. */
#pragma once

#include <stdint.h>

/* Beside the kernel's errors: there is a link which others could change. */
enum { UNTRUSTED = -5000 };

int open_at(int dir, const char *name, long flags);
int open_root(void);
void shut(int fd);
/* What a name in a directory is; `dir` stays open. `user` is whose links are followed, beside root's and the kernel's.
 * A descriptor, an error of the kernel's, or UNTRUSTED. */
int lookup_name(uint32_t user, int dir, const char *name);
/* What a name is that is no link: -ENOENT where it is one. */
int lookup_plain(int dir, const char *name);
/* The same as lookup_name of a path as text. */
int lookup_text(uint32_t user, int dir, const char *text);
