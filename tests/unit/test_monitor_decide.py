"""What rules say of calls: the first that fits decides; what is not known fits no rule that allows, and every other.

The law is an evaluation that looks at every rule of the plain text anew and knows nothing of ways, caches or needs.
"""

from __future__ import annotations

import ipaddress
import time
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scmm_oci.enforcer.monitor.model import Address, Call, Process, Subject, Target
from scmm_oci.enforcer.monitor.rules.decide import Needs, Outcome, Remember, Ruled, Rules, Spent
from scmm_oci.enforcer.monitor.rules.load import parse
from scmm_oci.policy.yaml.text import dump
from scmm_oci.tables import syscalls
from scmm_oci.tables.arch import Arch

WEB = Target("0123abcd", "web-1", 7, "/run/web")
NGINX = Process(7, 7, "/usr/sbin/nginx", "nginx", 33)


def made(*rules: dict[str, Any], **head: Any) -> Rules:
    return Rules(parse(dump({"version": "1.0", **head, "rules": list(rules)})))


def call(name: str | None, *args: int, arch: Arch | None = Arch.X86_64) -> Call:
    nr = syscalls.numbers(arch)[name] if name is not None and arch is not None else 4000
    six = (*args, 0, 0, 0, 0, 0, 0)[:6]
    return Call(arch, 0xC000003E, nr, name, six)  # type: ignore[arg-type]


def says(
    rules: Rules,
    what: Call,
    *paths: str,
    target: Target = WEB,
    process: Process | None = NGINX,
    address: Address | None = None,
    looked: bool = True,
) -> str:
    known = paths if paths or looked else None
    ruled = rules.decide(Subject(target, what, process, known, address), Spent())
    return f"{ruled.outcome} {ruled.index}"


def test_the_first_rule_that_fits_decides() -> None:
    rules = made(
        {"syscalls": ["read"], "user": 0, "decision": "kill"},
        {"syscalls": ["read", "write"], "decision": "deny"},
        {"decision": "ask"},
        default="allow",
    )
    assert says(rules, call("read")) == "deny 1"
    assert says(rules, call("read"), process=replace(NGINX, uid=0)) == "kill 0"
    assert says(rules, call("getpid")) == says(rules, call(None)) == says(rules, call(None, arch=None)) == "ask 2"
    assert says(made(default="allow"), call("read")) == "allow None"
    assert says(made(), call("read")) == "deny None"


def test_what_a_rule_says_comes_with_it() -> None:
    rules = made(
        {"syscalls": ["read"], "decision": "deny", "errno": "ENOENT"},
        {"syscalls": ["write"], "decision": "deny"},
        {"syscalls": ["close"], "decision": "return", "value": -9000},
        {"syscalls": ["dup"], "decision": "ask", "remember": "once"},
        errno="EIO",
        default="ask",
    )
    ask = Outcome.ASK
    expected = {
        "read": Ruled(Outcome.DENY, 0, 2, 0, Remember.ALWAYS, False),
        "write": Ruled(Outcome.DENY, 1, 5, 0, Remember.ALWAYS, False),
        "close": Ruled(Outcome.RETURN, 2, 5, -9000, Remember.ALWAYS, False),
        "dup": Ruled(ask, 3, 5, 0, Remember.ONCE, False),
        "getpid": Ruled(ask, None, 5, 0, Remember.ALWAYS, False),
    }
    assert {name: rules.decide(Subject(WEB, call(name)), Spent()) for name in expected} == expected


@pytest.mark.parametrize(
    ("glob", "fits"),
    [
        ("web-1", True),
        ("web-*", True),
        ("*", True),
        ("0123*", True),
        ("web", False),
        ("web-?1", False),
        ("[w]eb-1", False),
    ],
)
def test_containers_go_by_name_or_id(glob: str, fits: bool) -> None:
    rules = made({"container": glob, "decision": "allow"})
    assert says(rules, call("read")) == ("allow 0" if fits else "deny None")


