#include "policy.h"
#include "sha256.h"

static uint32_t u16(const unsigned char *at)
{
	return (uint32_t)at[0] | (uint32_t)at[1] << 8;
}

static uint32_t u32(const unsigned char *at)
{
	return u16(at) | u16(at + 2) << 16;
}

static uint64_t u64(const unsigned char *at)
{
	return u32(at) | (uint64_t)u32(at + 4) << 32;
}

static int compare(const unsigned char *one, size_t length, const unsigned char *other, size_t size)
{
	size_t common = length < size ? length : size;

	for (size_t i = 0; i < common; i++)
		if (one[i] != other[i])
			return one[i] < other[i] ? -1 : 1;
	return length == size ? 0 : length < size ? -1 : 1;
}

uint32_t abi_of_fs(uint64_t mask)
{
	return mask >> 16 & 1 ? 9 : mask >> 15 & 1 ? 5 : mask >> 14 & 1 ? 3 : mask >> 13 & 1 ? 2 : 1;
}

uint32_t abi_of_net(uint64_t mask)
{
	return mask & 0xc ? 10 : 4;
}

/* The reader's state: where it is told what is wrong. */
struct reading {
	const unsigned char *start;
	struct wrong *wrong;
};

static int fail(struct reading *reading, const unsigned char *at, const char *why)
{
	reading->wrong->why = why;
	reading->wrong->offset = (uint64_t)(at - reading->start);
	return -1;
}

#define CHECK(condition, at, why)                                                                                      \
	do                                                                                                             \
		if (!(condition))                                                                                      \
			return fail(reading, at, why);                                                                 \
	while (0)

/* Codes that the kernel takes in a seccomp filter (seccomp_check_filter). */
static int is_known_code(uint32_t code)
{
	static const unsigned char codes[] = {
		0x20, 0x80, 0x81, 0x06, 0x16, 0x07, 0x87, 0x04, 0x0c, 0x14, 0x1c, 0x24, 0x2c, 0x34, 0x3c, 0x54, 0x5c, 0x44, 0x4c,
		0xa4, 0xac, 0x64, 0x6c, 0x74, 0x7c, 0x84, 0x00, 0x01, 0x60, 0x61, 0x02, 0x03, 0x05, 0x15, 0x1d, 0x25, 0x2d, 0x35,
		0x3d, 0x45, 0x4d,
	};

	for (size_t i = 0; i < sizeof(codes); i++)
		if (codes[i] == code)
			return 1;
	return 0;
}

static int is_jump(uint32_t code)
{
	return (code & 7) == 5 && code != 5;
}

/* Our compiler uses no memory words, so a file with them is not of its making. */
static int check_instructions(struct reading *reading, const unsigned char *at, uint32_t count, int is_permissive)
{
	uint32_t last = u16(at + 8 * (count - 1));

	for (uint32_t i = 0; i < count; i++, at += 8) {
		uint32_t code = u16(at), k = u32(at + 4), rest = count - 1 - i;

		CHECK(is_known_code(code), at, "a filter has a code that no seccomp filter may have");
		if (code == 0x20)
			CHECK(k % 4 == 0 && k < 64, at, "a filter loads what is no word of struct seccomp_data");
		if (code == 0x60 || code == 0x61 || code == 0x02 || code == 0x03)
			return fail(reading, at, "a filter uses memory words");
		if (code == 0x34)
			CHECK(k, at, "a filter divides by 0");
		if (code == 0x64 || code == 0x74)
			CHECK(k < 32, at, "a filter shifts by more than 31 bits");
		if (code == 0x05)
			CHECK(k < rest, at, "a filter jumps beyond its end");
		else if (is_jump(code))
			CHECK(at[2] < rest && at[3] < rest, at, "a filter jumps beyond its end");
		if (is_permissive && code == 0x06) {
			uint32_t action = k & 0xffff0000u;

			CHECK(action == 0x7fff0000u || action == 0x7ffc0000u || action == 0x7ff00000u || action == 0x7fc00000u, at,
			      "a permissive filter refuses a call");
		}
		if (is_permissive)
			CHECK(code != 0x16, at, "a permissive filter returns what it computed");
	}
	return last == 0x06 || last == 0x16 ? 0 : fail(reading, at - 8, "a filter does not end with a return");
}

