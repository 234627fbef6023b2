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

/* Which file was tried, and what keeps anybody from executing it: for the message, when nothing can be looked at. */
static char tried_last[4096];
static const char *hindrance;

static void keep(const char *name)
{
	size_t length = length_of(name);

	for (size_t i = 0; i <= length && length < sizeof(tried_last); i++)
		tried_last[i] = name[i];
}

/* Whether there is something by that name. */
static int is_there(const char *name)
{
	struct file_status status;
	long fd = *name ? SYS4(NR_openat, AT_FDCWD, name, O_PATH | O_CLOEXEC, 0) : -ENOENT;

	if (fd < 0)
		return fd != -ENOENT && fd != -ENOTDIR;
	hindrance = NULL;
	if (!sys_fstat((int)fd, &status)) {
		if ((status.mode & S_IFMT) == S_IFDIR)
			hindrance = "it is a directory";
		else if (!(status.mode & 0111))
			hindrance = "nobody may execute it (chmod +x)";
	}
	SYS1(NR_close, fd);
	return 1;
}

void find_program(const char *name, char **environment)
{
	char room[4096];
	const char *path = search_path(environment), *one;
	int found = 0;

	if (has_slash(name) || !*name) {
		if (!is_there(name))
			stop(EXIT_NOT_FOUND, "there is no program", name, NULL);
		return;
	}
	/* As execute does, past those that nobody can execute. */
	while ((one = candidate(&path, name, room, sizeof(room)))) {
		if (!is_there(one))
			continue;
		found = 1;
		keep(one);
		if (!hindrance)
			return;
	}
	if (!found)
		stop(EXIT_NOT_FOUND, "there is no program", name, "it is in no directory of PATH");
}

const char *found_program(const char *name)
{
	return tried_last[0] ? tried_last : name;
}

long execute(char **program, char **environment)
{
	char room[4096];
	const char *path = search_path(environment), *one;
	long error = -ENOENT, tried = 0;

	if (has_slash(*program))
		return SYS3(NR_execve, *program, program, environment);
	while ((one = candidate(&path, *program, room, sizeof(room)))) {
		if (!*one)
			continue;
		tried = SYS3(NR_execve, one, program, environment);
		if (tried == -ENOENT || tried == -ENOTDIR)
			continue;
		error = tried;
		if (tried == -EACCES)
			continue;
		keep(one);
		break;
	}
	return error;
}

_Noreturn void not_executed(const char *program, long error)
{
	const char *file = found_program(program);
	const char *why = error == -ENOENT             ? "its interpreter or loader is not there"
			  : error == -EACCES && hindrance ? hindrance
			  : error == -EACCES              ? "it may not be executed: with a policy for files, it, its interpreter and its "
							    "loader need execute and read_file"
							  : NULL;

	if (why)
		stop(error == -ENOENT ? EXIT_NOT_FOUND : EXIT_NOT_EXECUTABLE, "cannot execute", file, why);
	stop_error(EXIT_NOT_EXECUTABLE, "cannot execute", file, error);
}