def test_targets_are_kept_apart_however_many() -> None:
    rules = made({"container": "web-1*", "decision": "allow"})
    for number in range(2000):
        target = Target(f"id{number}", f"web-{number}", 0, "")
        assert says(rules, call("read"), target=target) == ("allow 0" if str(number)[0] == "1" else "deny None")


def test_who_calls() -> None:
    rules = made(
        {"executable": "/usr/sbin/*", "decision": "allow"}, {"user": 33, "executable": "/usr/**", "decision": "ask"}
    )
    assert says(rules, call("read")) == "allow 0"
    assert says(rules, call("read"), process=replace(NGINX, executable="/usr/bin/id")) == "ask 1"
    assert says(rules, call("read"), process=replace(NGINX, executable="/usr/bin/id", uid=0)) == "deny None"
    # Nobody knows: what allows does not fit, what asks does.
    assert says(rules, call("read"), process=None) == "ask 1"
    assert says(rules, call("read"), process=replace(NGINX, executable=None)) == "ask 1"
    assert says(rules, call("read"), process=replace(NGINX, executable=None, uid=0)) == "deny None"


def test_arguments_are_compared_as_in_policies() -> None:
    reading = {"arg": 2, "type": "flags", "allowed": ["O_RDONLY", "O_CLOEXEC"]}
    rules = made({"syscalls": ["openat"], "args": [reading], "decision": "allow"})
    assert says(rules, call("openat", 3, 4, 0o2000000)) == "allow 0"
    assert says(rules, call("openat", 3, 4, 1)) == says(rules, call("openat", 3, 4, 3)) == "deny None"
    assert says(rules, call("openat", 3, 4, 1 << 32)) == "allow 0"  # the kernel takes an int
    domains = {"arg": 0, "type": "integer", "denied": ["AF_NETLINK", "AF_PACKET"]}
    rules = made({"syscalls": ["socket"], "args": [domains], "decision": "allow"})
    assert says(rules, call("socket", 2)) == "allow 0" != says(rules, call("socket", 16)) == "deny None"
    large = {"arg": 1, "type": "integer", "op": "gt", "value": 4096}
    rules = made({"syscalls": ["munmap"], "args": [large], "decision": "deny", "errno": "ENOMEM"}, default="allow")
    assert says(rules, call("munmap", 0, 4097)) == "deny 0" != says(rules, call("munmap", 0, 4096)) == "allow None"


def test_groups_and_their_conditions() -> None:
    rules = made({"syscalls": ["@thread-create"], "decision": "allow"})
    thread = 0x3D0F00  # CLONE_VM and what else pthread_create asks for
    assert says(rules, call("clone", thread)) == "allow 0"
    assert says(rules, call("clone", 0x10000000)) == "deny None"  # CLONE_NEWUSER
    assert says(rules, call("read")) == "deny None"


def test_abis_beside_the_own() -> None:
    """x86 has mmap's arguments in memory: there a rule that allows by them does not fit, and one that denies does."""
    executable = {"arg": 2, "type": "flags", "denied": ["PROT_EXEC"]}
    allow = made({"syscalls": ["mmap"], "args": [executable], "decision": "allow"}, default="ask")
    deny = made({"syscalls": ["mmap"], "args": [executable], "decision": "deny"}, default="ask")
    own, beside = call("mmap", 0, 0, 1), call("mmap", 0, 0, 1, arch=Arch.X86)
    assert (says(allow, own), says(allow, beside)) == ("allow 0", "ask None")
    assert (says(deny, own), says(deny, beside)) == ("deny 0", "deny 0")