static int check_filter(struct reading *reading, struct bytes section, int is_permissive, struct filter *filter)
{
	const unsigned char *at = section.at;

	CHECK(section.size >= 24, at, "a filter is too short");
	filter->flags = u32(at);
	filter->flags_given = (int)u32(at + 4);
	filter->count = u32(at + 8);
	filter->instructions = at + 16;
	CHECK(u32(at + 4) <= 1, at + 4, "whether a filter's flags are given is neither 0 nor 1");
	CHECK(!(filter->flags & ~(1u | 2u | 4u | 32u)), at, "a filter has an unknown flag");
	CHECK(filter->flags_given || !filter->flags, at, "a filter has flags that are not given");
	CHECK(filter->count >= 1 && filter->count <= 4096, at + 8, "a filter has no instructions, or more than 4096");
	CHECK(!u32(at + 12), at + 12, "a reserved number is not 0");
	CHECK(section.size == 16 + 8 * (size_t)filter->count, at + 8, "a filter's count is not its length");
	return check_instructions(reading, at + 16, filter->count, is_permissive);
}

static int check_ruleset(struct reading *reading, struct bytes section, struct policy *policy)
{
	const unsigned char *at = section.at;
	uint32_t abi = 1;

	CHECK(section.size == 32, at, "the ruleset has not its 32 bytes");
	policy->handled_fs = u64(at);
	policy->handled_net = u64(at + 8);
	policy->scoped = u64(at + 16);
	CHECK(!(policy->handled_fs & ~ALL_FS) && !(policy->handled_net & ~ALL_NET) && !(policy->scoped & ~ALL_SCOPES), at,
	      "the ruleset has an unknown right");
	policy->has_addresses = u32(at + 28) != 0;
	CHECK(u32(at + 28) <= 1, at + 28, "whether there are addresses is neither 0 nor 1");
	CHECK(policy->handled_fs | policy->handled_net | policy->scoped | (uint64_t)policy->has_addresses, at, "the ruleset is empty");
	if (policy->handled_fs && abi_of_fs(policy->handled_fs) > abi)
		abi = abi_of_fs(policy->handled_fs);
	if (policy->handled_net && abi_of_net(policy->handled_net) > abi)
		abi = abi_of_net(policy->handled_net);
	if (policy->scoped && abi < 6)
		abi = 6;
	if (!(policy->handled_fs | policy->handled_net | policy->scoped))
		abi = 0;
	CHECK(u32(at + 24) == abi, at + 24, "the ruleset's ABI is not that of its rights");
	policy->has_ruleset = 1;
	return 0;
}

struct component path_component(const unsigned char *at)
{
	struct component one = {at[0], at + 4, u16(at + 2), NULL};

	one.next = at + 4 + ((one.length + 3) & ~(size_t)3);
	return one;
}

static int check_name(struct reading *reading, const struct component *one)
{
	CHECK(one->length >= 1 && one->length <= 255, one->bytes, "a name has not 1 to 255 bytes");
	for (size_t i = 0; i < one->length; i++)
		CHECK(one->bytes[i] && one->bytes[i] != '/', one->bytes + i, "a name has a byte that names have not");
	CHECK(one->bytes[0] != '.' || one->length > 2 || (one->length == 2 && one->bytes[1] != '.'), one->bytes,
	      "a name is . or ..");
	return 0;
}

/* Also counts the single bytes that the glob stands for. */
static int check_glob(struct reading *reading, const struct component *one, size_t *singles)
{
	size_t i = 0;
	int star = 0;

	CHECK(one->length, one->bytes, "a glob is empty");
	while (i < one->length) {
		const unsigned char *at = one->bytes + i;
		size_t rest = one->length - i;

		if (*at == 0) {
			CHECK(!star, at, "a glob has two stars in a row");
			star = 1;
			i++;
			continue;
		}
		star = 0;
		++*singles;
		if (*at == 1) {
			CHECK(rest >= 2 && at[1] && at[1] != '/', at, "a glob has a bad byte");
			i += 2;
			continue;
		}
		CHECK(*at == 2 && rest >= 33, at, "a glob has an unknown token, or one that is cut off");
		int bits = 0;

		for (int j = 0; j < 32; j++)
			for (unsigned byte = at[1 + j]; byte; byte &= byte - 1)
				bits++;
		CHECK(bits >= 2 && !(at[1] & 1) && !(at[1 + '/' / 8] >> ('/' % 8) & 1), at, "a glob has a bad set");
		i += 33;
	}
	CHECK(*singles <= 255, one->bytes, "a glob is too long");
	return 0;
}

