"""What people write in policies instead of the words and forms that stand there, and what they mean by it.

None of it is read: a policy has one word for each thing. Used by policy.document for hints.
"""

from __future__ import annotations

import re

from scmm_oci.schema import Advice, Steps

# uname(2)'s names, and those of Debian's and Go's packages; an armel or armhf program makes arm's calls.
ARCHES = {
    "amd64": "x86_64",
    "x64": "x86_64",
    "x86-64": "x86_64",
    "386": "x86",
    "i386": "x86",
    "i486": "x86",
    "i586": "x86",
    "i686": "x86",
    "arm64": "aarch64",
    "armel": "arm",
    "armhf": "arm",
    "armv6": "arm",
    "armv6l": "arm",
    "armv7": "arm",
    "armv7l": "arm",
    "ppc64el": "ppc64le",
    "powerpc64le": "ppc64le",
}

# Of what is done to a file, the Landlock right for it (linux/landlock.h).
ACCESS = {
    "r": "read_file",
    "read": "read_file",
    "w": "write_file",
    "write": "write_file",
    "append": "write_file",
    "x": "execute",
    "exec": "execute",
    "run": "execute",
    "list": "read_dir",
    "ls": "read_dir",
    "create": "make_reg",
    "make_file": "make_reg",
    "mkdir": "make_dir",
    "mkfifo": "make_fifo",
    "bind": "make_sock",
    "symlink": "make_sym",
    "delete": "remove_file",
    "unlink": "remove_file",
    "rmdir": "remove_dir",
    "rename": "refer",
    "move": "refer",
    "link": "refer",
    "ioctl": "ioctl_dev",
    "connect": "resolve_unix",
}

# libseccomp's names of actions (seccomp_rule_add(3)), and everyday words.
ACTIONS = {
    "scmp_act_allow": "allow",
    "scmp_act_log": "log",
    "scmp_act_trace": "trace",
    "scmp_act_notify": "notify",
    "scmp_act_errno": "deny",
    "scmp_act_trap": "trap",
    "scmp_act_kill": "kill_thread",
    "scmp_act_kill_thread": "kill_thread",
    "scmp_act_kill_process": "kill",
    "accept": "allow",
    "permit": "allow",
    "audit": "log",
    "block": "deny",
    "errno": "deny",
    "refuse": "deny",
    "reject": "deny",
    "kill_process": "kill",
}

# Of what is done about a call that does not follow.
WATCH = {
    "audit": "alert",
    "log": "alert",
    "notify": "alert",
    "pause": "freeze",
    "stop": "freeze",
    "suspend": "freeze",
    "kill_process": "kill",
    "sigkill": "kill",
    "terminate": "kill",
}

# Keys whose values are lists, and often have one item only; what that can be, without anything YAML has a meaning for.
_LISTS = frozenset({"access", "addresses", "architectures", "capabilities", "except", "names", "ports", "scopes"})
_PLAIN = re.compile(r"[\w./@-]{1,60}", re.ASCII)


def hint(path: Steps, value: object) -> str:
    """What to write instead of a value that cannot stand at a place of a policy; empty if that is not known."""
    last = path[-1] if path else ""
    if last == "run_as":
        return "numbers of a user and a group, such as {uid: 33, gid: 33}"
    if last in ("uid", "gid") and path[-2:-1] == ("run_as",) and isinstance(value, str):
        return "a number such as 33; `id` tells those of a user"
    if last in _LISTS or path[-2:-1] == ("transitions",) or path == ("serving", "from"):
        word = str(value)
        # What is neither text nor a number is no item either.
        if isinstance(value, bool) or not isinstance(value, int | str) or not _PLAIN.fullmatch(word):
            return ""
        return f"a list of one is [{_WORDS.get(str(last), {}).get(word.lower(), word)}]"
    if path[-2:-1] == ("ports",) and isinstance(value, str) and _is_port(value):
        return f"numbers stand without quotes: {int(value)}"
    return ""


def _is_port(text: str) -> bool:
    return len(text) <= 5 and text.isascii() and text.isdecimal() and int(text) <= 65535


_WORDS = {
    "arch": ARCHES,
    "architectures": ARCHES,
    "access": ACCESS,
    "action": ACTIONS,
    "default_action": ACTIONS,
    "bad_arch_action": ACTIONS,
    "watch": WATCH,
}

ADVICE = Advice(_WORDS, hint)
