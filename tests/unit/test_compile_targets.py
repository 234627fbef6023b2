"""The targets of the compiler as values: SeccompProfile objects, drop-ins, crun's annotation, and their findings."""

import base64
import json
import re
from dataclasses import replace

import pytest
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from policy_samples import NAMES, rules
from support import ROOT

from scmm_oci.compiled import bpf, limits
from scmm_oci.compiled.crun import annotation
from scmm_oci.compiled.filter import returned
from scmm_oci.compiled.profiles import oci_profile
from scmm_oci.compiled.simulate import simulate
from scmm_oci.compiled.spo import object_name, seccomp_profile
from scmm_oci.compiled.systemd import LAST_STEPS, drop_in
from scmm_oci.errors import BadInput
from scmm_oci.oci.seccomp import Condition, Flag, OciAction, Operator, Profile, Rule, parse, to_json
from scmm_oci.policy.answers import Answer, Answers, entries
from scmm_oci.policy.document import parse as read
from scmm_oci.policy.model import Action, ArgType, Constraint, FilterFlag, Policy, RunAs, Settings, SyscallRule
from scmm_oci.schema import problems
from scmm_oci.tables import errnos, groups, syscalls
from scmm_oci.tables.arch import Arch
from scmm_oci.tables.floor import Floor, floor
from scmm_oci.tables.probes import probes

NOTHING = Floor(frozenset(), ())
X86_64 = syscalls.numbers(Arch.X86_64)


def codes(findings):
    return [one.code for one in findings]


def policy(*rules, **settings):
    return Policy(settings=Settings(**settings), syscalls=tuple(SyscallRule(*rule) for rule in rules))


def flags(arg, *allowed):
    return Constraint(arg, ArgType.FLAGS, allowed=allowed)


def number(arg, *allowed):
    return Constraint(arg, ArgType.INTEGER, allowed=allowed)


# security-profiles-operator

MIXED = Profile(
    OciAction.ERRNO,
    1,
    ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86"),
    (Flag.LOG,),
    "/var/run/security-profiles-operator/agent.sock",
    "text",
    (
        Rule(("read", "write"), OciAction.ALLOW),
        Rule(("clone3",), OciAction.ERRNO, 38),
        Rule(("socket",), OciAction.ALLOW, None, (Condition(0, 1, Operator.EQ), Condition(1, 5, Operator.LE))),
        Rule(("ptrace",), OciAction.TRACE, 7, (Condition(0, 15, Operator.MASKED_EQ, 5),)),
    ),
)


def test_the_object_is_what_the_operator_reads():
    made = seccomp_profile(MIXED, name="web")
    assert made.findings == ()
    assert yaml.safe_load(made.yaml) == {
        "apiVersion": "security-profiles-operator.x-k8s.io/v1beta1",
        "kind": "SeccompProfile",
        "metadata": {"name": "web"},
        "spec": {
            "defaultAction": "SCMP_ACT_ERRNO",
            "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"],
            "flags": ["SECCOMP_FILTER_FLAG_LOG"],
            "listenerPath": "/var/run/security-profiles-operator/agent.sock",
            "listenerMetadata": "text",
            "syscalls": [
                {"names": ["read", "write"], "action": "SCMP_ACT_ALLOW"},
                {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
                {
                    "names": ["socket"],
                    "action": "SCMP_ACT_ALLOW",
                    "args": [
                        {"index": 0, "value": 1, "op": "SCMP_CMP_EQ"},
                        {"index": 1, "value": 5, "op": "SCMP_CMP_LE"},
                    ],
                },
                {
                    "names": ["ptrace"],
                    "action": "SCMP_ACT_TRACE",
                    "errnoRet": 7,
                    "args": [{"index": 0, "value": 15, "valueTwo": 5, "op": "SCMP_CMP_MASKED_EQ"}],
                },
            ],
        },
    }


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("web", "web"),
        ("web-1.example", "web-1.example"),
        ("My Web_Server", "my-web-server"),
        ("-.a.-b-..c-", "a.b.c"),
        ("Größe", "gr-e"),
        ("…", "policy"),
        ("", "policy"),
        ("a" * 252 + ".b", "a" * 252),
    ],
)
def test_names_of_objects(text, name):
    assert object_name(text) == name
    made = seccomp_profile(Profile(OciAction.ALLOW), name=text)
    assert (made.name, codes(made.findings)) == (name, [] if text == name else ["renamed"])


