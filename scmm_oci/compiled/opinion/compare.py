"""Three opinions on every call: the filter's, libseccomp's, and what the policy or profile itself says.

A difference raises Failure, with the call. What could not be compared is counted in the report.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import chain
from random import Random

from scmm_oci.compiled import bpf, simulate
from scmm_oci.compiled.bpf import Call, Program
from scmm_oci.compiled.filter.values import returned
from scmm_oci.compiled.opinion import libseccomp, reading
from scmm_oci.compiled.opinion.ask import Library
from scmm_oci.compiled.opinion.calls import boundaries, randoms
from scmm_oci.compiled.opinion.reading import Reading
from scmm_oci.errors import Failure
from scmm_oci.oci.seccomp import Profile
from scmm_oci.policy.answers import Answers
from scmm_oci.policy.model import Policy
from scmm_oci.tables import syscalls
from scmm_oci.tables.arch import Arch

_ACTIONS = {
    bpf.RET_ALLOW: "allow",
    bpf.RET_LOG: "log",
    bpf.RET_TRACE: "trace",
    bpf.RET_USER_NOTIF: "notify",
    bpf.RET_ERRNO: "errno",
    bpf.RET_TRAP: "trap",
    bpf.RET_KILL_THREAD: "kill thread",
    bpf.RET_KILL_PROCESS: "kill process",
}


@dataclass(frozen=True)
class Report:
    """A comparison without a difference.

    Attributes:
        library: its version.
        calls: how many were compared; ``alone``: for how many of them the library could not be asked.
        unknown: names with rules that the library does not have, as ``ARCH NAME``.
        multiplexers: those that it answers by conditions of the calls behind them, as ``ARCH NAME``.
        disjoined: for how many calls the library's answer was another, and ours as soon as each way in which a rule
            holds was in a filter of its own; ``example``: the first of these.
    """

    library: str
    calls: int
    alone: int
    unknown: tuple[str, ...]
    multiplexers: tuple[str, ...]
    disjoined: int
    example: str


def check(policy: Policy, program: Program, *, random: Random, calls: int) -> Report:
    """Compare a policy's filter with libseccomp's and with the policy, for all boundaries and that many random calls.

    Raises:
        Failure: they differ, or libseccomp is not there.
        BadInput: the policy has constraints that no filter can hold.
    """
    said = reading.of_policy(policy)
    return _compare(said, reference(policy), program, random, calls)


def check_profile(
    profile: Profile,
    program: Program,
    *,
    random: Random,
    calls: int,
    arch: Arch = Arch.X86_64,
    bad_arch: int | None = None,
) -> Report:
    """`check` for a profile as a runtime has it.

    Args:
        arch: the machine, where the profile names no architectures.
        bad_arch: what calls of other ABIs get; libseccomp's default if None.

    Raises:
        Failure: they differ, or libseccomp is not there.
    """
    said = reading.of_profile(profile, arch=arch, bad_arch=bad_arch)
    return _compare(said, said.expected, program, random, calls)


def reference(policy: Policy) -> Callable[[Call], int]:
    """What a policy answers to a call as a filter sees it, by policy.answers: numbers and ABIs are all that is added.

    Raises:
        BadInput: the policy has constraints that no filter can hold.
    """
    said = reading.of_policy(policy)
    answers = {arch: Answers(policy, arch) for arch in said.arches}

    def of(call: Call) -> int:
        arch = said.abi_of(call)
        if arch is None:
            return said.bad_arch
        name = syscalls.name_of(arch, call.nr)
        if name is None:
            return said.default
        return returned(answers[arch].of(name, dict(enumerate(call.args))))

    return of


def _compare(said: Reading, expected: Callable[[Call], int], program: Program, random: Random, calls: int) -> Report:
    library = Library(said)
    targets = reading.targets(said)
    compared = alone = disjoined = 0
    example = ""
    asked: Iterable[Call] = chain(boundaries(targets), randoms(targets, random, calls))
    for call in asked:
        words = call.words()
        ours, theirs, right = simulate.run(program, words).value, library.of(call, words), expected(call)
        compared += 1
        if theirs is None:
            alone += 1
        if ours == right and theirs in (None, ours):
            continue
        if ours == right and library.of_parts(call, words) == ours:
            disjoined += 1
            example = example or _described(said, call, ours, theirs, right)
            continue
        raise Failure("the filter and libseccomp differ: " + _described(said, call, ours, theirs, right))
    return Report(
        libseccomp.version(),
        compared,
        alone,
        tuple(f"{arch} {name}" for arch, name in library.unknown),
        tuple(f"{arch} {name}" for arch, name in library.multiplexers),
        disjoined,
        example,
    )


def _described(said: Reading, call: Call, ours: int, theirs: int | None, right: int) -> str:
    arch = said.abi_of(call)
    name = syscalls.name_of(arch, call.nr) if arch is not None else None
    where = arch.value if arch is not None else f"architecture {call.arch:#x}"
    number = f"{call.nr:#x}" if call.nr > 0xFFFF else str(call.nr)
    args = ", ".join(f"{arg:#x}" for arg in call.args)
    library = f"libseccomp {libseccomp.version()}"
    opinion = f"{library} was not asked" if theirs is None else f"{library} returns {value_text(theirs)}"
    return (
        f"{where} {name or 'call'} ({number}) with arguments ({args}): the filter returns {value_text(ours)}, "
        f"{opinion}, right is {value_text(right)}"
    )


def value_text(value: int) -> str:
    """A filter's return value in words, such as ``errno 38``."""
    action = _ACTIONS.get(value & bpf.RET_ACTION_FULL)
    data = value & bpf.RET_DATA
    if action is None:
        return f"{value:#010x}"
    return f"{action} {data}" if data or action in ("errno", "trace") else action