static int check_path(struct reading *reading, const unsigned char *at, const unsigned char *end)
{
	uint32_t kind, count, last = COMPONENT_NAME;
	size_t bytes = 0;

	CHECK(end - at >= 4, at, "a path is cut off");
	kind = u16(at);
	count = u16(at + 2);
	CHECK(kind <= PATH_BENEATH, at, "a path has an unknown kind");
	CHECK(count <= 2048, at + 2, "a path has too many components");
	at += 4;
	for (uint32_t i = 0; i < count; i++) {
		CHECK(end - at >= 4, at, "a component is cut off");
		struct component one = path_component(at);
		size_t singles = 0;

		CHECK(one.kind <= COMPONENT_USER && !at[1], at, "a component has an unknown kind");
		CHECK((size_t)(end - at) >= (size_t)(one.next - at), at, "a component is cut off");
		for (const unsigned char *byte = one.bytes + one.length; byte < one.next; byte++)
			CHECK(!*byte, byte, "padding is not 0");
		if (one.kind == COMPONENT_NAME) {
			if (check_name(reading, &one))
				return -1;
			singles = one.length;
		} else if (one.kind == COMPONENT_GLOB) {
			if (check_glob(reading, &one, &singles))
				return -1;
		} else {
			CHECK(!one.length && (one.kind != COMPONENT_HOME || !i), at, "a variable is not where it may be");
		}
		bytes += 1 + singles;
		last = one.kind;
		at = one.next;
	}
	CHECK(at == end, at, "a path is longer than its components");
	CHECK(bytes <= 4095, at, "a path is too long");
	CHECK(kind != PATH_FILES || last == COMPONENT_GLOB, at, "a path for files does not end in a glob");
	CHECK(kind != PATH_EXACT || last != COMPONENT_GLOB, at, "an exact path ends in a glob");
	return 0;
}

static int check_paths(struct reading *reading, struct bytes section)
{
	const unsigned char *at = section.at, *before = NULL;
	uint32_t count;
	size_t begin, length = 0;

	CHECK(section.size >= 8, at, "the paths are cut off");
	count = u32(at);
	CHECK(count >= 1 && count <= 262144, at, "the count of paths is not between 1 and 262144");
	CHECK(!u32(at + 4), at + 4, "a reserved number is not 0");
	CHECK(section.size - 8 >= 4 * (size_t)count, at, "the paths are cut off");
	begin = 8 + 4 * (size_t)count;
	for (uint32_t i = 0; i < count; i++) {
		const unsigned char *entry = at + 8 + 4 * (size_t)i;
		size_t end = i + 1 < count ? u32(entry + 4) : section.size;

		CHECK(u32(entry) == begin && begin % 4 == 0, entry, "a path is not where it must be");
		CHECK(end > begin && end <= section.size, entry, "a path is not where it must be");
		if (check_path(reading, at + begin, at + end))
			return -1;
		CHECK(!before || compare(before, length, at + begin, end - begin) < 0, at + begin, "paths are not sorted");
		before = at + begin;
		length = end - begin;
		begin = end;
	}
	return 0;
}

static int check_path_rules(struct reading *reading, const struct policy *policy)
{
	struct bytes rules = policy->path_rules;
	uint32_t paths = u32(policy->paths.at), expected = 0;
	struct path_rule before = {0};

	CHECK(rules.size && rules.size % 24 == 0, rules.at, "the path rules are cut off");
	for (uint32_t i = 0; i < rules.size / 24; i++) {
		const unsigned char *at = rules.at + 24 * (size_t)i;
		struct path_rule one = policy_path_rule(policy, i);

		CHECK(one.access && !(one.access & ~policy->handled_fs), at, "a path rule has no rights, or some that are not handled");
		CHECK(one.path < paths, at + 8, "a path rule is for no path");
		CHECK(one.on_missing <= MISSING_PARENTDIR, at + 12, "a path rule has an unknown way with missing paths");
		CHECK(one.abi == abi_of_fs(one.access), at + 16, "a path rule's ABI is not that of its rights");
		CHECK(one.plain_from <= policy_path(policy, one.path).count, at + 20, "a path rule's links end beyond its path");
		CHECK(!i || one.path > before.path ||
			      (one.path == before.path &&
			       (one.on_missing > before.on_missing ||
				(one.on_missing == before.on_missing && one.plain_from > before.plain_from))),
		      at, "path rules are not sorted");
		CHECK(one.path == expected || (i && one.path == before.path), at + 8, "a path is in no rule");
		expected = one.path + 1;
		before = one;
	}
	CHECK(expected == paths, rules.at, "a path is in no rule");
	return 0;
}

