"""What system calls do with the names and descriptors they are given, and which Landlock rights that takes.

The recorder's kernel side is driven by this table (scmm_oci.recorder.plans makes it into its form), the strace import
reads the same calls with it. Standard library only, and without enum: the hooks import it.

Sources: the man page of each call; for rights, landlock(7) and the hooks in the kernel's security/landlock/fs.c.
"""

from __future__ import annotations

# Each word's index is its code in struct scmm_fact_key.op (bpf/recorder.h). Only append.
OPERATIONS = (
    "none",
    "open",  # flags: those of open(2); the path is the opened file's own
    "execute",  # the program that an exec ended up with: what Landlock asks execute and read_file for
    "loader",  # its ELF interpreter
    "script",  # the file named to execve(2) when that began with "#!"
    "chdir",
    "chroot",
    "stat",
    "access",  # flags: the mode asked for, access(2)
    "readlink",
    "statfs",
    "chmod",
    "chown",
    "utime",
    "getxattr",
    "setxattr",
    "listxattr",
    "removexattr",
    "truncate",
    "ftruncate",  # through a descriptor: the right is asked when the file is opened
    "ioctl",  # of a device, through a descriptor
    "mkdir",
    "rmdir",
    "unlink",
    "mknod",  # flags: the type bits of the mode, inode(7)
    "symlink",  # the path is the link's; its text is not kept
    "link-from",
    "link-to",
    "rename-from",
    "rename-to",  # flags: those of renameat2(2)
    "bind",  # makes a UNIX socket
    "connect",  # to a UNIX socket, or sends to it
    "mount",
    "umount",
    "pivot-root",
    "watch",  # inotify(7), fanotify(7)
    "other",  # names a file in a way that no right stands for
)
CODE = {word: code for code, word in enumerate(OPERATIONS)}

# How the recorder finds what a call names (struct scmm_plan.kind).
KINDS = (
    "none",
    "open",  # the file is the returned descriptor's; when it fails, the name in the arguments
    "names",  # one or two names in the arguments
    "chdir",  # when it succeeds, the current directory is what was named
    "exec",  # when it fails, the name; when it succeeds, sched_process_exec tells
    "descriptor",  # the file of the descriptor in argument 0
    "device",  # the same, if that is a device
    "address",  # a socket address: descriptor in argument 0
    "listen",
    "message",  # struct msghdr in argument 1
    "messages",  # struct mmsghdr[] in argument 1, argument 2 of them
    "socketcall",  # i386: one of the socket calls, its arguments in memory
)
KIND = {word: code for code, word in enumerate(KINDS)}

# open(2): the same on x86_64, i386, x32 and, but for four flags, on arm and aarch64 (asm/fcntl.h).
O_ACCMODE, O_CREAT, O_EXCL, O_TRUNC = 0o3, 0o100, 0o200, 0o1000
O_PATH, O_TMPFILE_BIT = 0o10000000, 0o20000000
_O_WRONLY = 0o1
# Of no consequence for what is opened and how: they would only multiply the facts.
_OPEN_IGNORED = 0o400 | 0o4000 | 0o10000 | 0o2000000  # O_NOCTTY, O_NONBLOCK, O_DSYNC, O_CLOEXEC
OPEN_MASK = 0o37777777 & ~_OPEN_IGNORED

AT_REMOVEDIR = 0x200
AT_SYMLINK_NOFOLLOW = 0x100
AT_SYMLINK_FOLLOW = 0x400
AT_EMPTY_PATH = 0x1000
S_IFMT = 0o170000
RENAME_NOREPLACE, RENAME_EXCHANGE = 1, 2


class FileCall:
    """How a call names files.

    kind: of KINDS. names: up to two of (index of the directory descriptor's argument or None for the current
    directory, index of the name's, operation). flags: index of the argument that says how, or None; mask: which of
    its bits matter; implied: bits that the call has of itself. nofollow: it never follows a link at the name's end.
    """

    __slots__ = ("flags", "implied", "kind", "mask", "names", "nofollow")

    def __init__(
        self,
        kind: str,
        *names: tuple[int | None, int, str],
        flags: int | None = None,
        mask: int = 0,
        implied: int = 0,
        nofollow: bool = False,
    ) -> None:
        self.kind = kind
        self.names = names
        self.flags = flags
        self.mask = mask
        self.implied = implied
        self.nofollow = nofollow


