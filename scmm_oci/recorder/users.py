"""Whom a command runs as: parsed, found out, and told to the command by its environment."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass

from scmm_oci.errors import BadInput, Problem, short

_NOBODY = 2**32 - 1  # (uid_t) -1, which is no user: setresuid(2)


@dataclass(frozen=True)
class User:
    """Whom a command runs as; name None: a number that no account has."""

    uid: int
    gid: int
    name: str | None


def parse_user(text: str) -> User:
    """USER[:GROUP], by names or numbers; without a group, the user's own.

    Raises:
        BadInput: there is no such user or group.
    """
    user, colon, group = text.partition(":")
    problems = []
    account: pwd.struct_passwd | None = None
    uid = gid = 0
    try:
        account = pwd.getpwuid(int(user)) if _is_number(user) else pwd.getpwnam(user)
        uid, gid = account.pw_uid, account.pw_gid
    except (KeyError, OverflowError, ValueError):
        if _is_number(user) and int(user) < _NOBODY and colon:
            uid = int(user)
        else:
            hint = "give a group too: USER:GROUP" if _is_number(user) and int(user) < _NOBODY else ""
            problems.append(Problem("--user", f"there is no user {short(user)}", hint))
    if colon:
        try:
            gid = int(group) if _is_number(group) else grp.getgrnam(group).gr_gid
            if gid >= _NOBODY:
                raise KeyError(group)
        except (KeyError, ValueError):
            problems.append(Problem("--user", f"there is no group {short(group)}"))
    if problems:
        raise BadInput(problems)
    return User(uid, gid, account.pw_name if account else None)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 10


def invoking_user(environ: Mapping[str, str]) -> User | None:
    """Who called sudo(8), or None. The seed system runs a command as whom its user is, and so do we."""
    try:
        uid, gid = int(environ["SUDO_UID"]), int(environ["SUDO_GID"])
    except (KeyError, ValueError):
        return None
    if not (0 < uid < _NOBODY and 0 <= gid < _NOBODY) or os.geteuid() != 0:
        return None
    try:
        return User(uid, gid, pwd.getpwuid(uid).pw_name)
    except KeyError:
        return User(uid, gid, None)


def environment_of(user: User, environ: Mapping[str, str]) -> dict[str, str]:
    """The environment for a command that runs as `user`: what tells of our own account in it tells of theirs.

    HOME, LOGNAME, SHELL and USER, as runuser(1) does it; one that is not set, or is not our account's, stays as it is.
    """
    result = dict(environ)
    try:
        ours = _account_variables(pwd.getpwuid(os.geteuid()))
    except KeyError:
        return result
    try:
        theirs = _account_variables(pwd.getpwuid(user.uid))
    except KeyError:
        theirs = {"HOME": "/"}
    for name, value in ours.items():
        if result.get(name) == value:
            del result[name]
            result |= {name: theirs[name]} if name in theirs else {}
    return result


def _account_variables(account: pwd.struct_passwd) -> dict[str, str]:
    name = account.pw_name
    return {"HOME": account.pw_dir, "LOGNAME": name, "SHELL": account.pw_shell or "/bin/sh", "USER": name}
