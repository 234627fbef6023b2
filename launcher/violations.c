#include "violations.h"
#include "names.h"
#include "sys.h"
#include "text.h"

/* Kinds that are kept; calls of further ones are counted together. Slots: twice as many, so that the search is short. */
enum { MOST_KINDS = 2048, SLOTS = 4096, PATH_MOST = 1024 };

#define X32_BIT 0x40000000u
#define AUDIT_I386 0x40000003u
#define AUDIT_ARM 0x40000028u

struct kind {
	uint32_t arch, nr, verdict;
	uint64_t count;
};

struct violations {
	const struct filter *filter;
	int report;
	uint32_t kinds;
	uint64_t calls, others;
	struct kind *current;
	struct text line;
	char room[16384];
	struct kind list[MOST_KINDS];
	/* Index in the list plus one; 0 is free. */
	uint16_t slots[SLOTS];
};

struct violations *violations_begin(const struct filter *filter, int report)
{
	static struct violations all;

	all.filter = filter;
	all.report = report;
	return &all;
}

/* The kind of a call; NULL where there is no room for another. */
static struct kind *find(struct violations *all, uint32_t arch, uint32_t nr, uint32_t verdict)
{
	uint32_t at = (nr * 2654435761u ^ arch * 40503u ^ verdict * 97u) % SLOTS;
	struct kind *one;

	for (; all->slots[at]; at = (at + 1) % SLOTS) {
		one = &all->list[all->slots[at] - 1];
		if (one->nr == nr && one->arch == arch && one->verdict == verdict)
			return one;
	}
	if (all->kinds == MOST_KINDS)
		return NULL;
	one = &all->list[all->kinds++];
	*one = (struct kind){arch, nr, verdict, 0};
	all->slots[at] = (uint16_t)all->kinds;
	return one;
}

/* The last call was gone before it could go on: if it was the first of its kind, there is none of the kind. */
static void forget(struct violations *all)
{
	uint32_t at = 0;

	if (!all->current || all->current->count || all->current != &all->list[all->kinds - 1])
		return;
	/* Nothing was put behind the last one. */
	while (all->slots[at] != all->kinds)
		at++;
	all->slots[at] = 0;
	all->kinds--;
}

#define ENTRY(table, nr) ((nr) < sizeof(table) / sizeof(*(table)) ? CALLS + (table)[nr] : CALLS)

/* The entry of names.h, or an empty one; and the ABI where it is not the machine's own. */
static const char *entry_of(uint32_t arch, uint32_t nr, const char **abi)
{
	*abi = NULL;
#if defined(__x86_64__)
	if (arch == MACHINE_AUDIT && !(nr & X32_BIT))
		return ENTRY(CALLS_X86_64, nr);
	if (arch == MACHINE_AUDIT) {
		*abi = "x32";
		return ENTRY(CALLS_X32, nr & ~X32_BIT);
	}
	*abi = "x86";
	return arch == AUDIT_I386 ? ENTRY(CALLS_X86, nr) : CALLS;
#else
	if (arch == MACHINE_AUDIT)
		return ENTRY(CALLS_AARCH64, nr);
	*abi = "arm";
	for (size_t i = 0; arch == AUDIT_ARM && i < sizeof(CALLS_FAR) / sizeof(*CALLS_FAR); i++)
		if (CALLS_FAR[i].nr == nr)
			return CALLS + CALLS_FAR[i].at;
	return arch == AUDIT_ARM ? ENTRY(CALLS_ARM, nr) : CALLS;
#endif
}

/* "openat", "x86's getpid", "call 600"; the letters of its arguments, which end with a space, or NULL. */
static const char *tell_name(struct text *text, uint32_t arch, uint32_t nr)
{
	const char *abi, *entry = entry_of(arch, nr, &abi), *name = entry;

	if (abi) {
		text_string(text, abi);
		text_string(text, "'s ");
	}
	if (!*entry) {
		text_string(text, "call ");
		text_number(text, nr);
		return NULL;
	}
	while (*name != ' ')
		name++;
	text_string(text, name + 1);
	return entry;
}

static void tell_verdict(struct text *text, uint32_t verdict)
{
	uint32_t number = verdict & 0xffff;

	switch (verdict & 0xffff0000u) {
	case 0x00050000u:
		/* MAX_ERRNO: the kernel answers more by this. */
		number = number > 4095 ? 4095 : number;
		text_string(text, "errno ");
		text_number(text, number);
		if (number < sizeof(ERRORS_BY_NUMBER) / sizeof(*ERRORS_BY_NUMBER) && ERRORS_BY_NUMBER[number]) {
			text_string(text, " ");
			text_string(text, ERRORS + ERRORS_BY_NUMBER[number]);
		}
		return;
	case 0x00000000u:
		text_string(text, "the thread is killed");
		return;
	case 0x00030000u:
		text_string(text, "SIGSYS is sent");
		return;
	case 0x7fc00000u:
		text_string(text, "a listener is asked");
		return;
	case 0x7ff00000u:
		text_string(text, "a tracer is asked");
		return;
	case 0x7ffc0000u:
	case 0x7fff0000u:
		text_string(text, "none, though the permissive filter has one");
		return;
	}
	text_string(text, "the process is killed");
}

