#include "status.h"

static const char *const LAYER_NAMES[LAYERS] = {"calls", "files", "ports", "scopes", "identity"};
static const char *const DEGREES[] = {"not asked", "fully", "partially", "not"};
static const char *const MODES[] = {"standard", "strict", "seccomp", "permissive", "ask"};

const char *status_mode(enum mode mode)
{
	return MODES[mode];
}

void status_begin(struct status *status, enum mode mode)
{
	*status = (struct status){.mode = mode};
	status->reasons = (struct text){status->room, 0, sizeof(status->room)};
}

void status_lower(struct status *status, enum layer layer, enum degree degree, const struct text *reason)
{
	if (degree > status->degrees[layer])
		status->degrees[layer] = degree;
	if (!reason)
		return;
	if (status->reasons.length + reason->length + 1 > status->reasons.room) {
		status->more++;
		return;
	}
	for (size_t i = 0; i < reason->length; i++)
		status->reasons.at[status->reasons.length++] = reason->at[i];
	status->reasons.at[status->reasons.length++] = '\n';
}

void status_lower_each(struct status *status, unsigned layers, const struct text *reason)
{
	for (int i = 0; i < LAYERS; i++)
		if (layers >> i & 1) {
			status_lower(status, (enum layer)i, NOT_ENFORCED, reason);
			reason = NULL;
		}
}

unsigned policy_layers(const struct policy *policy)
{
	return (policy->filter.count ? 1u << LAYER_CALLS : 0) | (policy->handled_fs ? 1u << LAYER_FILES : 0) |
	       (policy->handled_net || policy->has_addresses ? 1u << LAYER_PORTS : 0) | (policy->scoped ? 1u << LAYER_SCOPES : 0) |
	       (policy->given ? 1u << LAYER_IDENTITY : 0);
}

void status_copy(const struct status *from, struct status *to)
{
	*to = *from;
	to->reasons.at = to->room;
}

enum degree status_whole(const struct status *status)
{
	enum degree best = NOT_ENFORCED, worst = NOT_ASKED;

	for (int i = 0; i < LAYERS; i++) {
		if (status->degrees[i] == NOT_ASKED)
			continue;
		if (status->degrees[i] > worst)
			worst = status->degrees[i];
		if (status->degrees[i] < best)
			best = status->degrees[i];
	}
	if (worst == NOT_ASKED)
		return NOT_ASKED;
	/* Some of it holds: so the whole is held in part. */
	return worst == FULLY || best == NOT_ENFORCED ? worst : PARTIALLY;
}

static void each_reason(const struct status *status, struct text *text, const char *before, int json)
{
	size_t begin = 0;

	for (size_t i = 0; i < status->reasons.length; i++) {
		if (status->reasons.at[i] != '\n')
			continue;
		if (!json || begin)
			text_string(text, before);
		if (json)
			text_json(text, status->reasons.at + begin, i - begin);
		else
			text_raw(text, status->reasons.at + begin, i - begin);
		if (!json)
			text_string(text, "\n");
		begin = i + 1;
	}
}

long status_text(const struct status *status, int fd)
{
	/* Reasons are 20 bytes long at least, and have 16 before each. */
	TEXT(text, 8192);

	text_string(&text, "scmm-enforce: the policy is ");
	text_string(&text, status_whole(status) == NOT_ASKED ? "empty: nothing is" : DEGREES[status_whole(status)]);
	text_string(&text, " enforced (Landlock ABI ");
	text_number(&text, status->abi > 0 ? (uint64_t)status->abi : 0);
	for (int i = 0; i < LAYERS; i++)
		if (status->degrees[i] != NOT_ASKED) {
			text_string(&text, ", ");
			text_string(&text, LAYER_NAMES[i]);
			text_string(&text, " ");
			text_string(&text, DEGREES[status->degrees[i]]);
		}
	text_string(&text, ")\n");
	each_reason(status, &text, "scmm-enforce:   ", 0);
	if (status->more) {
		text_string(&text, "scmm-enforce:   and more: ");
		text_number(&text, status->more);
		text_string(&text, "\n");
	}
	return text_write(&text, fd);
}

long status_json(const struct status *status, int fd)
{
	TEXT(text, 12288);

	text_string(&text, "{\"mode\":\"");
	text_string(&text, MODES[status->mode]);
	text_string(&text, "\",\"enforced\":\"");
	text_string(&text, DEGREES[status_whole(status)]);
	text_string(&text, "\",\"landlock_abi\":");
	text_number(&text, status->abi > 0 ? (uint64_t)status->abi : 0);
	text_string(&text, ",\"layers\":{");
	for (int i = 0, first = 1; i < LAYERS; i++) {
		if (!first)
			text_string(&text, ",");
		first = 0;
		text_string(&text, "\"");
		text_string(&text, LAYER_NAMES[i]);
		text_string(&text, "\":\"");
		text_string(&text, DEGREES[status->degrees[i]]);
		text_string(&text, "\"");
	}
	text_string(&text, "},\"missing\":[");
	each_reason(status, &text, ",", 1);
	text_string(&text, "],\"more\":");
	text_number(&text, status->more);
	text_string(&text, "}\n");
	return text_write(&text, fd);
}