def test_calls_that_go_through_socketcall() -> None:
    """A program of x86 must not get around a rule for connect by the call that stands for it."""
    deny = made({"syscalls": ["connect"], "decision": "deny"}, default="allow")
    assert says(deny, call("socketcall", 3, arch=Arch.X86)) == "deny 0"
    assert says(deny, call("socketcall", 1, arch=Arch.X86)) == "allow None"
    peer = {"syscalls": ["connect"], "address": {"networks": ["10.0.0.0/8"]}}
    through = call("socketcall", 3, arch=Arch.X86)
    assert says(made({**peer, "decision": "allow"}), through, looked=False) == "deny None"
    assert says(made({**peer, "decision": "deny"}, default="allow"), through, looked=False) == "deny 0"
    domain = {"arg": 0, "type": "integer", "allowed": ["AF_INET"]}
    socket = {"syscalls": ["socket"], "args": [domain]}
    assert says(made({**socket, "decision": "allow"}), call("socketcall", 1, arch=Arch.X86)) == "deny None"
    assert says(made({**socket, "decision": "ask"}), call("socketcall", 1, arch=Arch.X86)) == "ask 0"
    group = made({"syscalls": ["@network-io"], "decision": "allow"})
    assert says(group, call("socketcall", 3, arch=Arch.X86)) == "allow 0"


def test_every_path_of_what_is_allowed_and_one_of_what_is_not() -> None:
    within = {"syscalls": ["openat", "rename"], "path": ["/srv/**", "/tmp/a"]}
    allow, deny = made({**within, "decision": "allow"}), made({**within, "decision": "deny"}, default="allow")
    rename, openat = call("rename"), call("openat")
    assert says(allow, rename, "/srv/a", "/tmp/a") == says(allow, openat, "/srv/a") == "allow 0"
    assert says(allow, rename, "/srv/a", "/etc/b") == says(allow, openat, "/srv2/a") == "deny None"
    assert says(deny, rename, "/srv/a", "/etc/b") == says(deny, rename, "/etc/b", "/srv/a") == "deny 0"
    assert says(deny, rename, "/etc/a", "/etc/b") == "allow None"
    # Not looked at, and looked at and none there (a socket of the internet).
    assert says(allow, openat, looked=False) == "deny None" != says(deny, openat, looked=False) == "deny 0"
    assert says(allow, openat) == "deny None" and says(deny, openat) == "allow None"


@pytest.mark.parametrize(
    ("peers", "family", "text", "port", "allow", "deny"),
    [
        ({"networks": ["10.0.0.0/8"]}, "inet", "10.1.2.3", 80, True, True),
        ({"networks": ["10.0.0.0/8"]}, "inet", "11.1.2.3", 80, False, False),
        ({"networks": ["10.0.0.0/8"]}, "inet6", "::ffff:10.1.2.3", 80, True, True),
        ({"family": "inet", "networks": ["10.0.0.0/8"]}, "inet6", "::ffff:10.1.2.3", 80, True, True),
        ({"family": "inet6"}, "inet6", "::ffff:10.1.2.3", 80, False, False),
        ({"networks": ["::ffff:10.0.0.0/104"]}, "inet", "10.1.2.3", 80, True, True),
        ({"networks": ["2001:db8::/32"]}, "inet6", "2001:db8::1", 80, True, True),
        ({"networks": ["2001:db8::/32"]}, "inet6", "2001:db9::1", 80, False, False),
        ({"networks": ["127.0.0.0/8"]}, "inet", "0.0.0.0", 80, False, True),
        ({"networks": ["0.0.0.0/0"]}, "inet", "0.0.0.0", 80, True, True),
        ({"networks": ["127.0.0.0/8"]}, "inet6", "::", 80, False, True),
        ({"family": "inet", "ports": [80]}, "inet6", "::", 80, False, True),
        ({"family": "inet", "ports": [81]}, "inet6", "::", 80, False, False),
        ({"networks": ["2001:db8::/32"]}, "inet", "0.0.0.0", 80, False, False),
        ({"ports": [80, "8000-8010"]}, "inet", "1.2.3.4", 8010, True, True),
        ({"ports": [80, "8000-8010"]}, "inet6", "::1", 8011, False, False),
        ({"ports": [80]}, "inet", "1.2.3.4", None, False, True),
        ({"networks": ["10.0.0.0/8"]}, "inet", None, 80, False, True),
        ({"networks": ["10.0.0.0/8"], "ports": [81]}, "inet", None, 80, False, False),
        ({"networks": ["10.0.0.0/8"]}, "unix", "/run/x", None, False, False),
        ({"family": "netlink"}, "netlink", None, None, True, True),
        ({"family": "netlink"}, "inet", "1.2.3.4", 1, False, False),
        ({"names": ["app-?"]}, "unix", "@app-1", None, True, True),
        ({"names": ["app-?"]}, "unix", "@app-12", None, False, False),
        ({"names": ["app-?"]}, "unix", "/app-1", None, False, False),
        ({"names": ["*"]}, "unix", "", None, False, False),
        ({"names": ["*"]}, "unix", None, None, False, True),
        ({"names": ["*"]}, "inet", "1.2.3.4", 1, False, False),
    ],
)
def test_addresses(
    peers: dict[str, Any], family: str, text: str | None, port: int | None, allow: bool, deny: bool
) -> None:
    address = Address(family, text, port, b"")
    rule = {"syscalls": ["connect"], "address": peers}
    allowing, denying = made({**rule, "decision": "allow"}), made({**rule, "decision": "deny"}, default="allow")
    assert says(allowing, call("connect"), address=address) == ("allow 0" if allow else "deny None")
    assert says(denying, call("connect"), address=address) == ("deny 0" if deny else "allow None")


