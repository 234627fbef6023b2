"""Files that verbs which look into filters are given: a policy, a profile of the runtime-spec, or a compiled policy.

They are told apart by what is in them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from scmm_oci.cli.inputs import Given, policies_in, read_files
from scmm_oci.cli.kinds import is_profile
from scmm_oci.compiled.polfile import is_compiled
from scmm_oci.compiled.polfile import read as read_compiled
from scmm_oci.compiled.polfile.model import Filter, PolicyFile
from scmm_oci.errors import BadInput, Finding, Problem
from scmm_oci.oci import seccomp
from scmm_oci.oci.seccomp import Profile
from scmm_oci.policy.container import DEFAULT_CAPABILITIES, depends, for_container
from scmm_oci.policy.model import Policy
from scmm_oci.policy.yaml.source import load
from scmm_oci.schema import Found, Steps
from scmm_oci.tables.arch import Arch

# Keys that only engines' own form of profiles has.
_RICH = re.compile(rb'"(?:archMap|includes|excludes|comment|defaultErrno)"\s*:')


@dataclass(frozen=True)
class Subject:
    """What was given: one of policy, profile and compiled.

    Attributes:
        given: the policy with all of its rules; ``policy`` has those that hold in a container.
        findings: what was assumed.
    """

    path: str
    data: bytes
    policy: Policy | None = None
    given: Policy | None = None
    profile: Profile | None = None
    compiled: PolicyFile | None = None
    findings: tuple[Finding, ...] = ()

    @property
    def arch(self) -> Arch:
        """The ABI that it is for, or the first of them."""
        if self.policy is not None:
            return self.policy.settings.arch
        if self.profile is not None:
            known = {arch.scmp: arch for arch in Arch}
            return next((known[one] for one in self.profile.architectures if one in known), Arch.X86_64)
        assert self.compiled is not None
        return self.compiled.filters[0].arch if self.compiled.filters else Arch.X86_64


def read_subject(path: str) -> Subject:
    """What is in a file.

    Raises:
        BadInput: it is none of the three, or a bad one; with all that is wrong with it.
    """
    (given,) = read_files([path])
    if given.is_capture:
        raise BadInput([Problem(path, "is a capture, not a policy", "make a policy of it first: `scmm extract`")])
    if is_compiled(given.data):
        return Subject(path, given.data, compiled=read_compiled(given.data, source=path))
    if is_profile(given.data):
        if _RICH.search(given.data):
            hint = "make a policy of it first: `scmm import-profile`"
            raise BadInput([Problem(path, "is a profile in Docker's or podman's form", hint)])
        return Subject(path, given.data, profile=seccomp.parse(given.data, source=path))
    return _policy(given)


def _policy(given: Given) -> Subject:
    (policy,) = policies_in([given])
    if not depends(policy):
        return Subject(given.path, given.data, policy=policy, given=policy)
    of_policy = policy.capabilities is not None
    capabilities = frozenset(policy.capabilities or ()) if of_policy else DEFAULT_CAPABILITIES
    one = for_container(policy, capabilities=capabilities)
    whose = "the policy's capabilities" if of_policy else "the capabilities that both engines give by default"
    message = f"of rules that depend on the container, those for one with {whose} are taken"
    return Subject(given.path, given.data, one, policy, findings=(Finding("one-container", message),))


def compiled_filter(file: PolicyFile, arch: Arch, *, place: str) -> Filter:
    """The filter of a compiled policy that answers calls of an ABI.

    Raises:
        BadInput: it has none.
    """
    for one in file.filters:
        if arch in (one.arch, *one.arch.beside):
            return one
    known = ", ".join(one.arch for one in file.filters) or "none"
    raise BadInput([Problem(place, f"has no filter for {arch}", f"it has: {known}")])


def rule_places(subject: Subject) -> list[str]:
    """Where each rule of the policy or profile stands, in their order: ``line 7, .syscalls[2]``."""
    if subject.profile is not None:
        return [f".syscalls[{index}]" for index in range(len(subject.profile.syscalls))]
    if subject.given is None:
        return []
    source = load(subject.data.decode("utf-8"), source=subject.path)
    steps: list[Steps] = []
    for index, item in enumerate(source.value.get("syscalls", ())):
        names = item.get("names", ())
        steps += [("syscalls", index, "names", number) for number in range(len(names))] or [("syscalls", index)]
    return _placed(source.problems([Found(step, Problem("", str(number))) for number, step in enumerate(steps)]))


def _placed(problems: Sequence[Problem]) -> list[str]:
    # Problems come in the order of the text, which is that of the rules unless they stand on one line.
    places = {int(one.message): re.sub(r", column \d+", "", one.place) for one in problems}
    return [places[number] for number in range(len(places))]