@given(st.text(max_size=300))
def test_any_text_becomes_a_name(text):
    name = object_name(text)
    assert object_name(name) == name
    document = yaml.safe_load(seccomp_profile(Profile(OciAction.ALLOW), name=text).yaml)
    assert document["metadata"]["name"] == name
    assert problems(document, "spo-seccompprofile") == []


def test_what_the_object_cannot_hold():
    def made(*args, action=OciAction.ERRNO, number=1, **rule):
        return seccomp_profile(Profile(action, number, syscalls=args), name="p")

    assert codes(made(number=13).findings) == ["default-number-not-held"]
    assert codes(made(action=OciAction.TRACE, number=5).findings) == ["default-number-not-held"]
    assert codes(made(number=None).findings) == codes(made(action=OciAction.KILL, number=None).findings) == []
    zero = made(Rule(("read",), OciAction.TRACE, 0))
    assert codes(zero.findings) == ["number-not-held"]
    assert b"errnoRet" not in zero.yaml
    listening = seccomp_profile(Profile(OciAction.ERRNO, listener_path="/run/agent"), name="p")
    assert codes(listening.findings) == ["listener-path"]
    # A mask's highest bit.
    high = made(Rule(("clone",), OciAction.ALLOW, None, (Condition(0, 2**64 - 4, Operator.MASKED_EQ, 0),)))
    assert codes(high.findings) == ["high-bit-not-held"]
    assert "clone" in high.findings[0].message
    assert yaml.safe_load(high.yaml)["spec"]["syscalls"][0]["args"][0]["value"] == 2**63 - 4
    # A number that the operator does not look at is no matter, and the largest that it holds is held.
    fine = made(Rule(("dup",), OciAction.ALLOW, None, (Condition(0, 2**63 - 1, Operator.LE, 2**64 - 1),)))
    assert fine.findings == ()
    # Whatever else would need the bit is refused, all at once.
    with pytest.raises(BadInput) as caught:
        made(
            Rule(("dup",), OciAction.ALLOW, None, (Condition(0, 2**63, Operator.EQ),)),
            Rule(("dup2",), OciAction.ALLOW, None, (Condition(1, 2**64 - 1, Operator.MASKED_EQ, 2**63),)),
        )
    assert [("dup" in str(one), "dup2" in str(one)) for one in caught.value.problems] == [(True, False), (True, True)]


def as_oci(made):
    """The object's specification as a profile of the runtime-spec."""
    spec = yaml.safe_load(made.yaml)["spec"]
    for rule in spec["syscalls"]:
        for arg in rule.get("args", ()):
            arg.setdefault("value", 0)
    return parse(json.dumps(spec).encode())


@settings(max_examples=60, deadline=None)
@given(rules(), st.sampled_from([Action.DENY, Action.ALLOW, Action.KILL]))
def test_objects_are_the_profiles(given_rules, default):
    try:
        profile = oci_profile(Policy(settings=Settings(default_action=default), syscalls=given_rules), NOTHING).profile
        made = seccomp_profile(profile, name="p")
    except BadInput:
        assume(False)
    document = yaml.safe_load(made.yaml)
    assert problems(document, "spo-seccompprofile") == []
    if not made.findings:
        assert as_oci(made).syscalls == profile.syscalls
        assert as_oci(made).default_action == profile.default_action


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"kind": "Pod"}, ".kind"),
        ({"metadata": {"name": "Web"}}, ".metadata.name"),
        ({"spec": {}}, ".spec"),
        ({"spec": {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1}}, ".spec.defaultErrnoRet"),
        ({"spec": {"defaultAction": "ERRNO"}}, ".spec.defaultAction"),
        ({"spec": {"defaultAction": "SCMP_ACT_LOG", "architectures": ["X86"]}}, ".spec.architectures[0]"),
    ],
)
def test_the_schema_refuses(change, place):
    document = yaml.safe_load(seccomp_profile(MIXED, name="web").yaml)
    assert problems(document, "spo-seccompprofile") == []
    assert [one.problem.place for one in problems(document | change, "spo-seccompprofile")] == [place]


