"""What lint finds: for each rule a policy that has it, and one that is nearly the same and has it not."""

import cProfile
import dataclasses
from functools import partial

import pytest
from hypothesis import given, settings
from test_policy_merge import eq, policies, policy, rule

from scmm_oci.policy.lint import RULES, Severity, lint
from scmm_oci.policy.merge import canonical
from scmm_oci.policy.model import (
    Action,
    ArgType,
    Constraint,
    LandlockScope,
    Listener,
    Match,
    MatchType,
    Metadata,
    Network,
    NetworkRule,
    OnMissing,
    Operator,
    Origin,
    PathRule,
    PortRange,
    Protocol,
    RunAs,
    Serving,
    Settings,
    Transition,
    WatchAction,
)
from scmm_oci.tables import syscalls
from scmm_oci.tables.arch import Arch

STARTS = (rule("execve"), rule("exit_group"))
LOADER = "/lib64/ld-linux-x86-64.so.2"


def of(*rules, **rest):
    return policy(*STARTS, *rules, **rest)


def having(**changes):
    return dataclasses.replace(of(), settings=dataclasses.replace(Settings(), **changes))


def paths(*rules):
    return of(filesystem=tuple(PathRule(path, tuple(access.split()), *rest) for path, access, *rest in rules))


def network(**rules):
    return of(network=Network(**rules))


def number(op, value, mask=None, arg=0):
    return Constraint(arg, ArgType.INTEGER, op=Operator(op), value=value, mask=mask)


def values(arg, *words, denied=(), kind="integer"):
    return Constraint(arg, ArgType(kind), allowed=words, denied=tuple(denied))


GLOB = Constraint(0, ArgType.PATH, match=(Match("/a*", MatchType.GLOB),))
MANY_DENIED = values(1, denied=[str(one * 0x9E3779B97F4A7C15 % 2**63) for one in range(1, 200)])
NO_WX = values(2, kind="flags", denied=["PROT_EXEC"])
TCP = NetworkRule(Protocol.TCP, (), (PortRange(80, 80),))