def _at(operation: str, *, flags: int | None = None, mask: int = 0, nofollow: bool = False) -> FileCall:
    return FileCall("names", (0, 1, operation), flags=flags, mask=mask, nofollow=nofollow)


def _here(operation: str, *, nofollow: bool = False, flags: int | None = None, mask: int = 0) -> FileCall:
    return FileCall("names", (None, 0, operation), nofollow=nofollow, flags=flags, mask=mask)


def _link(operation: str) -> FileCall:
    # As if its sibling with a flag had been called.
    return FileCall("names", (None, 0, operation), nofollow=True, implied=AT_SYMLINK_NOFOLLOW)


_AT_FLAGS = AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH

# Every call of any ABI that names a file or a socket's address, or does to a descriptor what Landlock asks about.
FILE_CALLS: dict[str, FileCall] = {
    "open": FileCall("open", (None, 0, "open"), flags=1, mask=OPEN_MASK),
    "openat": FileCall("open", (0, 1, "open"), flags=2, mask=OPEN_MASK),
    "openat2": FileCall("open", (0, 1, "open"), flags=2, mask=OPEN_MASK),  # flags are in memory
    "open_by_handle_at": FileCall("open", flags=2, mask=OPEN_MASK),
    "creat": FileCall("open", (None, 0, "open"), implied=O_CREAT | _O_WRONLY | O_TRUNC),
    "execve": FileCall("exec", (None, 0, "execute")),
    "execveat": FileCall("exec", (0, 1, "execute"), flags=4, mask=_AT_FLAGS),
    "uselib": _here("open"),
    "chdir": FileCall("chdir", (None, 0, "chdir")),
    "chroot": _here("chroot"),
    "stat": _here("stat"),
    "lstat": _link("stat"),
    "oldstat": _here("stat"),
    "oldlstat": _link("stat"),
    "stat64": _here("stat"),
    "lstat64": _link("stat"),
    "newfstatat": _at("stat", flags=3, mask=_AT_FLAGS),
    "fstatat64": _at("stat", flags=3, mask=_AT_FLAGS),
    "statx": _at("stat", flags=2, mask=_AT_FLAGS),
    "access": _here("access", flags=1, mask=7),
    "faccessat": _at("access", flags=2, mask=7),
    "faccessat2": _at("access", flags=3, mask=_AT_FLAGS),
    "readlink": _here("readlink", nofollow=True),
    "readlinkat": _at("readlink", nofollow=True),
    "statfs": _here("statfs"),
    "statfs64": _here("statfs"),
    "chmod": _here("chmod"),
    "fchmodat": _at("chmod"),
    "fchmodat2": _at("chmod", flags=3, mask=_AT_FLAGS),
    "chown": _here("chown"),
    "chown32": _here("chown"),
    "lchown": _link("chown"),
    "lchown32": _link("chown"),
    "fchownat": _at("chown", flags=4, mask=_AT_FLAGS),
    "utime": _here("utime"),
    "utimes": _here("utime"),
    "futimesat": _at("utime"),
    "utimensat": _at("utime", flags=3, mask=_AT_FLAGS),
    "utimensat_time64": _at("utime", flags=3, mask=_AT_FLAGS),
    "getxattr": _here("getxattr"),
    "lgetxattr": _link("getxattr"),
    "getxattrat": _at("getxattr", flags=2, mask=_AT_FLAGS),
    "setxattr": _here("setxattr"),
    "lsetxattr": _link("setxattr"),
    "setxattrat": _at("setxattr", flags=2, mask=_AT_FLAGS),
    "listxattr": _here("listxattr"),
    "llistxattr": _link("listxattr"),
    "listxattrat": _at("listxattr", flags=2, mask=_AT_FLAGS),
    "removexattr": _here("removexattr"),
    "lremovexattr": _link("removexattr"),
    "removexattrat": _at("removexattr", flags=2, mask=_AT_FLAGS),
    "file_getattr": _at("getxattr", flags=4, mask=_AT_FLAGS),
    "file_setattr": _at("setxattr", flags=4, mask=_AT_FLAGS),
    "truncate": _here("truncate"),
    "truncate64": _here("truncate"),
    "ftruncate": FileCall("descriptor", (None, 0, "ftruncate")),
    "ftruncate64": FileCall("descriptor", (None, 0, "ftruncate")),
    "ioctl": FileCall("device", (None, 0, "ioctl")),
    "mkdir": _here("mkdir", nofollow=True),
    "mkdirat": _at("mkdir", nofollow=True),
    "rmdir": _here("rmdir", nofollow=True),
    "unlink": _here("unlink", nofollow=True),
    "unlinkat": _at("unlink", flags=2, mask=AT_REMOVEDIR, nofollow=True),
    "mknod": _here("mknod", flags=1, mask=S_IFMT, nofollow=True),
    "mknodat": _at("mknod", flags=2, mask=S_IFMT, nofollow=True),
    "symlink": FileCall("names", (None, 1, "symlink"), nofollow=True),
    "symlinkat": FileCall("names", (1, 2, "symlink"), nofollow=True),
    "link": FileCall("names", (None, 0, "link-from"), (None, 1, "link-to"), nofollow=True),
    "linkat": FileCall(
        "names",
        (0, 1, "link-from"),
        (2, 3, "link-to"),
        flags=4,
        mask=AT_SYMLINK_FOLLOW | AT_EMPTY_PATH,
        nofollow=True,
    ),
    "rename": FileCall("names", (None, 0, "rename-from"), (None, 1, "rename-to"), nofollow=True),
    "renameat": FileCall("names", (0, 1, "rename-from"), (2, 3, "rename-to"), nofollow=True),
    "renameat2": FileCall(
        "names",
        (0, 1, "rename-from"),
        (2, 3, "rename-to"),
        flags=4,
        mask=RENAME_EXCHANGE | RENAME_NOREPLACE,
        nofollow=True,
    ),
    "mount": FileCall("names", (None, 1, "mount")),
    "umount": _here("umount"),
    "umount2": _here("umount"),
    "pivot_root": FileCall("names", (None, 0, "pivot-root"), (None, 1, "pivot-root")),
    "move_mount": FileCall("names", (0, 1, "mount"), (2, 3, "mount")),
    "open_tree": _at("mount"),
    "open_tree_attr": _at("mount"),
    "mount_setattr": _at("mount"),
    "fspick": _at("mount"),
    "inotify_add_watch": FileCall("names", (None, 1, "watch")),
    "fanotify_mark": FileCall("names", (3, 4, "watch")),
    "name_to_handle_at": _at("other", nofollow=True),
    "swapon": _here("other"),
    "swapoff": _here("other"),
    "acct": _here("other"),
    "quotactl": FileCall("names", (None, 1, "other")),
    # The index of a name is that of the address here.
    "bind": FileCall("address", (None, 1, "bind")),
    "connect": FileCall("address", (None, 1, "connect")),
    "sendto": FileCall("address", (None, 4, "sendto")),
    "listen": FileCall("listen"),
    "sendmsg": FileCall("message", (None, 1, "sendto")),
    "sendmmsg": FileCall("messages", (None, 1, "sendto")),
    "socketcall": FileCall("socketcall"),
}