def test_an_address_that_was_not_looked_at() -> None:
    rule = {"syscalls": ["connect"], "address": {"family": "inet"}}
    assert says(made({**rule, "decision": "allow"}), call("connect")) == "deny None"
    assert says(made({**rule, "decision": "deny"}, default="allow"), call("connect")) == "deny 0"


def test_sockets_that_are_files_go_by_where_they_were_found() -> None:
    """Not by what the program calls them: that may be relative, or lead over links."""
    rule = {"syscalls": ["connect"], "address": {"paths": ["/run/app/*"]}}
    allow, deny = made({**rule, "decision": "allow"}), made({**rule, "decision": "deny"}, default="allow")
    there, elsewhere = Address("unix", "../x", None, b""), Address("unix", "/run/app/x", None, b"")
    assert says(allow, call("connect"), "/run/app/x", address=there) == "allow 0"
    assert says(allow, call("connect"), "/etc/x", address=elsewhere) == "deny None"
    assert says(allow, call("connect"), address=elsewhere, looked=False) == "deny None"
    assert says(deny, call("connect"), address=elsewhere, looked=False) == "deny 0"
    assert says(deny, call("connect"), address=Address("unix", "@run", None, b"")) == "allow None"


def test_rules_for_abstract_sockets_are_for_no_others() -> None:
    rule = {"syscalls": ["connect"], "address": {"names": ["*"]}, "decision": "deny"}
    file = Address("unix", "/run/app/x", None, b"")
    for looked in (True, False):
        assert says(made(rule, default="allow"), call("connect"), address=file, looked=looked) == "allow None"
    assert says(made(rule, default="allow"), call("connect"), address=Address("unix", "@x", None, b"")) == "deny 0"


def test_families_by_any_name_or_number() -> None:
    for word, told in (("alg", "alg"), ("alg", "38"), ("key", "15"), ("route", "netlink"), ("local", "unix")):
        rules = made({"syscalls": ["bind"], "address": {"family": word}, "decision": "deny"}, default="allow")
        assert says(rules, call("bind"), address=Address(told, None, None, b"")) == "deny 0"
        assert says(rules, call("bind"), address=Address("inet", "1.2.3.4", 1, b"")) == "allow None"


