"""Read and write policies as YAML (.scmm.yaml): every name in one is checked, and all errors are told at once."""

from __future__ import annotations

import os
from itertools import islice
from typing import Any

from scmm_oci.capture.model import Phase, SessionKind
from scmm_oci.errors import BadInput, Problem
from scmm_oci.files import atomic_write, read_bounded
from scmm_oci.policy.check import check
from scmm_oci.policy.model import (
    Action,
    ArgType,
    Constraint,
    Match,
    MatchType,
    Metadata,
    Network,
    NetworkRule,
    OnMissing,
    Origin,
    PathRule,
    Policy,
    Protocol,
    RunAs,
    Settings,
    SyscallRule,
)
from scmm_oci.policy.render import dump
from scmm_oci.policy.source import load
from scmm_oci.schema import MOST, problems, prune
from scmm_oci.tables.arch import Arch
from scmm_oci.tables.vocabulary import capability

__all__ = ["dump", "parse", "read", "write"]

MAX_BYTES = 16 << 20


def read(path: str | os.PathLike[str]) -> Policy:
    """The policy in a file.

    Raises:
        BadInput: the file cannot be read, is too large, or is no policy; with everything that is wrong with it.
    """
    return parse(read_bounded(path, MAX_BYTES), source=os.fspath(path))


def write(path: str | os.PathLike[str], policy: Policy) -> None:
    """Write a policy file whole or not at all.

    Raises:
        Failure: it could not be written.
    """
    atomic_write(path, dump(policy))


def parse(data: bytes, *, source: str = "") -> Policy:
    """The policy in a YAML text.

    Args:
        source: the file's name, for the messages.

    Raises:
        BadInput: it is no policy; each problem with its line, column and path.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadInput([Problem(f"byte {error.start}", "is not UTF-8")], source=source) from error
    loaded = load(text, source=source)
    bad = problems(loaded.value, "policy")
    found = [*bad, *islice(check(prune(loaded.value, bad)), MOST)]
    if found:
        raise BadInput(loaded.problems(found), source=source)
    return _build(loaded.value)


def _build(document: dict[str, Any]) -> Policy:
    filesystem = document.get("filesystem")
    network = document.get("network")
    return Policy(
        metadata=Metadata(**document.get("metadata", {})),
        settings=_settings(document.get("settings", {})),
        syscalls=tuple(_syscall(rule) for rule in document.get("syscalls", ())),
        capabilities=tuple(capability(word) or word for word in document.get("capabilities", ())),
        filesystem=None if filesystem is None else tuple(_path(rule) for rule in filesystem.get("rules", ())),
        network=None if network is None else _network(network),
    )


def _settings(document: dict[str, Any]) -> Settings:
    arch = Arch(document.get("arch", Arch.X86_64))
    beside = {Arch(name) for name in document.get("architectures", ())}
    return Settings(
        default_action=Action(document.get("default_action", Action.DENY)),
        default_errno=document.get("default_errno", "EPERM"),
        log_denials=document.get("log_denials", False),
        arch=arch,
        architectures=(arch, *(other for other in arch.beside if other in beside)),
        run_as=RunAs(**document["run_as"]) if "run_as" in document else None,
    )


def _syscall(document: dict[str, Any]) -> SyscallRule:
    origin = document.get("origin")
    return SyscallRule(
        name=document["name"],
        action=Action(document["action"]),
        errno=document.get("errno"),
        constraints=tuple(_constraint(constraint) for constraint in document.get("constraints", ())),
        origin=None
        if origin is None
        else Origin(
            phases=tuple(Phase(phase) for phase in origin["phases"]),
            sessions=tuple(SessionKind(kind) for kind in origin["sessions"]),
            count=origin["count"],
            denied=origin.get("denied", 0),
        ),
    )


def _constraint(document: dict[str, Any]) -> Constraint:
    return Constraint(
        arg=int(document["arg"]),
        type=ArgType(document["type"]),
        match=tuple(
            Match(match["pattern"], MatchType(match.get("type", MatchType.EXACT)))
            for match in document.get("match", ())
        ),
        allowed=tuple(document.get("allowed", ())),
        denied=tuple(document.get("denied", ())),
    )


def _path(document: dict[str, Any]) -> PathRule:
    on_missing = OnMissing(document.get("on_missing", OnMissing.SKIP))
    return PathRule(document["path"], tuple(document["access"]), on_missing)


def _network(document: dict[str, Any]) -> Network:
    # The seed system first had the lists here, later under `tcp`: both are read, and written in the first form.
    tcp = document.get("tcp", {})
    outbound = [*document.get("outbound", ()), *tcp.get("outbound", ())]
    inbound = [*document.get("inbound", ()), *tcp.get("inbound", ())]
    return Network(
        allow_loopback=document.get("allow_loopback", False),
        outbound=tuple(_network_rule(rule) for rule in outbound),
        inbound=tuple(_network_rule(rule) for rule in inbound),
    )


def _network_rule(document: dict[str, Any]) -> NetworkRule:
    return NetworkRule(
        protocol=Protocol(document.get("protocol", Protocol.TCP)),
        addresses=tuple(document.get("addresses", ())),
        ports=tuple(document.get("ports", ())),
        observed_addresses=tuple(document.get("observed_addresses", ())),
    )
