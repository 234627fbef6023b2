"""The seed systems' fields all load and mean what docs/formats.md says; their documented mistakes are not ours.

Which mistake is tested where; those of compilers, enforcers and recorders have their tests beside these:

| mistake | here |
|---|---|
| unknown call names dropped | test_unknown_words_are_refused |
| unknown rights are 0 bits, and those become reading | test_unknown_words_are_refused |
| `log` allows, `kill` answers EPERM, `trap` dropped, default `trap` EPERM | test_actions_stay_what_they_are |
| x86_64 numbers for every architecture | test_architecture_is_the_policys |
| 250 rules fail | test_thousands_of_rules |
| order of hashes in the output | test_policy_laws.py |
| low 32 bits of an argument only | test_number_above_32_bits_is_no_zero |
| second constrained rule unreachable | test_second_constrained_rule_counts |
| O_RDONLY is a mask of 0, zero flags tested as access mode, enumerations as bits | test_zero_*, test_enumeration_* |
| merge keeps the first constraint | test_merge_is_a_union |
| /usr/** covers /usr2 | test_coverage_is_by_component |
| stat grants read_file; no read_dir for getdents; `.so` executes | test_rights_of_files |
| `*` and `**` cut | test_star_and_two_stars_differ |
| UDP dropped, 0.0.0.0/0 for all | test_udp_is_kept |
| bitmask_any as all; default argument index 1; seteuid | test_groups_* |
| rule equal to the default skipped | test_rule_equal_to_the_default_is_kept |
"""

import pytest
from samples import app, argument, as_bytes, call, file_use, socket_use

from scmm_oci.capture import file
from scmm_oci.compiled.profiles import oci_profile
from scmm_oci.errors import BadInput
from scmm_oci.policy import document
from scmm_oci.policy.admit import Files, refusals
from scmm_oci.policy.answers import Answers
from scmm_oci.policy.infer import infer
from scmm_oci.policy.merge import union
from scmm_oci.policy.model import (
    Action,
    ArgType,
    Match,
    MatchType,
    Metadata,
    OnMissing,
    PortRange,
    Protocol,
    RunAs,
)
from scmm_oci.policy.paths.patterns import Kind, Pattern, covers
from scmm_oci.tables import groups, syscalls
from scmm_oci.tables.arch import Arch
from scmm_oci.tables.floor import Floor

X86 = Arch.X86_64
NOTHING = Floor(frozenset(), ())


def parse(text):
    return document.parse(f'version: "1.0"\n{text}'.encode())


def constrained(call_, *constraints, action="allow"):
    lines = "".join(f"    - {{{one}}}\n" for one in constraints)
    return f"  - name: {call_}\n    action: {action}\n    constraints:\n{lines}"


def passing(text, name, arg, values):
    made = Answers(parse(text), X86)
    return [value for value in values if made.of(name, {arg: value}).action.passes]


EVERY_FIELD = """\
metadata:
  name: app
  description: what it is
  generated_from: app.scmm-cap
  target_executable: /usr/bin/app
  generated_at: "2026-02-01T00:00:00Z"
settings:
  default_action: deny
  log_denials: true
  arch: x86_64
  run_as: {uid: 1000, gid: 1001}
syscalls:
  - {name: read, action: allow}
  - {name: mount, action: deny}
  - {name: getpid, action: log}
  - {name: ptrace, action: kill}
  - {name: bpf, action: trap}
  - name: openat
    action: allow
    constraints:
      - {arg: "0", type: integer, match: [{pattern: "4294967196"}, {pattern: "3", type: exact}]}
      - {arg: "1", type: path, match: [{pattern: "/etc/*", type: glob}, {pattern: "${HOME}/x", type: template}]}
      - {arg: "1", type: string, match: [{pattern: "^/etc", type: regex}]}
      - {arg: "1", type: pointer, match: [{pattern: "0"}]}
      - {arg: "2", type: flags, allowed: [O_RDONLY, O_CLOEXEC], denied: [O_CREAT]}
capabilities: [CAP_NET_BIND_SERVICE, NET_RAW]
filesystem:
  rules:
    - path: /srv/all
      access: [execute, write_file, read_file, read_dir, remove_dir, remove_file, make_char, make_dir, make_reg,
               make_sock, make_fifo, make_block, make_sym, refer, truncate]
      on_missing: precreate
    - {path: "/srv/**", access: [remove], on_missing: parentdir}
    - {path: "${HOME}/x", access: [read_file], on_missing: skip}
    - {path: "/run/${USER}/y", access: [read_file]}
network:
  allow_loopback: true
  outbound:
    - {protocol: tcp, addresses: [10.0.0.0/8, any], ports: [80, 443]}
  inbound:
    - {protocol: udp, addresses: ["::/0"], ports: [53]}
  tcp:
    outbound:
      - {addresses: [any], ports: [8080], observed_addresses: [192.0.2.1]}
    inbound:
      - {ports: [22]}
"""