def test_bind_takes_no_family_for_ipv4() -> None:
    nothing = Address("unspec", None, None, b"")
    for peers in ({"family": "inet"}, {"ports": [80]}, {"networks": ["10.0.0.0/8"]}):
        rule = {"syscalls": ["bind", "connect"], "address": peers}
        deny = made({**rule, "decision": "deny"}, default="allow")
        assert says(deny, call("bind"), address=nothing) == "deny 0"
        assert says(deny, call("connect"), address=nothing) == "allow None"
        assert says(made({**rule, "decision": "allow"}), call("bind"), address=nothing) == "deny None"


def test_rules_that_are_spent_are_passed_over() -> None:
    rules = made(
        {"syscalls": ["mkdir"], "path": "/srv", "times": 2, "decision": "allow"},
        {"syscalls": ["mkdir"], "times": "once", "decision": "ask"},
        {"syscalls": ["mkdir"], "times": "once", "decision": "ask"},
    )
    subject = Subject(WEB, call("mkdir"), NGINX, ("/srv",))
    one, other = Spent(), Spent()
    assert [rules.decide(subject, one).index for _ in range(6)] == [0, 0, 1, 2, None, None]
    # Of each target anew; what did not fit was not counted.
    assert rules.decide(subject._replace(paths=("/x",)), other).index == 1
    assert [rules.decide(subject, other).index for _ in range(4)] == [0, 0, 2, None]


def test_a_reload_keeps_what_is_spent_of_rules_that_stay() -> None:
    once = {"syscalls": ["mkdir"], "times": "once", "decision": "allow"}
    spent, subject = Spent(), Subject(WEB, call("mkdir"), NGINX)
    assert made(once).decide(subject, spent).index == 0
    assert made({"syscalls": ["read"], "decision": "kill"}, once).decide(subject, spent).index is None
    assert made({**once, "times": 2}).decide(subject, spent).index == 0


def test_whether_memory_decided() -> None:
    rules = made(
        {"syscalls": ["openat"], "args": [{"arg": 2, "type": "integer", "allowed": ["O_PATH"]}], "decision": "allow"},
        {"container": "db", "syscalls": ["openat"], "path": "/db/**", "decision": "allow"},
        {"syscalls": ["openat"], "user": 33, "path": "/etc/**", "decision": "deny"},
        {"syscalls": ["openat", "read"], "decision": "allow"},
    )

    def looked(what: Call, *, uid: int = 33) -> tuple[int | None, bool]:
        ruled = rules.decide(Subject(WEB, what, replace(NGINX, uid=uid), ("/srv/a",)), Spent())
        return ruled.index, ruled.looked

    assert looked(call("openat", 0, 0, 0o10000000)) == (0, False)
    assert looked(call("openat")) == (3, True)
    assert looked(call("openat"), uid=0) == (3, False)
    assert looked(call("read")) == (3, False)
    asked = made({"syscalls": ["openat"], "path": "/etc", "decision": "deny"}, default="ask")
    assert asked.decide(Subject(WEB, call("openat"), NGINX, ("/srv",)), Spent()).looked
    assert not asked.decide(Subject(WEB, call("read"), NGINX, ("/srv",)), Spent()).looked


