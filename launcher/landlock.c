#include "landlock.h"
#include "paths.h"
#include "sys.h"

struct ruleset_attributes {
	uint64_t handled_access_fs, handled_access_net, scoped;
};

struct port_attributes {
	uint64_t allowed_access, port;
};

long landlock_abi(long *why)
{
	long abi = SYS3(NR_landlock_create_ruleset, 0, 0, LANDLOCK_CREATE_RULESET_VERSION);

#ifdef SCMM_TEST_ABI
	/* Tests only: as an older kernel. */
	if (abi > SCMM_TEST_ABI)
		abi = SCMM_TEST_ABI;
#endif
	*why = abi < 0 ? abi : 0;
	return abi < 0 ? 0 : abi;
}

static uint64_t fs_of_abi(long abi)
{
	return abi >= 9 ? 0x1ffff : abi >= 5 ? 0xffff : abi >= 3 ? 0x7fff : abi == 2 ? 0x3fff : 0x1fff;
}

static uint64_t net_of_abi(long abi)
{
	return abi >= 10 ? 0xf : abi >= 4 ? 3 : 0;
}

static const char *const FS_NAMES[] = {
	"execute", "write_file", "read_file", "read_dir", "remove_dir", "remove_file", "make_char", "make_dir", "make_reg",
	"make_sock", "make_fifo", "make_block", "make_sym", "refer", "truncate", "ioctl_dev", "resolve_unix",
};
static const char *const NET_NAMES[] = {"bind_tcp", "connect_tcp", "bind_udp", "connect_send_udp"};
static const char *const SCOPE_NAMES[] = {"abstract_unix_socket", "signal"};

#define REFER (1ull << 13)

/* A reason of a layer: "ports: bind_tcp is not restricted". */
static void say(struct status *status, enum layer layer, enum degree degree, const char *title, const char *name,
		const char *what, uint32_t since)
{
	TEXT(reason, 160);

	text_string(&reason, title);
	text_string(&reason, ": ");
	text_string(&reason, name);
	text_string(&reason, what);
	if (since) {
		text_number(&reason, since);
		text_string(&reason, " on");
	}
	status_lower(status, layer, degree, &reason);
}

/* What the policy handles of a layer and this kernel does not. */
static void compare_layer(struct status *status, enum layer layer, const char *title, uint64_t asked, uint64_t there,
			  const char *const *names, uint32_t (*abi_of)(uint64_t))
{
	if (!asked)
		return;
	status_lower(status, layer, asked & there ? FULLY : NOT_ENFORCED, NULL);
	if (!status->abi) {
		say(status, layer, NOT_ENFORCED, title, "nothing", " is restricted", 0);
		return;
	}
	for (int bit = 0; asked >> bit; bit++)
		if ((asked & ~there) >> bit & 1)
			say(status, layer, PARTIALLY, title, names[bit], " is not restricted: it is so from Landlock's ABI ",
			    abi_of(1ull << bit));
}

/* Before ABI 2, to link or move from one directory to another is refused to all who are under rules for files, and
 * cannot be granted. */
static void compare_refer(struct status *status, const struct policy *policy, uint64_t there)
{
	if (!status->abi || !(policy->handled_fs & ~there & REFER))
		return;
	for (uint32_t i = 0; i < policy_path_rules(policy); i++)
		if (policy_path_rule(policy, i).access & REFER) {
			say(status, LAYER_FILES, PARTIALLY, "files", "refer", " is refused everywhere: it can be granted from Landlock's ABI ", 2);
			return;
		}
}

static uint32_t abi_of_scope(uint64_t mask)
{
	(void)mask;
	return 6;
}

static int add_ports(const struct policy *policy, int ruleset, uint64_t handled, struct status *status)
{
	for (uint32_t i = 0; i < policy_port_rules(policy); i++) {
		struct port_rule rule = policy_port_rule(policy, i);

		if (!(rule.access & handled))
			continue;
		for (uint32_t port = rule.first; port <= rule.last; port++) {
			struct port_attributes one = {rule.access & handled, port};
			long error = SYS4(NR_landlock_add_rule, ruleset, LANDLOCK_RULE_NET_PORT, &one, 0);

			if (error) {
				TEXT(reason, 128);
				text_string(&reason, "ports: the kernel refuses a rule: ");
				text_error(&reason, error);
				status_lower(status, LAYER_PORTS, NOT_ENFORCED, &reason);
				return -1;
			}
		}
	}
	return 0;
}

/* All that the ruleset is for. */
static void refused(const struct policy *policy, struct status *status, const char *what, long error)
{
	TEXT(reason, 128);

	text_string(&reason, what);
	text_error(&reason, error);
	status_lower_each(status, policy_layers(policy) & (1u << LAYER_FILES | 1u << LAYER_PORTS | 1u << LAYER_SCOPES), &reason);
}

