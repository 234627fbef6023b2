"""The policy that ``scmm watch`` was given: compiled already, or compiled here; its name, digest and action."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from scmm_oci.compiled.polfile import reader
from scmm_oci.compiled.polfile.layout import MAX_BYTES, is_compiled
from scmm_oci.compiled.polfile.model import PolicyFile
from scmm_oci.errors import BadInput, Problem
from scmm_oci.files import read_bounded

_DEFAULT = "alert"


@dataclass(frozen=True)
class Given:
    """digest: SHA-256 of the policy's text, 64 hexadecimal digits; action: a word of policy.model.WatchAction."""

    file: PolicyFile
    name: str
    digest: str
    action: str


def read(path: str, *, action: str | None) -> Given:
    """The policy in a file. action: what the user wants, before what the policy says.

    Raises:
        BadInput: it is no policy, or one that has no transitions.
    """
    if not Path(path).exists():
        raise BadInput([Problem(path, "there is no such file")])
    data = read_bounded(path, MAX_BYTES)
    file = reader.read(data, source=path) if is_compiled(data) else _compiled(data, path)
    if not file.transitions and (file.watch is None or not file.watch.machines):
        hint = "they come from captures: scmm extract --transitions -i CAPTURE -o POLICY"
        raise BadInput([Problem(path, "the policy has no transitions, by which a watch judges", hint)])
    own = file.watch.action if file.watch is not None else ""
    digest = file.metadata.policy_digest or hashlib.sha256(data).hexdigest()
    name = file.metadata.name or Path(path).name.partition(".")[0] or "policy"
    return Given(file, name, digest, action or own or _DEFAULT)


def _compiled(data: bytes, path: str) -> PolicyFile:
    # All of this a policy that is compiled already does without.
    from scmm_oci.cli import kinds
    from scmm_oci.cli.kinds import Kind
    from scmm_oci.compiled.policy_file import policy_file
    from scmm_oci.policy import document

    try:
        policy = document.parse(data)
    except BadInput as error:
        raise BadInput(kinds.problems(error, path, data, wanted=Kind.POLICY)) from error
    try:
        # What other layers cannot hold is for who applies them; a watch holds transitions, or fails.
        return policy_file(policy, policy_digest=hashlib.sha256(data).hexdigest())[0]
    except BadInput as error:
        raise BadInput(error.problems, source=path) from error