# Rule, where it is, what has it, what has it not.
CASES = [
    ("default-allow", "settings: default_action", policy(default="allow"), policy(default="log")),
    ("default-log", "settings: default_action", policy(default="log"), policy(default="deny")),
    ("dangerous-call", "syscalls: mount", of(rule("mount")), of(rule("mount", "deny"))),
    ("dangerous-call", "syscalls: mount", of(rule("@mount")), of(rule("@timer"))),
    ("dangerous-checked", "syscalls: personality", of(rule("personality", "allow", eq(0, 8))), of(rule("personality"))),
    ("io-uring", "syscalls: io_uring_setup", of(rule("io_uring_setup")), of(rule("io_uring_setup", "kill"))),
    (
        "unseen-arguments",
        "syscalls: clone3",
        of(rule("clone3"), rule("clone", "allow", number("masked_eq", 0, 0x7E020000))),
        of(rule("clone3"), rule("clone")),
    ),
    (
        "unseen-arguments",
        "syscalls: openat2",
        of(rule("openat2"), rule("openat", "allow", values(2, "O_RDONLY", kind="flags"))),
        of(rule("openat2", "deny", errno="ENOSYS"), rule("openat", "allow", values(2, "O_RDONLY", kind="flags"))),
    ),
    (
        "untestable",
        "syscalls: open",
        of(rule("open", "allow", GLOB)),
        of(rule("socket", "allow", values(0, "AF_UNIX"))),
    ),
    (
        "high-word",
        "syscalls: socket",
        of(rule("socket", "allow", number("ne", 40))),
        of(rule("socket", "allow", values(0, denied=["AF_VSOCK"]))),
    ),
    # Of what may be an int, as no table has it, -1 comes with zeros above it as well.
    (
        "high-word",
        "syscalls: epoll_ctl_old",
        of(rule("epoll_ctl_old"), rule("epoll_ctl_old", "deny", values(0, "-1"))),
        of(rule("epoll_ctl_old"), rule("epoll_ctl_old", "deny", values(0, "1"))),
    ),
    (
        "high-word",
        "syscalls: epoll_ctl_old",
        of(rule("epoll_ctl_old", "allow", values(0, denied=["-1"]))),
        of(rule("epoll_ctl_old")),
    ),
    (
        "high-word",
        "syscalls: epoll_ctl_old",
        of(rule("epoll_ctl_old", "allow", values(0, denied=["0", "-5"]))),
        of(rule("epoll_ctl_old", "allow", values(0, "-1", denied=["5"]))),
    ),
    # A number that is allowed alone is refused with more in its high half; one that is denied alone gets by.
    (
        "high-word",
        "syscalls: socket",
        of(rule("socket"), rule("socket", "deny", number("eq", 40))),
        of(rule("socket", "allow", number("eq", 40))),
    ),
    (
        "high-word",
        "syscalls: socket",
        of(rule("socket"), rule("socket", "deny", number("masked_eq", 40, (1 << 64) - 1))),
        of(rule("socket"), rule("socket", "deny", number("masked_eq", 40, (1 << 32) - 1))),
    ),
    (
        "high-word",
        "syscalls: socket",
        of(rule("socket", "allow", number("ge", 2))),
        of(rule("socket", "allow", number("lt", 2))),
    ),
    # clone's flags have 64 bits.
    (
        "high-word",
        "syscalls: socket",
        of(rule("socket", "allow", number("gt", 2))),
        of(rule("clone", "allow", number("gt", 2))),
    ),
    (
        "never-decides",
        "syscalls: socket",
        of(rule("socket"), rule("socket", "allow", eq(0, 1))),
        of(rule("socket", "log"), rule("socket", "allow", eq(0, 1))),
    ),
    (
        "never-decides",
        "syscalls: socket",
        of(rule("socket", "allow", values(0, "AF_UNIX", denied=["AF_UNIX"]))),
        of(rule("socket", "allow", values(0, "AF_UNIX", denied=["AF_INET"]))),
    ),
    (
        "never-decides",
        "syscalls: socket",
        of(rule("socket", "allow", eq(0, 1)), rule("socket", "allow", eq(0, 1), eq(1, 1))),
        of(rule("socket", "log", eq(0, 1)), rule("socket", "allow", eq(0, 1), eq(1, 1))),
    ),
    (
        "group-overridden",
        "syscalls: @timer",
        None,
        of(rule("@timer"), rule("timer_create", "kill")),
    ),
    ("same-as-default", "syscalls: mount", of(rule("mount", "deny")), of(rule("mount", "deny", errno="ENOSYS"))),
    # Without the rule a profile answers ENOSYS; and a group would allow it.
    ("same-as-default", "syscalls: mount", of(rule("mount", "deny")), of(rule("clone3", "deny"))),
    ("same-as-default", "syscalls: mount", of(rule("mount", "deny")), of(rule("@mount"), rule("mount", "deny"))),
    ("write-exec-memory", "syscalls: mprotect", of(rule("mprotect")), of(rule("mprotect", "allow", NO_WX))),
    ("terminal-input", "syscalls: ioctl", of(rule("ioctl")), of(rule("ioctl", "allow", values(1, "TCGETS")))),
    ("notify-pointer", "syscalls: openat", of(rule("openat", "notify")), of(rule("setuid", "notify"))),
    # What is merely not listed, compiling adds.
    ("no-execve", "syscalls: execve", policy(rule("execve", "deny")), policy(rule("exit_group"))),
    ("no-exit", "syscalls: exit_group", policy(rule("exit_group", "kill")), policy(rule("execve"))),
    ("trace-without-tracer", "syscalls", of(rule("read", "trace")), of(rule("read", "trap"))),
    (
        "notify-without-listener",
        "settings: listener",
        of(rule("read", "notify")),
        dataclasses.replace(of(rule("read", "notify")), settings=Settings(listener=Listener("/run/x"))),
    ),
    ("log-denials", "settings: log_denials", having(log_denials=True), having()),
    (
        "too-many-rules",
        "syscalls",
        of(*(rule("read", "allow", eq(0, value)) for value in range(128))),
        of(*(rule("read", "allow", eq(0, value)) for value in range(127))),
    ),
    # Many numbers that are denied are a comparison each to a filter, and to a profile as many rules as are left.
    (
        "too-many-rules",
        "syscalls",
        of(rule("munmap", "allow", MANY_DENIED)),
        of(rule("munmap", "allow", values(1, denied=["5"]))),
    ),
    ("bad-arch-action", "settings: bad_arch_action", having(bad_arch_action=Action.DENY), having()),
    (
        "write-exec-file",
        "filesystem: /a",
        paths(("/a", "execute"), ("/a/b", "write_file")),
        paths(("/a", "execute"), ("/ab", "write_file")),
    ),
    (
        "write-exec-file",
        "filesystem: /a/b",
        paths(("/a/b", "execute"), ("/a", "make_reg")),
        paths(("/a/b", "execute"), ("/a", "read_file")),
    ),
    (
        "loader-runs-written",
        f"filesystem: {LOADER}",
        paths((LOADER, "execute"), ("/data", "read_file write_file")),
        paths((LOADER, "execute"), ("/data", "write_file"), ("/lib", "read_file")),
    ),
    (
        "loader-runs-written",
        "filesystem: /lib64",
        paths(("/lib64", "execute"), ("/data", "read_file"), ("/data/x", "write_file")),
        paths(("/bin/true", "execute"), ("/data", "read_file"), ("/data/x", "write_file")),
    ),
    (
        "secret-readable",
        "filesystem: /etc/shadow",
        paths(("/etc/shadow", "read_file")),
        paths(("/etc/passwd", "read_file")),
    ),
    ("secret-readable", "filesystem: /etc", paths(("/etc", "read_file")), paths(("/etc", "read_dir"))),
    ("protected-root", "filesystem: /etc/**", paths(("/etc/**", "read_file")), paths(("/etc/hosts", "read_file"))),
    ("protected-root", "filesystem: /", paths(("/", "read_file")), paths(("/srv/data/**", "read_file"))),
    (
        "precreate-protected",
        "filesystem: /etc/x",
        paths(("/etc/x", "write_file", OnMissing.PRECREATE)),
        paths(("/etc/x", "write_file", OnMissing.SKIP), ("/data/x", "write_file", OnMissing.PRECREATE)),
    ),
    (
        "except-is-for-what-is-there",
        "filesystem: /a/**",
        of(filesystem=(PathRule("/a/**", ("read_file",), excluded=("/a/b",)),)),
        paths(("/a/**", "read_file")),
    ),
    (
        "covered-rule",
        "filesystem: /a/b",
        paths(("/a", "read_file"), ("/a/b", "read_file")),
        paths(("/a", "read_file"), ("/a/b", "execute")),
    ),
    (
        "covered-rule",
        "filesystem: /a/*",
        paths(("/a", "read_file"), ("/a/*", "read_file")),
        paths(("/b", "read_file"), ("/a/*", "read_file")),
    ),
    (
        "addresses-not-held",
        "network: outbound",
        network(outbound=(NetworkRule(Protocol.TCP, ("10.0.0.0/8",)),)),
        network(outbound=(NetworkRule(Protocol.TCP, ("any",)),)),
    ),
    ("udp-needs-abi-10", "network: inbound", network(inbound=(NetworkRule(Protocol.UDP),)), network(inbound=(TCP,))),
    ("scopes-need-abi-6", "scopes", of(scopes=(LandlockScope.SIGNAL,)), of(scopes=())),
    ("run-as-root", "settings: run_as", having(run_as=RunAs(0, 5)), having(run_as=RunAs(5, 0))),
    (
        "strong-capability",
        "capabilities: CAP_SYS_ADMIN",
        of(capabilities=("CAP_SYS_ADMIN",)),
        of(capabilities=("CAP_NET_BIND_SERVICE",)),
    ),
]


