import dataclasses
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from policy_samples import error_names as _errnos
from policy_samples import policies
from samples import app, as_bytes, call

from scmm_oci.capture import file
from scmm_oci.errors import BadInput
from scmm_oci.policy import document, model
from scmm_oci.policy.infer import infer
from scmm_oci.schema import _validator
from scmm_oci.tables import errnos, vocabulary
from scmm_oci.tables.arch import Arch

GOLDEN = Path(__file__).parent / "golden"
SEED = (GOLDEN / "seed-example.scmm.yaml").read_text()


def _ports(*numbers):
    return tuple(model.PortRange(number, number) for number in numbers)


def problems(text):
    with pytest.raises(BadInput) as caught:
        document.parse(text.encode(), source="p.yaml")
    return [str(problem) for problem in caught.value.problems]


def test_the_seed_example_loads_unchanged():
    policy = document.parse(SEED.encode())
    assert [rule.name for rule in policy.syscalls] == ["read", "write", "openat", "close"]
    assert policy.metadata == model.Metadata("my-app-policy", "Policy for my application")
    assert policy.settings == model.Settings(log_denials=True)
    assert policy.filesystem[2] == model.PathRule("/tmp", ("read_file", "write_file", "read_dir", "make_dir", "remove"))
    assert policy.network == model.Network(
        True, (model.NetworkRule(model.Protocol.TCP, ("0.0.0.0/0",), _ports(80, 443)),), ()
    )
    assert document.parse(document.dump(policy)) == policy


@given(policies())
def test_round_trip(policy):
    data = document.dump(policy)
    assert document.parse(data) == policy
    assert document.dump(document.parse(data)) == data


def test_files(tmp_path):
    policy = document.parse(SEED.encode())
    document.write(tmp_path / "p", policy)
    assert document.read(tmp_path / "p") == policy


def test_every_problem_is_told_at_once_with_line_and_column():
    text = """\
version: "1.0"
settings:
  default_action: block
  default_errno: EPREM
  log_denails: true
  architectures: [x86_64, arm]
syscalls:
  - name: raed
    action: allow
  - name: cacheflush
    action: allow
  - name: write
    action: allow
    errno: EPERM
  - name: write
    action: deny
    errno: ENOSYSS
  - name: mmap
    action: allow
    constraints:
      - arg: "2"
        type: flags
        denied: [PROT_EXECC]
      - arg: "6"
        type: integer
        match: [{pattern: many}]
      - arg: "1"
        type: integer
capabilities: [NET_ADMN]
filesystem:
  rules:
    - path: /tmp
      access: [remvoe]
    - path: /var
      access: []
network:
  outbound:
    - addresses: [example.org]
      ports: [70000]
"""
    rights = ", ".join(vocabulary.ACCESS_RIGHTS)
    keys = ", ".join(sorted(field.name for field in dataclasses.fields(model.Settings)))
    assert problems(text) == [
        "line 3, column 19, .settings.default_action: 'block' is not a known value "
        "(did you mean 'deny'?; known: allow, log, trace, notify, deny, trap, kill_thread, kill)",
        "line 4, column 18, .settings.default_errno: 'EPREM' is not an error name (did you mean 'EPERM'?)",
        "line 5, column 3, .settings.log_denails: 'log_denails' is not a key that may stand here "
        f"(did you mean 'log_denials'?; known: {keys})",
        "line 6, column 27, .settings.architectures[1]: a kernel of x86_64 does not run arm",
        "line 8, column 11, .syscalls[0].name: 'raed' is not a system call of x86_64 or arm (did you mean 'read'?)",
        "line 14, column 12, .syscalls[2].errno: an errno goes with the action deny, not allow",
        "line 15, column 11, .syscalls[3].name: write has a rule at .syscalls[2] already",
        "line 17, column 12, .syscalls[3].errno: 'ENOSYSS' is not an error name (did you mean 'ENOSYS'?)",
        "line 23, column 18, .syscalls[4].constraints[0].denied[0]: 'PROT_EXECC' is not a value of argument 2 of mmap, "
        "nor a number (did you mean 'PROT_EXEC'?; known: PROT_EXEC, PROT_GROWSDOWN, PROT_GROWSUP, PROT_NONE, "
        "PROT_READ, PROT_SEM, PROT_WRITE)",
        "line 24, column 14, .syscalls[4].constraints[1].arg: '6' is not a known value (known: 0, 1, 2, 3, 4, 5)",
        "line 27, column 9, .syscalls[4].constraints[2]: constrains nothing "
        "(give match, allowed or denied, or op with value)",
        "line 29, column 16, .capabilities[0]: 'NET_ADMN' is not a capability (did you mean 'CAP_NET_ADMIN'?)",
        f"line 33, column 16, .filesystem.rules[0].access[0]: 'remvoe' is not a known value "
        f"(did you mean 'remove'?; known: {rights})",
        "line 35, column 15, .filesystem.rules[1].access: is empty",
        "line 38, column 7, .network.outbound[0]: the key 'protocol' is missing",
        "line 38, column 19, .network.outbound[0].addresses[0]: 'example.org' is not a network such as "
        "10.0.0.0/8, nor 'any'",
        "line 39, column 15, .network.outbound[0].ports[0]: 70000 is more than 65535",
    ]


