/* What is enforced and what is not, gathered while the policy is applied: for people, for --status-fd, for --check. */
#pragma once

#include "policy.h"
#include "text.h"

enum mode { MODE_STANDARD, MODE_STRICT, MODE_SECCOMP, MODE_PERMISSIVE, MODE_ASK };
enum layer { LAYER_CALLS, LAYER_FILES, LAYER_PORTS, LAYER_SCOPES, LAYER_IDENTITY, LAYERS };
/* Ordered: the worse of two is what holds. */
enum degree { NOT_ASKED, FULLY, PARTIALLY, NOT_ENFORCED };

struct status {
	enum mode mode;
	long abi;
	enum degree degrees[LAYERS];
	/* Why, in a sentence each; what does not fit is counted. */
	struct text reasons;
	unsigned more;
	char room[4096];
};

/* "standard" and the like. */
const char *status_mode(enum mode mode);
void status_begin(struct status *status, enum mode mode);
/* A layer holds to this degree at most. `reason` may be NULL. */
void status_lower(struct status *status, enum layer layer, enum degree degree, const struct text *reason);
/* Nothing of these layers (bits by their numbers) holds, for one reason. */
void status_lower_each(struct status *status, unsigned layers, const struct text *reason);
/* The layers that a policy asks for. */
unsigned policy_layers(const struct policy *policy);
void status_copy(const struct status *from, struct status *to);
enum degree status_whole(const struct status *status);
/* One line and the reasons; JSON in one line. 0, or the error why it could not be written. */
long status_text(const struct status *status, int fd);
long status_json(const struct status *status, int fd);
