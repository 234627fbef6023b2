"""Starters of scmm-runc that are installed: whether a program is one, what it is set to, the runtime below it.

Called by the verbs that use what `scmm install` put in place (cli.docker_shim, cli.try_runs).
"""

from __future__ import annotations

import os

from scmm_oci.enforcer import shim_settings
from scmm_oci.enforcer.registration import parts
from scmm_oci.enforcer.shim_settings import Settings
from scmm_oci.errors import Failure
from scmm_oci.files import reason


def is_starter(path: str) -> bool:
    """Whether the program at a path is a starter of ours."""
    try:
        with open(path, "rb") as file:
            return shim_settings.is_starter(file.read(shim_settings.BEGINNING))
    except OSError:
        return False


def settings_of(starter: str) -> Settings:
    """What a starter is set to. Raises Failure where that cannot be read."""
    try:
        return shim_settings.read(os.path.join(os.path.dirname(starter), parts.SETTINGS))
    except (OSError, ValueError) as error:
        raise Failure(f"what {starter} is set to cannot be read: {reason(error)}", "run scmm install again") from None


def real_runtime(path: str) -> str:
    """The runtime that does the work: the program itself, or the one below it if it is a starter. Raises Failure."""
    if not is_starter(path):
        return path
    try:
        return shim_settings.runtime(settings_of(path), path)
    except ValueError as error:
        raise Failure(str(error)) from None
