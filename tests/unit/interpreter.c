/* Runs seccomp filters, as linux/filter.h has them. Written apart from compiled/simulate.py, for comparison with it.
 *
 * Reads records: u32 count, sixteen u32 words of struct seccomp_data, the instructions. Writes for each what the filter
 * returns and how many instructions it took, as two u32. */
#include <linux/filter.h>
#include <stdint.h>
#include <stdio.h>

static uint32_t run(const struct sock_filter *program, const uint32_t *data, uint32_t *steps)
{
	uint32_t A = 0, X = 0, M[BPF_MEMWORDS] = {0};
	const struct sock_filter *at = program;

	for (*steps = 1;; at++, ++*steps) {
		uint32_t operand = BPF_SRC(at->code) == BPF_X ? X : at->k;
		int holds = 0;

		switch (BPF_CLASS(at->code)) {
		case BPF_RET:
			return BPF_RVAL(at->code) == BPF_A ? A : at->k;
		case BPF_LD:
		case BPF_LDX: {
			uint32_t loaded = at->k;

			if (BPF_MODE(at->code) == BPF_ABS)
				loaded = data[at->k / 4];
			else if (BPF_MODE(at->code) == BPF_LEN)
				loaded = 64;
			else if (BPF_MODE(at->code) == BPF_MEM)
				loaded = M[at->k];
			*(BPF_CLASS(at->code) == BPF_LD ? &A : &X) = loaded;
			break;
		}
		case BPF_ST:
			M[at->k] = A;
			break;
		case BPF_STX:
			M[at->k] = X;
			break;
		case BPF_MISC:
			if (BPF_MISCOP(at->code) == BPF_TAX)
				X = A;
			else
				A = X;
			break;
		case BPF_ALU:
			switch (BPF_OP(at->code)) {
			case BPF_ADD: A += operand; break;
			case BPF_SUB: A -= operand; break;
			case BPF_MUL: A *= operand; break;
			case BPF_DIV:
				if (operand == 0)
					return 0;
				A /= operand;
				break;
			case BPF_OR: A |= operand; break;
			case BPF_AND: A &= operand; break;
			case BPF_XOR: A ^= operand; break;
			case BPF_LSH: A <<= operand % 32; break;
			case BPF_RSH: A >>= operand % 32; break;
			case BPF_NEG: A = ~A + 1; break;
			}
			break;
		case BPF_JMP:
			if (BPF_OP(at->code) == BPF_JA) {
				at += at->k;
				break;
			}
			switch (BPF_OP(at->code)) {
			case BPF_JEQ: holds = A == operand; break;
			case BPF_JGT: holds = A > operand; break;
			case BPF_JGE: holds = A >= operand; break;
			case BPF_JSET: holds = (A & operand) != 0; break;
			}
			at += holds ? at->jt : at->jf;
			break;
		}
	}
}

int main(void)
{
	static struct sock_filter program[BPF_MAXINSNS];
	uint32_t count, words[16], answer[2];

	while (fread(&count, 4, 1, stdin) == 1) {
		if (count > BPF_MAXINSNS || fread(words, 4, 16, stdin) != 16 || fread(program, 8, count, stdin) != count)
			return 1;
		answer[0] = run(program, words, &answer[1]);
		fwrite(answer, 4, 2, stdout);
	}
	return 0;
}
