#include "options.h"
#include "stop.h"
#include "sys.h"
#include "text.h"

static const char USAGE[] =
	"usage: scmm-enforce -p POLICY [options] -- PROGRAM [ARGUMENTS]\n"
	"Apply a compiled policy (.scmm-pol), and become the program.\n\n"
	"  -p, --policy FILE     what scmm-compile -o wrote; belongs to root or to you, and is not writable by others\n"
	"      --policy-fd N     the same, read from this descriptor from its beginning on; closed afterwards\n"
	"  -m, --mode MODE       standard: what this kernel has, and what lacks is said\n"
	"                        strict: all of the policy, or nothing is run\n"
	"                        seccomp: the filter alone\n"
	"                        permissive: nothing; calls that the policy would refuse are told, and done\n"
	"                        ask: as standard, but a monitor decides about what the policy would refuse\n"
	"      --listener SOCKET of the monitor that is asked: with ask, and where the policy says notify\n"
	"      --listener-fd N   the same, connected already\n"
	"      --listener-metadata TEXT  for the monitor; else the policy's name, or the program\n"
	"      --listener-state JSON     for the monitor\n"
	"      --check           tell what would be enforced here, and run nothing; 0 all of it, 1 not all\n"
	"      --json            with --check: as JSON\n"
	"      --report FILE     with permissive: tell them there instead of on standard error; what was there is lost\n"
	"      --guard           where the policy has no rules for Landlock, be in a domain all the same, unless the program may mount\n"
	"      --status-fd N     write what is enforced as JSON to this descriptor\n"
	"      --preserve-fds N  leave N descriptors from 3 on open; all others but stdio are closed\n"
	"  -q, --quiet           do not say what is enforced, even if it is not all\n"
	"  -v, --verbose         say what is enforced even if it is all\n"
	"  -h, --help            print this\n\n"
	"Ends with 125 if it fails itself, 126 if the program cannot be executed, 127 if it is not found.\n\n"
	"Example:\n  scmm-enforce -p nginx.scmm-pol -- nginx -g 'daemon off;'\n";

static const char *value_of(char ***argument, const char *name, const char *word)
{
	size_t length = length_of(name);

	if (word[length] == '=')
		return word + length + 1;
	if (!(*argument)[1])
		stop(EXIT_OURS, "the option needs a value:", name, NULL);
	return *++*argument;
}

static int is_option(const char *word, const char *name)
{
	while (*name && *word == *name)
		word++, name++;
	return !*name && (!*word || *word == '=');
}

static enum mode mode_of(const char *word)
{
	if (same(word, "standard"))
		return MODE_STANDARD;
	if (same(word, "strict"))
		return MODE_STRICT;
	if (same(word, "seccomp"))
		return MODE_SECCOMP;
	if (same(word, "permissive"))
		return MODE_PERMISSIVE;
	if (same(word, "ask"))
		return MODE_ASK;
	stop(EXIT_OURS, "unknown mode", word, "known: standard, strict, seccomp, permissive, ask");
}

static int descriptor_of(const char *option, const char *word, int least)
{
	int64_t number = number_of(word, 1 << 20);

	TEXT(what, 64);

	text_string(&what, "not a number for ");
	text_string(&what, option);
	text_string(&what, ":");
	what.at[what.length] = 0;
	if (number < least)
		stop(EXIT_OURS, what.at, word, NULL);
	return (int)number;
}

/* Options with a value. */
enum { POLICY, POLICY_FD, MODE, REPORT, STATUS_FD, PRESERVE_FDS, LISTENER, LISTENER_FD, METADATA, STATE, VALUES };
static const struct {
	char name[20], letter[3];
} NAMES[VALUES] = {{"--policy", "-p"}, {"--policy-fd", ""}, {"--mode", "-m"}, {"--report", ""}, {"--status-fd", ""}, {"--preserve-fds", ""},
	    {"--listener", ""}, {"--listener-fd", ""}, {"--listener-metadata", ""}, {"--listener-state", ""}};

/* Read the option with a value that a word is, if it is one: each can be given once, so that none is left out in silence. */
static int read_value(char ***argument, const char *values[VALUES])
{
	const char *word = **argument;

	for (int i = 0; i < VALUES; i++) {
		int is_letter = same(word, NAMES[i].letter);

		if (!is_letter && !is_option(word, NAMES[i].name))
			continue;
		if (values[i])
			stop(EXIT_OURS, "the option is given twice:", NAMES[i].name, NULL);
		values[i] = value_of(argument, is_letter ? NAMES[i].letter : NAMES[i].name, word);
		return 1;
	}
	return 0;
}

int has_listener(const struct options *options)
{
	return options->listener || options->listener_fd >= 0;
}

