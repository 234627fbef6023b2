"""monitor.yaml as it is read: everything that is wrong with it at once, what should be known, and whose file it is."""

from __future__ import annotations

import os
import re
from ipaddress import ip_network
from pathlib import Path

import pytest

from scmm_oci import schema
from scmm_oci.enforcer.monitor.behalf.table import CALLS
from scmm_oci.enforcer.monitor.rules.load import MAX_BYTES, load, parse
from scmm_oci.enforcer.monitor.rules.model import Limits, Outcome, Peers, Remember, Rule, RuleSet, Settings
from scmm_oci.errors import BadInput
from scmm_oci.fastschema import load as load_schema
from scmm_oci.policy.model import ArgType, Constraint, Operator, PortRange
from scmm_oci.policy.paths.patterns import Pattern
from scmm_oci.tables.arch import Arch

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "monitor" / "monitor.yaml"


def problems(text: str) -> list[str]:
    with pytest.raises(BadInput) as caught:
        parse(text.encode())
    return [str(problem) for problem in caught.value.problems]


def rules(*lines: str, **settings: str) -> RuleSet:
    head = "".join(f"{key}: {value}\n" for key, value in settings.items())
    body = "".join(f"- {line}\n" for line in lines) if lines else "  []\n"
    return parse(f'version: "1.0"\n{head}rules:\n{body}'.encode())


def wrong(line: str) -> list[str]:
    return problems(f'version: "1.0"\nrules:\n- {line}\n')


def findings(*lines: str, **settings: str) -> list[str]:
    return [str(finding) for finding in rules(*lines, **settings).findings]


def test_everything_is_read() -> None:
    read = parse(
        b"""
version: "1.0"
default: ask
errno: EACCES
timeout: 10
limits: {pending: 5, per_target: 2, per_minute: 7}
program: [/usr/local/bin/decide, --flag]
rules:
  - container: "web-*"
    executable: /usr/sbin/nginx
    user: 33
    syscalls: [openat, connect]
    path: [/etc/nginx/**, /usr/share/nginx/*]
    decision: allow
  - syscalls: [openat]
    args: [{arg: 2, type: flags, denied: [O_WRONLY, O_RDWR]}, {arg: "2", type: integer, op: ge, value: 0x10}]
    decision: deny
    errno: ENOENT
  - syscalls: [connect]
    address: {family: inet, networks: [10.1.2.3/8, "::ffff:192.168.0.0/112"], ports: [5432, 8000-8010]}
    decision: program
  - syscalls: [bind]
    address: {family: local, paths: [/run/app/*], names: ["app-?"]}
    decision: ask
    errno: "524"
    remember: never
    times: 3
  - {syscalls: ["@clock"], decision: return, value: -9223372036854775808, times: once}
  - {decision: kill, times: always}
"""
    )
    assert read.settings == Settings(
        Outcome.ASK, 13, 10, Limits(pending=5, per_target=2, per_minute=7), ("/usr/local/bin/decide", "--flag")
    )
    reads = Constraint(2, ArgType.FLAGS, denied=("O_WRONLY", "O_RDWR"))
    many = Constraint(2, ArgType.INTEGER, op=Operator.GE, value=16)
    networks = (ip_network("10.0.0.0/8"), ip_network("192.168.0.0/16"))
    database = Peers("inet", networks, (PortRange(5432, 5432), PortRange(8000, 8010)))
    sockets = Peers("unix", paths=(Pattern.parse("/run/app/*"),), names=("app-?",))
    assert read.rules == (
        Rule(
            Outcome.ALLOW,
            container="web-*",
            executable=Pattern.parse("/usr/sbin/nginx"),
            user=33,
            syscalls=("openat", "connect"),
            paths=(Pattern.parse("/etc/nginx/**"), Pattern.parse("/usr/share/nginx/*")),
        ),
        Rule(Outcome.DENY, syscalls=("openat",), args=(reads, many), errno=2),
        Rule(Outcome.PROGRAM, syscalls=("connect",), address=database),
        Rule(Outcome.ASK, syscalls=("bind",), address=sockets, errno=524, times=3, remember=Remember.NEVER),
        Rule(Outcome.RETURN, syscalls=("@clock",), value=-(1 << 63), times=1),
        Rule(Outcome.KILL),
    )
    assert read.arch is Arch.X86_64


