/* The compiled policy file, version 2 (docs/formats.md): checked in full, then looked at where it lies. */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum { POLICY_MOST = 64 << 20, POLICY_SECTIONS = 64 };
enum section_type {
	SECTION_FILTER = 1, SECTION_PERMISSIVE, SECTION_RULESET, SECTION_PATH_RULES, SECTION_PATHS, SECTION_PORT_RULES,
	SECTION_IDENTITY, SECTION_TRANSITIONS, SECTION_METADATA, SECTION_WATCH,
};
enum path_kind { PATH_EXACT, PATH_FILES, PATH_BENEATH };
enum component_kind { COMPONENT_NAME, COMPONENT_GLOB, COMPONENT_HOME, COMPONENT_USER };
enum on_missing { MISSING_SKIP, MISSING_PRECREATE, MISSING_PARENTDIR };
enum { IDENTITY_UID = 1, IDENTITY_GID = 2, IDENTITY_CAPABILITIES = 4 };

#define ALL_FS 0x1ffffull
#define ALL_NET 0xfull
#define ALL_SCOPES 3ull

struct bytes {
	const unsigned char *at;
	size_t size;
};

struct filter {
	uint32_t flags;
	int flags_given;
	uint32_t count;
	const unsigned char *instructions;
};

struct policy {
	struct bytes file;
	/* Of the file that it was read from. */
	uint64_t device, inode;
	/* For this machine; count 0 where there is none. */
	struct filter filter, permissive;
	/* Whether there are filters, for whatever machine. */
	int has_filters;
	int has_ruleset;
	uint64_t handled_fs, handled_net, scoped;
	/* The policy names addresses of peers, which Landlock does not hold. */
	int has_addresses;
	struct bytes path_rules, paths, port_rules, metadata;
	uint32_t given, uid, gid;
	uint64_t capabilities;
};

struct path_rule {
	uint64_t access;
	uint32_t path, on_missing, abi;
	/* From this component on, counted from 1, links are not followed; 0: they are in all. */
	uint32_t plain_from;
};

struct port_rule {
	uint64_t access;
	uint32_t first, last, abi;
};

struct path {
	uint32_t kind, count;
	const unsigned char *components;
};

struct component {
	uint32_t kind;
	const unsigned char *bytes;
	size_t length;
	const unsigned char *next;
};

/* Why a file is none, and where: an offset from its beginning. */
struct wrong {
	const char *why;
	uint64_t offset;
};

/* Everything that docs/formats.md demands, before any of it is used. The file must not change meanwhile or later.
 * `audit` is the AUDIT_ARCH of the machine whose filter is wanted. 0, or -1 with what is wrong. */
int policy_check(struct bytes file, uint32_t audit, struct policy *policy, struct wrong *wrong);

uint32_t policy_path_rules(const struct policy *policy);
struct path_rule policy_path_rule(const struct policy *policy, uint32_t index);
struct path policy_path(const struct policy *policy, uint32_t index);
struct component path_component(const unsigned char *at);
uint32_t policy_port_rules(const struct policy *policy);
struct port_rule policy_port_rule(const struct policy *policy, uint32_t index);
/* Whether a glob matches a name. */
int glob_matches(const unsigned char *glob, size_t length, const unsigned char *name, size_t size);
/* What a filter returns for a call without arguments. */
uint32_t filter_verdict(const struct filter *filter, uint32_t audit, uint32_t nr, const uint64_t args[6]);

uint32_t abi_of_fs(uint64_t mask);
uint32_t abi_of_net(uint64_t mask);