def test_a_rule_of_the_object_is_checked():
    document = yaml.safe_load(seccomp_profile(MIXED, name="web").yaml)
    args = document["spec"]["syscalls"][3]["args"]
    args[0]["value"] = 2**63
    args[0]["index"] = 6
    assert [one.problem.place for one in problems(document, "spo-seccompprofile")] == [
        ".spec.syscalls[3].args[0].index",
        ".spec.syscalls[3].args[0].value",
    ]


# systemd


class Unit:
    """What systemd makes of a drop-in: written from systemd.exec(5) and config_parse_syscall_filter alone."""

    def __init__(self, text):
        self.settings = {}
        self.listed = {}
        self.allow_list = False
        self.logged = None
        for line in text.decode().splitlines():
            if not line or line.startswith(("#", "[")):
                continue
            key, _, value = line.partition("=")
            if key == "SystemCallFilter":
                self._filter(value)
            elif not value:
                self.settings[key] = []
            else:
                self.settings.setdefault(key, []).append(value)

    def _filter(self, value):
        if not value:
            self.listed, self.allow_list, self.seen = {}, False, False
            return
        invert = value.startswith("~")
        if not self.seen:
            self.seen, self.allow_list = True, not invert
            if not invert:
                self.listed = {one.name: None for one in groups.expand("@default")}
        for word in value.removeprefix("~").split():
            name, _, answer = word.partition(":")
            assert invert or not answer
            if invert != self.allow_list or (invert and answer):
                self.listed[name] = answer or None
            else:
                self.listed.pop(name, None)

    def of(self, name):
        """What a call gets: "allow", "log", "kill" or the number of an errno."""
        default = (self.settings.get("SystemCallErrorNumber") or ["kill"])[0]
        refused = default if default == "kill" else errnos.number(default)
        if name not in self.listed:
            return refused if self.allow_list else self._logged(name)
        answer = self.listed[name]
        if answer is None:
            return self._logged(name) if self.allow_list else refused
        return "kill" if answer == "kill" else errnos.number(answer)

    def _logged(self, name):
        words = " ".join(self.settings.get("SystemCallLog", [])).split()
        if not words:
            return "allow"
        listed = {word.removeprefix("~") for word in words}
        return "log" if (name in listed) != words[0].startswith("~") else "allow"

    def repeated(self):
        """Calls whose answer is the default's: libseccomp refuses such a rule, and systemd then the service."""
        default = (self.settings.get("SystemCallErrorNumber") or ["kill"])[0]
        return [name for name, answer in self.listed.items() if answer == default and self.allow_list]


def in_systemd(answer):
    match answer.action:
        case Action.ALLOW | Action.LOG:
            return answer.action.value
        case Action.DENY:
            return answer.number
        case Action.TRACE | Action.NOTIFY:
            return errnos.ERRNOS["ENOSYS"]
    return "kill"


EXAMPLE = """\
version: "1.0"
settings: {default_errno: EACCES, run_as: {uid: 33, gid: 34}}
capabilities: [CAP_NET_BIND_SERVICE]
syscalls:
  - {names: [read, write, execve, exit_group, rt_sigreturn, brk, mmap, munmap], action: allow}
  - {name: getrandom, action: log}
  - {name: keyctl, action: deny, errno: ENOSYS}
  - {name: bpf, action: kill}
  - {name: setns, action: deny, errno: "4000"}
  - {name: socket, action: allow, constraints: [{arg: "0", type: integer, allowed: [AF_UNIX, AF_INET6]}]}
"""


