"""Run a program under Landlock rules: landlocked.py RULES.json COMMAND… (an oracle of its own, through landlockpy).

RULES.json maps paths to rights. A path that holds a symbolic link is refused: a capture's paths are to be those that
the kernel checks. What is not there yet is allowed below the nearest directory that is.
"""

import json
import os
import sys

from landlockpy import AccessFS, Ruleset, fs_for_abi
from landlockpy import abi_version as abi

OF_FILES = (
    AccessFS.EXECUTE
    | AccessFS.WRITE_FILE
    | AccessFS.READ_FILE
    | AccessFS.TRUNCATE
    | AccessFS.IOCTL_DEV
    | AccessFS.RESOLVE_UNIX
)


def main() -> None:
    with open(sys.argv[1]) as file:
        rules = json.load(file)
    handled = fs_for_abi(abi())
    ruleset = Ruleset(handled_fs=handled)
    for path, rights in sorted(rules.items()):
        access = AccessFS.NONE
        for right in rights:
            access |= AccessFS[right.upper()]
        if path.startswith(("/proc/self", "/proc/thread-self")):
            path = "/proc"  # each process has another
        while not os.path.lexists(path):
            path = os.path.dirname(path)
        if os.path.realpath(path) != path:
            raise SystemExit(f"{path} is not the path that the kernel checks: {os.path.realpath(path)} is")
        if not os.path.isdir(path):
            access &= OF_FILES
        access &= handled
        if access:
            ruleset.allow_path(path, access)
    ruleset.restrict()
    os.execv(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