int landlock_prepare(const struct policy *policy, const struct who *who, struct status *status, enum effort effort)
{
	long why, abi = landlock_abi(&why);
	uint64_t fs = abi ? fs_of_abi(abi) : 0;
	struct ruleset_attributes ask = {0};
	struct grants grants = {.policy = policy, .who = who, .status = status, .ruleset = -1};

	status->abi = abi;
	if (!policy->has_ruleset)
		return -1;
	if (abi) {
		ask.handled_access_fs = policy->handled_fs & fs;
		ask.handled_access_net = policy->handled_net & net_of_abi(abi);
		ask.scoped = policy->scoped & (abi >= 6 ? ALL_SCOPES : 0);
	} else {
		TEXT(reason, 128);
		text_string(&reason, why == -EOPNOTSUPP ? "Landlock is switched off in this kernel (see its option lsm=): "
				    : why == -ENOSYS    ? "this kernel has no Landlock: "
							: "Landlock is refused here: ");
		text_error(&reason, why);
		status_lower(status, LAYER_FILES, NOT_ASKED, &reason);
	}
	/* Refer is held where anything of files is. */
	compare_layer(status, LAYER_FILES, "files", policy->handled_fs, policy->handled_fs & fs ? fs | REFER : fs, FS_NAMES, abi_of_fs);
	compare_refer(status, policy, fs);
	compare_layer(status, LAYER_PORTS, "ports", policy->handled_net, net_of_abi(abi), NET_NAMES, abi_of_net);
	compare_layer(status, LAYER_SCOPES, "scopes", policy->scoped, abi >= 6 ? ALL_SCOPES : 0, SCOPE_NAMES, abi_of_scope);
	if (policy->has_addresses)
		say(status, LAYER_PORTS, policy->handled_net ? PARTIALLY : NOT_ENFORCED, "ports", "peers' addresses",
		    " are not restricted: Landlock knows ports only", 0);
	if (!(ask.handled_access_fs | ask.handled_access_net | ask.scoped))
		return -1;
	grants.handled = ask.handled_access_fs;
	grants.euid = (uint32_t)SYS0(NR_geteuid);
	grants.makes = effort == APPLY;
	if (effort != LOOK) {
		size_t size = abi >= 6 ? 24 : abi >= 4 ? 16 : 8;

		grants.ruleset = (int)SYS3(NR_landlock_create_ruleset, &ask, size, 0);
		if (grants.ruleset < 0) {
			refused(policy, status, "the kernel refuses the Landlock ruleset: ", grants.ruleset);
			return -2;
		}
	}
	if (ask.handled_access_fs && paths_grant(&grants))
		return -2;
	if (ask.handled_access_fs && policy_path_rules(policy) && !grants.rules_used) {
		TEXT(reason, 128);
		text_string(&reason, "files: none of the policy's paths is here, so the program may use no file at all");
		status_lower(status, LAYER_FILES, FULLY, &reason);
	}
	if (effort != LOOK && ask.handled_access_net && add_ports(policy, grants.ruleset, ask.handled_access_net, status))
		return -2;
	return grants.ruleset;
}

void landlock_enter_empty(long abi)
{
	/* In every domain, files stay in their directories unless it lets them be moved: so this one lets it, everywhere. */
	const struct ruleset_attributes ask = {.handled_access_fs = REFER};
	struct __attribute__((packed)) {
		uint64_t allowed_access;
		int32_t parent;
	} everywhere = {REFER, -1};
	long ruleset = SYS3(NR_landlock_create_ruleset, &ask, sizeof(ask.handled_access_fs), 0);

	if (ruleset < 0)
		return;
	everywhere.parent = (int32_t)SYS4(NR_openat, AT_FDCWD, "/", O_PATH | O_CLOEXEC, 0);
	if (everywhere.parent >= 0) {
		if (!SYS4(NR_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &everywhere, 0))
			SYS2(NR_landlock_restrict_self, ruleset, abi >= 7 ? LANDLOCK_RESTRICT_SELF_LOG_NEW_EXEC_ON : 0);
		SYS1(NR_close, everywhere.parent);
	}
	SYS1(NR_close, ruleset);
}

int landlock_enter(const struct policy *policy, int ruleset, struct status *status)
{
	/* What is refused after the program has started is logged from ABI 7 on only if asked for (landlock(7)). */
	long error = SYS2(NR_landlock_restrict_self, ruleset, status->abi >= 7 ? LANDLOCK_RESTRICT_SELF_LOG_NEW_EXEC_ON : 0);

	if (!error)
		return 0;
	refused(policy, status, error == -E2BIG ? "there are as many Landlock domains as the kernel allows already: " : "the kernel refuses the Landlock domain: ", error);
	return -1;
}
