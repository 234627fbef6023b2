"""monitor.yaml as frozen values, checked. Made by rules.load, read by rules.decide."""

from __future__ import annotations

import errno
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network

from scmm_oci.errors import Finding
from scmm_oci.policy.model import Constraint, PortRange
from scmm_oci.policy.paths.patterns import Pattern
from scmm_oci.tables.arch import Arch

Network = IPv4Network | IPv6Network


class Outcome(StrEnum):
    """What a rule says: a verdict (model.Verdict), or who is asked for one."""

    ALLOW = "allow"
    DENY = "deny"
    KILL = "kill"
    RETURN = "return"
    ASK = "ask"
    PROGRAM = "program"


class Remember(StrEnum):
    """How long a person's answer may hold: for later runs too, for this run of the monitor, for this call alone."""

    ALWAYS = "always"
    ONCE = "once"
    NEVER = "never"


@dataclass(frozen=True)
class Limits:
    """How many questions there may be: waiting in all, waiting of one target, and new ones in a minute."""

    pending: int = 64
    per_target: int = 8
    per_minute: int = 30


@dataclass(frozen=True)
class Settings:
    """What holds beside the rules.

    Attributes:
        default: what becomes of calls that no rule decides; never kill or return.
        errno: what denied calls get, unless a rule has its own.
        timeout: seconds until a question is denied.
        program: its absolute path and arguments; empty if there is none.
    """

    default: Outcome = Outcome.DENY
    errno: int = errno.EPERM
    timeout: int = 30
    limits: Limits = field(default_factory=Limits)
    program: tuple[str, ...] = ()


@dataclass(frozen=True)
class Peers:
    """Socket addresses. Empty attributes ask nothing.

    Attributes:
        family: a word of tables.words' address_families in small letters, without AF_.
        networks, ports: of inet and inet6. An address of IPv4 in IPv6's form is one of IPv4.
        paths: of sockets that are files. names: globs for abstract ones, without the zero byte or ``@``.
    """

    family: str | None = None
    networks: tuple[Network, ...] = ()
    ports: tuple[PortRange, ...] = ()
    paths: tuple[Pattern, ...] = ()
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Rule:
    """What becomes of the calls that it fits. Conditions that are None or empty fit all.

    Attributes:
        container: a glob for a target's name or id: ``*`` is any text, ``?`` one character.
        user: an effective uid, outside of user namespaces.
        syscalls: calls and groups; None is every call.
        args: all must hold; `arg` counts as RuleSet.arch does.
        paths: patterns, of what a call's names lead to.
        errno: of deny, and of what is asked and then denied; None is the settings'.
        value: of return.
        times: how many calls of a target it decides; 0 is any number.
    """

    decision: Outcome
    container: str | None = None
    executable: Pattern | None = None
    user: int | None = None
    syscalls: tuple[str, ...] | None = None
    args: tuple[Constraint, ...] = ()
    paths: tuple[Pattern, ...] = ()
    address: Peers | None = None
    errno: int | None = None
    value: int = 0
    times: int = 0
    remember: Remember = Remember.ALWAYS


@dataclass(frozen=True)
class RuleSet:
    """All of a file.

    Attributes:
        rules: the first that fits decides.
        arch: the machine's ABI, which the places of arguments are those of.
        findings: what is no error, but should be known.
    """

    settings: Settings = field(default_factory=Settings)
    rules: tuple[Rule, ...] = ()
    arch: Arch = Arch.X86_64
    findings: tuple[Finding, ...] = field(default=(), compare=False)
