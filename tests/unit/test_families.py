"""Families, privileges and sensitive calls: what the tables say, and what they must not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scmm_oci.errors import BadInput
from scmm_oci.tables import syscalls, words
from scmm_oci.tables.arguments import ARGUMENTS
from scmm_oci.tables.families import FAMILIES, family_of, wider
from scmm_oci.tables.group_members import plain_argument
from scmm_oci.tables.privileges import NEEDS, UNSEEN, capability_for, needs_for, why_unseen
from scmm_oci.tables.sensitive import DANGEROUS, SENSITIVE

# capabilities(7), as of Linux 5.9, the last that has a new one.
CAPABILITIES = """
    AUDIT_CONTROL AUDIT_READ AUDIT_WRITE BLOCK_SUSPEND BPF CHECKPOINT_RESTORE CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER
    FSETID IPC_LOCK IPC_OWNER KILL LEASE LINUX_IMMUTABLE MAC_ADMIN MAC_OVERRIDE MKNOD NET_ADMIN NET_BIND_SERVICE
    NET_BROADCAST NET_RAW PERFMON SETFCAP SETGID SETPCAP SETUID SYSLOG SYS_ADMIN SYS_BOOT SYS_CHROOT SYS_MODULE SYS_NICE
    SYS_PACCT SYS_PTRACE SYS_RAWIO SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG WAKE_ALARM
"""
# What Docker gives a container by default (docker run, "Runtime privilege and Linux capabilities").
DOCKER_TEXT = """
    AUDIT_WRITE CHOWN DAC_OVERRIDE FOWNER FSETID KILL MKNOD NET_BIND_SERVICE NET_RAW SETFCAP SETGID SETPCAP SETUID
    SYS_CHROOT
"""
DOCKER = set(DOCKER_TEXT.split())
ASKED_FOR = """
    kexec_load init_module ptrace process_vm_writev bpf perf_event_open userfaultfd mount pivot_root setns unshare
    open_by_handle_at keyctl add_key request_key io_uring_setup reboot swapon iopl ioperm acct quotactl syslog
    clock_settime settimeofday kcmp lookup_dcookie nfsservctl vhangup personality modify_ldt uselib create_module