def test_an_empty_file_of_rules_denies_everything() -> None:
    assert parse(b'version: "1.0"') == RuleSet() == parse(b'version: "1.0"\nrules: []\n')
    assert (RuleSet().settings.default, RuleSet().settings.errno) == (Outcome.DENY, 1)


def test_all_that_is_wrong_is_told_at_once() -> None:
    text = """\
version: "1.0"
default: kill
errno: EPREM
timeout: 0
limits: {pendign: 3}
program: [decide, "a\\0b"]
rules:
  - container: ""
    syscalls: [opennat, "@file-ioo", openat]
    path: etc/nginx/**
    decision: allow
    errno: ENOENT
    times: onec
    remember: once
  - syscalls: openat
    decision: block
  - syscalls: [openat]
    args: [{arg: 2, type: flags, denied: [O_WRONL]}, {arg: 7, type: flags}]
    executable: ${HOME}/x
    user: www
    decision: kill
"""
    decisions = "allow, deny, kill, return, ask, program"
    flags = (
        "FASYNC, O_APPEND, O_ASYNC, O_CLOEXEC, O_CREAT, O_DIRECT, O_DIRECTORY, O_DSYNC, O_EXCL, O_LARGEFILE, O_NDELAY, "
        "O_NOATIME, O_NOCTTY, O_NOFOLLOW, O_NONBLOCK, O_PATH, O_RDONLY, O_RDWR, O_SYNC, O_TMPFILE, O_TRUNC, O_WRONLY"
    )
    assert problems(text) == [
        "line 2, column 10, .default: 'kill' is not a known value (known: allow, deny, ask, program)",
        "line 3, column 8, .errno: 'EPREM' is not an error name (did you mean 'EPERM'?)",
        "line 4, column 10, .timeout: 0 is less than 1",
        "line 5, column 10, .limits.pendign: 'pendign' is not a key that may stand here "
        "(did you mean 'pending'?; known: pending, per_minute, per_target)",
        "line 6, column 11, .program[0]: 'decide' is not an absolute path (write the path that the file has)",
        "line 6, column 19, .program[1]: holds a zero byte, which no argument can",
        "line 8, column 16, .rules[0].container: is empty",
        "line 9, column 16, .rules[0].syscalls[0]: 'opennat' is not a system call (did you mean 'openat'?)",
        "line 9, column 25, .rules[0].syscalls[1]: '@file-ioo' is not a group (did you mean '@file-io'?)",
        "line 10, column 11, .rules[0].path: is not an absolute path (it begins with /)",
        "line 12, column 12, .rules[0].errno: an errno goes with the decision deny, not allow",
        "line 13, column 12, .rules[0].times: 'onec' is not always, once or a number "
        "(did you mean 'once'?; known: always, once)",
        "line 14, column 15, .rules[0].remember: answers are remembered with the decision ask, not allow",
        "line 15, column 15, .rules[1].syscalls: 'openat' is not a list (a list of one is [openat])",
        "line 16, column 15, .rules[1].decision: 'block' is not a known value "
        f"(did you mean 'deny'?; known: {decisions})",
        "line 18, column 43, .rules[2].args[0].denied[0]: 'O_WRONL' is not a value of argument 2 of openat, nor a "
        f"number (did you mean 'O_WRONLY'?; known: {flags})",
        "line 18, column 60, .rules[2].args[1].arg: 7 is more than 5",
        "line 19, column 17, .rules[2].executable: has ${HOME}, and nobody says whose (write the path)",
        "line 20, column 11, .rules[2].user: 'www' is not a whole number "
        "(a number such as 33; `id` tells those of a user)",
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{decision: deny, path: /etc}", "needs syscalls"),
        ("{decision: deny, address: {ports: [1]}}", "needs syscalls"),
        ("{decision: deny, args: [{arg: 0, type: integer, allowed: ['1']}]}", "needs syscalls"),
        ("{decision: deny, syscalls: ['@process'], args: [{arg: 0, type: integer, allowed: ['1']}]}", "is a group"),
        ("{decision: deny, syscalls: [openat2], args: [{arg: 2, type: flags, denied: [O_RDWR]}]}", "a structure"),
        ("{decision: allow, syscalls: [read], value: 1}", "a value goes with the decision return, not allow"),
        ("{decision: return, syscalls: [read], errno: EPERM}", "an errno goes with the decision deny, not return"),
        ("{decision: kill, syscalls: [read], errno: EPERM}", "an errno goes with the decision deny, not kill"),
        ("{decision: return, syscalls: [read], value: -2}", "decision: deny, errno: ENOENT"),
        ("{decision: return, syscalls: [read], value: -4095}", "-4095 is how the kernel says 4095"),
        ("{decision: program, syscalls: [read]}", "there is no program to ask"),
        ("{syscalls: [read]}", "the key 'decision' is missing"),
        ("{decision: ask, times: 0}", "0 is less than 1"),
        ("{decision: notify}", "did you mean 'ask'?"),
        ("{decision: deny, syscalls: [stat], path: /etc}", "the monitor cannot make stat itself, and the program"),
        (
            "{decision: kill, syscalls: [execve], path: /etc}",
            "decide about execve without path; the section filesystem",
        ),
        ("{decision: deny, syscalls: [getpid], path: /etc}", "getpid has no path"),
        ("{decision: deny, syscalls: [read], path: /etc}", "read has no path"),
        ("{decision: deny, syscalls: [sendto], address: {ports: [1]}}", "the section network of a policy"),
        ("{decision: deny, syscalls: [mkdir], address: {ports: [1]}}", "mkdir has no address of a socket"),
        ("{decision: deny, syscalls: [getpid], address: {ports: [1]}}", "getpid has no address of a socket"),
        ("{decision: deny, syscalls: ['@file-system'], path: /etc}", "cannot decide about all calls of @file-system"),
        ("{decision: deny, syscalls: ['@file-system'], path: /etc}", "name the calls of it that can: chmod, creat"),
        ("{decision: deny, syscalls: ['@file-system'], address: {ports: [1]}}", "none of its calls can"),
        ("{decision: deny, syscalls: [openat], path: []}", "is empty"),
        ("{decision: deny, syscalls: [openat], path: [/a, /a]}", "has a value twice"),
        ("{decision: deny, syscalls: [openat], path: [/a, b]}", ".rules[0].path[1]: is not an absolute path"),
        ("{decision: deny, syscalls: [openat], path: '/srv/${USER}'}", "has ${USER}, and nobody says whose"),
        ("{decision: deny, syscalls: [bind], address: {}}", "asks nothing"),
        ("{decision: deny, syscalls: [bind], address: {family: inte}}", "did you mean 'inet'?"),
        ("{decision: deny, syscalls: [bind], address: {networks: [10.0.0.0/33]}}", "is not a network"),
        ("{decision: deny, syscalls: [bind], address: {family: inet, networks: ['::/0']}}", "is no network of inet"),
        ("{decision: deny, syscalls: [bind], address: {family: inet6, networks: [10.0.0.0/8]}}", "no network of inet6"),
        ("{decision: deny, syscalls: [bind], address: {ports: [9-8]}}", "is not a range of ports"),
        ("{decision: deny, syscalls: [bind], address: {ports: [70000]}}", "70000 is more than 65535"),
        ("{decision: deny, syscalls: [bind], address: {family: unix, ports: [1]}}", "unix has no ports"),
        ("{decision: deny, syscalls: [bind], address: {family: inet, paths: [/a]}}", "inet has no paths"),
        ("{decision: deny, syscalls: [bind], address: {ports: [1], names: [a]}}", "write two rules"),
        ("{decision: deny, syscalls: [bind], address: {names: ['@a']}}", "leave the @ out"),
        ("{decision: deny, syscalls: [bind], address: {paths: [a]}}", "is not an absolute path"),
    ],
)
def test_what_is_wrong_with_one_rule(line: str, message: str) -> None:
    assert message in "\n".join(wrong(line))


