"""A policy of any form and the rules of one run → what the launcher takes. Nothing is written.

Called by cli.enforce; everything that is wrong with the policy and the rules is told at once.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from scmm_oci.cli import kinds
from scmm_oci.cli.compile_targets import Container, for_one
from scmm_oci.cli.kinds import Kind
from scmm_oci.compiled import limits, needed, polfile
from scmm_oci.compiled.policy_file import policy_file
from scmm_oci.compiled.retarget import retarget
from scmm_oci.enforcer import overrides
from scmm_oci.enforcer.overrides import Overrides
from scmm_oci.enforcer.trusted import read_policy
from scmm_oci.errors import BadInput, Finding, Problem
from scmm_oci.oci import rich
from scmm_oci.oci.seccomp import MAX_BYTES as PROFILE_BYTES
from scmm_oci.policy import document
from scmm_oci.policy.model import Action, Listener, Policy
from scmm_oci.policy.profile_import import from_profile
from scmm_oci.tables.arch import Arch


@dataclass(frozen=True)
class Made:
    """What one run is to hold.

    Attributes:
        data: the compiled policy; None where the file is compiled already.
        findings: what is not held, or was added.
        listener: whom the policy says to ask; None too where that is not known.
        asks: whether it has calls that are asked about (notify); None where that is not known.
    """

    data: bytes | None = None
    findings: list[Finding] = field(default_factory=list)
    listener: Listener | None = None
    asks: bool | None = None


def compiled(path: str | None, given: Overrides, arch: Arch, *, tolerant: bool = False) -> Made:
    """The compiled policy for this run.

    Args:
        tolerant: what it refuses may be asked about, or only told: then it need not allow any call.

    Raises:
        BadInput: with all that is wrong with the policy and the rules.
    """
    if path is None:
        return _made(overrides.nothing(arch), given, "", "", tolerant) if given else Made()
    text = b""
    try:
        text = read_policy(path, max(document.MAX_BYTES, PROFILE_BYTES))
        if polfile.is_compiled(text):
            if given:
                hint = "give the policy (.scmm.yaml) that it was made of"
                raise BadInput([Problem(path, "is compiled: its rules cannot be changed any more", hint)])
            return Made()
        policy, findings = _read(path, text, arch)
    except BadInput as error:
        # The rules are judged all the same, for this machine.
        raise BadInput([*error.problems, *overrides.problems(given, (arch, *arch.beside))]) from error
    made = _made(policy, given, path, "" if given else hashlib.sha256(text).hexdigest(), tolerant)
    return Made(made.data, [*findings, *made.findings], made.listener, made.asks)


def _read(path: str, text: bytes, arch: Arch) -> tuple[Policy, list[Finding]]:
    """The policy in a file, for this machine and one container."""
    findings: list[Finding] = []
    is_profile = kinds.is_profile(text)
    try:
        if is_profile:
            if len(text) > PROFILE_BYTES:
                raise BadInput([Problem("", f"is larger than {PROFILE_BYTES} bytes")])
            imported = from_profile(rich.parse(text), arch=arch, name=Path(path).stem)
            policy = imported.policy
            findings += imported.findings
        else:
            if len(text) > document.MAX_BYTES:
                raise BadInput([Problem("", f"is larger than {document.MAX_BYTES} bytes")])
            policy = document.parse(text)
        policy, said = for_one(policy, Container())
        findings += said
        policy, said = retarget(policy, arch)
    except BadInput as error:
        wanted = Kind.PROFILE if is_profile else Kind.POLICY
        raise BadInput(kinds.problems(error, path, text, wanted=wanted)) from error
    return policy, [_without_options(one) for one in (*findings, *said)]


def _without_options(finding: Finding) -> Finding:
    """The finding with no hint at an option that only other verbs have."""
    hint = "`scmm import-profile` and `scmm compile` have options for it" if "--" in finding.hint else finding.hint
    return Finding(finding.code, finding.message, hint)


def _made(policy: Policy, given: Overrides, path: str, digest: str, tolerant: bool) -> Made:
    changed = overrides.applied(policy, given)
    try:
        needed.check(changed, asks=tolerant)
        file, findings = policy_file(changed, policy_digest=digest)
    except BadInput as error:
        places = [f"{path}: {one.place}" if path else "command line" for one in error.problems]
        found = [Problem(place, one.message, one.hint) for place, one in zip(places, error.problems, strict=True)]
        raise BadInput(list(dict.fromkeys(found))) from error
    if tolerant:
        findings = [one for one in findings if one.code != "allows-nothing"]  # this run is one where that is no matter
    settings = changed.settings
    actions = {settings.default_action, settings.bad_arch_action, *(one.action for one in changed.syscalls)}
    return Made(
        polfile.write(file), [*findings, *limits.listener(changed)], settings.listener, Action.NOTIFY in actions
    )
