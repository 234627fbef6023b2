"""Remembered answers → monitor.yaml: a rule for each that fits no more than what was asked about. Pure.

What rules cannot say exactly stays a comment: they do not tell ABIs apart, know no single target whose name has a
wildcard, and no two paths in order. Called by monitor.remembered.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from ipaddress import ip_address
from typing import Any

from scmm_oci.enforcer.monitor.model import Verdict
from scmm_oci.enforcer.monitor.remembered_values import About, Entry
from scmm_oci.errors import printable, short
from scmm_oci.policy import constraints
from scmm_oci.policy.paths.patterns import escape
from scmm_oci.policy.yaml.text import Flow, FlowList, dump
from scmm_oci.tables import arguments, errnos
from scmm_oci.tables.arch import Arch
from scmm_oci.tables.arguments import Argument
from scmm_oci.tables.operations import O_CREAT, O_TMPFILE_BIT
from scmm_oci.tables.signatures import SIGNATURES

_HEAD = """\
Answers that scmm-monitor remembered, as rules. Check them; docs/formats.md explains every key.
A path whose last character stands in brackets is that path alone, and nothing beneath it."""
_CREATING = O_CREAT | O_TMPFILE_BIT  # only then open looks at a mode
_MORE = ("symlink", "symlinkat")  # the text of the link
_LOW, _FULL = (1 << 32) - 1, (1 << 64) - 1
_WIDE = "lnh"  # of tables.signatures: what has 64 bits


class Unsaid(Exception):
    """No rule says just this."""


def export(entries: Iterable[Entry], arch: Arch) -> bytes:
    """The text of a monitor.yaml.

    Args:
        arch: the machine's ABI.
    """
    rules = []
    left = []
    for entry in entries:
        try:
            rules.append(_rule(entry, arch))
        except Unsaid as error:
            decision = entry.decision.verdict
            left.append(f"not in here: {decision} {short(entry.key.call)} for {short(entry.key.name)}: {error}")
    header = "\n".join([_HEAD, *map(printable, left)])
    return dump({"version": "1.0", "default": "ask", "rules": rules}, header=header)


def exactly(path: str) -> str:
    """A pattern for one path and nothing beneath it, which a pattern without wildcards would grant too.

    Raises:
        Unsaid: the path is the root directory.
    """
    above, _, name = path.rpartition("/")
    data = os.fsencode(name)
    if not data:
        raise Unsaid("the root directory is no path without what is beneath")
    last = chr(data[-1])
    byte = last if last.isascii() and last.isalnum() else f"\\x{data[-1]:02x}"
    return f"{escape(above)}/{escape(os.fsdecode(data[:-1]))}[{byte}]"


def _rule(entry: Entry, arch: Arch) -> Flow:
    key, about = entry.key, entry.about
    if about is None or about.name is None:
        raise Unsaid("what was asked about was not kept")
    if about.name in _MORE or any(constraints.is_structure(about.name, arg, arch) for arg in range(6)):
        raise Unsaid("some of what was asked about is in memory where no rule looks")
    if about.arch is not arch:
        raise Unsaid(f"it is a call of {about.arch}, and rules do not tell ABIs apart")
    if not key.executable:
        raise Unsaid("nobody knows which program called")
    if set(key.name) & set("*?"):
        raise Unsaid("the name has a wildcard")
    rule: dict[str, Any] = {
        "container": key.name,
        "executable": escape(key.executable),
        "syscalls": FlowList([about.name]),
    }
    # With an address, what else there is to a call is its size.
    args = _args(about, arch) if about.address is None else []
    if args:
        rule["args"] = FlowList(args)
    if about.paths:
        if len(about.paths) > 1:
            raise Unsaid("it has two paths")
        rule["path"] = exactly(about.paths[0])
    elif about.address is not None:
        rule["address"] = _address(*about.address)
    verdict = entry.decision.verdict
    rule["decision"] = verdict.value
    if verdict is Verdict.DENY:
        rule["errno"] = errnos.name(entry.decision.errno)
    elif verdict is Verdict.RETURN:
        rule["value"] = entry.decision.value
    return Flow(rule)


def _args(about: About, arch: Arch) -> list[Flow]:
    """The arguments that count, to the bit: all but pointers, descriptors, and sizes of what pointers lead to."""
    assert about.name is not None
    known: dict[int, Argument] = {}
    for each in arguments.arguments(arch).get(about.name, ()):
        if each.field is None:
            known |= dict.fromkeys(each.indexes, each)
    letters = SIGNATURES.get(about.name)
    if letters is None:
        raise Unsaid("which of its arguments count is not known")
    creates = any(
        argument.vocabulary == "open_flags" and about.args[index] & _CREATING for index, argument in known.items()
    )
    found = []
    for index, letter in enumerate(letters):
        is_size = letter == "n" and "p" in letters[:index]  # as in calls.like
        is_unread = letter == "m" and not creates and any(one.vocabulary == "open_flags" for one in known.values())
        if index not in known and (letter in "dfp" or is_size or is_unread):
            continue
        mask = _FULL if letter in _WIDE else _LOW
        argument = known.get(index)
        if argument is not None:
            mask = _LOW if len(argument.indexes) == 2 else argument.mask
        value: int | str = about.args[index] & mask
        if argument is not None and len(argument.indexes) == 1:
            # Words, where they are read back as the same number.
            told = arguments.describe(argument, about.args[index], arch=arch)
            value = told if constraints.value_of(about.name, index, told, arch) == value else value
        found.append(Flow({"arg": str(index), "type": "integer", "op": "masked_eq", "value": value, "mask": mask}))
    return found


def _address(family: str, text: str | None, port: int | None) -> Flow:
    if text is None:
        raise Unsaid("its address is not known")
    if family == "unix":
        if not text.startswith("@") or len(text) == 1:
            raise Unsaid("its address has no name")
        name = text[1:]
        if set(name) & set("*?"):
            raise Unsaid("its address has a wildcard in its name")
        # A name that begins with @ would look like a mark for abstract ones.
        if name.startswith("@"):
            raise Unsaid("its address begins with @")
        return Flow({"family": family, "names": FlowList([name])})
    if family not in ("inet", "inet6") or port is None or "%" in text:
        raise Unsaid(f"an address of {family} is more than rules can say")
    try:
        ip = ip_address(text)
    except ValueError:
        raise Unsaid("its address is not known") from None
    return Flow({"networks": FlowList([f"{ip}/{ip.max_prefixlen}"]), "ports": FlowList([port])})