static int check_port_rules(struct reading *reading, const struct policy *policy)
{
	struct bytes rules = policy->port_rules;
	struct port_rule before = {0};

	CHECK(rules.size && rules.size % 16 == 0 && rules.size / 16 <= 65535, rules.at, "the port rules are cut off");
	for (uint32_t i = 0; i < rules.size / 16; i++) {
		const unsigned char *at = rules.at + 16 * (size_t)i;
		struct port_rule one = policy_port_rule(policy, i);

		CHECK(one.access && !(one.access & ~policy->handled_net), at, "a port rule has no rights, or some that are not handled");
		CHECK(one.first <= one.last, at + 8, "a range of ports is empty");
		CHECK(one.abi == abi_of_net(one.access), at + 12, "a port rule's ABI is not that of its rights");
		CHECK(!i || one.first > before.first || (one.first == before.first && one.last > before.last), at,
		      "port rules are not sorted");
		before = one;
	}
	return 0;
}

static int check_identity(struct reading *reading, struct bytes section, struct policy *policy)
{
	const unsigned char *at = section.at;

	CHECK(section.size == 24, at, "the identity has not its 24 bytes");
	policy->given = u32(at);
	policy->uid = u32(at + 4);
	policy->gid = u32(at + 8);
	policy->capabilities = u64(at + 16);
	CHECK(policy->given && policy->given <= 7, at, "the identity gives nothing, or something unknown");
	CHECK(policy->uid != 0xffffffffu && policy->gid != 0xffffffffu, at + 4, "an id is none");
	CHECK(!u32(at + 12), at + 12, "a reserved number is not 0");
	CHECK((policy->given & IDENTITY_UID) || !policy->uid, at + 4, "a uid stands there that is not given");
	CHECK((policy->given & IDENTITY_GID) || !policy->gid, at + 8, "a gid stands there that is not given");
	CHECK((policy->given & IDENTITY_CAPABILITIES) || !policy->capabilities, at + 16, "capabilities are not given");
	CHECK(policy->capabilities >> 41 == 0, at + 16, "there is an unknown capability");
	return 0;
}

/* Numbers of calls, and of the 24 classes of calls from 0x10000 on. */
static int is_called(uint32_t code)
{
	return code - 0x10018u >= 0x20000u - 0x10018u && code < 0xfffffff0u;
}

static int check_transitions(struct reading *reading, struct bytes section)
{
	const unsigned char *at = section.at;
	uint64_t before = 0;
	uint32_t count;

	CHECK(section.size >= 8, at, "the transitions are cut off");
	count = u32(at);
	CHECK(count <= 524288 && !u32(at + 4), at, "the count of transitions is too large");
	CHECK(section.size == 8 + 8 * (size_t)count, at, "the transitions' count is not their length");
	for (uint32_t i = 0; i < count; i++) {
		uint32_t from = u32(at += 8), to = u32(at + 4);
		uint64_t pair = (uint64_t)from << 32 | to;

		CHECK(!i || pair > before, at, "transitions are not sorted");
		/* What begins, a program, thread or handler, has the last six numbers. */
		CHECK((is_called(from) || from >= 0xfffffffau) && is_called(to), at, "a transition is of no call");
		before = pair;
	}
	return 0;
}

/* Filters and transitions are for an architecture, by its AUDIT_ARCH (linux/audit.h); other sections have the id 0. */
static int is_id_of(uint32_t type, uint32_t id)
{
	static const uint32_t known[] = {
		0xC000003E, 0x40000003, 0xC00000B7, 0x40000028, 0xC00000F3, 0x80000016, 0x00000016, 0xC0000015,
	};

	if (type != SECTION_FILTER && type != SECTION_PERMISSIVE && type != SECTION_TRANSITIONS)
		return !id;
	for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++)
		if (id == known[i])
			return 1;
	/* x32's, whose calls are in the filter of x86_64. */
	return type == SECTION_TRANSITIONS && id == 0x4000003E;
}