def test_a_call_of_another_architecture_is_told_as_such():
    text = SEED.replace("name: openat", "name: cacheflush")
    assert problems(text) == [
        "line 16, column 11, .syscalls[2].name: 'cacheflush' is not a system call of x86_64 (it is one of arm)"
    ]
    assert document.parse(text.replace("arch: x86_64", "arch: arm").encode()).settings.architectures == (Arch.ARM,)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "line 1, column 1, .: null is not a mapping"),
        ("a: [", "line 1, column 5: is not YAML: expected the node content"),
        ("version: 1.0", "line 1, column 10, .version: is 1.0, must be '1.0'"),
        ("{}", "line 1, column 1, .: the key 'version' is missing"),
        ("version: '1.0'\nversion: '1.0'", "line 2, column 1, .version: stands twice in one mapping"),
        ("a: &x [1]\nb: *x", ".b: is an alias"),
        ("1: 2", ".1: is a key that is not text"),
        ("? [a]\n: 2", "is a key that is not text"),
        ("version: !!python/object:os.system '1.0'", "line 1, column 10, .version: has a tag, and tags are not read"),
        ("settings:\n  log_denials: !!bool yes", "line 2, column 16, .settings.log_denials: has a tag"),
        ("a: &x !foo b", "line 1, column 4, .a: has a tag"),
        ("a: ! b", "line 1, column 4, .a: has a tag"),
        ("a: !foo [1]", "line 1, column 4, .a: has a tag"),
        ("a:\n  !foo\n  b: 1", ".a: has a tag"),
        ("!!map\na: 1", "line 1, column 1, .: has a tag"),
        ("!!str a: 1", "line 1, column 1, .a: has a tag"),
        ("%YAML 1.1\n---\nversion: '1.0'", "line 1, column 1: is a YAML directive"),
        ("\ufeff\n # a\n%TAG ! tag:x,2000:\n---\n{}", "line 3, column 1: is a YAML directive"),
        ("%FOO\n---\n{}", "line 1, column 1: is a YAML directive"),
        ("settings:\n  run_as:\n    uid: 5.0", "line 3, column 10, .settings.run_as.uid: 5.0 is not a whole number"),
        ("settings: {run_as: {uid: 1e0}}", "line 1, column 26, .settings.run_as.uid: 1.0 is not a whole number"),
        ('metadata:\n  name: "a\\ud800"', "line 2, column 9, .metadata.name: has half of a surrogate pair in it"),
        ('"\\udfff": 1', ": has half of a surrogate pair in it"),
        ("a: 0x" + "f" * 5000, "line 1, column 4, .a: is a number of 5002 digits"),
        ("a: -" + "9" * 5000, "line 1, column 4, .a: is a number of 5000 digits"),
        ("a: " + "[" * 70 + "]" * 70, "is nested too deeply"),
        ("a: " + "[" * 63 + "]" * 63, ".a: 'a' is not a key that may stand here"),
        ("version: '1.0'\n---\nversion: '1.0'", "but found another document"),
        ("version: '1.0'\nsyscalls:", "line 2, column 10, .syscalls: null is not a list"),
        ("[" * 5000, "is nested too deeply"),
        (
            "settings: {default_errno: '0'}",
            "'0' is not an error name (a name such as EPERM, or a number from 1 to 4095)",
        ),
        ("version: '1.0'\x00", "is not YAML"),
    ],
)
def test_what_is_no_policy(text, expected):
    assert any(expected in problem for problem in problems(text))


