"""A call that is asked about → what would happen to it, and which rule says so.

What happens is what the filter returns when it is run (`simulate`). Which rule that is comes from what the policy or
profile means, without the filter; where the two do not agree, the compiler is wrong, and that is a Failure. Where
arguments are not known, every outcome that is possible is told, each with arguments that lead to it. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from scmm_oci.compiled import needed
from scmm_oci.compiled.bpf import Program
from scmm_oci.compiled.deciders import Decide, Decider, Source, policy_decides, profile_decides
from scmm_oci.compiled.disassemble import returned as in_words
from scmm_oci.compiled.filter import build, of_policy, of_profile
from scmm_oci.compiled.question import Question
from scmm_oci.compiled.simulate import simulate
from scmm_oci.compiled.ways import runs_never, ways
from scmm_oci.errors import Failure
from scmm_oci.oci.seccomp import Profile
from scmm_oci.policy.model import Policy
from scmm_oci.tables.arch import Arch


@dataclass(frozen=True)
class Outcome:
    """One thing that can happen.

    Attributes:
        value: what the filter returns.
        args: six arguments with which it happens.
        least, most: how many instructions are executed.
        looks: the arguments that the filter looks at.
    """

    value: int
    decider: Decider
    args: tuple[int, ...]
    least: int
    most: int
    looks: tuple[int, ...]


@dataclass(frozen=True)
class Explanation:
    """All that can happen to a call: one outcome for each value and what decides so, sorted by value.

    Attributes:
        cached: whether the kernel allows the call without running the filter, however it is called (since Linux 5.11).
    """

    question: Question
    outcomes: tuple[Outcome, ...]
    cached: bool


def of_a_policy(policy: Policy, asked: Question, *, given: Policy | None = None) -> Explanation:
    """What a policy's filter does with a call.

    Args:
        policy: without rules that depend on the container.
        given: the policy as it was written, whose rules are told; where that is another one.

    Raises:
        BadInput: there is no filter for the policy.
        Failure: the filter does something else than the policy says.
    """
    whole, _ = needed.completed(policy)
    return _explained(build(of_policy(whole)), asked, policy_decides(whole, given or policy, asked))


def of_a_profile(profile: Profile, asked: Question) -> Explanation:
    """What a profile's filter does with a call. A profile without architectures is for the one that is asked about.

    Raises:
        BadInput, Failure: as `of_a_policy`.
    """
    machine = Arch.X86_64 if asked.arch is Arch.X32 else asked.arch
    plan = of_profile(profile, arch=machine)
    return _explained(build(plan), asked, profile_decides(profile, asked, machine, plan.bad_arch))


def of_a_filter(program: Program, asked: Question) -> Explanation:
    """What a compiled filter does with a call."""

    def decide(args: tuple[int, ...]) -> tuple[Decider, int]:
        return Decider(Source.COMPILED), simulate(program, replace(asked.call, args=args)).value

    return _explained(program, asked, decide)


def _explained(program: Program, asked: Question, decide: Decide) -> Explanation:
    found: dict[tuple[int, Decider], Outcome] = {}
    for way in ways(program, asked.call, asked.known):
        done = simulate(program, replace(asked.call, args=way.args))
        decider, value = decide(way.args)
        if done.value != value:
            what = asked.name or str(asked.nr)
            args = ", ".join(f"{arg:#x}" for arg in way.args)
            message = f"the filter answers {what}({args}) with {in_words(done.value)}, its rules say {in_words(value)}"
            raise Failure(message, "this is a defect of the compiler: do not use the filter")
        before = found.get((value, decider))
        one = Outcome(value, decider, way.args, done.executed, done.executed, tuple(sorted(way.looks)))
        if before is not None:
            looks = tuple(sorted({*before.looks, *one.looks}))
            least, most = min(before.least, one.least), max(before.most, one.most)
            one = replace(before, least=least, most=most, looks=looks)
        found[value, decider] = one
    outcomes = sorted(found.values(), key=lambda one: (one.value, one.args))
    return Explanation(asked, tuple(outcomes), runs_never(program, asked.call))