# Where an ABI has the arguments elsewhere: a number of 64 bits takes two there. Tracers print it as one.
_WATCH_32 = FileCall("names", (4, 5, "watch"))
_NONE = FileCall("none")
OF_ABI: dict[str, dict[str, FileCall]] = {"x86": {"fanotify_mark": _WATCH_32}, "arm": {"fanotify_mark": _WATCH_32}}

# Kinds of calls whose names are texts in memory; of "device" and "descriptor" it is a descriptor.
NAMED = ("open", "names", "chdir", "exec")


def file_call(arch: str, name: str) -> FileCall:
    """Which names and addresses a call of an ABI has; of kind "none" where it has none."""
    return OF_ABI.get(arch, {}).get(name) or FILE_CALLS.get(name) or _NONE


# Operations on socket addresses (struct scmm_fact_key.op of socket facts). Only append.
SOCKET_OPERATIONS = ("none", "bind", "connect", "sendto", "listen")
SOCKET_CODE = {word: code for code, word in enumerate(SOCKET_OPERATIONS)}

# Operations whose name is followed when it is a link, unless the call or its flags say otherwise.
FOLLOWS = frozenset(OPERATIONS) - {
    "readlink", "mkdir", "rmdir", "unlink", "mknod", "symlink", "link-from", "link-to", "rename-from", "rename-to",
    "bind",
}  # fmt: skip

