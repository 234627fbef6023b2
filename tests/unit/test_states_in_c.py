"""bpf/states.bpf.h says which class a call is of as scmm_oci.tables.states does: compiled for here, and asked."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from scmm_oci.recorder import plans, wire
from scmm_oci.tables import states, syscalls

BPF = Path(__file__).resolve().parents[2] / "bpf"

# What the header takes from the kernel: reading user memory fails where it is told to.
PROGRAM = r"""
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
typedef unsigned char u8; typedef unsigned int u32; typedef unsigned long long u64;
#define __TARGET_ARCH_x86
struct pt_regs { unsigned long bx, cx, dx, si, di; };
static u32 memory[8];
static long bpf_probe_read_user(void *to, u32 size, void *from)
{
	if (from != &memory[2])
		return -14;
	memcpy(to, from, size);
	return 0;
}
#include "states.bpf.h"
int main(void)
{
	unsigned long a, b, c;
	u32 nr, abi, refined, extra;

	while (scanf("%u %u %u %u %lu %lu %lu", &nr, &abi, &refined, &extra, &a, &b, &c) == 7) {
		struct pt_regs regs = { .di = a, .si = b, .dx = c };

		if (abi == SCMM_COMPAT)
			regs = (struct pt_regs){ .bx = a, .cx = b, .dx = c };
		if (refined & SCMM_REFINED_MEMORY) {
			memory[2] = c;
			regs.bx = a ? (unsigned long)memory : 0;
		}
		printf("%u\n", state_of(&regs, nr, abi, refined, extra));
	}
	for (u32 call = 0; call < 22; call++)
		printf("%u\n", stage_of_socketcall(call));
	return 0;
}
"""
VALUES = (0, 1, 2, 3, 4, 5, 7, 10, 16, 17, 38, 64, 65, 512, 0o2000000, 1 << 31, (1 << 32) - 1, 1 << 32, (1 << 40) + 2)


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("states")
    (directory / "asked.c").write_text(PROGRAM)
    # Static and not relocated: what i386 points to lies below 4 GB.
    options = ("-std=gnu11", "-Wall", "-Werror", "-static", "-no-pie", "-fno-pic", f"-I{BPF}")
    subprocess.run(["gcc", *options, "-o", directory / "asked", directory / "asked.c"], check=True)
    return directory / "asked"


def test_classes_and_stages(asked: Path) -> None:
    questions, expected = [], []
    for abi, arch in enumerate(("x86_64", "x86")):
        for name, (_, index) in states.REFINED.items():
            nr = syscalls.numbers(arch).get(name)
            if nr is None:
                continue
            refined, extra = plans.refinement(name, arch=arch)
            assert refined and extra >= states.FIRST
            for value in VALUES:
                arguments = [(1 << 64) - 1] * 3  # the others do not matter
                arguments[index] = value
                questions.append(f"{nr} {abi} {refined} {extra} {' '.join(map(str, arguments))}")
                expected.append(states.numbers(arch)[states.class_of(name, value)])
    # What cannot be read is the closer class; a call without classes is its number.
    refined, extra = plans.refinement("mmap", arch="x86")
    assert refined & wire.REFINED_MEMORY
    questions += [f"90 1 {refined} {extra} 0 0 1", "39 0 0 0 1 2 3"]
    expected += [states.NUMBERS["mmap:exec"], 39]
    done = subprocess.run([asked], input="\n".join(questions), capture_output=True, text=True, check=True)
    answers = [int(line) for line in done.stdout.split()]
    assert answers[: len(expected)] == expected
    listening, accepting = wire.STAGES.index("listening"), wire.STAGES.index("accepting")
    # linux/net.h: SYS_LISTEN is 4, SYS_ACCEPT 5, SYS_ACCEPT4 18.
    assert dict(enumerate(answers[len(expected) :])) == {
        **dict.fromkeys(range(22), 0),
        4: listening,
        5: accepting,
        18: accepting,
    }
    assert len({*expected}) > 20  # the control: there is a class for each
