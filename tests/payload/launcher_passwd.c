/* launcher/who.c in a hosted program: what it takes from a file in place of /etc/passwd.
 *
 *   launcher_passwd FILE UID MOST      reads MOST bytes at a time; prints the name and the home in hexadecimal digits */
#include "../../launcher/sys.h"
#include "../../launcher/who.h"

#include <stdio.h>
#include <stdlib.h>

static FILE *passwd;
static size_t most;

long sys(long nr, long a, long b, long c, long d, long e, long f)
{
	(void)a, (void)d, (void)e, (void)f;
	switch (nr) {
	case NR_openat:
		return 3;
	case NR_close:
	case NR_getgid:
		return 0;
	case NR_read:
		return (long)fread((void *)b, 1, (size_t)c < most ? (size_t)c : most, passwd);
	}
	abort();
}

long sys_fstat(int fd, struct file_status *status)
{
	*status = (struct file_status){.mode = S_IFREG};
	return fd == 3 ? 0 : -1;
}

/* Elsewhere in the launcher, and not asked for here. */
void status_lower(struct status *status, enum layer layer, enum degree degree, const struct text *reason)
{
	(void)status, (void)layer, (void)degree, (void)reason;
	abort();
}

static void print(const char *name, const char *bytes)
{
	printf("%s ", name);
	while (*bytes)
		printf("%02x", (unsigned char)*bytes++);
	printf("\n");
}

int main(int count, char **words)
{
	struct policy policy = {.given = IDENTITY_UID};
	struct who *who = malloc(sizeof(*who));

	if (count != 4 || !who || !(passwd = fopen(words[1], "rb")))
		return 2;
	policy.uid = (uint32_t)strtoul(words[2], NULL, 10);
	most = strtoul(words[3], NULL, 10);
	who_find(&policy, who);
	print("user", who->user);
	print("home", who->home);
	fclose(passwd);
	free(who);
	return 0;
}
