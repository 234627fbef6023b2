#include "guard.h"
#include "landlock.h"
#include "sys.h"

/* mount_namespaces(7); what fsopen(2) and open_tree(2) make comes to its place by move_mount(2). */
static const uint32_t MOUNTING[] = {NR_mount, NR_umount2, NR_pivot_root, NR_move_mount};

enum { MOST = 4096 }; /* BPF_MAXINSNS */

/* What the accumulator holds where an instruction is reached: one value, or any. */
enum { NOT_REACHED, ONE, ANY };
static struct {
	uint32_t value;
	unsigned char holds;
} reached[MOST];

static void reach(uint32_t at, unsigned char holds, uint32_t value)
{
	if (at >= MOST)
		return;
	if (reached[at].holds == NOT_REACHED) {
		reached[at].holds = holds;
		reached[at].value = value;
	} else if (holds == ANY || reached[at].value != value) {
		reached[at].holds = ANY;
	}
}

static int refuses(uint32_t answer)
{
	uint32_t action = answer & 0xffff0000u;

	/* SECCOMP_RET_KILL_PROCESS, KILL_THREAD, TRAP, ERRNO */
	return action == 0x80000000u || action == 0 || action == 0x00030000u || action == 0x00050000u;
}

/* Whether a filter may let a call pass, whatever its arguments. Jumps lead forward only. */
static int may_pass(const struct filter *filter, uint32_t nr)
{
	for (uint32_t i = 0; i < MOST; i++)
		reached[i].holds = NOT_REACHED;
	reach(0, ONE, 0);
	for (uint32_t i = 0; i < filter->count; i++) {
		const unsigned char *at = filter->instructions + 8 * (size_t)i;
		uint32_t k = (uint32_t)at[4] | (uint32_t)at[5] << 8 | (uint32_t)at[6] << 16 | (uint32_t)at[7] << 24;
		uint32_t value = reached[i].value;
		unsigned char holds = reached[i].holds;
		int taken;

		if (holds == NOT_REACHED)
			continue;
		switch ((unsigned)at[0] | (unsigned)at[1] << 8) {
		case 0x20: /* a = seccomp_data[k]: nr, arch, and what the program chooses */
			reach(i + 1, k == 0 || k == 4 ? ONE : ANY, k == 0 ? nr : MACHINE_AUDIT);
			continue;
		case 0x54: /* a &= k */
			reach(i + 1, holds, value & k);
			continue;
		case 0x05: /* goto */
			reach(i + 1 + k, holds, value);
			continue;
		case 0x06: /* return */
			if (!refuses(k))
				return 1;
			continue;
		case 0x15:
			taken = value == k;
			break;
		case 0x25:
			taken = value > k;
			break;
		case 0x35:
			taken = value >= k;
			break;
		case 0x45:
			taken = (value & k) != 0;
			break;
		default:
			return 1; /* nothing that our compiler writes */
		}
		if (holds == ANY || taken)
			reach(i + 1 + at[2], holds, value);
		if (holds == ANY || !taken)
			reach(i + 1 + at[3], holds, value);
	}
	return 0;
}

void guard(const struct policy *policy, long abi)
{
	if (abi < 2 || !policy->filter.count || policy->filter.count > MOST)
		return;
	for (size_t i = 0; i < sizeof(MOUNTING) / sizeof(*MOUNTING); i++)
		if (may_pass(&policy->filter, MOUNTING[i]))
			return;
	landlock_enter_empty(abi);
}