def test_what_must_be_known() -> None:
    rules = made(
        {"syscalls": ["openat"], "args": [{"arg": 2, "type": "integer", "allowed": ["O_PATH"]}], "decision": "allow"},
        {"container": "db", "syscalls": ["getpid"], "user": 3, "decision": "allow"},
        {"syscalls": ["openat"], "path": "/srv", "decision": "allow"},
        {"syscalls": ["connect"], "address": {"ports": [80]}, "decision": "allow"},
        {"syscalls": ["bind"], "address": {"paths": ["/run/**"]}, "decision": "allow"},
        {"syscalls": ["bind"], "decision": "deny"},
        {"syscalls": ["bind"], "executable": "/x", "decision": "allow"},
    )
    nothing = Needs(False, False, False)
    assert rules.needs(call("read")) == rules.needs(call("read"), WEB) == rules.needs(call(None)) == nothing
    assert rules.needs(call("openat")) == Needs(False, True, False)
    assert rules.needs(call("connect")) == Needs(False, False, True)
    assert rules.needs(call("bind")) == Needs(True, True, True)
    # With the target, what this call can still come to.
    assert rules.needs(call("bind"), WEB) == Needs(False, True, True)
    assert rules.needs(call("getpid")) == Needs(True, False, False) != rules.needs(call("getpid"), WEB) == nothing
    assert rules.needs(call("getpid"), Target("x", "db", 0, "")) == Needs(True, False, False)
    assert rules.needs(call("openat", 0, 0, 0o10000000), WEB) == nothing
    assert rules.needs(call("openat"), WEB) == Needs(False, True, False)
    spendable = made(
        {"syscalls": ["mkdir"], "times": "once", "decision": "deny"},
        {"syscalls": ["mkdir"], "path": "/a", "decision": "allow"},
    )
    assert spendable.needs(call("mkdir"), WEB) == Needs(False, True, False)


# Laws

NAMES = ("openat", "rename", "connect", "bind", "read", "kill")
PATHS = ("/srv", "/srv/a", "/srv/a/b", "/etc", "/etc/a", "/tmp")
PATTERNS = ("/srv", "/srv/**", "/etc/*", "/*/a", "/")
FLAGS = {"O_RDONLY": 0, "O_WRONLY": 1, "O_RDWR": 2}
NETWORKS = ("10.0.0.0/8", "0.0.0.0/0", "10.1.0.0/16", "::/0")