@pytest.mark.parametrize(
    "line",
    [
        "{decision: ask, syscalls: [read], errno: EPERM, remember: once}",
        "{decision: return, syscalls: [read], value: -4096}",
        "{decision: return, syscalls: [read]}",
        "{decision: deny, syscalls: [connect], path: /run}",
        "{decision: deny, syscalls: [socket], args: [{arg: 0, type: integer, allowed: [AF_INET]}]}",
        "{decision: deny, syscalls: [socketcall, chown32, open]}",
    ],
)
def test_what_is_right_with_one_rule(line: str) -> None:
    assert len(rules(line).rules) == 1


def test_every_call_on_behalf_takes_a_path_and_sockets_an_address() -> None:
    for call in sorted(CALLS):
        assert rules(f"{{decision: allow, syscalls: [{call}], path: /srv}}").rules[0].syscalls == (call,)
    for call in ("connect", "bind"):
        assert rules(f"{{decision: allow, syscalls: [{call}], address: {{ports: [1]}}}}").rules[0].address is not None


def test_too_many_comparisons_are_a_problem() -> None:
    words = ", ".join(f'"{number}"' for number in range(0, 200, 2))
    one = "{{arg: {}, type: integer, allowed: [" + words + "]}}"
    line = f"{{decision: deny, syscalls: [socket], args: [{one.format(0)}, {one.format(2)}]}}"
    assert "different comparisons" in wrong(line)[0]


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        (["{decision: deny}", "{decision: ask, syscalls: [read]}"], "rules[1] decides nothing: rules[0] takes all"),
        (
            ["{decision: deny, syscalls: [read, write]}", "{decision: ask, syscalls: [read]}"],
            "rules[1] decides nothing",
        ),
        (
            [
                "{decision: deny, syscalls: [read]}",
                "{decision: deny, syscalls: [write]}",
                "{decision: ask, syscalls: [read, write]}",
            ],
            "rules[2] decides nothing: rules[0], rules[1] take all of its calls",
        ),
        (["{decision: ask, syscalls: ['@clock']}", "{decision: ask, syscalls: [clock_settime]}"], "rules[1] decides"),
        (["{decision: ask, container: 'web*'}", "{decision: ask, container: web-1}"], "rules[1] decides nothing"),
        (
            ["{decision: ask, executable: /usr/**}", "{decision: deny, executable: /usr/bin/x, user: 3}"],
            "rules[1] decides",
        ),
        (
            [
                "{decision: allow, syscalls: [openat], path: /etc/**}",
                "{decision: allow, syscalls: [openat], path: /etc/a}",
            ],
            "rules[1] decides nothing",
        ),
        (
            [
                "{decision: deny, syscalls: [openat], path: /etc/**}",
                "{decision: ask, syscalls: [openat], path: /etc/a}",
            ],
            "rules[1] decides nothing",
        ),
        (
            [
                "{decision: deny, syscalls: [openat], args: [{arg: 2, type: flags, denied: [O_RDWR]}]}",
                "{decision: ask, syscalls: [openat], user: 0, args: [{arg: 2, type: flags, denied: [O_RDWR]}]}",
            ],
            "rules[1] decides nothing",
        ),
        (["{decision: deny, syscalls: [bind], address: {ports: [1]}}"] * 2, "rules[1] decides nothing"),
        (
            ["{decision: deny, syscalls: [socket], args: [{arg: 0, type: integer, allowed: ['1'], denied: ['1']}]}"],
            "rules[0] decides nothing: its args cannot hold together",
        ),
    ],
)
def test_rules_that_decide_nothing_are_told(lines: list[str], found: str) -> None:
    assert found in "\n".join(findings(*lines))