def following(*keys, serving=None, **rest):
    """A policy with transitions, each as ``key: calls``; and with those of serving behind ``from:``."""
    late = None
    if serving is not None:
        late = Serving(tuple(serving[0].split()), tuple(_row(one) for one in serving[1:]))
    return of(transitions=tuple(map(_row, keys)), serving=late, **rest)


def _row(text):
    key, to = text.split(": ") if ": " in text else (text, "")
    return Transition.of(key, to.split())


def square(size, *, start="start:exec"):
    """Transitions that let each of some calls follow all of them."""
    names = sorted(syscalls.numbers("x86_64"))[:size]
    return [f"{start}: {names[0]}", *(f"{name}: {' '.join(names)}" for name in names)]


EVERYWHERE = [
    f"{call}: {{}}" for call in ("start:exec", "read", "write", "close", "brk", "fstat", "poll", "lseek", "munmap")
]
ORDER = ["start:exec: read", "read: read exit_group"]
BESIDE = Settings(architectures=(Arch.X86_64, Arch.X86))
LATE = ["start:exec: listen", "listen: read"]
CASES += [
    ("wide-machine", "transitions", following(*square(12)), following(*square(3))),
    ("wide-machine", "serving", following(*LATE, serving=["listen", *square(12)]), following(*LATE)),
    (
        "no-start",
        "transitions",
        following("start:fork: read", "read: read"),
        following("start:exec: read", "read: read"),
    ),
    ("no-start", "transitions", following("read: read"), following()),
    (
        "unreached-state",
        "transitions",
        following(*ORDER, "write: read"),
        following(*ORDER, "signal: write", "write: read"),
    ),
    # What follows the call by which a process begins to serve is reached.
    (
        "unreached-state",
        "serving",
        following(*LATE, serving=["listen", "listen: read", "write: read"]),
        following(*LATE, serving=["listen", "listen: read", "read: read"]),
    ),
    ("ending-state", "transitions", following("start:exec: read"), following("start:exec: exit", "start:fork: execve")),
    # What follows the call by which a process begins to serve is in the transitions for serving.
    (
        "ending-state",
        "transitions",
        following("start:exec: read", serving=["listen", "listen: exit"]),
        following("start:exec: listen", serving=["listen", "listen: exit"]),
    ),
    (
        "handler-without-return",
        "transitions",
        following(*ORDER, "signal: read"),
        following(*ORDER, "signal: read", "read: rt_sigreturn"),
    ),
    (
        "reached-from-everywhere",
        "transitions: memfd_create",
        following(*(one.format("memfd_create") for one in EVERYWHERE)),
        following(*(one.format("memfd_create") for one in EVERYWHERE[:8])),
    ),
    (
        "reached-from-everywhere",
        "transitions: mprotect:exec",
        following(*(one.format("mprotect") for one in EVERYWHERE)),
        following(*(one.format("mprotect:data") for one in EVERYWHERE)),
    ),
    (
        "reached-from-everywhere",
        "serving: socket",
        following(*LATE, serving=["listen", *(one.format("socket:unix") for one in EVERYWHERE)]),
        following(*LATE, serving=["listen", *(one.format("bind") for one in EVERYWHERE)]),
    ),
    (
        "never-that-history",
        "transitions: read > openat",
        following(*ORDER, "read > openat: close", "openat: close"),
        following("start:exec: read", "read: openat:write", "read > openat: close", "openat: close"),
    ),
    (
        "never-serving",
        "serving: from",
        following(*ORDER, serving=["listen accept4", "listen: read"]),
        following(*LATE, serving=["listen accept4", "listen: read"]),
    ),
    (
        "serving-not-narrower",
        "serving",
        following(*LATE, serving=["listen", *LATE, "read: read"]),
        following(*LATE, serving=["listen", "listen: read"]),
    ),
    (
        "refused-in-transitions",
        "transitions",
        of(rule("read"), transitions=(Transition("start", ("read", "write")),)),
        of(rule("read"), rule("write", "allow", eq(0, 1)), transitions=(Transition("start", ("read", "write")),)),
    ),
    (
        "allowed-and-never-called",
        "syscalls",
        of(rule("read"), rule("write"), transitions=(Transition("start", ("read",)),)),
        of(rule("read"), rule("write", "kill"), transitions=(Transition("start", ("read",)),)),
    ),
    # What is not judged may be called.
    (
        "allowed-and-never-called",
        "syscalls",
        of(rule("read"), transitions=(), serving=Serving(("listen",), ())),
        of(rule("read"), serving=Serving(("listen",), ())),
    ),
    (
        "watch-blind-to-rings",
        "transitions",
        following("start:exec: io_uring_enter", "io_uring_enter: read"),
        of(rule("io_uring_setup")),
    ),
    (
        "watch-blind-to-rings",
        "transitions",
        of(rule("io_uring_setup"), transitions=()),
        of(rule("io_uring_setup", "deny"), transitions=()),
    ),
    (
        "transitions-of-one-abi",
        "settings: x86",
        dataclasses.replace(following("start:exec: read newfstatat"), settings=BESIDE),
        dataclasses.replace(following("start:exec: read fstatat64"), settings=Settings()),
    ),
    (
        "watch-on-thin-evidence",
        "watch",
        of(metadata=Metadata(generated_from="a, b"), transitions=(), watch=WatchAction.KILL),
        of(metadata=Metadata(generated_from="a, b, c"), transitions=(), watch=WatchAction.KILL),
    ),
    (
        "watch-on-thin-evidence",
        "watch",
        of(transitions=(), watch=WatchAction.FREEZE),
        of(transitions=(), watch=WatchAction.ALERT),
    ),
    # A rule says in how many recordings it was, where others did without.
    (
        "watch-on-thin-evidence",
        "watch",
        of(rule("read", origin=Origin(1, recordings=1)), transitions=(), watch=WatchAction.KILL),
        of(rule("read", origin=Origin(1, recordings=2)), transitions=(), watch=WatchAction.KILL),
    ),
]


