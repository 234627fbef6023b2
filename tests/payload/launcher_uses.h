/* All that the launcher takes from a policy that it found good, with what must be so: abort() tells of what is not.
 *
 * For tests of launcher/policy.c in a hosted program, with sanitizers: the reader's checks are what keeps all of this
 * inside the file. */
#pragma once

#include "../../launcher/policy.h"

#include <stdlib.h>

#define MUST(condition)                                                                                                \
	do                                                                                                             \
		if (!(condition))                                                                                      \
			abort();                                                                                       \
	while (0)

/* Globs once more, without going back: which beginnings of the name the tokens so far can stand for. */
static int slow_glob(const unsigned char *glob, size_t length, const unsigned char *name, size_t size)
{
	char *reached = calloc(size + 1, 1);
	int result;

	MUST(reached);
	reached[0] = 1;
	for (size_t at = 0; at < length; at += glob[at] == 0 ? 1 : glob[at] == 1 ? 2 : 33) {
		if (glob[at] == 0) {
			for (size_t i = 1; i <= size; i++)
				reached[i] |= reached[i - 1];
			continue;
		}
		for (size_t i = size; i; i--) {
			unsigned byte = name[i - 1];
			int fits = glob[at] == 1 ? glob[at + 1] == byte : glob[at + 1 + byte / 8] >> byte % 8 & 1;

			reached[i] = (char)(reached[i - 1] && fits);
		}
		reached[0] = 0;
	}
	result = reached[size];
	free(reached);
	return result && !(name[0] == '.' && (size == 1 || (size == 2 && name[1] == '.')));
}

static void use_glob(const struct component *glob)
{
	unsigned char name[255];
	size_t size = 0;

	/* What it stands for, as near as can be: the first byte of each set, and "a" for stars. */
	for (size_t at = 0; at < glob->length && size < sizeof(name); at += glob->bytes[at] == 0 ? 1 : glob->bytes[at] == 1 ? 2 : 33) {
		unsigned byte = 'a';

		if (glob->bytes[at] == 1)
			byte = glob->bytes[at + 1];
		else if (glob->bytes[at] == 2)
			for (byte = 0; !(glob->bytes[at + 1 + byte / 8] >> byte % 8 & 1); byte++)
				;
		MUST(byte && byte < 256 && byte != '/');
		name[size++] = (unsigned char)byte;
	}
	for (size_t length = size; length; length = length / 2)
		MUST(glob_matches(glob->bytes, glob->length, name, length) == slow_glob(glob->bytes, glob->length, name, length));
	for (size_t i = 0; i < sizeof(name); i++)
		name[i] = i % 2 ? '.' : 'a';
	MUST(glob_matches(glob->bytes, glob->length, name, sizeof(name)) == slow_glob(glob->bytes, glob->length, name, sizeof(name)));
}

static void use_path(const struct policy *policy, struct path path)
{
	const unsigned char *at = path.components, *end = policy->paths.at + policy->paths.size;
	uint32_t last = COMPONENT_NAME;

	MUST(path.kind <= PATH_BENEATH && path.count <= 2048);
	for (uint32_t i = 0; i < path.count; i++) {
		struct component one = path_component(at);

		MUST(one.next <= end && one.bytes + one.length <= one.next && one.next > at);
		MUST(one.kind <= COMPONENT_USER && (one.kind != COMPONENT_HOME || !i));
		if (one.kind == COMPONENT_GLOB) {
			use_glob(&one);
		} else if (one.kind == COMPONENT_NAME) {
			/* It is copied into 256 bytes, and ended by a zero. */
			MUST(one.length && one.length < 256);
			for (size_t j = 0; j < one.length; j++)
				MUST(one.bytes[j] && one.bytes[j] != '/');
			MUST(one.bytes[0] != '.' || one.length > 2 || (one.length == 2 && one.bytes[1] != '.'));
		} else {
			MUST(!one.length);
		}
		last = one.kind;
		at = one.next;
	}
	MUST(path.kind != PATH_FILES || last == COMPONENT_GLOB);
}

static void use_filter(const struct filter *filter, int is_permissive)
{
	static const uint32_t numbers[] = {0, 1, 59, 231, 435, 0x40000000, 0x7fffffff, 0x80000000, 0xffffffff};
	static const uint32_t machines[] = {0xC000003Eu, 0x40000003u, 0xC00000B7u, 0};
	static const uint64_t values[] = {0, 2, 0xffffffff, 1ull << 32, ~0ull};

	MUST(filter->count <= 4096 && !(filter->flags & ~(1u | 2u | 4u | 32u)));
	for (size_t i = 0; filter->count && i < sizeof(numbers) / sizeof(*numbers); i++)
		for (size_t j = 0; j < sizeof(machines) / sizeof(*machines); j++) {
			uint64_t args[6] = {values[i % 5], values[j], values[(i + j) % 5], values[i % 3], values[4], values[(i * j) % 5]};
			uint32_t value = filter_verdict(filter, machines[j], numbers[i], args), action = value & 0xffff0000u;

			/* KILL_PROCESS is also what there is for instructions that our compiler does not make. */
			MUST(!is_permissive || value == 0x80000000u || action == 0x7fff0000u || action == 0x7ffc0000u ||
			     action == 0x7ff00000u || action == 0x7fc00000u);
		}
}

/* As paths.c, landlock.c, who.c and scmm-enforce.c do it. */
static void use_policy(const struct policy *policy)
{
	use_filter(&policy->filter, 0);
	use_filter(&policy->permissive, 1);
	MUST(!policy->filter.count == !policy->permissive.count);
	MUST(!(policy->handled_fs & ~ALL_FS) && !(policy->handled_net & ~ALL_NET) && !(policy->scoped & ~ALL_SCOPES));
	MUST(policy->has_ruleset || !(policy_path_rules(policy) | policy_port_rules(policy)));
	for (uint32_t i = 0; i < policy_path_rules(policy); i++) {
		struct path_rule rule = policy_path_rule(policy, i);

		MUST(rule.access && !(rule.access & ~policy->handled_fs) && rule.on_missing <= MISSING_PARENTDIR);
		MUST(rule.abi == abi_of_fs(rule.access));
		use_path(policy, policy_path(policy, rule.path));
	}
	for (uint32_t i = 0; i < policy_port_rules(policy); i++) {
		struct port_rule rule = policy_port_rule(policy, i);

		MUST(rule.access && !(rule.access & ~policy->handled_net) && rule.first <= rule.last && rule.last <= 65535);
		MUST(rule.abi == abi_of_net(rule.access));
	}
	MUST(policy->given <= 7 && policy->uid != ~0u && policy->gid != ~0u && !(policy->capabilities >> 41));
	MUST(policy->metadata.at >= policy->file.at && policy->metadata.size);
	MUST(policy->metadata.at + policy->metadata.size <= policy->file.at + policy->file.size);
}
