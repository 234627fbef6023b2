"""A policy of any form and the rules of one run → what the launcher takes. Nothing is written.

Called by cli.enforce; everything that is wrong with the policy and the rules is told at once.
"""

from __future__ import annotations

import hashlib
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
from scmm_oci.policy.model import Policy
from scmm_oci.policy.profile_import import from_profile
from scmm_oci.tables.arch import Arch


def compiled(path: str | None, given: Overrides, arch: Arch) -> tuple[bytes | None, list[Finding]]:
    """The compiled policy for this run, and what is not held or was added; None where the file is compiled already.

    Raises:
        BadInput: with all that is wrong with the policy and the rules.
    """
    if path is None:
        return _made(overrides.nothing(arch), given, "", "") if given else (None, [])
    text = b""
    try:
        text = read_policy(path, max(document.MAX_BYTES, PROFILE_BYTES))
        if polfile.is_compiled(text):
            if given:
                hint = "give the policy (.scmm.yaml) that it was made of"
                raise BadInput([Problem(path, "is compiled: its rules cannot be changed any more", hint)])
            return None, []
        policy, findings = _read(path, text, arch)
    except BadInput as error:
        # The rules are judged all the same, for this machine.
        raise BadInput([*error.problems, *overrides.problems(given, (arch, *arch.beside))]) from error
    data, more = _made(policy, given, path, "" if given else hashlib.sha256(text).hexdigest())
    return data, [*findings, *more]


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


def _made(policy: Policy, given: Overrides, path: str, digest: str) -> tuple[bytes, list[Finding]]:
    changed = overrides.applied(policy, given)
    try:
        needed.check(changed)
        file, findings = policy_file(changed, policy_digest=digest)
    except BadInput as error:
        places = [f"{path}: {one.place}" if path else "command line" for one in error.problems]
        found = [Problem(place, one.message, one.hint) for place, one in zip(places, error.problems, strict=True)]
        raise BadInput(list(dict.fromkeys(found))) from error
    return polfile.write(file), [*findings, *limits.listener(changed)]