def test_a_drop_in():
    made = drop_in(read(EXAMPLE.encode()))
    unit = Unit(made.text)
    assert made.findings == ()
    assert (made.program, made.floor) == (10, 0)
    plain = {key: value for key, value in unit.settings.items() if key != "SystemCallFilter"}
    assert plain == {
        "User": ["33"],
        "Group": ["34"],
        "NoNewPrivileges": ["yes"],
        "CapabilityBoundingSet": ["CAP_NET_BIND_SERVICE"],
        "AmbientCapabilities": ["CAP_NET_BIND_SERVICE"],
        "SystemCallArchitectures": ["x86-64"],
        "SystemCallErrorNumber": ["EACCES"],
        "SystemCallLog": ["getrandom"],
        "RestrictAddressFamilies": ["AF_UNIX AF_INET6"],
    }
    expected = {"read": "allow", "getrandom": "log", "keyctl": 38, "bpf": "kill", "setns": 4000, "socket": "allow"}
    assert {name: unit.of(name) for name in expected} == expected
    # In systemd's group of what is always allowed, but not in the policy.
    assert unit.of("getpid") == unit.of("mount") == errnos.ERRNOS["EACCES"]
    assert unit.of("clone3") == errnos.ERRNOS["ENOSYS"]
    assert all(len(line) <= 101 for line in made.text.decode().splitlines())


def test_root_and_capabilities():
    def lines(*uid, capabilities=None):
        run_as = RunAs(*uid) if uid else None
        made = drop_in(
            Policy(
                settings=Settings(run_as=run_as),
                syscalls=(SyscallRule("execve", Action.ALLOW),),
                capabilities=capabilities,
            )
        )
        wanted = ("User", "Group", "NoNew", "Capability", "Ambient")
        return [line for line in made.text.decode().splitlines() if line.startswith(wanted)]

    assert lines() == []
    assert lines(0) == ["User=0"]
    assert lines(7) == ["User=7", "NoNewPrivileges=yes"]
    assert lines(None, 7) == ["Group=7"]
    assert lines(capabilities=()) == ["CapabilityBoundingSet="]
    assert lines(0, capabilities=("CAP_CHOWN",)) == [
        "User=0",
        "CapabilityBoundingSet=",
        "CapabilityBoundingSet=CAP_CHOWN",
    ]
    assert lines(7, capabilities=())[2:] == ["CapabilityBoundingSet=", "AmbientCapabilities="]


def test_what_a_drop_in_cannot_hold():
    run = ("execve", Action.ALLOW)

    def told(*rules, **settings):
        return drop_in(policy(run, ("write", Action.ALLOW), *rules, *STEPS, **settings)).findings

    assert told() == ()
    opened = told(("clone", Action.ALLOW, None, (flags(0, "CLONE_VM"),)))
    assert codes(opened) == ["arguments-not-held"] and "allows clone with any" in opened[0].message
    dropped = told(("dup", Action.ALLOW), ("dup", Action.DENY, None, (number(0, "7"),)))
    assert codes(dropped) == ["arguments-not-held"] and "no rules with constraints for dup" in dropped[0].message
    for action in (Action.TRAP, Action.KILL_THREAD, Action.TRACE, Action.NOTIFY):
        (found,) = told(("dup", action))
        assert found.code == "action-not-held" and "dup" in found.message
    assert codes(told(default_action=Action.TRAP)) == ["action-not-held"]
    assert codes(told(default_action=Action.KILL)) == []
    assert codes(told(log_denials=True)) == codes(told(flags=(FilterFlag.TSYNC,))) == ["flags-not-held"]
    assert codes(told(bad_arch_action=Action.DENY)) == ["bad-arch-not-held"]
    assert codes(told(default_action=Action.LOG, log_denials=False)) == []
    whole = read(b'{version: "1.0", syscalls: [{name: execve, action: allow}], scopes: [signal], network: {}}')
    assert any(one.code == "not-in-unit" and "network, scopes" in one.message for one in drop_in(whole).findings)
    assert {"arguments-not-held", "action-not-held", "flags-not-held", "bad-arch-not-held", "not-in-unit"} < (
        limits.CANNOT_HOLD
    )


STEPS = tuple((name, Action.ALLOW) for name in sorted(LAST_STEPS & X86_64.keys() - {"execve", "write"}))