static int is_open(int fd)
{
	return SYS3(NR_fcntl, fd, F_GETFD, 0) >= 0;
}

static void check_listener(const struct options *options)
{
	if (options->listener && options->listener_fd >= 0)
		stop(EXIT_OURS, "two listeners were given", NULL, "either --listener or --listener-fd");
	if (options->listener_fd >= 0 && (options->listener_fd == options->policy_fd || options->listener_fd == options->status_fd))
		stop(EXIT_OURS, "--listener-fd and another are the same", NULL, NULL);
	if (options->listener_fd >= 0 && !is_open(options->listener_fd))
		stop(EXIT_OURS, "the descriptor of --listener-fd is not open", NULL, NULL);
	if ((options->metadata || options->state) && !has_listener(options))
		stop(EXIT_OURS, options->metadata ? NAMES[METADATA].name : NAMES[STATE].name, "goes with --listener or --listener-fd", NULL);
	if (has_listener(options) && options->mode == MODE_PERMISSIVE)
		stop(EXIT_OURS, "--listener does not go with --mode permissive", NULL, "--mode ask asks a monitor");
	if (!has_listener(options) && options->mode == MODE_ASK && !options->check)
		stop(EXIT_OURS, "--mode ask needs a monitor", NULL, "give its socket: --listener or --listener-fd");
}

struct options read_options(char **argument)
{
	struct options options = {.policy_fd = -1, .status_fd = -1, .listener_fd = -1};
	const char *values[VALUES] = {NULL};

	if (*argument)
		argument++;
	for (; *argument && **argument == '-'; argument++) {
		const char *word = *argument;

		if (same(word, "--")) {
			argument++;
			break;
		}
		if (same(word, "-h") || same(word, "--help")) {
			struct text usage = {(char *)USAGE, sizeof(USAGE) - 1, 0};
			long error = text_write(&usage, 1);

			if (error)
				stop_error(EXIT_OURS, "cannot write the help", NULL, error);
			sys_exit(0);
		}
		if (same(word, "--check"))
			options.check = 1;
		else if (same(word, "--json"))
			options.json = 1;
		else if (same(word, "--guard"))
			options.guard = 1;
		else if (same(word, "-q") || same(word, "--quiet"))
			options.quiet = 1;
		else if (same(word, "-v") || same(word, "--verbose"))
			options.verbose = 1;
		else if (!read_value(&argument, values))
			stop(EXIT_OURS, "unknown option", word, "scmm-enforce --help tells what there is");
	}
	options.policy = values[POLICY];
	options.report = values[REPORT];
	options.listener = values[LISTENER];
	options.metadata = values[METADATA];
	options.state = values[STATE];
	if (values[POLICY_FD])
		options.policy_fd = descriptor_of("--policy-fd", values[POLICY_FD], 3);
	if (values[MODE])
		options.mode = mode_of(values[MODE]);
	if (values[STATUS_FD])
		options.status_fd = descriptor_of("--status-fd", values[STATUS_FD], 1);
	if (values[LISTENER_FD])
		options.listener_fd = descriptor_of("--listener-fd", values[LISTENER_FD], 3);
	if (values[PRESERVE_FDS])
		options.preserve = descriptor_of("--preserve-fds", values[PRESERVE_FDS], 0);
	options.program = argument;
	if (!options.policy && options.policy_fd < 0)
		stop(EXIT_OURS, "no policy was given", NULL, "scmm-enforce -p POLICY -- PROGRAM");
	if (options.policy && options.policy_fd >= 0)
		stop(EXIT_OURS, "two policies were given", NULL, "either --policy or --policy-fd");
	if (options.policy_fd >= 0 && options.policy_fd == options.status_fd)
		stop(EXIT_OURS, "--policy-fd and --status-fd are the same", NULL, NULL);
	/* Before anything that we open ourselves gets its number. */
	if (options.status_fd >= 0 && !is_open(options.status_fd))
		stop(EXIT_OURS, "the descriptor of --status-fd is not open", NULL, NULL);
	if (!*argument && !options.check)
		stop(EXIT_OURS, "no program was given", NULL, "scmm-enforce -p POLICY -- PROGRAM");
	if (options.json && !options.check)
		stop(EXIT_OURS, "--json goes with --check", NULL, "--status-fd has the same as JSON");
	if (options.quiet && (options.verbose || options.check))
		stop(EXIT_OURS, "--quiet goes with neither --verbose nor --check", NULL, NULL);
	if (options.report && (options.check || options.mode != MODE_PERMISSIVE))
		stop(EXIT_OURS, "--report goes with --mode permissive", NULL, "the other modes refuse, and the kernel's log has that");
	check_listener(&options);
	return options;
}