def overridden():
    from scmm_oci.tables import groups

    return of(rule("@timer"), *(rule(one.name, "kill") for one in groups.expand("@timer")))


@pytest.mark.parametrize(("code", "place", "bad", "good"), CASES)
def test_each_rule_finds_what_it_is_for_and_nothing_else(code, place, bad, good):
    found = [one for one in lint(bad if bad is not None else overridden()) if one.id == code]
    assert [one.place for one in found] and place in {one.place for one in found}
    assert {one.severity for one in found} == {RULES[code].severity}
    assert all(one.message and one.remedy for one in found)
    assert [one for one in lint(good) if one.id == code] == []


def test_what_the_runtime_needs():
    refused = of(rule("mount", "kill"), rule("getpid", "allow"))
    floor = frozenset({"mount", "getpid", "futex"})
    assert [one.place for one in lint(refused, floor=floor) if one.id == "floor-refused"] == ["syscalls: mount"]
    assert [one for one in lint(refused) if one.id == "floor-refused"] == []


def test_every_rule_is_tested_here():
    assert {case[0] for case in CASES} | {"floor-refused"} == set(RULES)


def test_a_plain_policy_has_nothing():
    good = of(
        rule("read"),
        rule("write"),
        filesystem=(PathRule("/srv/data/x", ("read_file",)),),
        network=Network(outbound=(TCP,)),
    )
    assert lint(good) == ()