def test_what_systemd_needs_is_allowed_or_told():
    bare = drop_in(policy(("execve", Action.ALLOW)))
    (finding,) = bare.findings
    assert finding.code == "launcher-needs" and "brk, mmap, munmap, write" in finding.message
    assert bare.floor == 4
    assert {Unit(bare.text).of(name) for name in LAST_STEPS - {"mmap2"}} == {"allow"}
    refused = drop_in(policy(("execve", Action.ALLOW), *STEPS, ("write", Action.DENY)))
    assert codes(refused.findings) == ["floor-denied"]
    assert Unit(refused.text).of("write") == 1
    # With a default that lets pass, nothing is to be added.
    assert drop_in(policy(("bpf", Action.DENY), default_action=Action.ALLOW)).findings == ()


def test_families_of_sockets():
    def restricted(*constraints, plain=None, arches=(Arch.X86_64,), action=Action.ALLOW):
        given_rules = [("socket", action, None, tuple(one)) for one in constraints]
        if plain is not None:
            given_rules.append(("socket", plain))
        made = drop_in(
            policy(
                *given_rules,
                ("execve", Action.ALLOW),
                ("write", Action.ALLOW),
                *STEPS,
                arch=arches[0],
                architectures=arches,
            )
        )
        return Unit(made.text).settings.get("RestrictAddressFamilies"), codes(made.findings)

    unix, inet = number(0, "AF_UNIX"), number(0, "AF_INET")
    assert restricted([unix], [inet]) == (["AF_UNIX AF_INET"], [])
    # More than the family is looked at: it is held, and the rest told.
    assert restricted([unix, number(1, "SOCK_STREAM")]) == (["AF_UNIX"], ["arguments-not-held"])
    # Not where another family may pass, or where the ABI has socketcall.
    assert restricted([number(1, "SOCK_STREAM")], [inet]) == (None, ["arguments-not-held"])
    assert restricted([unix], plain=Action.ALLOW, action=Action.DENY) == (None, ["arguments-not-held"])
    assert restricted([unix], arches=(Arch.X86_64, Arch.X86)) == (["AF_UNIX"], ["arguments-not-held"])
    assert restricted([unix], arches=(Arch.S390X,))[0] is None
    assert restricted([Constraint(0, ArgType.INTEGER, denied=("AF_PACKET",))])[0] is None


def test_untestable_constraints_are_refused_all_at_once():
    path = Constraint(1, ArgType.PATH, allowed=("/etc/passwd",))
    with pytest.raises(BadInput) as caught:
        drop_in(policy(("openat", Action.ALLOW, None, (path,)), ("mkdirat", Action.DENY, None, (path,))))
    assert [one.place for one in caught.value.problems] == ["rules for mkdirat", "rules for openat"]


def test_a_drop_in_cannot_allow_nothing():
    """The first list decides what systemd does with all other calls: one of refusals would allow them."""
    nothing = Policy(syscalls=(SyscallRule("@language-runtime", Action.NOTIFY),))
    with pytest.raises(BadInput, match="allows no call"):
        drop_in(nothing)
    one = replace(nothing, syscalls=(*nothing.syscalls, SyscallRule("getpid", Action.ALLOW)))
    unit = Unit(drop_in(one).text)
    assert (unit.of("getpid"), unit.of("_sysctl")) == ("allow", 1)


@settings(max_examples=150, deadline=None)
@given(
    rules(),
    st.sampled_from([Action.DENY, Action.ALLOW, Action.KILL, Action.LOG, Action.TRAP]),
    st.sampled_from(["EPERM", "ENOSYS", "EACCES"]),
)
def test_systemd_answers_as_the_policy(given_rules, default, errno):
    """Each call gets what the policy answers, or, where arguments decide, nothing more restrictive than that."""
    whole = Policy(settings=Settings(default_action=default, default_errno=errno), syscalls=given_rules)
    try:
        made = drop_in(whole)
    except BadInput:
        assume(False)
    unit = Unit(made.text)
    assert unit.repeated() == []
    reference, spoken = Answers(whole, Arch.X86_64), entries(whole)
    added = LAST_STEPS - spoken.keys() if not default.passes else frozenset()
    quiet = any(one.code == "action-not-held" and "cannot log every" in one.message for one in made.findings)
    for name in NAMES:
        expected = in_systemd(reference.fallback(name))
        if name in spoken:
            answers = [Answer.of(rule, whole.settings) for rule in spoken[name].constrained]
            best = min([reference.fallback(name), *answers])
            if best.action.passes:
                expected = in_systemd(best)
        elif name in added:
            expected = "allow"
        elif default is Action.DENY and name in probes():
            expected = errnos.ERRNOS["ENOSYS"]
        if quiet and expected == "log":
            expected = "allow"
        assert unit.of(name) == expected, name
    assert drop_in(Policy(settings=whole.settings, syscalls=given_rules[::-1])).text == made.text