def optional(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | strategy


@st.composite
def rule_of(draw: st.DrawFn) -> dict[str, Any]:
    rule: dict[str, Any] = {"decision": draw(st.sampled_from(["allow", "deny", "kill", "return", "ask"]))}
    kind = draw(st.sampled_from(["any", "path", "address", "args"]))
    among = {"path": NAMES[:2], "address": NAMES[2:4], "args": ("openat",)}.get(kind, NAMES)
    if kind != "any" or draw(st.booleans()):
        rule["syscalls"] = draw(st.lists(st.sampled_from(among), min_size=1, max_size=3, unique=True))
    if kind == "path":
        rule["path"] = draw(st.lists(st.sampled_from(PATTERNS), min_size=1, max_size=2, unique=True))
    if kind == "address":
        rule["address"] = draw(
            st.sampled_from(
                [
                    {"networks": [NETWORKS[0]]},
                    {"networks": list(NETWORKS[1:3]), "ports": ["80-90"]},
                    {"networks": [NETWORKS[3]]},
                    {"family": "inet"},
                    {"ports": [80, 443]},
                ]
            )
        )
    if kind == "args":
        words = draw(st.lists(st.sampled_from(sorted(FLAGS)), min_size=1, max_size=2, unique=True))
        rule["args"] = [{"arg": 2, "type": "integer", draw(st.sampled_from(["allowed", "denied"])): words}]
    for key, values in {
        "container": ["web*", "db", "*"],
        "executable": ["/usr/sbin/nginx", "/usr/**"],
        "user": [0, 33],
        "times": ["once", 2],
    }.items():
        value = draw(optional(st.sampled_from(values)))
        if value is not None:
            rule[key] = value
    return rule


@st.composite
def subject_of(draw: st.DrawFn) -> Subject:
    target = draw(st.sampled_from([WEB, Target("web9", "db", 1, "")]))
    name = draw(st.sampled_from([*NAMES, None]))
    what = call(name, 3, 4, draw(st.integers(0, 3)))
    process = draw(
        optional(
            st.builds(
                Process,
                st.just(1),
                st.just(1),
                st.sampled_from([None, "/usr/sbin/nginx", "/usr/bin/id", "/bin/x"]),
                st.just("x"),
                st.sampled_from([0, 33]),
            )
        )
    )
    paths = draw(optional(st.lists(st.sampled_from(PATHS), max_size=2).map(tuple)))
    ip = st.sampled_from([None, "10.1.2.3", "10.9.9.9", "192.168.1.1"])
    address = draw(optional(st.builds(Address, st.just("inet"), ip, st.sampled_from([None, 80, 443]), st.just(b""))))
    return Subject(target, what, process, paths, address)


def naive(document: list[dict[str, Any]], subject: Subject, used: Counter[int]) -> tuple[str, int | None, bool]:
    """The outcome, the rule and whether memory was asked, by the words of the documentation."""
    looked = False
    for index, rule in enumerate(document):
        strict = rule["decision"] != "allow"
        if "syscalls" in rule and subject.call.name not in rule["syscalls"]:
            continue
        if "container" in rule:
            names = (subject.target.name, subject.target.id)
            prefix = rule["container"].rstrip("*")
            whole = not rule["container"].endswith("*")
            if not any(one == prefix if whole else one.startswith(prefix) for one in names):
                continue
        if "args" in rule:
            constraint = rule["args"][0]
            value = subject.call.args[2]
            if "allowed" in constraint and value not in [FLAGS[word] for word in constraint["allowed"]]:
                continue
            if "denied" in constraint and value in [FLAGS[word] for word in constraint["denied"]]:
                continue
        answers: list[bool | None] = []
        process = subject.process
        if "user" in rule:
            answers.append(None if process is None else process.uid == rule["user"])
        if "executable" in rule:
            known = None if process is None else process.executable
            base = rule["executable"].removesuffix("/**")
            answers.append(None if known is None else known == base or known.startswith(base + "/"))
        if False in answers or (None in answers and not strict):
            continue
        if "path" in rule:
            looked = True
            if not _paths(rule["path"], subject.paths, strict):
                continue
        if "address" in rule:
            looked = True
            if not _address(rule["address"], subject.address, strict):
                continue
        most = {"once": 1}.get(rule.get("times"), rule.get("times"))
        if most is not None:
            if used[index] >= most:
                continue
            used[index] += 1
        return rule["decision"], index, looked
    return "deny", None, looked


def _paths(patterns: list[str], paths: tuple[str, ...] | None, strict: bool) -> bool:
    if paths is None:
        return strict
    fit = [any(_grants(pattern, path) for pattern in patterns) for path in paths]
    return any(fit) if strict else bool(fit) and all(fit)


def _grants(pattern: str, path: str) -> bool:
    beneath = pattern.split("/")[1:] if pattern != "/" else []
    names = path.split("/")[1:]
    if pattern == "/etc/*":
        return len(names) == 2 and names[0] == "etc"
    if beneath and beneath[-1] == "**":
        beneath.pop()
    return len(names) >= len(beneath) and all(a in ("*", b) for a, b in zip(beneath, names, strict=False))


def _address(peers: dict[str, Any], address: Address | None, strict: bool) -> bool:
    if address is None:
        return strict
    answers: list[bool | None] = []
    if "ports" in peers:
        ranges = [
            (int(first), int(last or first)) for first, _, last in (str(p).partition("-") for p in peers["ports"])
        ]
        answers.append(None if address.port is None else any(a <= address.port <= b for a, b in ranges))
    if "networks" in peers:
        ip = None if address.text is None else ipaddress.ip_address(address.text)
        inside = None if ip is None else any(ip in ipaddress.ip_network(each) for each in peers["networks"])
        answers.append(inside)
    return False not in answers and (strict or None not in answers)


@settings(max_examples=60, deadline=None)
@given(st.lists(rule_of(), max_size=8), st.lists(subject_of(), min_size=1, max_size=8))
def test_it_is_what_a_plain_reading_says(document: list[dict[str, Any]], subjects: list[Subject]) -> None:
    # Two rules of the same words count together in nothing: each has its own number.
    rules = made(*document)
    spent: dict[Target, Spent] = {}
    used: dict[Target, Counter[int]] = {}
    for subject in subjects * 2:
        target = subject.target
        ruled = rules.decide(subject, spent.setdefault(target, Spent()))
        expected = naive(document, subject, used.setdefault(target, Counter()))
        assert (ruled.outcome, ruled.index, ruled.looked) == expected


@settings(max_examples=60, deadline=None)
@given(st.lists(rule_of(), max_size=8), subject_of())
def test_what_is_not_needed_changes_nothing(document: list[dict[str, Any]], subject: Subject) -> None:
    rules = made(*document)
    whole = rules.decide(subject, Spent())
    for needs in (rules.needs(subject.call), rules.needs(subject.call, subject.target)):
        less = subject._replace(
            process=subject.process if needs.process else None,
            paths=subject.paths if needs.paths else None,
            address=subject.address if needs.address else None,
        )
        assert rules.decide(less, Spent()) == whole


@settings(max_examples=60, deadline=None)
@given(st.lists(rule_of(), max_size=8), subject_of())
def test_knowing_less_never_allows_more(document: list[dict[str, Any]], subject: Subject) -> None:
    """Where every rule allows, or the default denies: without something that allows, less is known and less allowed."""
    allowing = [rule for rule in document if rule["decision"] == "allow"]
    rules = made(*allowing)
    blind = subject._replace(process=None, paths=None, address=None)
    if rules.decide(blind, Spent()).outcome is Outcome.ALLOW:
        assert rules.decide(subject, Spent()).outcome is Outcome.ALLOW


@settings(max_examples=60, deadline=None)
@given(st.lists(rule_of(), max_size=8), st.lists(subject_of(), min_size=1, max_size=8))
def test_what_decides_without_memory_is_what_decides(document: list[dict[str, Any]], subjects: list[Subject]) -> None:
    """And counts for `times` once; where memory could matter, nothing is said and nothing counted."""
    rules = made(*document)
    plainly, first = Spent(), Spent()
    for subject in subjects * 2:
        expected = rules.decide(subject, plainly)
        said = rules.decide(subject._replace(paths=None, address=None), first, blind=True)
        if said is None:
            assert rules.decide(subject, first) == expected
        else:
            assert said == expected and not said.looked


def test_rules_before_those_for_memory_decide_without_it() -> None:
    rules = made(
        {"syscalls": ["openat"], "executable": "/usr/sbin/nginx", "times": 2, "decision": "allow"},
        {"syscalls": ["openat"], "executable": "/usr/sbin/nginx", "path": "/srv/**", "decision": "deny"},
        default="ask",
    )
    openat, spent = call("openat"), Spent()
    said = [rules.decide(Subject(WEB, openat, NGINX), spent, blind=True) for _ in range(3)]
    assert [one and one.index for one in said] == [0, 0, None] and said[2] is None
    other = replace(NGINX, executable="/bin/sh")
    by_default = rules.decide(Subject(WEB, openat, other), spent, blind=True)
    assert by_default is not None and (by_default.outcome, by_default.index) == (Outcome.ASK, None)


def test_it_is_quick() -> None:
    """A hundred rules, of which one speaks of the call: less than 50 µs on a busy machine (0.5 µs on a quiet one)."""
    names = sorted(syscalls.numbers(Arch.X86_64))[:100]
    rules = made(
        *({"container": "web-*", "executable": "/usr/sbin/nginx", "syscalls": [n], "decision": "allow"} for n in names)
    )
    subject, spent = Subject(WEB, call(names[50]), NGINX), Spent()
    assert rules.decide(subject, spent).index == 50

    def took() -> float:
        begun = time.perf_counter()
        for _ in range(1000):
            rules.needs(subject.call)
            rules.decide(subject, spent)
        return (time.perf_counter() - begun) / 1000

    assert min(took() for _ in range(5)) < 50e-6