/* Whether /proc is of our own namespace: else its numbers are those of other processes. */
static int is_our_proc(void)
{
	char target[24];
	long length = SYS4(NR_readlinkat, AT_FDCWD, "/proc/self", target, sizeof(target) - 1);

	if (length <= 0)
		return 0;
	target[length] = 0;
	return number_of(target, 1 << 30) == SYS0(NR_getpid);
}

/* A file of a process in /proc; an error where there is none. */
static long open_of_process(uint32_t pid, const char *name)
{
	TEXT(path, 48);

	if (!is_our_proc())
		return -ENOENT;
	text_string(&path, "/proc/");
	text_number(&path, pid);
	text_string(&path, name);
	path.at[path.length] = 0;
	return SYS4(NR_openat, AT_FDCWD, path.at, O_RDONLY | O_CLOEXEC, 0);
}

/* Memory of the caller, up to a byte that is 0 or to the length. How much; 0 if none can be read.
 *
 * By /proc/PID/mem, which gives up on a page that a userfaultfd is to bring; process_vm_readv(2) waits for it, for good
 * if whoever serves it waits for us (get_user_pages_remote: FAULT_FLAG_ALLOW_RETRY). So that is only for where there is
 * no /proc. */
static size_t read_memory(uint32_t pid, uint64_t from, char *to, size_t length, int is_text)
{
	size_t done = 0;
	long memory = open_of_process(pid, "/mem");

	while (done < length) {
		/* Page by page: what follows may not be there. */
		size_t part = 4096 - (size_t)((from + done) & 4095);
		struct {
			uint64_t at, length;
		} here, there;
		long got;

		part = part < length - done ? part : length - done;
		here.at = (uint64_t)(uintptr_t)(to + done);
		there.at = from + done;
		here.length = there.length = part;
		got = memory >= 0 ? SYS4(NR_pread64, memory, to + done, part, from + done)
				  : SYS6(NR_process_vm_readv, pid, &here, 1, &there, 1, 0);
		if (got <= 0)
			break;
		for (long i = 0; is_text && i < got; i++)
			if (!to[done + (size_t)i]) {
				length = done + (size_t)i + 1;
				got = i + 1;
			}
		done += (size_t)got;
	}
	if (memory >= 0)
		SYS1(NR_close, memory);
	/* A text that does not end where it could be read is none. */
	return is_text && done < length ? 0 : done;
}

static void tell_path(struct text *text, uint32_t pid, uint64_t at)
{
	char path[PATH_MOST];
	size_t length = at ? read_memory(pid, at, path, sizeof(path), 1) : 0;

	if (!length) {
		text_hex(text, at);
		return;
	}
	if (path[length - 1]) {
		text_json(text, path, length);
		text_string(text, "...");
		return;
	}
	text_json(text, path, length - 1);
}

static void tell_address(struct text *text, uint32_t pid, uint64_t at, uint64_t size)
{
	unsigned char bytes[128];
	size_t length = at ? read_memory(pid, at, (char *)bytes, size < sizeof(bytes) ? (size_t)size : sizeof(bytes), 0) : 0;
	/* struct sockaddr: the family in the machine's order, then by family (linux/in.h, in6.h, un.h). */
	uint32_t family = length >= 2 ? bytes[0] | (uint32_t)bytes[1] << 8 : 0;

	if (family == 2 && length >= 8) {
		for (int i = 4; i < 8; i++) {
			text_number(text, bytes[i]);
			text_string(text, i < 7 ? "." : ":");
		}
		text_number(text, (uint64_t)bytes[2] << 8 | bytes[3]);
	} else if (family == 10 && length >= 24) {
		text_string(text, "[");
		for (int i = 8; i < 24; i += 2) {
			TEXT(group, 24);

			text_hex(&group, (uint64_t)bytes[i] << 8 | bytes[i + 1]);
			text_raw(text, group.at + 2, group.length - 2);
			text_string(text, i < 22 ? ":" : "]:");
		}
		text_number(text, (uint64_t)bytes[2] << 8 | bytes[3]);
	} else if (family == 1 && length > 2) {
		size_t end = 2;

		if (!bytes[2]) {
			text_string(text, "@");
			text_json(text, bytes + 3, length - 3);
			return;
		}
		while (end < length && bytes[end])
			end++;
		text_json(text, bytes + 2, end - 2);
	} else {
		text_hex(text, at);
	}
}