@pytest.mark.parametrize(
    "lines",
    [
        ["{decision: ask, syscalls: [read]}", "{decision: deny}"],
        ["{decision: ask, syscalls: [read]}", "{decision: ask, syscalls: [read, write]}"],
        ["{decision: ask, syscalls: [read], times: once}", "{decision: ask, syscalls: [read]}"],
        ["{decision: ask, container: 'web-?'}", "{decision: ask, container: web*}"],
        ["{decision: ask, container: 'web*'}", "{decision: ask}"],
        ["{decision: ask, executable: /usr/bin/x}", "{decision: ask, executable: /usr/bin/*}"],
        ["{decision: ask, user: 1}", "{decision: ask, user: 2}"],
        # A rename can have one of its paths elsewhere.
        ["{decision: allow, syscalls: [rename], path: /a/**}", "{decision: deny, syscalls: [rename], path: /a/**}"],
        [
            "{decision: allow, syscalls: [bind], address: {ports: [1]}}",
            "{decision: deny, syscalls: [bind], address: {ports: [1]}}",
        ],
        # clone is there on a condition.
        ["{decision: ask, syscalls: ['@thread-create']}", "{decision: ask, syscalls: [clone]}"],
        [
            "{decision: deny, syscalls: [openat], args: [{arg: 2, type: flags, denied: [O_RDWR]}]}",
            "{decision: ask, syscalls: [openat], args: [{arg: 2, type: flags, denied: [O_WRONLY]}]}",
        ],
    ],
)
def test_rules_that_decide_something_are_not_told(lines: list[str]) -> None:
    assert not [one for one in findings(*lines) if "decides nothing" in one]


