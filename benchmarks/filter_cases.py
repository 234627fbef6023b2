"""Policies whose filters are compared, and the calls that filters are run for: engines' defaults, recorded programs.

Since Linux 5.11 no filter is run for a call that it allows whatever its arguments are (seccomp_cache_prepare of
kernel/seccomp.c). So the calls are those with tested arguments, and those that are refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice, product
from pathlib import Path

import click

from benchmarks.filter_makers import Input, Maker, known
from benchmarks.ground import ground
from benchmarks.policy_runs import containers, record
from benchmarks.policy_workloads import WORKLOADS, A
from rig import images
from rig.podman import Podman
from rig.process import RigError
from scmm_oci.capture.model import Capture, Phase
from scmm_oci.compiled import bpf
from scmm_oci.compiled.bpf import Call, Program
from scmm_oci.compiled.profiles import oci_profile
from scmm_oci.compiled.simulate import simulate
from scmm_oci.oci import rich
from scmm_oci.oci.resolve import resolve
from scmm_oci.oci.seccomp import OciAction, Profile
from scmm_oci.policy.infer import infer
from scmm_oci.tables.arch import Arch
from scmm_oci.tables.floor import Floor
from scmm_oci.tables.syscalls import numbers
from tests import profiles_found

TITLES = {
    "docker": "Docker's default",
    "podman": "podman's default",
    "nginx": "nginx, recorded",
    "redis": "redis, recorded",
    "python3": "python3, recorded",
}
#: For what design set its goals: profiles of hundreds of names.
DEFAULTS = ("docker", "podman")

ARCH = Arch.X86_64
NUMBERS = numbers(ARCH)
#: A call that no policy here allows, and that Linux 3.1 has done away with: without a filter it ends as soon.
DENIED: tuple[int, tuple[int, ...]] = (NUMBERS["nfsservctl"], ())
#: Combinations of recorded values of one call's arguments beyond these are left out.
_MOST = 256

#: What Docker and podman leave a container by default, both of them (oci/caps/defaults.go of moby).
CAPABILITIES = frozenset(
    f"CAP_{name}"
    for name in (
        *("CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "NET_RAW", "SETGID", "SETUID", "SETFCAP", "SETPCAP"),
        *("NET_BIND_SERVICE", "SYS_CHROOT", "KILL"),
    )
)
KERNEL = (6, 1)

#: First arguments of calls whose arguments engines' defaults test: what programs have there, and something refused.
_ARGUMENTS = {
    # PER_LINUX, what uname26 and setarch -R set, and the question for what it is.
    "personality": (0, 0x20000, 0x40000, 0xFFFFFFFF),
    # A process of fork(3), a thread, a namespace.
    "clone": (0x1200011, 0x3D0F00, 0x10000011),
    # Addresses of all kinds: AF_UNIX, AF_INET, AF_INET6, AF_NETLINK, AF_VSOCK.
    "socket": (1, 2, 10, 16, 40),
}


@dataclass(frozen=True)
class Sample:
    """A call for which filters are run, and how often it is made, in units of the others."""

    call: Call
    weight: float


@dataclass(frozen=True)
class Case:
    """A policy.

    Attributes:
        checked: calls whose arguments are tested; denied: calls that are refused whatever their arguments are.
        harmless: number and arguments of a call whose arguments are tested, and that is allowed and changes nothing.
    """

    key: str
    given: Input
    checked: tuple[Sample, ...]
    denied: tuple[Sample, ...]
    harmless: tuple[int, tuple[int, ...]]


def tested(profile: Profile) -> frozenset[str]:
    """Names of which the profile tests arguments."""
    plain = {name for rule in profile.syscalls if not rule.args for name in rule.names}
    return frozenset(name for rule in profile.syscalls if rule.args for name in rule.names) - plain


def refused(profile: Profile) -> list[str]:
    """The calls of this machine that the profile refuses whatever their arguments are."""
    passing = {name for rule in profile.syscalls if rule.action is OciAction.ALLOW for name in rule.names}
    return sorted(NUMBERS.keys() - passing)


def of_default(key: str, profile: Profile) -> Case:
    """An engine's default profile: each call with tested arguments as often as all that is refused together."""
    profile = known(profile)
    checked = [
        Sample(Call(NUMBERS[name], ARCH.audit, (value,)), 1 / len(_ARGUMENTS[name]))
        for name in sorted(tested(profile))
        for value in _ARGUMENTS[name]
    ]
    harmless = (NUMBERS["personality"], (0xFFFFFFFF,))
    return Case(key, Input(profile, {}), tuple(checked), _refused(profile), harmless)


