"""What a policy would refuse of a capture: each kind of refusal beside its twin that is admitted."""

import pytest
from samples import app, argument, as_bytes, call, file_use, nginx, session, socket_use

from scmm_oci.capture import file
from scmm_oci.policy import document
from scmm_oci.policy.admit import Files, Refusal, refusals
from scmm_oci.policy.model import OnMissing, PathRule


def capture(*calls, **parts):
    value = app(*(calls or (call("read"),)), **parts)
    for use in (*value["files"], *value["sockets"]):
        use["programs"] = []
    return file.parse(as_bytes(value))


def policy(text=""):
    return document.parse(f"version: '1.0'\n{text}".encode())


READ = "syscalls:\n- {name: read, action: allow}\n"


def refused(text, found):
    return [(one.section, one.what, one.detail) for one in refusals(policy(text), found)]


@pytest.mark.parametrize("action", ["deny", "kill", "kill_thread", "trap", "trace", "log", "allow", "notify"])
def test_call_passes_with_actions_that_ask_nobody(action):
    found = refused(f"syscalls: [{{name: read, action: {action}}}]", capture())
    assert found == ([] if action in ("allow", "log") else [("syscalls", "read", "")])


def test_call_without_a_rule_gets_the_default():
    assert refused("", capture()) == [("syscalls", "read", "")]
    assert refused("settings: {default_action: allow}", capture()) == []
    assert refused("settings: {default_action: log}", capture()) == []
    # What the engine's own filter refused was not done, nor what the runtime did.
    denied = call("keyctl", 0, denied=1, denied_errno="EPERM")
    assert refused(READ, capture(call("read"), denied)) == []
    runtime = nginx(sessions=[session([call("read")], runtime=[call("getpid")], setup=[call("mount")])])
    bare = {"arguments": [], "files": [], "sockets": [], "order": [], "programs": []}
    runtime["sessions"][0]["phases"]["app"][0]["programs"] = []
    assert refused(READ, file.parse(as_bytes({**runtime, **bare}))) == []


def test_call_of_another_abi():
    mixed = capture(call("read"), call("read", arch="x86"))
    assert refused(READ, mixed) == [("syscalls", "read", "a call of x86")]
    assert refused("settings: {architectures: [x86_64, x86]}\n" + READ, mixed) == []
    # Each ABI has names of its own.
    sockets = capture(call("read"), call("socketcall", arch="x86"))
    both = "settings: {architectures: [x86_64, x86]}\n" + READ
    assert refused(both, sockets) == [("syscalls", "socketcall", "")]
    assert refused(both + "- {name: socketcall, action: allow}\n", sockets) == []


def test_call_without_a_name():
    nameless = {**call("read", nr=501), "name": None}
    found = capture(call("read"), nameless)
    assert refused(READ, found) == [("syscalls", "501", "a call of x86_64 without a name")]
    # A recorder without the name, where our table has it.
    assert refused(READ, capture({**call("read"), "name": None})) == []


def test_argument_that_no_rule_allows():
    rule = (
        "syscalls:\n- name: socket\n  action: allow\n  constraints: [{arg: '0', type: integer, allowed: [AF_INET]}]\n"
    )
    inet = capture(call("socket"), arguments=[argument("socket", 0, 2)])
    both = capture(call("socket"), arguments=[argument("socket", 0, 2, 16)])
    assert refused(rule, inet) == []
    assert refused(rule, both) == [("syscalls", "socket", "argument 0: AF_NETLINK")]
    # A refused call is told once, not for each of its arguments.
    assert refused("", both) == [("syscalls", "socket", "")]


def test_argument_that_a_rule_refuses():
    rules = (
        "syscalls:\n- {name: socket, action: allow}\n"
        "- name: socket\n  action: kill\n  constraints: [{arg: '0', type: integer, allowed: [AF_NETLINK]}]\n"
    )
    assert refused(rules, capture(call("socket"), arguments=[argument("socket", 0, 2)])) == []
    # Without values recorded the call itself is admitted: it can pass.
    assert refused(rules, capture(call("socket"))) == []
    netlink = capture(call("socket"), arguments=[argument("socket", 0, 16)])
    assert refused(rules, netlink) == [("syscalls", "socket", "argument 0: AF_NETLINK")]