def test_every_field_of_the_seed_loads_and_means_what_it_says():
    policy = parse(EVERY_FIELD)
    assert policy.metadata == Metadata("app", "what it is", "app.scmm-cap", "/usr/bin/app", "2026-02-01T00:00:00Z")
    assert (policy.settings.log_denials, policy.settings.run_as) == (True, RunAs(1000, 1001))
    assert [rule.action.value for rule in policy.syscalls[:5]] == ["allow", "deny", "log", "kill", "trap"]
    constraints = policy.syscalls[5].constraints
    assert [one.type for one in constraints] == [
        ArgType.INTEGER, ArgType.PATH, ArgType.STRING, ArgType.POINTER, ArgType.FLAGS,
    ]  # fmt: skip
    assert constraints[0].match == (Match("4294967196", MatchType.EXACT), Match("3", MatchType.EXACT))
    assert [one.type.value for one in constraints[1].match] == ["glob", "template"]
    assert (constraints[4].allowed, constraints[4].denied) == (("O_RDONLY", "O_CLOEXEC"), ("O_CREAT",))
    assert policy.capabilities == ("CAP_NET_BIND_SERVICE", "CAP_NET_RAW")
    assert [rule.on_missing for rule in policy.filesystem] == [
        OnMissing.PRECREATE, OnMissing.PARENTDIR, OnMissing.SKIP, OnMissing.SKIP,
    ]  # fmt: skip
    assert Files(policy.filesystem).rights("/srv/other") == {"remove_dir", "remove_file"}
    assert policy.network.allow_loopback is True
    outbound = [(rule.protocol, rule.addresses, rule.ports) for rule in policy.network.outbound]
    assert outbound == [
        (Protocol.TCP, ("10.0.0.0/8", "any"), (PortRange(80, 80), PortRange(443, 443))),
        (Protocol.TCP, ("any",), (PortRange(8080, 8080),)),
    ]
    assert policy.network.outbound[1].observed_addresses == ("192.0.2.1",)
    assert [rule.protocol.value for rule in policy.network.inbound] == ["udp", "tcp"]
    assert document.parse(document.dump(policy)) == policy


def test_defaults_are_the_seeds():
    policy = parse("")
    assert (policy.settings.default_action, policy.settings.arch) == (Action.DENY, X86)
    assert (policy.settings.log_denials, policy.network, policy.filesystem) == (False, None, None)
    assert parse("network: {}").network.allow_loopback is False


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("syscalls: [{name: opennat, action: allow}]", ".syscalls[0].name"),
        ("syscalls: [{name: unknown, action: allow}]", ".syscalls[0].name"),
        ("syscalls: [{name: read, action: alow}]", ".syscalls[0].action"),
        ("syscalls: [{name: read, action: allow, erno: EPERM}]", ".syscalls[0].erno"),
        ("filesystem: {rules: [{path: /a, access: [reed_file]}]}", ".filesystem.rules[0].access[0]"),
        ("filesystem: {rules: [{path: /a, access: []}]}", ".filesystem.rules[0].access"),
        ("filesystem: {rules: [{path: /a, access: [read_file], on_mising: skip}]}", ".filesystem.rules[0].on_mising"),
        ("settings: {arch: x86_46}", ".settings.arch"),
        ("capabilities: [CAP_NET_ADMN]", ".capabilities[0]"),
        ("network: {outbound: [{protocol: tcq, ports: [1]}]}", ".network.outbound[0].protocol"),
        ("syscalls: [{name: '@procces', action: allow}]", ".syscalls[0].name"),
        ("syscalls:\n" + constrained("mmap", "arg: '2', type: flags, allowed: [PROT_EXECC]"), ".allowed[0]"),
        ("syscalls:\n" + constrained("mmap", "arg: '6', type: flags, allowed: [PROT_EXEC]"), ".arg"),
        ("syscalls: [{name: seteuid, action: allow}]", ".syscalls[0].name"),
    ],
)
def test_unknown_words_are_refused(text, place):
    with pytest.raises(BadInput) as caught:
        parse(text)
    assert any(place in problem.place and problem.place.startswith("line ") for problem in caught.value.problems)