def of_capture(key: str, capture: Capture) -> Case:
    """The policy of a recording: calls as often as they were made and refused in it."""
    made = infer([capture])
    # What the program itself needs: without what a runtime needs, as the launcher loads it.
    profile = known(oci_profile(made.policy, Floor(frozenset(), ())).profile)
    entered: dict[str, int] = {}
    denied: dict[str, int] = {}
    for _, call in capture.calls(Phase.APP):
        if call.arch is ARCH and call.name is not None:
            entered[call.name] = entered.get(call.name, 0) + call.entered
            denied[call.name] = denied.get(call.name, 0) + call.denied
    here = tested(profile)
    checked = [one for name in sorted(here) for one in _recorded(capture, name, entered.get(name, 0))]
    there = set(refused(profile))
    seen = [
        Sample(Call(NUMBERS[name], ARCH.audit), count)
        for name, count in sorted(denied.items())
        if name in there and count
    ]
    if "mprotect" not in here:
        raise RigError(f"{key}: the arguments of mprotect are not tested, which is what was to be timed")
    # No bytes of nothing, made readable.
    harmless = (NUMBERS["mprotect"], (0, 0, 1))
    counts = {name: count + denied[name] for name, count in entered.items()}
    return Case(key, Input(profile, counts), tuple(checked), tuple(seen) or _refused(profile, 0.0), harmless)


def _refused(profile: Profile, weight: float = 1.0) -> tuple[Sample, ...]:
    """Each refused call as often as the others, and all of them together so often."""
    names = refused(profile)
    return tuple(Sample(Call(NUMBERS[name], ARCH.audit), weight / len(names)) for name in names)


def _recorded(capture: Capture, name: str, count: int) -> Iterator[Sample]:
    """A call with every combination of its arguments' recorded values, as each is as likely as the others."""
    values: dict[int, Sequence[int]] = {}
    for one in capture.arguments:
        if one.name == name and one.arch is ARCH and one.field is None and len(one.indexes) == 1:
            values[one.indexes[0]] = one.values
    width = max(values, default=-1) + 1
    ways = list(islice(product(*(values.get(index, (0,)) for index in range(width))), _MOST))
    for way in ways:
        yield Sample(Call(NUMBERS[name], ARCH.audit, way), count / len(ways))


def executed(program: Program, samples: Sequence[Sample]) -> float:
    """Instructions that are executed for a call, by the samples' weights; all alike where none has any."""
    total = sum(one.weight for one in samples)
    weights = [one.weight if total else 1.0 for one in samples]
    if not weights:
        raise ValueError("no calls")
    cost = sum(weight * simulate(program, one.call).executed for weight, one in zip(weights, samples, strict=True))
    return cost / sum(weights)


def disagreements(programs: Mapping[Maker, Program], case: Case) -> list[str]:
    """Where filters of one policy do not say the same of a call of this machine, or not what the case says of it."""
    found = []
    every = [Call(number, ARCH.audit) for number in sorted(NUMBERS.values())]
    for call in dict.fromkeys([*(one.call for one in (*case.checked, *case.denied)), *every]):
        said = {name: simulate(program, call).value for name, program in programs.items()}
        if len(set(said.values())) != 1:
            found.append(f"{case.key}: {call}: {said}")
    for program in programs.values():
        passes = simulate(program, Call(case.harmless[0], ARCH.audit, case.harmless[1])).value
        refuses = simulate(program, Call(DENIED[0], ARCH.audit, DENIED[1])).value
        if passes != bpf.RET_ALLOW or refuses & bpf.RET_ACTION_FULL != bpf.RET_ERRNO:
            found.append(f"{case.key}: the timed calls are answered {passes:#x} and {refuses:#x}")
    return found


def cases(missing: dict[str, str]) -> Iterator[Case]:
    """Every case there can be here; why others cannot goes into `missing`. Raises RigError."""
    for key, reason, path in (
        ("docker", profiles_found.docker_default_unavailable(), profiles_found.docker_default),
        ("podman", profiles_found.podman_default_unavailable(), lambda: profiles_found.PODMAN_DEFAULT),
    ):
        if reason:
            missing[key] = reason
            continue
        file = path()
        profile = rich.parse(file.read_bytes(), source=str(file))
        yield of_default(key, resolve(profile, arch=ARCH, capabilities=CAPABILITIES, kernel=KERNEL))
    programs = [workload for workload in WORKLOADS if workload.key in TITLES]
    reason = images.services_unavailable()
    if reason:
        missing |= dict.fromkeys((workload.key for workload in programs), reason)
        return
    with ExitStack() as stack:
        here = stack.enter_context(ground())
        engine = stack.enter_context(Podman(runtime="runc", hooks_dirs=[here.layout.hooks_dir]))
        place = stack.enter_context(containers(engine))
        for workload in programs:
            click.echo(f"recording {workload.key}", err=True)
            yield of_capture(workload.key, record(place, workload, A, Path(here.settings.capture_dir)))