def test_pair_of_arguments_is_asked_together():
    rules = (
        "syscalls:\n- name: setsockopt\n  action: allow\n  constraints:\n"
        "  - {arg: '1', type: integer, allowed: [SOL_SOCKET]}\n  - {arg: '2', type: integer, allowed: [SO_REUSEADDR]}\n"
    )
    seen = lambda level, option: argument("setsockopt", [1, 2], level << 32 | option)  # noqa: E731
    assert refused(rules, capture(call("setsockopt"), arguments=[seen(1, 2)])) == []
    (one,) = refused(rules, capture(call("setsockopt"), arguments=[seen(6, 2)]))
    assert one[:2] == ("syscalls", "setsockopt") and one[2].startswith("argument 1/2: ")
    assert len(refused(rules, capture(call("setsockopt"), arguments=[seen(1, 3)]))) == 1


def test_field_of_a_structure_is_nothing_that_a_policy_refuses():
    rules = "syscalls: [{name: clone3, action: allow}]"
    assert refused(rules, capture(call("clone3"), arguments=[argument("clone3", 0, 1 << 28, field="flags")])) == []


def files(rules):
    return READ + f"filesystem: {{rules: [{rules}]}}\n"


def net(outbound, inbound):
    return READ + f"network: {{outbound: [{outbound}], inbound: [{inbound}]}}\n"


@pytest.mark.parametrize(
    ("rule", "path", "access", "lacks"),
    [
        ("{path: /a/b, access: [read_file]}", "/a/b", ["read_file"], None),
        ("{path: /a/b, access: [read_file]}", "/a/b/c", ["read_file"], None),
        ("{path: /a/b, access: [read_file]}", "/a/bc", ["read_file"], "read_file"),
        ("{path: /a/b, access: [read_file]}", "/a", ["read_file"], "read_file"),
        ("{path: /a/b, access: [read_file]}", "/a/b", ["write_file"], "write_file"),
        ("{path: /a/b, access: [read_file]}", "/a/b", ["read_file", "write_file", "truncate"], "truncate, write_file"),
        ("{path: /usr/**, access: [read_file]}", "/usr2/x", ["read_file"], "read_file"),
        ("{path: /usr/**, access: [read_file]}", "/usr/x/y", ["read_file"], None),
        ("{path: /a/*, access: [read_file]}", "/a/x", ["read_file"], None),
        ("{path: /a/*, access: [read_file]}", "/a/x/y", ["read_file"], "read_file"),
        ("{path: /a, access: [remove]}", "/a", ["remove_file", "remove_dir"], None),
        ("{path: /a, access: [remove_file]}", "/a", ["remove_dir"], "remove_dir"),
        ("{path: /, access: [read_file]}", "/a/b", ["read_file"], None),
        ("{path: '${HOME}/x', access: [read_file]}", "/root/x", ["read_file"], "read_file"),
    ],
)
def test_rights_on_paths(rule, path, access, lacks):
    found = capture(files=[file_use(path, access=access)])
    expected = [] if lacks is None else [("filesystem", path, f"{lacks} (open)")]
    assert refused(files(rule), found) == expected


def test_rights_on_the_directory_above():
    found = capture(files=[file_use("/a/x", "unlink", parent_access=["remove_file"])])
    assert refused(files("{path: /a, access: [remove_file]}"), found) == []
    assert refused(files("{path: /a/x, access: [remove_file]}"), found) == [
        ("filesystem", "/a", "remove_file (unlink)")
    ]
    top = capture(files=[file_use("/x", "mkdir", parent_access=["make_dir"])])
    assert refused(files("{path: /, access: [make_dir]}"), top) == []
    assert refused(files("{path: /x, access: [make_dir]}"), top) == [("filesystem", "/", "make_dir (mkdir)")]


def test_what_landlock_does_not_ask_about_needs_no_rule():
    for use in (
        file_use("/x", "stat"),
        file_use("/x", "readlink"),
        file_use("/x", "access", flags=4),
        file_use("pipe:[1]", state="internal", access=["read_file"]),
        file_use("/x", state="outside", access=["read_file"]),
        file_use("/x", errnos=["ENOENT"]),
    ):
        assert refused(files(""), capture(files=[use])) == []
    assert refused(files(""), capture(files=[file_use("/x", access=["read_file"])])) != []
    # No section of files asks nothing; an empty one refuses everything.
    assert refused(READ, capture(files=[file_use("/x", access=["read_file"])])) == []


def test_wildcard_stands_for_files_that_are_there_at_the_start():
    rule = "{path: /a/*, access: [read_file, write_file, make_reg]}"
    above = "{path: /a, access: [make_reg]}"
    made = file_use("/a/x", created=True, access=["write_file"], parent_access=["make_reg"])
    there = {**made, "created": False, "parent_access": []}
    assert refused(files(f"{rule}, {above}"), capture(files=[there])) == []
    assert refused(files(f"{rule}, {above}"), capture(files=[made])) == [("filesystem", "/a/x", "write_file (open)")]
    assert refused(files("{path: /a/**, access: [write_file, make_reg]}"), capture(files=[made])) == []