"""


# Families


def test_families_are_a_partition_of_known_names():
    names = [name for family in FAMILIES for name in family]
    assert len(names) == len(set(names))
    assert set(names) <= syscalls.all_names()
    assert all(len(family) >= 2 for family in FAMILIES)


@pytest.mark.parametrize(
    "names",
    [
        "stat lstat fstat newfstatat statx stat64 fstatat64",
        "open openat openat2 creat",
        "clone clone3 fork vfork",
        "epoll_wait epoll_pwait epoll_pwait2",
        "dup2 dup3",
        "pipe pipe2",
        "poll ppoll ppoll_time64",
        "select _newselect pselect6 pselect6_time64",
        "getdents getdents64",
        "unlink unlinkat",
        "rename renameat renameat2",
        "access faccessat faccessat2",
        "mmap mmap2",
        "getrlimit prlimit64 ugetrlimit",
        "futex futex_time64",
        "wait4 waitid waitpid",
        "time gettimeofday clock_gettime clock_gettime64",
        "setresuid setresuid32",
    ],
)
def test_what_is_one_family(names):
    for name in names.split():
        assert set(names.split()) <= family_of(name)


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("kill", "ptrace"),
        ("send", "sendmsg"),
        ("execve", "execveat"),
        ("getrlimit", "setrlimit"),
        ("unlink", "rmdir"),
        ("socket", "socketcall"),
        ("semop", "ipc"),
        ("mmap", "mprotect"),
        ("mprotect", "pkey_mprotect"),
        ("setuid", "setgid"),
        ("setuid", "setresuid"),
        ("getuid", "setuid"),
        ("clone", "unshare"),
        ("mount", "move_mount"),
        ("dup2", "dup"),
        ("poll", "epoll_wait"),
        ("readlink", "open"),
        ("chmod", "chown"),
        ("clock_gettime", "clock_settime"),
    ],
)
def test_what_is_not_one_family(name, other):
    assert other not in family_of(name)
    assert name not in family_of(other)


def test_dangerous_calls_bring_and_are_brought_by_their_like_only():
    found = {tuple(sorted(family)) for family in FAMILIES if family & DANGEROUS.keys()}
    assert found == {
        ("adjtimex", "clock_adjtime", "clock_adjtime64"),
        ("clock_settime", "clock_settime64", "settimeofday", "stime"),
        ("umount", "umount2"),
    }
    # All of these are dangerous: none brings one to a program that had none.
    assert all(set(family) <= DANGEROUS.keys() for family in found)


def test_a_family_needs_the_same_capabilities():
    # Nothing of a family needs a capability that the rest does not, but clone: the module says what that can do.
    for family in FAMILIES:
        found = {frozenset(need.capability for need in NEEDS if need.call == name) for name in family}
        assert len(found) == (2 if "clone" in family else 1), family


def test_a_call_without_a_family_is_alone():
    assert family_of("ptrace") == {"ptrace"}
    assert wider(["ptrace", "bpf"], "x86_64") == {}


def test_what_is_added_and_why():
    assert wider(["access", "faccessat"], "x86_64") == {"faccessat2": ("access", "faccessat")}
    assert wider(["access"], "aarch64") == {"faccessat": ("access",), "faccessat2": ("access",)}
    assert wider(["fcntl"], "x86_64") == {}
    assert wider(["fcntl"], "x86") == {"fcntl64": ("fcntl",)}
    with pytest.raises(BadInput, match="x86_64"):
        wider(["fcntl"], "x86_65")


@given(st.lists(st.sampled_from(sorted(syscalls.all_names())), max_size=20), st.sampled_from(syscalls.ARCHES))
def test_widening_is_done_once_for_all(names, arch):
    added = wider(names, arch)
    assert wider(reversed(names), arch) == added
    assert [*added] == sorted(added)
    assert added.keys() <= syscalls.numbers(arch).keys()
    assert not added.keys() & set(names)
    for name, causes in added.items():
        assert causes and set(causes) <= set(names) & family_of(name)
    assert wider([*names, *added], arch) == {}


# Privileges


def test_privileges_name_calls_capabilities_and_arguments_that_exist():
    for need in NEEDS:
        assert need.call in syscalls.all_names()
        assert need.capability.removeprefix("CAP_") in CAPABILITIES.split()
        for check in need.checks:
            kept = [argument for argument in ARGUMENTS[need.call] if argument.indexes == (check.arg,)]
            assert kept, (need.call, check.arg)
            assert check.values
            assert all(value & kept[0].mask == value for value in check.values)
    assert len(NEEDS) == len(set(NEEDS))


def test_each_of_dockers_capabilities_is_seen_or_not():
    assert {name.removeprefix("CAP_") for name in UNSEEN} <= DOCKER
    seen = {need.capability.removeprefix("CAP_") for need in NEEDS}
    assert not {name.removeprefix("CAP_") for name in UNSEEN} & seen
    # The port is in memory, and the caller's to see.
    assert DOCKER - seen - {name.removeprefix("CAP_") for name in UNSEEN} == {"NET_BIND_SERVICE"}
    assert all(why_unseen(name) for name in UNSEEN)


def values(vocabulary, *names):
    total = 0
    for name in names:
        total |= words.names(vocabulary)[name]
    return frozenset({total})


@pytest.mark.parametrize(
    ("call", "args", "capability"),
    [
        ("chroot", {}, "CAP_SYS_CHROOT"),
        ("mount", {}, "CAP_SYS_ADMIN"),
        ("fchownat", {4: {0}}, "CAP_CHOWN"),
        ("setgroups32", {}, "CAP_SETGID"),
        ("setresuid", {}, "CAP_SETUID"),
        ("init_module", {}, "CAP_SYS_MODULE"),
        ("settimeofday", {}, "CAP_SYS_TIME"),
        ("iopl", {0: {3}}, "CAP_SYS_RAWIO"),
        ("clone", {0: values("clone_flags", "CLONE_NEWNET", "SIGCHLD")}, "CAP_SYS_ADMIN"),
        ("clone3", {0: values("clone3_flags", "CLONE_NEWTIME")}, "CAP_SYS_ADMIN"),
        ("unshare", {0: values("unshare_flags", "CLONE_NEWNS", "CLONE_FS")}, "CAP_SYS_ADMIN"),
        ("socket", {0: values("address_families", "AF_PACKET")}, "CAP_NET_RAW"),
        ("socket", {0: {2}, 1: values("socket_types", "SOCK_RAW", "SOCK_CLOEXEC"), 2: {1}}, "CAP_NET_RAW"),
        ("socket", {0: {1, 10}, 1: {1, 3}, 2: {0, 58}}, "CAP_NET_RAW"),
        ("mknod", {1: values("file_types", "S_IFCHR")}, "CAP_MKNOD"),
        ("mknodat", {2: {0o060644}}, "CAP_MKNOD"),
        ("sched_setscheduler", {1: values("sched_policies", "SCHED_FIFO", "SCHED_RESET_ON_FORK")}, "CAP_SYS_NICE"),
        ("mmap", {3: values("mmap_flags", "MAP_PRIVATE", "MAP_LOCKED")}, "CAP_IPC_LOCK"),
        ("shmctl", {1: {11 | 0x100}}, "CAP_IPC_LOCK"),
        ("syslog", {0: values("syslog_actions", "SYSLOG_ACTION_CLEAR")}, "CAP_SYSLOG"),
        ("prctl", {0: values("prctl_options", "PR_CAPBSET_DROP")}, "CAP_SETPCAP"),
        ("prctl", {0: values("prctl_options", "PR_SET_MM")}, "CAP_SYS_RESOURCE"),
        ("quotactl", {0: values("quota_commands", "Q_SETQUOTA", "GRPQUOTA")}, "CAP_SYS_ADMIN"),
        ("open_tree", {2: values("open_tree_flags", "OPEN_TREE_CLONE", "AT_RECURSIVE")}, "CAP_SYS_ADMIN"),
        ("ptrace", {0: values("ptrace_requests", "PTRACE_SEIZE")}, "CAP_SYS_PTRACE"),
    ],
)
def test_calls_that_show_a_capability(call, args, capability):
    args = {place: frozenset(seen) for place, seen in args.items()}
    assert capability_for(call, args) == {capability}
    assert {need.capability for need in needs_for(call, args)} == {capability}


@pytest.mark.parametrize(
    ("call", "args"),
    [
        ("read", {}),
        ("clone", {}),
        ("clone", {0: {0x3D0F00, 17}}),
        # A child that ends with signal 0x80 & … is no new time namespace.
        ("clone", {0: {0x80}}),
        ("unshare", {0: values("unshare_flags", "CLONE_NEWUSER", "CLONE_NEWNS")}),
        ("unshare", {0: values("unshare_flags", "CLONE_FILES")}),
        ("socket", {0: {2}, 1: {1}, 2: {0}}),
        # glibc's getaddrinfo beside a TCP client.
        ("socket", {0: {2, 16}, 1: {1, 3 | 0x80000}, 2: {0, 6}}),
        ("socket", {0: {16}, 1: {3}, 2: {9}}),
        ("mknod", {1: values("file_types", "S_IFIFO")}),
        ("sched_setscheduler", {1: values("sched_policies", "SCHED_BATCH")}),
        ("mmap", {3: values("mmap_flags", "MAP_PRIVATE")}),
        ("prctl", {0: values("prctl_options", "PR_SET_NAME")}),
        ("quotactl", {0: values("quota_commands", "Q_GETQUOTA")}),
        ("open_tree", {2: values("open_tree_flags", "AT_RECURSIVE")}),
        ("ptrace", {0: values("ptrace_requests", "PTRACE_TRACEME")}),
    ],
)
def test_calls_that_show_none(call, args):
    assert capability_for(call, {place: frozenset(seen) for place, seen in args.items()}) == frozenset()


# Sensitive and dangerous


def test_sensitive_arguments_are_recorded_and_whole():
    for call, places in SENSITIVE.items():
        assert places and [*places] == sorted(set(places))
        for place in places:
            assert plain_argument(call, place) is not None, (call, place)
    assert plain_argument("openat2", 2) is None
    assert plain_argument("setsockopt", 1) is None
    assert plain_argument("read", 0) is None


def test_what_is_asked_for_is_there():
    assert SENSITIVE["socket"] == (0, 1, 2)
    assert {
        "clone",
        "unshare",
        "setns",
        "personality",
        "ptrace",
        "prctl",
        "keyctl",
        "bpf",
        "mprotect",
    } <= SENSITIVE.keys()
    assert set(ASKED_FOR.split()) <= DANGEROUS.keys()


def test_dangerous_calls_exist_and_say_why():
    assert DANGEROUS.keys() <= syscalls.all_names()
    assert [*DANGEROUS] == sorted(DANGEROUS)
    for why in DANGEROUS.values():
        assert why[0].isupper() and why.endswith(".")
    assert not {"read", "openat", "clone", "execve", "futex", "prctl", "seccomp"} & DANGEROUS.keys()