@pytest.mark.parametrize("action", ["allow", "deny", "log", "kill", "trap"])
def test_actions_stay_what_they_are(action):
    names = {"allow": "ALLOW", "deny": "ERRNO", "log": "LOG", "kill": "KILL_PROCESS", "trap": "TRAP"}
    default = "kill" if action == "deny" else "deny"
    policy = parse(f"settings: {{default_action: {default}}}\nsyscalls: [{{name: ptrace, action: {action}}}]")
    assert Answers(policy, X86).of("ptrace", {}).action.value == action
    assert Answers(policy, X86).of("read", {}).action.value == default
    profile = oci_profile(policy, NOTHING).profile
    found = [rule for rule in profile.syscalls if "ptrace" in rule.names]
    assert [rule.action.value for rule in found] == [f"SCMP_ACT_{names[action]}"]
    by_default = oci_profile(parse(f"settings: {{default_action: {action}}}"), NOTHING).profile
    assert by_default.default_action.value == f"SCMP_ACT_{names[action]}"


def test_rule_equal_to_the_default_is_kept():
    policy = parse("settings: {default_action: deny}\nsyscalls: [{name: read, action: deny}]")
    assert [rule.name for rule in policy.syscalls] == ["read"]
    # It counts: a group does not open what it refuses.
    both = parse("syscalls: [{name: read, action: deny}, {name: '@file-io', action: allow}]")
    assert not Answers(both, X86).of("read", {}).action.passes
    assert Answers(parse("syscalls: [{name: '@file-io', action: allow}]"), X86).of("read", {}).action.passes


def test_architecture_is_the_policys():
    with pytest.raises(BadInput, match="not a system call of aarch64"):
        parse("settings: {arch: aarch64}\nsyscalls: [{name: open, action: allow}]")
    assert parse("syscalls: [{name: open, action: allow}]").syscalls[0].name == "open"


def test_thousands_of_rules():
    names = sorted(syscalls.numbers(X86))
    text = "syscalls:\n" + "".join(f"  - {{name: {name}, action: allow}}\n" for name in names)
    text += "".join(constrained(name, f"arg: '{arg}', type: integer, op: eq, value: {arg}") for name in names
                    for arg in range(6) if name not in ("clone3", "openat2"))  # fmt: skip
    policy = parse(text)
    assert len(policy.syscalls) > 2000 and len(names) > 350
    assert Answers(policy, X86).of(names[-1], {}).action is Action.ALLOW


def test_number_above_32_bits_is_no_zero():
    # read's first argument is 64 bits to a filter; socket's is an int, of which the kernel takes 32.
    text = "syscalls:\n" + constrained("brk", "arg: '0', type: integer, match: [{pattern: '0'}]")
    assert passing(text, "brk", 0, [0, 1, 1 << 32]) == [0]
    with pytest.raises(BadInput, match="more than the 32 bits"):
        parse("syscalls:\n" + constrained("socket", "arg: '0', type: integer, allowed: ['0x100000000']"))


def test_second_constrained_rule_counts():
    text = "syscalls:\n" + "".join(
        constrained("socket", f"arg: '0', type: integer, allowed: [{word}]") for word in ("AF_UNIX", "AF_INET")
    )
    assert passing(text, "socket", 0, range(20)) == [1, 2]


def test_zero_flag_alone_is_a_rule():
    text = "syscalls:\n" + constrained("openat", "arg: '2', type: flags, allowed: [O_RDONLY]")
    assert passing(text, "openat", 2, [0, 1, 2, 0o100, 0o2000000]) == [0]
    text = "syscalls:\n" + constrained("mmap", "arg: '2', type: flags, allowed: [PROT_NONE]")
    assert passing(text, "mmap", 2, range(8)) == [0]


def test_zero_flag_of_another_word_is_not_the_access_mode():
    text = "syscalls:\n" + constrained("mmap", "arg: '2', type: flags, allowed: [PROT_NONE, PROT_READ]")
    assert passing(text, "mmap", 2, range(8)) == [0, 1]


def test_enumeration_is_no_set_of_bits():
    for kind in ("flags", "integer"):
        text = "syscalls:\n" + constrained("socket", f"arg: '0', type: {kind}, allowed: [AF_INET6]")
        assert passing(text, "socket", 0, range(20)) == [10]
        text = "syscalls:\n" + constrained("socket", f"arg: '0', type: {kind}, denied: [AF_INET6]")
        assert passing(text, "socket", 0, range(12)) == [*range(10), 11]


