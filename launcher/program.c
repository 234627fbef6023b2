#include "program.h"
#include "stop.h"
#include "sys.h"
#include "text.h"

static const char *search_path(char **environment)
{
	for (; *environment; environment++) {
		const char *one = *environment, *name = "PATH=";

		while (*name && *one == *name)
			one++, name++;
		if (!*name)
			return one;
	}
	return "/usr/local/bin:/usr/bin:/bin";
}

/* The next place to look for a program in, or NULL; an empty directory is the current one. */
static const char *candidate(const char **path, const char *name, char *room, size_t size)
{
	size_t length = 0, more = length_of(name);

	if (!*path)
		return NULL;
	while ((*path)[length] && (*path)[length] != ':')
		length++;
	if (length + more + 3 > size) {
		room[0] = 0;
	} else {
		size_t at = 0;

		for (; at < length; at++)
			room[at] = (*path)[at];
		if (!length)
			room[at++] = '.';
		room[at++] = '/';
		for (size_t i = 0; i <= more; i++)
			room[at + i] = name[i];
	}
	*path = (*path)[length] ? *path + length + 1 : NULL;
	return room;
}

static int has_slash(const char *name)
{
	while (*name && *name != '/')
		name++;
	return *name;
}

void find_program(const char *name, char **environment)
{
	char room[4096];
	const char *path = search_path(environment), *one;

	if (has_slash(name) || !*name) {
		long fd = *name ? SYS4(NR_openat, AT_FDCWD, name, O_PATH | O_CLOEXEC, 0) : -ENOENT;

		if (fd == -ENOENT || fd == -ENOTDIR)
			stop(EXIT_NOT_FOUND, "there is no program", name, NULL);
		if (fd >= 0)
			SYS1(NR_close, fd);
		return;
	}
	while ((one = candidate(&path, name, room, sizeof(room)))) {
		long fd = *one ? SYS4(NR_openat, AT_FDCWD, one, O_PATH | O_CLOEXEC, 0) : -ENOENT;

		if (fd == -ENOENT || fd == -ENOTDIR)
			continue;
		if (fd >= 0)
			SYS1(NR_close, fd);
		return;
	}
	stop(EXIT_NOT_FOUND, "there is no program", name, "it is in no directory of PATH");
}

long execute(char **program, char **environment)
{
	char room[4096];
	const char *path = search_path(environment), *one;
	long error = -ENOENT, tried;

	if (has_slash(*program))
		return SYS3(NR_execve, *program, program, environment);
	while ((one = candidate(&path, *program, room, sizeof(room)))) {
		if (!*one)
			continue;
		tried = SYS3(NR_execve, one, program, environment);
		if (tried == -EACCES)
			error = tried;
		else if (tried != -ENOENT && tried != -ENOTDIR)
			return tried;
	}
	return error;
}

_Noreturn void not_executed(const char *program, long error)
{
	const char *why = error == -ENOENT ? "its interpreter or loader is not there"
			: error == -EACCES ? "it is not executable, or the policy does not let it be executed"
					   : NULL;

	if (why)
		stop(error == -ENOENT ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTABLE, "cannot execute", program, why);
	stop_error(EXIT_NOT_EXECUTABLE, "cannot execute", program, error);
}