# crun


@settings(max_examples=40, deadline=None)
@given(rules(), st.sampled_from([Action.DENY, Action.ALLOW, Action.KILL]))
def test_the_annotation_is_the_profiles_filter(given_rules, default):
    try:
        profile = oci_profile(Policy(settings=Settings(default_action=default), syscalls=given_rules), NOTHING).profile
    except BadInput:
        assume(False)
    data, program = annotation(profile)
    assert data.endswith(b"\n") and bpf.decode(base64.b64decode(data, validate=False)) == program
    assert bpf.problems(program) == []
    plain = {name: rule for rule in reversed(profile.syscalls) if not rule.args for name in rule.names}
    limited = {name for rule in profile.syscalls if rule.args for name in rule.names}
    meant = {
        OciAction.ALLOW: bpf.RET_ALLOW,
        OciAction.LOG: bpf.RET_LOG,
        OciAction.TRAP: bpf.RET_TRAP,
        OciAction.NOTIFY: bpf.RET_USER_NOTIF,
        OciAction.KILL_PROCESS: bpf.RET_KILL_PROCESS,
        OciAction.KILL_THREAD: bpf.RET_KILL_THREAD,
    }
    for name, nr in X86_64.items():
        if name in limited:
            continue
        rule = plain.get(name)
        action = profile.default_action if rule is None else rule.action
        errno = profile.default_errno if rule is None else rule.errno
        base = {OciAction.ERRNO: bpf.RET_ERRNO, OciAction.TRACE: bpf.RET_TRACE}.get(action)
        expected = meant[action] if base is None else base | (errno or 0)
        assert simulate(program, bpf.Call(nr, Arch.X86_64.audit)).value == expected, name


def test_the_annotation_answers_other_machines_as_told():
    profile = oci_profile(policy(("read", Action.ALLOW)), floor("crun", None, None)).profile
    foreign = bpf.Call(0, Arch.AARCH64.audit)
    assert simulate(annotation(profile)[1], foreign).value == bpf.RET_KILL_THREAD
    denied = returned(Answer(0, 1, Action.DENY))
    assert simulate(annotation(profile, bad_arch=denied)[1], foreign).value == bpf.RET_ERRNO | 1
    # Of a machine with the other byte order.
    big = oci_profile(policy(("read", Action.ALLOW), arch=Arch.S390X, architectures=(Arch.S390X,)), NOTHING).profile
    data, program = annotation(big)
    assert bpf.decode(base64.b64decode(data), "big") == program != bpf.decode(base64.b64decode(data), "little")


# KEP-6061


def test_what_kubelets_refuse():
    assert limits.kep6061(MIXED)[0].message.endswith("it has a listener")
    notifying = Profile(OciAction.ERRNO, syscalls=(Rule(("bpf",), OciAction.NOTIFY),))
    (finding,) = limits.kep6061(notifying)
    assert (finding.code, "notify" in finding.message) == ("kep-6061", True)
    assert limits.kep6061(Profile(OciAction.ERRNO, syscalls=(Rule(("bpf",), OciAction.ALLOW),))) == []
    # The other limits are errors already.
    many = tuple(Rule((name,), OciAction.ERRNO, index + 2) for index, name in enumerate(NAMES[:129]))
    with pytest.raises(BadInput, match="128 is the most"):
        to_json(Profile(OciAction.ERRNO, syscalls=many))


def test_the_documentation_lists_what_is_not_held():
    text = (ROOT / "docs/formats.md").read_text()
    section = text.split("### What a target cannot hold\n")[1].split("`kep-6061`")[0]
    listed = set(re.findall(r"`([a-z]+(?:-[a-z]+)+)`", section))
    assert listed == limits.CANNOT_HOLD
