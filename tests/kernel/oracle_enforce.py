"""Run a program as rules say, without anything of the product: oracle_enforce.py RULES.json COMMAND…

Landlock by landlockpy, the filter by libseccomp. RULES.json has `files` (path → rights), `bind`, `connect`, `scopes`,
`errno` of calls without a rule, and `calls`: action, errno, name and conditions (argument, operator, numbers).
"""

import json
import os
import sys

import pyseccomp
from landlockpy import AccessFS, AccessNet, Ruleset, Scope, fs_for_abi
from landlockpy import abi_version as abi

OF_FILES = (
    AccessFS.EXECUTE
    | AccessFS.WRITE_FILE
    | AccessFS.READ_FILE
    | AccessFS.TRUNCATE
    | AccessFS.IOCTL_DEV
    | AccessFS.RESOLVE_UNIX
)
ACTIONS = {
    "allow": pyseccomp.ALLOW,
    "log": pyseccomp.LOG,
    "trap": pyseccomp.TRAP,
    "kill": pyseccomp.KILL_PROCESS,
    "kill_thread": pyseccomp.KILL_THREAD,
}


def main() -> None:
    with open(sys.argv[1]) as file:
        rules = json.load(file)
    handled = fs_for_abi(abi())
    scopes = Scope.NONE
    for word in rules["scopes"]:
        scopes |= Scope[word.upper()]
    ruleset = Ruleset(handled_fs=handled, handled_net=AccessNet.BIND_TCP | AccessNet.CONNECT_TCP, scoped=scopes)
    for path, rights in rules["files"].items():
        access = AccessFS.NONE
        for right in rights:
            access |= AccessFS[right.upper()]
        if not os.path.isdir(path):
            access &= OF_FILES
        ruleset.allow_path(path, access & handled)
    for port in rules["bind"]:
        ruleset.allow_port(port, AccessNet.BIND_TCP)
    for port in rules["connect"]:
        ruleset.allow_port(port, AccessNet.CONNECT_TCP)
    calls = pyseccomp.SyscallFilter(pyseccomp.ERRNO(rules["errno"]))
    calls.set_attr(pyseccomp.Attr.ACT_BADARCH, pyseccomp.KILL_PROCESS)
    for action, errno, name, conditions in rules["calls"]:
        args = [pyseccomp.Arg(arg, getattr(pyseccomp, op.upper()), *data) for arg, op, *data in conditions]
        calls.add_rule(pyseccomp.ERRNO(errno) if action == "deny" else ACTIONS[action], name, *args)
    ruleset.restrict()
    calls.load()
    os.execv(sys.argv[2], sys.argv[2:])


if __name__ == "__main__":
    main()