def test_forbidden_paths_over_what_is_else_allowed_are_a_trap() -> None:
    deny = "{decision: deny, syscalls: [openat], path: /etc/shadow}"
    everything = "{decision: allow, syscalls: [openat]}"
    assert "rules[0] refuses paths, and rules[1] allows the same calls" in findings(deny, everything)[0]
    assert "rules[0] refuses paths, and the default allows" in findings(deny, default="allow")[0]
    assert findings(deny) == findings(deny, default="ask") == []
    assert findings(deny, "{decision: allow, syscalls: [openat], path: /etc/**}") == []
    assert findings(deny, "{decision: deny, syscalls: [openat]}", default="allow") == []
    assert "the default allows" in findings(deny, "{decision: deny, user: 3}", default="allow")[0]
    assert findings(everything.replace("openat", "mkdir"), deny) == []


def test_a_program_that_nobody_asks_is_told() -> None:
    program = "[/usr/local/bin/decide]"
    assert findings(program=program, default="deny") == [
        "no rule asks the program; decision: program does [program-unused]"
    ]
    assert findings(program=program, default="program") == findings("{decision: program}", program=program) == []


def test_more_rules_than_are_compared() -> None:
    many = ["{decision: ask, syscalls: [read]}"] * 1001
    assert [one.code for one in rules(*many).findings] == ["rules-not-compared"]
    assert "rule-unreachable" in {one.code for one in rules(*many[:1000]).findings}


# The file


def test_a_file_of_our_own_is_read(tmp_path: Path) -> None:
    path = tmp_path / "monitor.yaml"
    path.write_text('version: "1.0"\ndefault: ask\n')
    path.chmod(0o644)
    assert load(path).settings.default is Outcome.ASK