def test_a_plain_machine_has_nothing():
    given = following(
        "start:exec: brk",
        "brk: read brk",
        "read: write listen",
        "write: exit_group read",
        "signal: write",
        "write > read: write",
        "listen: read",
        "start:fork: rt_sigreturn",
        serving=["listen", "listen: read", "read: write", "write: read"],
        watch=WatchAction.KILL,
    )
    rules = [rule(name) for name in ("brk", "read", "write", "listen", "rt_sigreturn")]
    good = dataclasses.replace(
        given, syscalls=(*given.syscalls, *rules), metadata=Metadata(generated_from="monday, tuesday, wednesday")
    )
    assert lint(good) == ()
    assert lint(dataclasses.replace(good, transitions=None, serving=None, watch=None)) == ()


def test_lists_of_states_are_short():
    names = sorted(syscalls.numbers("x86_64"))[:60]
    found = [
        one for one in lint(following(*(f"{name}: read" for name in names), *ORDER)) if one.id == "unreached-state"
    ]
    assert len(found) == 1 and " and 49 more" in found[0].message


def test_machines_of_hundreds_of_states_are_judged_in_time():
    small, large = (calls(partial(lint, following(*square(size)))) for size in (100, 200))
    assert large < 6 * small


def test_the_worst_comes_first():
    found = lint(of(rule("mount"), rule("ioctl"), rule("getpid", "deny"), default="deny"))
    assert [one.severity for one in found] == [Severity.DANGER, Severity.WARNING, Severity.NOTE]


@settings(max_examples=60, deadline=None)
@given(policies())
def test_any_policy_can_be_linted_and_useless_rules_go_when_it_is_made_canonical(one):
    assert lint(one) == lint(one)
    assert not [
        found for found in lint(canonical(one)) if found.id == "never-decides" and "can never" not in found.message
    ]


def calls(function):
    profile = cProfile.Profile()
    profile.runcall(function)
    return sum(entry.callcount for entry in profile.getstats())


def test_files_are_judged_in_time_by_their_number():
    def many(size):
        texts = [f"/srv/d{number}/x" for number in range(size)] + [f"/srv/e{number}/*" for number in range(size)]
        rights = ("read_file", "write_file", "execute", "read_file execute")
        rules = [(text, rights[number % 4]) for number, text in enumerate(texts)]
        one = paths(
            *rules,
            ("/srv/d1", "execute read_file"),
            (LOADER, "execute"),
            ("/srv/e1", "write_file"),
            ("/srv/d4/*", "read_dir"),
        )
        found = []
        count = calls(lambda: found.extend(lint(one)))
        assert {(each.id, each.place) for each in found} >= {
            ("write-exec-file", "filesystem: /srv/d1"),
            ("loader-runs-written", f"filesystem: {LOADER}"),
            ("covered-rule", "filesystem: /srv/e1/*"),
        }
        return count

    assert many(2000) < 15 * many(200)


def test_what_a_filter_holds_is_not_untestable():
    from scmm_oci.compiled.filter import build, of_policy
    from scmm_oci.errors import BadInput
    from scmm_oci.policy import constraints

    with pytest.raises(BadInput, match="different comparisons"):
        constraints.alternatives([MANY_DENIED], "munmap", "x86_64")
    given_policy = of(rule("munmap", "allow", MANY_DENIED))
    assert build(of_policy(given_policy))
    found = [one.id for one in lint(given_policy)]
    assert "untestable" not in found and "too-many-rules" in found
    assert "untestable" in [one.id for one in lint(of(rule("open", "allow", GLOB)))]