def test_constraint_on_memory_is_an_error_and_no_warning():
    policy = parse("syscalls:\n" + constrained("openat", "arg: '1', type: path, match: [{pattern: /etc}]"))
    with pytest.raises(BadInput, match="no filter can read"):
        Answers(policy, X86)


def test_merge_is_a_union():
    one, other = (
        parse("syscalls:\n" + constrained("socket", f"arg: '0', type: integer, allowed: [{word}]"))
        for word in ("AF_UNIX", "AF_INET")
    )
    made = Answers(union([one, other]).policy, X86)
    assert [value for value in range(20) if made.of("socket", {0: value}).action.passes] == [1, 2]


def test_coverage_is_by_component():
    assert not covers(Pattern.parse("/usr/**"), Pattern.parse("/usr2/x"))
    assert covers(Pattern.parse("/usr/**"), Pattern.parse("/usr/x"))
    rights = Files(parse("filesystem: {rules: [{path: /usr/**, access: [read_file]}]}").filesystem).rights
    assert (rights("/usr2/x"), rights("/usr/x")) == (frozenset(), {"read_file"})


def test_star_and_two_stars_differ():
    assert (Pattern.parse("/a/*").kind, Pattern.parse("/a/**").kind) == (Kind.FILES, Kind.BENEATH)
    assert not Pattern.parse("/a/*").grants("/a/b/c") and Pattern.parse("/a/**").grants("/a/b/c")
    # In the middle a star is one component, and not a letter.
    assert Pattern.parse("/a/*/c").grants("/a/b/c") and not Pattern.parse("/a/*/c").grants("/a/b/b/c")


def capture(*uses, sockets=(), calls=("read",), arguments=()):
    for use in (*uses, *sockets):
        use["programs"] = []
    found = app(*map(call, calls), files=list(uses), sockets=list(sockets), arguments=list(arguments))
    return file.parse(as_bytes(found))


def test_rights_of_files():
    uses = [
        file_use("/srv/looked", "stat"),
        file_use("/srv/dir", access=["read_dir"], flags=0o200000),
        file_use("/usr/lib/x/libc.so.6", access=["read_file"]),
    ]
    found = {rule.path: rule.access for rule in infer([capture(*uses)]).policy.filesystem}
    assert found == {"/srv/dir": ("read_dir",), "/usr/lib/x/libc.so.6": ("read_file",)}


def test_udp_is_kept():
    found = capture(sockets=[socket_use("sendto", "192.0.2.1", 53, type="dgram")])
    (rule,) = infer([found]).policy.network.outbound
    assert (rule.protocol, rule.ports) == (Protocol.UDP, (PortRange(53, 53),))
    assert refusals(parse("syscalls: [{name: read, action: allow}]\nnetwork: {}"), found) != ()


def test_groups_of_flags_take_any_of_them():
    # open for writing is O_WRONLY or O_RDWR, not both.
    policies = {
        name: Answers(parse(f"syscalls: [{{name: '{name}', action: allow}}]"), X86)
        for name in groups.groups()
        if any(member.name == "openat" and member.conditions for member in groups.expand(name))
    }
    for name, made in policies.items():
        passes = [mode for mode in (0, 1, 2) if made.of("openat", {2: mode}).action.passes]
        assert passes, f"{name} lets no mode pass"
        assert not made.of("openat", {2: 3}).action.passes or passes == [0, 1, 2], name


def test_groups_of_clone_look_at_its_flags():
    namespaces = 0x1000_0000
    for name in groups.groups():
        if any(member.name == "clone" and member.conditions for member in groups.expand(name)):
            made = Answers(parse(f"syscalls: [{{name: '{name}', action: allow}}]"), X86)
            # The second argument, a stack, has no say.
            assert len({made.of("clone", {0: 0x11, 1: stack}) for stack in (0, 1, namespaces)}) == 1


def test_groups_have_calls_only():
    for name in groups.groups():
        for member in groups.expand(name):
            assert member.name in syscalls.all_names(), f"{member.name} of {name}"


def test_inferred_rules_are_equality_and_masks():
    found = capture(calls=("socket", "mmap"), arguments=[argument("socket", 0, 2), argument("mmap", 2, 1, 3)])
    types = {
        (rule.name, one.arg): one.type.value for rule in infer([found]).policy.syscalls for one in rule.constraints
    }
    assert types == {("socket", 0): "integer", ("mmap", 2): "flags"}
