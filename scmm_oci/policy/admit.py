"""Does a policy allow what a capture holds? Every call, argument, path and port of it, and what would be refused.

It is the policy that is asked, not one of the programs made of it: what a kernel or engine cannot hold is allowed
there, and refused here. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from scmm_oci.capture.facts import FileUse, PathState, SocketUse
from scmm_oci.capture.model import Capture, Phase
from scmm_oci.policy.answers import Answers
from scmm_oci.policy.infer.files import MAKES_NAME
from scmm_oci.policy.infer.network import direction_of, is_ip, protocol_of
from scmm_oci.policy.infer.observe import name_of
from scmm_oci.policy.model import Network, NetworkRule, OnMissing, PathRule, Policy
from scmm_oci.policy.paths.exceptions import lowered
from scmm_oci.policy.paths.patterns import Pattern, PatternSet
from scmm_oci.tables import arguments
from scmm_oci.tables.arch import Arch

_NOWHERE = frozenset({PathState.INTERNAL, PathState.OUTSIDE})


@dataclass(frozen=True, order=True)
class Refusal:
    """Something in a capture that a policy would refuse.

    Attributes:
        section: ``syscalls``, ``filesystem`` or ``network``.
        what: the call, path, or direction, protocol and port.
        detail: the argument's value, the rights that lack, the address.
    """

    section: str
    what: str
    detail: str

    def __str__(self) -> str:
        return f"{self.what}: {self.detail}" if self.detail else self.what


def refusals(policy: Policy, capture: Capture) -> tuple[Refusal, ...]:
    """What of the capture's phase app the policy would refuse, sorted; nothing if it admits it.

    Calls that never got past the engine's own filter, and files and peers that could not be reached anyway, are not
    asked for.
    """
    found: set[Refusal] = set()
    found.update(_calls(policy, capture))
    if policy.filesystem is not None:
        found.update(Files(policy.filesystem).refused(capture))
    if policy.network is not None:
        found.update(_network(policy.network, capture))
    return tuple(sorted(found))


def _calls(policy: Policy, capture: Capture) -> Iterator[Refusal]:
    answers: dict[Arch, Answers] = {}
    for _, call in capture.calls(Phase.APP):
        name = name_of(call)
        if not call.entered:
            continue
        if call.arch not in policy.settings.architectures:
            yield Refusal("syscalls", name or str(call.nr), f"a call of {call.arch}")
        elif name is None:
            yield Refusal("syscalls", str(call.nr), f"a call of {call.arch} without a name")
        else:
            ours = answers.setdefault(call.arch, Answers(policy, call.arch))
            if not ours.possible(name, {}).action.passes:
                yield Refusal("syscalls", name, "")
    for one in capture.arguments:
        name = arguments_name(one.name, one.arch, one.nr)
        if name is None or one.field is not None or one.arch not in policy.settings.architectures:
            continue
        ours = answers.setdefault(one.arch, Answers(policy, one.arch))
        if not ours.possible(name, {}).action.passes:
            continue  # told above
        for value in one.values:
            values = {one.indexes[0]: value}
            if len(one.indexes) == 2:
                values = {one.indexes[0]: value >> 32, one.indexes[1]: value & 0xFFFF_FFFF}
            if not ours.possible(name, values).action.passes:
                yield Refusal("syscalls", name, _described(name, one.arch, one.indexes, value))


def arguments_name(name: str | None, arch: Arch, nr: int) -> str | None:
    """The name of a call that arguments are of."""
    from scmm_oci.tables import syscalls

    return name if name is not None else syscalls.name_of(arch, nr)


def _described(name: str, arch: Arch, indexes: tuple[int, ...], value: int) -> str:
    where = "/".join(map(str, indexes))
    for argument in arguments.arguments(arch).get(name, ()):
        if argument.indexes == indexes and argument.field is None:
            return f"argument {where}: {arguments.describe(argument, value, arch=arch)}"
    return f"argument {where}: {value:#x}"


class Files:
    """File rules, to ask about many paths."""

    def __init__(self, rules: Sequence[PathRule]) -> None:
        # Pattern → its rights, and for those that are left out where nothing is there: the path that must be.
        self._access: dict[str, list[tuple[frozenset[str], str | None]]] = {}
        patterns = []
        for rule in (one for whole in rules for one in lowered(whole)):
            pattern = Pattern.parse(rule.path)
            rights = frozenset(
                each
                for right in rule.access
                for each in (("remove_file", "remove_dir") if right == "remove" else (right,))
            )
            must = _base(pattern) if rule.on_missing is OnMissing.SKIP else None
            patterns.append(pattern)
            self._access.setdefault(pattern.text, []).append((rights, must))
            if rule.on_missing is OnMissing.PARENTDIR:
                parent = Pattern.parse(rule.path.removesuffix("/**").rpartition("/")[0] or "/")
                patterns.append(parent)
                self._access.setdefault(parent.text, []).append((rights, None))
        self._patterns = PatternSet(dict.fromkeys(patterns))

    def rights(self, path: str, *, made: Collection[str] = ()) -> frozenset[str]:
        """The rights that the rules grant on a path.

        Args:
            made: what is not there when a program starts: wildcards do not stand for it, and a rule for it is left
                out unless it says otherwise.
        """
        granted: set[str] = set()
        for pattern in self._patterns.granting(path):
            if made and pattern.literal is None and _named(pattern, path) in made:
                continue
            for rights, must in self._access[pattern.text]:
                if must is None or must not in made:
                    granted |= rights
        return frozenset(granted)

    def used(self, paths: Iterable[str]) -> frozenset[str]:
        """The patterns of the rules that grant at least one of the paths, as they are written."""
        return frozenset(pattern.text for path in paths for pattern in self._patterns.granting(path))

    def refused(self, capture: Capture) -> Iterator[Refusal]:
        """What of a capture's files the rules refuse."""
        # Rights are those of uses that succeeded. What lies outside only has the name of a file in the container.
        uses = [use for use in capture.files if use.succeeded and use.state not in _NOWHERE]
        made = {use.path for use in uses if use.created or use.operation in MAKES_NAME}
        for use in uses:
            yield from self._missing(use, use.path, use.access, made)
            yield from self._missing(use, use.path.rpartition("/")[0] or "/", use.parent_access, made)

    def _missing(self, use: FileUse, path: str, wanted: Sequence[str], made: Collection[str]) -> Iterator[Refusal]:
        missing = set(wanted) - self.rights(path, made=made) if wanted else set()
        if missing:
            yield Refusal("filesystem", path, f"{', '.join(sorted(missing))} ({use.operation})")


