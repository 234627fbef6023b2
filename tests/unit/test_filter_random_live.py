"""Filters of any policies there can be, in the running kernel: it does with each call what the policy says."""

from __future__ import annotations

import os
from itertools import islice
from random import Random

import live
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from live import X86, Live, few_kills, random_calls
from policy_samples import policies
from support import need

from scmm_oci.compiled.bpf import Call
from scmm_oci.compiled.filter import build, of_policy, returned
from scmm_oci.policy.answers import Answer, Answers
from scmm_oci.policy.model import Policy
from scmm_oci.tables import errnos
from scmm_oci.tables.arch import Arch
from scmm_oci.tables.syscalls import X32_SYSCALL_BIT, name_of

EXAMPLES = 300 if os.environ.get("SCMM_SOAK") else 40
CALLS = 1000


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Live:
    need("KERNEL", live.unavailable())
    return Live(tmp_path_factory.mktemp("live"))


def said(policy: Policy, answers: dict[Arch, Answers], call: Call) -> int:
    """What a filter is to return for a call, by the policy's answers and not by its plan."""
    # Numbers above have not all the bit of x32, and are treated as if they had, as by libseccomp.
    arch = Arch.X86 if call.arch == X86 else Arch.X32 if call.nr >= X32_SYSCALL_BIT else Arch.X86_64
    default = Answer.of(None, policy.settings)
    if arch is Arch.X32 and call.nr == (1 << 32) - 1:
        return returned(default)
    if arch not in answers:
        bad = policy.settings.bad_arch_action
        return returned(Answer(bad.rank, default_errno(policy) if bad == "deny" else 0, bad))
    name = name_of(arch, call.nr)
    return returned(default if name is None else answers[arch].of(name, dict(enumerate(call.args))))


def default_errno(policy: Policy) -> int:
    number = errnos.number(policy.settings.default_errno)
    assert number is not None
    return number


@pytest.mark.timeout(1800 if EXAMPLES > 100 else 300)
@settings(max_examples=EXAMPLES)
@given(policies(), st.integers(0, 2**32))
def test_kernel_does_what_the_policy_says(kernel: Live, policy: Policy, seed: int) -> None:
    program = build(of_policy(policy))
    answers = {arch: Answers(policy, arch) for arch in policy.settings.architectures}
    calls = list(few_kills(program, islice(random_calls(program, Random(seed)), CALLS), 20))
    wanted = [live.expected(said(policy, answers, call), call) for call in calls]
    assert list(zip(calls, kernel.verdicts(program, calls), strict=True)) == list(zip(calls, wanted, strict=True))