def test_damaged_and_foreign_uses_are_no_uses_of_the_path():
    # Rights without a success, and a file outside that only has the name of one in the container.
    damaged = file_use("/a/x", access=["read_file"], errnos=["EACCES"])
    assert refused(files(""), capture(files=[damaged])) == []
    outside = file_use("/a/x", state="outside", created=True, access=["read_file"], first=1)
    there = file_use("/a/x", access=["read_file"])
    rule = files("{path: /a/*, access: [read_file]}")
    assert refused(rule, capture(files=[outside, there])) == []
    assert refused(rule, capture(files=[{**outside, "state": "resolved"}, there])) != []


def test_rule_with_parentdir_grants_the_directory():
    one = Files([PathRule("/a/b", ("read_file",), OnMissing.PARENTDIR)])
    assert one.rights("/a/c") == one.rights("/a") == {"read_file"}
    assert Files([PathRule("/a/b", ("read_file",), OnMissing.SKIP)]).rights("/a/c") == frozenset()
    # Two rules for one path add up, and what the one's directory gets is not the other's.
    two = Files([PathRule("/a/b", ("write_file",)), PathRule("/a/b", ("read_file",), OnMissing.PARENTDIR)])
    assert (two.rights("/a/b"), two.rights("/a")) == ({"read_file", "write_file"}, {"read_file"})


@pytest.mark.parametrize(
    ("outbound", "inbound", "use", "refusal"),
    [
        ("{protocol: tcp, ports: [80]}", "", socket_use("connect", "1.2.3.4", 80), None),
        ("{protocol: tcp, ports: [80]}", "", socket_use("connect", "1.2.3.4", 81), "outbound tcp 81"),
        ("{protocol: tcp, ports: [80]}", "", socket_use("bind", "0.0.0.0", 80), "inbound tcp 80"),
        ("", "{protocol: tcp, ports: [80]}", socket_use("bind", "0.0.0.0", 80), None),
        ("", "{protocol: udp, ports: [80]}", socket_use("bind", "0.0.0.0", 80), "inbound tcp 80"),
        ("{protocol: udp, ports: ['53-60']}", "", socket_use("sendto", "::1", 60, family="inet6", type="dgram"), None),
        ("{protocol: udp, ports: ['53-60']}", "", socket_use("sendto", "::1", 61, type="dgram"), "outbound udp 61"),
        ("{protocol: tcp}", "", socket_use("connect", "1.2.3.4", 9), None),
        ("{protocol: tcp, addresses: [1.2.0.0/16]}", "", socket_use("connect", "1.2.3.4", 9), None),
        ("{protocol: tcp, addresses: [1.2.0.0/16]}", "", socket_use("connect", "1.3.3.4", 9), "outbound tcp 9"),
        ("{protocol: tcp, addresses: [any]}", "", socket_use("connect", "1.3.3.4", 9), None),
        ("{protocol: tcp, addresses: ['fe80::1']}", "", socket_use("connect", "fe80::1%eth0", 9, family="inet6"), None),
        ("{protocol: tcp, addresses: ['fe80::/10']}", "", socket_use("connect", "x", 9), "outbound tcp 9"),
        # Nothing that a network rule is about, and nothing that worked.
        ("", "", socket_use("connect", "/run/x", family="unix"), None),
        ("", "", socket_use("listen", "0.0.0.0", 80), None),
        ("", "", socket_use("connect", "1.2.3.4", 80, errnos=["EACCES"]), None),
        ("", "", socket_use("connect", "1.2.3.4", 80, errnos=["ECONNREFUSED"]), "outbound tcp 80"),
        ("", "", socket_use("connect", "1.2.3.4", 80, protocol=262), None),
    ],
)
def test_peers_and_ports(outbound, inbound, use, refusal):
    found = refused(net(outbound, inbound), capture(sockets=[use]))
    assert [one[1] for one in found] == ([] if refusal is None else [refusal])
    assert refused(READ, capture(sockets=[use])) == []


def test_refusals_are_sorted_and_say_what():
    found = capture(call("read"), call("brk"), files=[file_use("/x", access=["read_file"])])
    refusal, *more = refusals(policy(files("")), found)
    assert (str(refusal), [one.what for one in more]) == ("/x: read_file (open)", ["brk"])
    assert str(Refusal("syscalls", "brk", "")) == "brk"
