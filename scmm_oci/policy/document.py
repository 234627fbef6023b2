"""Read and write policies as YAML (.scmm.yaml): every name in one is checked, and all errors are told at once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from typing import Any

from scmm_oci import fastschema
from scmm_oci.capture.model import Phase, SessionKind
from scmm_oci.errors import BadInput, Problem
from scmm_oci.files import atomic_write, read_bounded
from scmm_oci.policy.advice import ADVICE
from scmm_oci.policy.check import check
from scmm_oci.policy.model import (
    Action,
    Applies,
    ArchMap,
    ArgType,
    Constraint,
    FilterFlag,
    LandlockScope,
    Listener,
    Match,
    MatchType,
    Metadata,
    Network,
    NetworkRule,
    OnMissing,
    Operator,
    Origin,
    PathRule,
    Policy,
    PortRange,
    Protocol,
    RunAs,
    Serving,
    Settings,
    SyscallRule,
    Transition,
    WatchAction,
)
from scmm_oci.policy.render import dump
from scmm_oci.policy.yaml.source import load
from scmm_oci.schema import MOST, Found, problems, prune
from scmm_oci.tables.arch import Arch
from scmm_oci.tables.vocabulary import capability

__all__ = ["dump", "parse", "read", "write"]

MAX_BYTES = 64 << 20


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
    # The compiled schema takes 5.0 for a whole number. No key of ours holds a fraction.
    bad = [] if fastschema.accepts(loaded.value, "policy") and not loaded.fractions else _schema(loaded.value)
    found = [*bad, *islice(check(prune(loaded.value, bad), _sections(loaded.value)), MOST)]
    if found:
        raise BadInput(loaded.problems(found), source=source)
    return build(loaded.value)


def _sections(value: Any) -> frozenset[str]:
    return frozenset(value) if isinstance(value, dict) else frozenset()


def _schema(value: Any) -> list[Found]:
    return problems(value, "policy", advice=ADVICE)


def build(document: dict[str, Any]) -> Policy:
    """The policy that a plain document stands for. It must have passed the checks of :func:`parse`."""
    filesystem = document.get("filesystem")
    network = document.get("network")
    capabilities = document.get("capabilities")
    scopes = document.get("scopes")
    transitions = document.get("transitions")
    serving = document.get("serving")
    return Policy(
        # An empty text says as much as none.
        metadata=Metadata(**{key: text for key, text in document.get("metadata", {}).items() if text}),
        settings=_settings(document.get("settings", {})),
        syscalls=tuple(rule for item in document.get("syscalls", ()) for rule in _syscalls(item)),
        capabilities=None if capabilities is None else _capabilities(capabilities),
        filesystem=None if filesystem is None else tuple(_path(rule) for rule in filesystem.get("rules", ())),
        network=None if network is None else _network(network),
        scopes=None if scopes is None else tuple(LandlockScope(word) for word in scopes),
        transitions=None if transitions is None else _transitions(transitions),
        serving=None if serving is None else Serving(tuple(serving["from"]), _transitions(serving["transitions"])),
        watch=WatchAction(document["watch"]) if "watch" in document else None,
    )


def _transitions(document: dict[str, list[str]]) -> tuple[Transition, ...]:
    return tuple(Transition.of(key, following) for key, following in document.items())


def _settings(document: dict[str, Any]) -> Settings:
    arch = Arch(document.get("arch", Arch.X86_64))
    beside = {Arch(name) for name in document.get("architectures", ())}
    flags = document.get("flags")
    return Settings(
        default_action=Action(document.get("default_action", Action.DENY)),
        default_errno=document.get("default_errno", "EPERM"),
        default_message=document.get("default_message"),
        log_denials=document.get("log_denials", False),
        arch=arch,
        architectures=(arch, *(other for other in arch.beside if other in beside)),
        bad_arch_action=Action(document.get("bad_arch_action", Action.KILL)),
        flags=None if flags is None else tuple(FilterFlag(word) for word in flags),
        listener=Listener(**document["listener"]) if "listener" in document else None,
        arch_map=tuple(
            ArchMap(item["architecture"], tuple(item.get("sub_architectures", ())))
            for item in document.get("arch_map", ())
        ),
        run_as=RunAs(**document["run_as"]) if "run_as" in document else None,
    )


def _capabilities(words: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(capability(word) or word for word in words))


def _syscalls(document: dict[str, Any]) -> Iterator[SyscallRule]:
    for name in document.get("names", ()) or (document["name"],):
        yield SyscallRule(
            name=name,
            action=Action(document["action"]),
            errno=document.get("errno"),
            constraints=tuple(_constraint(constraint) for constraint in document.get("constraints", ())),
            origin=_origin(document),
            message=document.get("message"),
            includes=_applies(document, "includes"),
            excludes=_applies(document, "excludes"),
            comment=document.get("comment", ""),
        )


def _origin(document: dict[str, Any]) -> Origin | None:
    origin = document.get("origin")
    if origin is None:
        return None
    if len(origin) == 1 and "count" in origin:
        return _counted(origin["count"])
    return Origin(
        count=origin.get("count", 0),
        denied=origin.get("denied", 0),
        phases=tuple(Phase(phase) for phase in origin.get("phases", (Phase.APP,))),
        sessions=tuple(SessionKind(kind) for kind in origin.get("sessions", (SessionKind.MAIN,))),
        programs=tuple(origin.get("programs", ())),
        observed=origin.get("observed", 0),
        recordings=origin.get("recordings", 0),
        reason=origin.get("reason", ""),
    )


# Of most rules for files: there are few different counts.
@lru_cache(maxsize=1 << 12)
def _counted(count: int) -> Origin:
    return Origin(count)


def _applies(document: dict[str, Any], key: str) -> Applies | None:
    if key not in document:
        return None
    applies = document[key]
    return Applies(
        _capabilities(applies.get("capabilities", [])),
        tuple(applies.get("architectures", ())),
        applies.get("min_kernel"),
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
        op=Operator(document["op"]) if "op" in document else None,
        value=document.get("value"),
        mask=document.get("mask"),
    )


def _path(document: dict[str, Any]) -> PathRule:
    on_missing = OnMissing(document["on_missing"]) if "on_missing" in document else OnMissing.SKIP
    return PathRule(
        document["path"], tuple(document["access"]), on_missing, _origin(document), tuple(document.get("except", ()))
    )


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
        ports=tuple(_ports(item) for item in document.get("ports", ())),
        observed_addresses=tuple(document.get("observed_addresses", ())),
        origin=_origin(document),
    )


def _ports(item: int | str) -> PortRange:
    if isinstance(item, int):
        return PortRange(item, item)
    first, last = item.split("-")
    return PortRange(int(first), int(last))