def test_what_is_not_utf8_is_no_policy():
    with pytest.raises(BadInput, match=r"p\.yaml: byte 0: is not UTF-8"):
        document.parse(b"\xff", source="p.yaml")


def test_lists_under_tcp_join_the_others():
    text = 'version: "1.0"\nnetwork: {tcp: {inbound: [{ports: [80]}]}, inbound: [{protocol: udp, ports: [53]}]}'
    assert [(rule.protocol, rule.ports) for rule in document.parse(text.encode()).network.inbound] == [
        ("udp", _ports(53)),
        ("tcp", _ports(80)),
    ]
    assert (
        ".network.tcp.inbound[0].protocol: is 'udp', must be 'tcp'"
        in problems(text.replace("{ports: [80]}", "{protocol: udp}"))[0]
    )


@given(_errnos | st.integers(1, errnos.MAX).map("E{}".format))
def test_a_policy_is_read_whatever_a_filter_answered(errno):
    recorded = app(call("read"), call("keyctl", 0, denied=1, denied_errno=errno))
    policy = infer([file.parse(as_bytes(recorded))]).policy
    assert document.parse(document.dump(policy)) == policy


def test_errors_without_a_name_are_numbers():
    policy = document.parse(b"version: '1.0'\nsyscalls: [{name: read, action: deny, errno: '524'}]")
    assert policy.syscalls[0].errno == "524"
    assert document.parse(document.dump(policy)) == policy


@pytest.mark.parametrize("key", ["allowed", "denied"])
def test_words_of_an_integer_are_flags_or_numbers(key):
    text = f"""\
version: '1.0'
syscalls:
  - {{name: mmap, action: allow, constraints: [{{arg: '2', type: integer, {key}: [PROT_EXECC, PROT_EXEC, '0x10']}}]}}
"""
    (problem,) = problems(text)
    assert (
        f".{key}[0]: 'PROT_EXECC' is not a value of argument 2 of mmap, nor a number (did you mean 'PROT_EXEC'?"
        in problem
    )


def test_long_words_are_cut():
    long = "x" * 100_000
    text = f"""\
version: {long}
settings: {{default_errno: {long}, arch: {long}, run_as: {{uid: {long}}}}}
syscalls:
  - name: {long}
    action: {long}
    constraints: [{{arg: "0", type: integer, match: [{{pattern: {long}}}], allowed: [{long}]}}]
capabilities: [{long}]
network: {{outbound: [{{protocol: tcp, addresses: [{long}]}}]}}
"""
    found = problems(text)
    assert len(found) == 8
    assert max(map(len, found)) < 400
    assert len(problems(f"a: *{long}")[0]) < 400


def test_numbers_of_every_form():
    text = 'version: "1.0"\nsettings: {run_as: {uid: 0x10, gid: 0o17}}'
    assert document.parse(text.encode()).settings.run_as == model.RunAs(16, 15)


def test_schema_and_model_have_one_vocabulary():
    schema = _validator("policy").schema
    defs = schema["$defs"]
    assert defs["action"]["enum"] == list(model.Action)
    assert defs["arch"]["enum"] == list(Arch)
    assert defs["access"]["enum"] == list(vocabulary.ACCESS_RIGHTS)
    assert defs["constraint"]["properties"]["op"]["enum"] == list(model.Operator)
    assert schema["properties"]["scopes"]["items"]["enum"] == list(model.LandlockScope)
    assert schema["properties"]["settings"]["properties"]["flags"]["items"]["enum"] == sorted(model.FilterFlag)
    assert defs["path_rule"]["properties"]["on_missing"]["enum"] == list(model.OnMissing)
    assert defs["constraint"]["properties"]["type"]["enum"] == list(model.ArgType)
    assert set(schema["properties"]["metadata"]["properties"]) == {f.name for f in dataclasses.fields(model.Metadata)}
    assert set(schema["properties"]["settings"]["properties"]) == {f.name for f in dataclasses.fields(model.Settings)}


def test_every_key_is_documented():
    text = (Path(__file__).resolve().parents[2] / "docs" / "formats.md").read_text()
    words = set(re.findall(r"`([a-z_0-9]+)`", text))
    for name in ("capture", "policy"):
        missing = set(_keys(_validator(name).schema)) - words
        assert not missing, f"docs/formats.md says nothing of {sorted(missing)} of a {name}"


def _keys(schema):
    if isinstance(schema, dict):
        for key, value in schema.items():
            if key == "properties":
                yield from value
            yield from _keys(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from _keys(value)