def _named(pattern: Pattern, path: str) -> str:
    """Of a path that is granted: what the pattern itself stands for, the path or a directory above."""
    return "/".join(path.split("/")[: len(pattern.parts) + 1])


def _base(pattern: Pattern) -> str | None:
    """The one path that must be there for a rule to hold; None with wildcards or variables."""
    if any(part.name is None for part in pattern.parts):
        return None
    return "/" + "/".join(part.name or "" for part in pattern.parts)


def _network(network: Network, capture: Capture) -> Iterator[Refusal]:
    for use in capture.sockets:
        protocol = protocol_of(use)
        if not is_ip(use) or protocol is None:
            continue
        direction = direction_of(use)
        rules = network.inbound if direction == "inbound" else network.outbound
        if not any(rule.protocol is protocol and _fits(rule, use) for rule in rules):
            yield Refusal("network", f"{direction} {protocol} {use.port}", use.address or "")


def _fits(rule: NetworkRule, use: SocketUse) -> bool:
    import ipaddress

    assert use.port is not None
    if rule.ports and not any(ports.first <= use.port <= ports.last for ports in rule.ports):
        return False
    if not rule.addresses or "any" in rule.addresses or use.address is None:
        return True
    try:
        address = ipaddress.ip_address(use.address.partition("%")[0])
    except ValueError:
        return False
    return any(address in ipaddress.ip_network(word, strict=False) for word in rule.addresses)