static int check_section(struct reading *reading, uint32_t type, uint32_t id, struct bytes section, uint32_t audit,
			 struct policy *policy)
{
	struct filter filter;

	switch (type) {
	case SECTION_FILTER:
	case SECTION_PERMISSIVE:
		if (check_filter(reading, section, type == SECTION_PERMISSIVE, &filter))
			return -1;
		policy->has_filters = 1;
		if (id == audit)
			*(type == SECTION_FILTER ? &policy->filter : &policy->permissive) = filter;
		return 0;
	case SECTION_RULESET:
		return check_ruleset(reading, section, policy);
	case SECTION_PATH_RULES:
		policy->path_rules = section;
		return 0;
	case SECTION_PATHS:
		policy->paths = section;
		return check_paths(reading, section);
	case SECTION_PORT_RULES:
		policy->port_rules = section;
		return 0;
	case SECTION_IDENTITY:
		return check_identity(reading, section, policy);
	case SECTION_TRANSITIONS:
		return check_transitions(reading, section);
	}
	/* For people, or a watch: the launcher does not look into them. */
	if (type == SECTION_METADATA)
		policy->metadata = section;
	return 0;
}

static int check_header(struct reading *reading, struct bytes file)
{
	static const char magic[8] = "SCMMPOL";
	const unsigned char *at = file.at;
	unsigned char digest[32];

	CHECK(file.size >= 8 && !compare(at, 8, (const unsigned char *)magic, 8), at, "is no compiled policy");
	CHECK(file.size >= 64, at, "is cut off");
	CHECK(file.size <= POLICY_MOST, at, "is larger than 64 MiB");
	CHECK(u16(at + 8) == 2, at + 8, "is of another version; compile the policy again");
	CHECK(u16(at + 10) == 64, at + 10, "has a header of another size");
	CHECK(u32(at + 12) >= 1 && u32(at + 12) <= POLICY_SECTIONS, at + 12, "has no sections, or too many");
	CHECK(u64(at + 16) == file.size, at + 16, "has not the size that it says");
	CHECK(!u64(at + 24), at + 24, "a reserved number is not 0");
	sha256(at + 64, file.size - 64, digest);
	CHECK(!compare(at + 32, 32, digest, 32), at + 32, "has been damaged: its digest is another");
	return 0;
}

int policy_check(struct bytes file, uint32_t audit, struct policy *policy, struct wrong *wrong)
{
	struct reading reading_ = {file.at, wrong}, *reading = &reading_;
	uint32_t count, filters = 0, twins = 0, type = 0, id = 0, seen = 0;
	uint32_t ids[POLICY_SECTIONS];
	uint64_t flags[POLICY_SECTIONS];
	size_t end;

	*policy = (struct policy){.file = file};
	if (check_header(reading, file))
		return -1;
	count = u32(file.at + 12);
	end = 64 + 24 * (size_t)count;
	CHECK(file.size >= end, file.at + 12, "its sections are cut off");
	for (uint32_t i = 0; i < count; i++) {
		const unsigned char *entry = file.at + 64 + 24 * (size_t)i;
		uint32_t this_type = u32(entry), this_id = u32(entry + 4);
		uint64_t offset = u64(entry + 8), length = u64(entry + 16);

		CHECK(this_type >= SECTION_FILTER && this_type <= SECTION_WATCH, entry, "has a section of unknown type");
		CHECK(!i || this_type > type || (this_type == type && this_id > id), entry, "sections are not sorted");
		CHECK(is_id_of(this_type, this_id), entry + 4, "a section has an id that none of its type has");
		CHECK(offset == end && length && length <= file.size - offset, entry + 8, "a section is not where it must be");
		if (check_section(reading, this_type, this_id, (struct bytes){file.at + offset, (size_t)length}, audit, policy))
			return -1;
		end = (size_t)(offset + length);
		for (; end % 8; end++)
			CHECK(end < file.size && !file.at[end], file.at + end, "padding is not 0");
		/* The first eight bytes of a filter are its flags, and whether they are given. */
		if (this_type == SECTION_FILTER) {
			ids[filters] = this_id;
			flags[filters++] = u64(file.at + offset);
		}
		if (this_type == SECTION_PERMISSIVE) {
			CHECK(twins < filters && ids[twins] == this_id, entry, "a filter and its permissive twin do not belong together");
			CHECK(flags[twins] == u64(file.at + offset), file.at + offset, "a filter and its permissive twin have other flags");
			twins++;
		}
		type = this_type;
		id = this_id;
		seen |= 1u << type;
	}
	CHECK(end == file.size, file.at + 16, "something follows the last section");
	CHECK(filters == twins, file.at + 12, "a filter and its permissive twin do not belong together");
	CHECK(seen >> SECTION_METADATA & 1, file.at + 12, "has no metadata");
	CHECK((seen >> SECTION_PATHS & 1) == (seen >> SECTION_PATH_RULES & 1), file.at + 12, "has paths without rules, or rules without paths");
	CHECK(policy->has_ruleset || !(policy->path_rules.size | policy->port_rules.size), file.at + 12, "has rules without a ruleset");
	if (policy->path_rules.size && check_path_rules(reading, policy))
		return -1;
	return policy->port_rules.size ? check_port_rules(reading, policy) : 0;
}

