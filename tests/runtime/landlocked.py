"""Run a program under Landlock rules: landlocked.py RULES.json [--root DIRECTORY] COMMAND… (an oracle, by landlockpy).

RULES.json maps paths to rights. A path that holds a symbolic link is refused: a capture's paths are to be those that
the kernel checks. What is not there yet is allowed below the nearest directory that is. The keys `bind_tcp` and
`connect_tcp` hold ports; with either of them, all other ports are refused. With --root, paths are those below it, and
it becomes the command's root directory.
"""

import json
import os
import sys

from landlockpy import AccessFS, AccessNet, Ruleset, fs_for_abi
from landlockpy import abi_version as abi

OF_FILES = (
    AccessFS.EXECUTE
    | AccessFS.WRITE_FILE
    | AccessFS.READ_FILE
    | AccessFS.TRUNCATE
    | AccessFS.IOCTL_DEV
    | AccessFS.RESOLVE_UNIX
)
OF_PORTS = {"bind_tcp": AccessNet.BIND_TCP, "connect_tcp": AccessNet.CONNECT_TCP}


def main() -> None:
    with open(sys.argv[1]) as file:
        rules = json.load(file)
    command, root = sys.argv[2:], ""
    if command[0] == "--root":
        root, command = command[1], command[2:]
    ports = {word: rules.pop(word) for word in OF_PORTS if word in rules}
    handled = fs_for_abi(abi())
    ruleset = Ruleset(handled_fs=handled, handled_net=sum(OF_PORTS.values(), AccessNet.NONE) if ports else None)
    for path, rights in sorted(rules.items()):
        access = AccessFS.NONE
        for right in rights:
            access |= AccessFS[right.upper()]
        if path.startswith(("/proc/self", "/proc/thread-self")):
            path = "/proc"  # each process has another
        path = root + path
        while not os.path.lexists(path):
            path = os.path.dirname(path)
        if os.path.realpath(path) != os.path.normpath(path):
            raise SystemExit(f"{path} is not the path that the kernel checks: {os.path.realpath(path)} is")
        if not os.path.isdir(path):
            access &= OF_FILES
        access &= handled
        if access:
            ruleset.allow_path(path, access)
    for word, numbers in ports.items():
        for number in numbers:
            ruleset.allow_port(number, OF_PORTS[word])
    ruleset.restrict()
    if root:
        os.chroot(root)
        os.chdir("/")
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