@pytest.mark.parametrize("mode", [0o664, 0o646])
def test_a_file_that_others_can_write_is_not_read(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "monitor.yaml"
    path.write_text('version: "1.0"\n')
    path.chmod(mode)
    with pytest.raises(BadInput, match="may be written by others"):
        load(path)


def test_a_file_of_another_user_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "monitor.yaml"
    path.write_text('version: "1.0"\n')
    real = os.fstat
    monkeypatch.setattr(os, "fstat", lambda fd: os.stat_result([*real(fd)[:4], 4711, *real(fd)[5:]]))
    with pytest.raises(BadInput, match="belongs to another user"):
        load(path)
    monkeypatch.setattr(os, "getuid", lambda: 4711)
    assert load(path) == RuleSet()


def test_a_link_and_what_is_no_file_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "real.yaml").write_text('version: "1.0"\n')
    (tmp_path / "link.yaml").symlink_to("real.yaml")
    with pytest.raises(BadInput, match="is a symbolic link"):
        load(tmp_path / "link.yaml")
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(BadInput, match="is no regular file"):
        load(tmp_path / "pipe.yaml")
    with pytest.raises(BadInput, match="No such file"):
        load(tmp_path / "none.yaml")
    (tmp_path / "large.yaml").write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(BadInput, match="is larger than"):
        load(tmp_path / "large.yaml")


def test_the_program_must_be_one_that_only_we_can_change(tmp_path: Path) -> None:
    program = tmp_path / "decide"
    rules_file = tmp_path / "monitor.yaml"
    rules_file.write_text(f'version: "1.0"\ndefault: program\nprogram: [{program}]\n')
    with pytest.raises(BadInput, match="cannot be run: No such file"):
        load(rules_file)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o644)
    with pytest.raises(BadInput, match="is no program that can be run"):
        load(rules_file)
    program.chmod(0o775)
    with pytest.raises(BadInput, match="may be written by others"):
        load(rules_file)
    program.chmod(0o755)
    assert load(rules_file).settings.program == (str(program),)


def test_text_that_is_no_yaml_is_told_with_its_place() -> None:
    assert problems('version: "1.0"\nrules: [\n')[0].startswith("line 3, column 1: is not YAML")
    with pytest.raises(BadInput, match="byte 0: is not UTF-8"):
        parse(b"\xff")
    assert problems("a: &x 1\n") and problems("[]")[0].endswith("is not a mapping")


# What goes with it


def test_the_example_is_read_and_has_no_findings() -> None:
    read = parse(EXAMPLE.read_bytes(), source=str(EXAMPLE))
    assert len(read.rules) > 5 and read.findings == ()


def test_every_key_is_documented() -> None:
    text = (ROOT / "docs" / "formats.md").read_text()
    section = text[text.index("## Rules of the monitor") : text.index("## What you can rely on")]
    words = set(re.findall(r"`([a-z_0-9]+)`", section))
    assert set(_keys(load_schema("monitor"))) - words == set()
    assert words >= CALLS, "the calls that can have a path"
    assert set(Outcome) | set(Remember) <= words


def _keys(part: object) -> list[str]:
    if isinstance(part, dict):
        here = list(part.get("properties", ()))
        return here + [key for value in part.values() for key in _keys(value)]
    return [key for value in part for key in _keys(value)] if isinstance(part, list) else []


def test_examples_in_the_documentation_are_read() -> None:
    text = (ROOT / "docs" / "formats.md").read_text()
    section = text[text.index("## Rules of the monitor") : text.index("## What you can rely on")]
    blocks = re.findall(r"```yaml\n(.*?)```", section, re.DOTALL)
    assert blocks
    for block in blocks:
        assert parse(block.encode()).rules


def test_the_schema_has_our_words() -> None:
    defs = load_schema("monitor")["$defs"]
    assert defs["rule"]["properties"]["decision"]["enum"] == list(Outcome)
    assert defs["rule"]["properties"]["remember"]["enum"] == list(Remember)
    assert defs["constraint"]["properties"]["op"]["enum"] == list(Operator)
    assert schema.problems({"version": "1.0"}, "monitor") == []