uint32_t policy_path_rules(const struct policy *policy)
{
	return (uint32_t)(policy->path_rules.size / 24);
}

struct path_rule policy_path_rule(const struct policy *policy, uint32_t index)
{
	const unsigned char *at = policy->path_rules.at + 24 * (size_t)index;

	return (struct path_rule){u64(at), u32(at + 8), u32(at + 12), u32(at + 16), u32(at + 20)};
}

struct path policy_path(const struct policy *policy, uint32_t index)
{
	const unsigned char *at = policy->paths.at + u32(policy->paths.at + 8 + 4 * (size_t)index);

	return (struct path){u16(at), u16(at + 2), at + 4};
}

uint32_t policy_port_rules(const struct policy *policy)
{
	return (uint32_t)(policy->port_rules.size / 16);
}

struct port_rule policy_port_rule(const struct policy *policy, uint32_t index)
{
	const unsigned char *at = policy->port_rules.at + 16 * (size_t)index;

	return (struct port_rule){u64(at), u16(at + 8), u16(at + 10), u32(at + 12)};
}

static int matches_one(const unsigned char *token, unsigned char byte)
{
	return *token == 1 ? token[1] == byte : token[1 + byte / 8] >> (byte % 8) & 1;
}

/* The last star takes one byte more whenever the rest does not fit: no more steps than glob times name. */
int glob_matches(const unsigned char *glob, size_t length, const unsigned char *name, size_t size)
{
	size_t at = 0, i = 0, after_star = 0, taken = 0;
	int has_star = 0;

	if (name[0] == '.' && (size == 1 || (size == 2 && name[1] == '.')))
		return 0;
	while (i < size) {
		if (at < length && glob[at] == 0) {
			has_star = 1;
			after_star = ++at;
			taken = i;
		} else if (at < length && matches_one(glob + at, name[i])) {
			at += glob[at] == 1 ? 2 : 33;
			i++;
		} else if (has_star) {
			at = after_star;
			i = ++taken;
		} else {
			return 0;
		}
	}
	while (at < length && glob[at] == 0)
		at++;
	return at == length;
}

uint32_t filter_verdict(const struct filter *filter, uint32_t audit, uint32_t nr, const uint64_t args[6])
{
	uint32_t words[16] = {nr, audit}, a = 0;

	for (int i = 0; i < 6; i++) {
		words[4 + 2 * i] = (uint32_t)args[i];
		words[5 + 2 * i] = (uint32_t)(args[i] >> 32);
	}
	for (uint32_t i = 0; i < filter->count; i++) {
		const unsigned char *at = filter->instructions + 8 * (size_t)i;
		uint32_t k = u32(at + 4);
		int taken = 0;

		switch (u16(at)) {
		case 0x20:
			a = words[k / 4];
			continue;
		case 0x54:
			a &= k;
			continue;
		case 0x05:
			i += k;
			continue;
		case 0x06:
			return k;
		case 0x15:
			taken = a == k;
			break;
		case 0x25:
			taken = a > k;
			break;
		case 0x35:
			taken = a >= k;
			break;
		case 0x45:
			taken = (a & k) != 0;
			break;
		default:
			/* Nothing that our compiler writes. */
			return 0x80000000u;
		}
		i += taken ? at[2] : at[3];
	}
	return 0x80000000u;
}
