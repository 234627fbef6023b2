"""Small compiled policies, for tests that need one and do not care what it says."""

from __future__ import annotations

from scmm_oci.compiled import polfile
from scmm_oci.compiled.policy_file import policy_file
from scmm_oci.policy import document


def compiled(name: str = "web", *, also: str = "") -> bytes:
    """A compiled policy; those of two names differ. also: a rule more."""
    rules = f"[{{names: [read, write, execve, exit_group, rt_sigreturn], action: allow}}{also and ', '}{also}]"
    text = f'version: "1.0"\nmetadata: {{name: {name}}}\nsyscalls: {rules}\n'
    return polfile.write(policy_file(document.parse(text.encode()))[0])