_KIND_RIGHT = {
    "fifo": "make_fifo",
    "char": "make_char",
    "dir": "make_dir",
    "block": "make_block",
    "reg": "make_reg",
    "link": "make_sym",
    "sock": "make_sock",
}
_MKNOD_KIND = {0: "reg", 0o010000: "fifo", 0o020000: "char", 0o060000: "block", 0o100000: "reg", 0o140000: "sock"}


def access_of(
    operation: str, *, flags: int = 0, kind: str | None = None, created: bool = False, across: bool = False
) -> tuple[list[str], list[str]]:
    """The Landlock rights that an operation takes: on the path itself, and on the directory that holds it.

    Args:
        flags: as in the table above.
        kind: what the path is ("reg", "dir", "link", …), where that is known and matters.
        created: the call made the file.
        across: the two names of a link or rename are in different directories.

    A rename takes the right to replace what has the new name, unless the call forbids it (RENAME_NOREPLACE).
    """
    own: list[str] = []
    parent: list[str] = []
    if operation == "open" and not flags & O_PATH:
        mode = flags & O_ACCMODE
        directory = kind == "dir"
        if mode in (0, 2):
            own.append("read_dir" if directory else "read_file")
        if mode in (1, 2):
            own.append("write_file")
        # Mode 3 is neither (linux/fs.h, OPEN_FMODE), and only regular files are truncated (fs/namei.c, do_open).
        if flags & O_TRUNC and not created and kind in (None, "reg"):
            own.append("truncate")
        if created and not flags & O_TMPFILE_BIT:
            parent.append("make_reg")
    elif operation in ("execute", "loader", "script"):
        own += ["execute", "read_file"]
    elif operation in ("truncate", "ftruncate"):
        own.append("truncate")
    elif operation == "ioctl":
        own.append("ioctl_dev")
    elif operation == "mkdir":
        parent.append("make_dir")
    elif operation == "rmdir":
        parent.append("remove_dir")
    elif operation == "unlink":
        parent.append("remove_dir" if flags & AT_REMOVEDIR else "remove_file")
    elif operation == "mknod":
        parent.append(_KIND_RIGHT[_MKNOD_KIND.get(flags & S_IFMT, "reg")])
    elif operation == "symlink":
        parent.append("make_sym")
    elif operation == "bind":
        parent.append("make_sock")
    elif operation == "connect":
        own.append("resolve_unix")
    elif operation in ("link-to", "rename-to", "link-from", "rename-from"):
        make, remove = _KIND_RIGHT[kind or "reg"], "remove_dir" if kind == "dir" else "remove_file"
        exchange = bool(flags & RENAME_EXCHANGE)
        if operation in ("link-to", "rename-to") or exchange:
            parent.append(make)
        # Whether the new name had been another file's is not known, and the next time it may be.
        if operation == "rename-from" or exchange or (operation == "rename-to" and not flags & RENAME_NOREPLACE):
            parent.append(remove)
        if across:
            parent.append("refer")
    return own, parent
