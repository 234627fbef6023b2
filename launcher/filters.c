#include "filters.h"
#include "sys.h"
#include "text.h"

/* linux/seccomp.h */
#define RET_ACTION 0xffff0000u
#define FLAG_TSYNC 1u
#define FLAG_NEW_LISTENER 8u
#define FLAG_WAIT_KILLABLE 32u

static uint32_t value_of(const unsigned char *at)
{
	return at[4] | (uint32_t)at[5] << 8 | (uint32_t)at[6] << 16 | (uint32_t)at[7] << 24;
}

static int is_return(const unsigned char *at)
{
	return at[0] == 0x06 && !at[1];
}

/* Of the twin: a violation; or what asks someone who is not there, and so would be refused. */
static int is_violation(uint32_t k)
{
	return k == (RET_LOG | 1) || ((k & RET_ACTION) != RET_ALLOW && (k & RET_ACTION) != RET_LOG);
}

int filter_asks(const struct policy *policy, int is_twin)
{
	const struct filter *filter = is_twin ? &policy->permissive : &policy->filter;
	const unsigned char *end = filter->instructions + 8 * (size_t)filter->count;

	for (const unsigned char *at = filter->instructions; at < end; at += 8)
		if (is_return(at) && (is_twin ? is_violation(value_of(at)) : (value_of(at) & RET_ACTION) == RET_USER_NOTIF))
			return 1;
	return 0;
}

static long load(const unsigned char *instructions, uint32_t count, uint32_t flags)
{
	struct {
		unsigned short count;
		const unsigned char *instructions;
	} program = {(unsigned short)count, instructions};

	return SYS3(NR_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
}

long filter_load(const struct policy *policy)
{
	/* The one for listeners is refused without one: seccomp(2), SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV. */
	return load(policy->filter.instructions, policy->filter.count, policy->filter.flags & ~FLAG_WAIT_KILLABLE);
}

long filter_load_twin(const struct policy *policy, uint32_t value, uint32_t flags)
{
	static unsigned char twin[4096 * 8];
	const struct filter *filter = &policy->permissive;

	for (size_t i = 0; i < 8 * (size_t)filter->count; i++)
		twin[i] = filter->instructions[i];
	for (unsigned char *at = twin; at < twin + 8 * (size_t)filter->count; at += 8) {
		if (!is_return(at) || !is_violation(value_of(at)))
			continue;
		for (int i = 0; i < 4; i++)
			at[4 + i] = (unsigned char)(value >> 8 * i);
	}
	/* Flags that are for listeners or other threads: there may be none. */
	return load(twin, filter->count, flags | (filter->flags & ~(FLAG_TSYNC | FLAG_WAIT_KILLABLE)));
}

static long listen_with(const struct policy *policy, int is_twin, uint32_t flags)
{
	if (is_twin)
		return filter_load_twin(policy, RET_USER_NOTIF, flags);
	/* Not TSYNC: the only other thread is the one that hands the listener over, and has to have no filter for it; the
	 * kernel takes the two flags together only with another one besides (TSYNC_ESRCH). */
	return load(policy->filter.instructions, policy->filter.count, flags | (policy->filter.flags & ~(FLAG_TSYNC | FLAG_WAIT_KILLABLE)));
}

long filter_listen(const struct policy *policy, int is_twin)
{
	long result = listen_with(policy, is_twin, FLAG_NEW_LISTENER | FLAG_WAIT_KILLABLE);

	/* Before Linux 5.19: then signals may interrupt calls that are asked about. */
	return result == -EINVAL ? listen_with(policy, is_twin, FLAG_NEW_LISTENER) : result;
}

void filter_words(struct text *text, long error)
{
	if (error == -EBUSY)
		text_string(text, "there is one already");
	else
		text_error(text, error);
}