static void tell_directory(struct text *text, uint64_t fd)
{
	if ((int32_t)fd == AT_FDCWD)
		text_string(text, "AT_FDCWD");
	else if ((uint32_t)fd < 1u << 31)
		text_number(text, (uint32_t)fd);
	else
		text_hex(text, fd);
}

static void tell_arguments(struct text *text, const struct notification *call, const char *letters)
{
	text_string(text, "(");
	/* Of what has no name, nobody knows how many there are. */
	for (int i = 0; i < 6 && (!letters || letters[i] != ' '); i++) {
		char letter = letters ? letters[i] : 'x';

		text_string(text, i ? ", " : "");
		if (letter == 'p')
			tell_path(text, call->pid, call->args[i]);
		else if (letter == 'a')
			tell_address(text, call->pid, call->args[i], i < 5 ? (uint32_t)call->args[i + 1] : 0);
		else if (letter == 'd')
			tell_directory(text, call->args[i]);
		else
			text_hex(text, call->args[i]);
	}
	text_string(text, ")");
}

/* " of process 12 (cat)": of the thread that calls, its process and its name. */
static void tell_process(struct text *text, uint32_t pid)
{
	static const char group[] = "\nTgid:\t";
	char status[1024];
	long fd = open_of_process(pid, "/status"), got = 0;

	if (fd >= 0) {
		got = SYS3(NR_read, fd, status, sizeof(status));
		SYS1(NR_close, fd);
	}
	text_string(text, " of process ");
	/* "Name:\tcat\n", where the kernel escapes line ends in the name (proc_pid_status(5)). */
	long end = 6;

	while (end < got && status[end] != '\n')
		end++;
	for (long at = end; at + (long)sizeof(group) < got; at++) {
		long i = 0;

		while (group[i] && status[at + i] == group[i])
			i++;
		if (group[i])
			continue;
		for (at += i; at < got && status[at] >= '0' && status[at] <= '9'; at++)
			text_raw(text, status + at, 1);
		text_string(text, " (");
		text_bytes(text, status + 6, (size_t)(end - 6));
		text_string(text, ")");
		return;
	}
	text_number(text, pid);
}

void violation_look(struct violations *all, const struct notification *call)
{
	uint32_t verdict = filter_verdict(all->filter, call->arch, call->nr, call->args);
	struct text *line = &all->line;
	const char *letters;

	forget(all);
	all->current = find(all, call->arch, call->nr, verdict);
	*line = (struct text){all->room, 0, sizeof(all->room)};
	if (!all->current || all->current->count)
		return;
	text_string(line, "scmm-enforce: would refuse ");
	letters = tell_name(line, call->arch, call->nr);
	tell_arguments(line, call, letters);
	tell_process(line, call->pid);
	text_string(line, ": ");
	tell_verdict(line, verdict);
	text_string(line, "\n");
}

/* To whoever is told. Where there is no room for a report any more, people are told so, and the rest. */
static void tell(struct violations *all, const struct text *line)
{
	TEXT(why, 128);
	long error = text_write(line, all->report);

	if (!error || all->report == 2)
		return;
	all->report = 2;
	text_string(&why, "scmm-enforce: the report cannot be written any more: ");
	text_error(&why, error);
	text_string(&why, "; the rest is told here\n");
	text_write(&why, 2);
	text_write(line, 2);
}

void violation_tell(struct violations *all)
{
	all->calls++;
	if (all->current)
		all->current->count++;
	else
		all->others++;
	if (all->line.length)
		tell(all, &all->line);
}

static void times(struct text *text, uint64_t count)
{
	text_string(text, "scmm-enforce:   ");
	text_number(text, count);
	text_string(text, count == 1 ? " time " : " times ");
}

void violations_sum(struct violations *all)
{
	TEXT(head, 128);

	if (!all->calls)
		return;
	text_string(&head, "scmm-enforce: would have refused ");
	text_number(&head, all->calls);
	text_string(&head, all->calls == 1 ? " call:\n" : " calls:\n");
	tell(all, &head);
	for (uint32_t i = 0; i < all->kinds; i++) {
		TEXT(line, 256);

		if (!all->list[i].count)
			continue;
		times(&line, all->list[i].count);
		tell_name(&line, all->list[i].arch, all->list[i].nr);
		text_string(&line, ": ");
		tell_verdict(&line, all->list[i].verdict);
		text_string(&line, "\n");
		tell(all, &line);
	}
	if (all->others) {
		TEXT(line, 128);

		times(&line, all->others);
		text_string(&line, "others, as there is no room for more kinds\n");
		tell(all, &line);
	}
}
