import copy
import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scmm_oci.errors import BadInput, Failure
from scmm_oci.policy.yaml import edit, layout
from scmm_oci.policy.yaml.edit import update
from scmm_oci.policy.yaml.matching import canonical, normal, plan
from scmm_oci.policy.yaml.source import load
from scmm_oci.policy.yaml.text import Flow, FlowList, dump

POLICY = """\
# My policy, é
# by hand

version: "1.0"   # always
settings:
    default_action:   deny
    arch: 'x86_64'
# Calls
syscalls:
    # Reading
    - name: read   # hot
      action: allow
      # why deny
      errno: 'EPERM'
      # trailing of read

    # stands alone

    # Writing
    - {action: allow, name: write, origin: {count: 0x10}} # w
    - name: openat
      action: allow
      constraints: [{arg: "0", type: flags}]
filesystem:
  rules:
  - path: /tmp
    access: [
      read_file,  # r
      write_file, # w
      read_dir   # d
    ]
  # var
  - path: "/var"
    access: [ read_file, read_dir ]
capabilities: [ CAP_CHOWN, CAP_FOWNER ]
# the end
"""


def changed(text, change):
    """The text after a change of its values, which may also be given anew."""
    wanted = copy.deepcopy(load(text, source="").value)
    wanted = change(wanted) or wanted
    result = update(text.encode(), wanted).decode()
    assert canonical(normal(load(result, source="").value)) == canonical(normal(wanted))
    return result


def assert_changes(text, change, *replacements):
    expected = text
    for before, after in replacements:
        assert expected.count(before) == 1, before
        expected = expected.replace(before, after)
    assert changed(text, change) == expected


def test_nothing_changed():
    for text in (POLICY, POLICY.replace("\n", "\r\n"), "\ufeff" + POLICY, "a: {x: 0x10}\n...\n", "---\na: 1"):
        assert update(text.encode(), load(text, source="").value) == text.encode()
    # Other forms of the same values, and rules in another order, are no change.
    value = load(POLICY, source="").value
    value["syscalls"] = tuple(reversed(value["syscalls"]))
    value["capabilities"] = FlowList(value["capabilities"])
    assert update(POLICY.encode(), Flow(value)) == POLICY.encode()
    # The order of other lists is one, and true is not 1.
    assert b"[read_dir, read_file]" in update(b"access: [read_file, read_dir]", {"access": ["read_dir", "read_file"]})
    assert update(b"a: 1 # x", {"a": True}) == b"a: true # x"


def test_values_change_in_place():
    def change(d):
        d["syscalls"][0]["action"] = "log"
        d["syscalls"][1]["origin"]["count"] = 17
        d["settings"]["default_action"] = "yes"
        d["filesystem"]["rules"][1]["access"][1] = "execute"

    assert_changes(
        POLICY,
        change,
        ("action: allow\n      # why", "action: log\n      # why"),
        ("0x10", "17"),
        ("  deny\n", '  "yes"\n'),
        ("[ read_file, read_dir ]", "[ read_file, execute ]"),
    )


def test_rules_go_with_their_comments():
    def change(d):
        del d["syscalls"][:2]
        del d["filesystem"]["rules"][1]

    assert_changes(
        POLICY,
        change,
        (POLICY[POLICY.index("    # Reading") : POLICY.index("\n    # stands")], ""),
        (POLICY[POLICY.index("    # Writing") : POLICY.index("    - name: openat")], ""),
        (POLICY[POLICY.index("  # var") : POLICY.index("capabilities")], ""),
    )


def test_new_rules_and_keys():
    def change(d):
        d["syscalls"].insert(1, Flow(name="stat", action="allow"))
        d["syscalls"][0]["origin"] = {"count": 1}
        d["filesystem"]["rules"].append(Flow(path="/usr", access=["x"]))
        d["capabilities"].append("CAP_DAC_OVERRIDE")
        d["network"] = {"outbound": [Flow(protocol="tcp")]}
        d["syscalls"][2]["errno"] = "EPERM"

    assert_changes(
        POLICY,
        change,
        # The calls are not sorted: as in the document. Paths and capabilities are: where they sort.
        ("errno: 'EPERM'\n", "errno: 'EPERM'\n      origin:\n        count: 1\n"),
        ("\n    # stands", "    - {name: stat, action: allow}\n\n    # stands"),
        ("count: 0x10}}", "count: 0x10}, errno: EPERM}"),
        ("  # var\n", "  - {path: /usr, access: [x]}\n  # var\n"),
        ("CAP_CHOWN,", "CAP_CHOWN, CAP_DAC_OVERRIDE,"),
        ("FOWNER ]\n", "FOWNER ]\nnetwork:\n  outbound:\n    - {protocol: tcp}\n"),
    )  # fmt: skip


def test_lists_on_several_lines():
    def change(d):
        d["filesystem"]["rules"][0]["access"] = ["make_dir", "read_file", "read_dir", "refer", "execute"]

    assert_changes(
        POLICY,
        change,
        ("      read_file,", "      make_dir,\n      read_file,"),
        ("      write_file, # w\n", ""),
        ("read_dir   # d\n", "read_dir,   # d\n      refer,\n      execute,\n"),
    )
    shared = "a: [x, y,\n    z, w]\n"
    assert changed(shared, lambda d: {"a": ["x", "z"]}) == "a: [x, \n    z, ]\n"
    assert changed(shared, lambda d: {"a": ["k", "x", "y", "z", "m", "w", "o"]}) == "a: [k, x, y,\n    z, m, w, o]\n"


def test_whole_values():
    def change(d):
        d["syscalls"] = []
        d["filesystem"] = None
        d["settings"] = "none"
        d["capabilities"] = {"a": [Flow(b=1)]}
        d["version"] = ["1"]

    assert (
        changed(POLICY, change)
        == """\
# My policy, é
# by hand

version:   # always
  - "1"
settings: none
# Calls
syscalls: []
filesystem: null
capabilities:
  a:
    - {b: 1}
# the end
"""
    )
    assert (
        changed("a: # hm\n  - 1\nb:\nc: ''\n", lambda d: {"a": 2, "b": 3, "c": [4]}) == "a: 2 # hm\nb: 3\nc:\n  - 4\n"
    )
    assert changed("a: # hm\n  - 1\nb: |\n  # x\n\nc: 1", lambda d: {"a": {"b": 1}, "b": "", "c": 2}) == (
        'a: # hm\n  b: 1\nb: ""\n\nc: 2'
    )


def test_first_keys_behind_a_dash():
    text = "a:\n  - x: 1 # one\n    # of y\n    y: 2\n    z: 3"
    assert changed(text, lambda d: d["a"][0].pop("x") and None) == "a:\n  -\n    # of y\n    y: 2\n    z: 3"
    assert changed(text, lambda d: {"a": [{"z": 3}]}) == "a:\n  - z: 3"
    assert changed(text, lambda d: {"a": [{"n": 0, "x": 1, "y": 2, "z": 3}]}) == text.replace("- x", '- "n": 0\n    x')
    assert changed(text, lambda d: {"a": [{"k": 0, "z": 3}]}) == "a:\n  - k: 0\n    z: 3"
    assert changed(text, lambda d: {"a": [{"k": 0, "y": 2}]}) == "a:\n  - k: 0\n    # of y\n    y: 2\n"
    assert changed(text, lambda d: {"a": [{"k": 0}]}) == "a:\n  - k: 0"


def test_ends_and_beginnings_of_files():
    assert changed("a:\r\n  - x: 1\r\n    y: 2", lambda d: d["a"].append(1)) == "a:\r\n  - x: 1\r\n    y: 2\r\n  - 1"
    assert changed("# only\n", lambda d: {"a": 1}) == "# only\na: 1\n"
    assert changed("", lambda d: {"a": 1}) == "a: 1\n"
    assert changed("# x\n{} # y\n", lambda d: {"a": 1}) == "# x\na: 1 # y\n"
    assert update(b"# x\na: 1 # y\n", {}) == b"# x\n{} # y\n"
    assert update(b"\xef\xbb\xbf{a: 1}", {"a": 1, "b": [1]}) == b"\xef\xbb\xbf{a: 1, b: [1]}"
    assert update(b"\xef\xbb\xbf{a: 1}", {"b": [1]}) == b"\xef\xbb\xbf{b: [1]}"
    assert changed("a: 1\n...\n", lambda d: {"a": 1, "b": 2}) == "a: 1\nb: 2\n...\n"
    assert changed("? a\n: [b]\n", lambda d: {"c": 1}) == "c: 1\n"


def test_lists_that_are_sorted_stay_so_whatever_the_order_of_the_document():
    text = "syscalls:\n  - {name: a}\n  # of c\n  - {name: c}\n  - {name: e}\n"
    rules = [Flow(name=name) for name in "fedcba"]
    assert changed(text, lambda d: {"syscalls": rules}).splitlines() == (
        [
            "syscalls:",
            "  - {name: a}",
            "  - {name: b}",
            "  # of c",
            "  - {name: c}",
            "  - {name: d}",
            "  - {name: e}",
            "  - {name: f}",
        ]
    )
    unsorted = "syscalls:\n  - {name: c}\n  - {name: a}\n"
    assert changed(unsorted, lambda d: {"syscalls": [Flow(name=x) for x in "bca"]}) == unsorted.replace(
        "s:\n", "s:\n  - {name: b}\n"
    )
    assert changed(unsorted, lambda d: {"syscalls": [Flow(name=x) for x in "bac"]}) == unsorted + "  - {name: b}\n"


def test_rules_of_one_name_keep_the_order_that_is_wanted():
    text = "syscalls:\n  - {name: a, constraints: [1]}\n  - {name: a, constraints: [2]}\n"
    wanted = [Flow(name="a", constraints=[value]) for value in (3, 2, 4, 1)]
    assert load(changed(text, lambda d: {"syscalls": wanted}), source="").value["syscalls"] == wanted


def test_what_cannot_be_done_fails(monkeypatch):
    monkeypatch.setattr(edit._Editor, "result", lambda self: self._text)
    with pytest.raises(Failure, match="p: cannot be changed in place"):
        update(b"a: 1", {"a": 2}, source="p")
    monkeypatch.setattr(edit._Editor, "result", lambda self: "a: [")
    with pytest.raises(Failure, match="p: cannot be changed in place"):
        update(b"a: 1", {"a": 2}, source="p")


@pytest.mark.parametrize("text", [b"a: [", b"\xff", b"a: &x 1", b"a: 1\na: 2"])
def test_what_is_no_yaml(text):
    with pytest.raises(BadInput, match="p: "):
        update(text, {"a": 1}, source="p")


def test_other_types_are_not_written():
    with pytest.raises(TypeError):
        update(b"a: 1", {"a": object()})


# ---- laws

words = st.sampled_from(["read", "write", "openat", "close", "mmap", "stat", "no", "12", "a:b"])
numbers = st.integers(0, 300)
access = st.lists(st.sampled_from(["read_file", "write_file", "read_dir", "execute", "refer"]), unique=True, max_size=4)
syscall_rules = st.fixed_dictionaries(
    {"name": words, "action": st.sampled_from(["allow", "deny"])},
    optional={
        "errno": st.sampled_from(["EPERM", "ENOSYS"]),
        "constraints": st.lists(st.fixed_dictionaries({"arg": numbers.map(str)}), min_size=1, max_size=2),
        "origin": st.fixed_dictionaries({"count": numbers, "phases": st.lists(words, max_size=2)}),
    },
)
path_rules = st.fixed_dictionaries({"path": words.map("/{}".format), "access": access})
network_rules = st.fixed_dictionaries(
    {"protocol": st.sampled_from(["tcp", "udp"])}, optional={"ports": st.lists(numbers, max_size=2)}
)


def lists(rules):
    return st.lists(rules, max_size=5, unique_by=canonical)


documents = st.fixed_dictionaries(
    {"version": st.just("1.0")},
    optional={
        "settings": st.fixed_dictionaries(
            {}, optional={"arch": words, "log": st.booleans(), "run_as": st.none() | numbers}
        ),
        "syscalls": lists(syscall_rules),
        "capabilities": st.lists(words, unique=True, max_size=5),
        "filesystem": st.fixed_dictionaries({"rules": lists(path_rules)}),
        "network": st.fixed_dictionaries(
            {}, optional={"outbound": lists(network_rules), "inbound": lists(network_rules)}
        ),
        "other": st.recursive(
            words | numbers | st.none(),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
        ),
    },
)
RULES = [("syscalls",), ("capabilities",), ("filesystem", "rules"), ("network", "outbound"), ("network", "inbound")]


def at(document, path):
    for step in path:
        document = document.get(step, {}) if isinstance(document, dict) else {}
    return document if isinstance(document, list) else []


def marked(value, chance, path=()):
    """The document with some of its inner mappings and lists on one line."""
    if not isinstance(value, dict | list) or not value:
        return value
    flow = chance.random() < 0.4 and path not in RULES and path not in [rule[:-1] for rule in RULES]
    if isinstance(value, dict):
        return (Flow if flow else dict)((key, marked(item, chance, (*path, key))) for key, item in value.items())
    return (FlowList if flow else list)(marked(item, chance, (*path, index)) for index, item in enumerate(value))


def with_comments(document, chance):
    """A text of the document as people could have written it, with a comment above and behind each rule."""
    rules = [(*path, index) for path in RULES for index in range(len(at(document, path)))]
    comments = {path: f"above {number};" for number, path in enumerate(rules)}
    lines, alone = [], 0
    for line in dump(marked(document, chance), comments=comments).decode().splitlines():
        if lines and lines[-1].lstrip().startswith("# above"):
            line += f"   # behind {lines[-1].split()[-1]}"
        elif line.lstrip().startswith("# above") and chance.random() < 0.3:
            alone += 1
            lines += ["", f"{line[: len(line) - len(line.lstrip())]}# alone {alone};", ""]
        lines.append(line)
    end = chance.choice(["\n", "\r\n"])
    return end.join(lines) + chance.choice(["", end, end * 3]), rules, alone


def edited(document, other, chance):
    """The document with some of its rules gone, changed, moved, and some of the other's added."""
    result = copy.deepcopy(document)
    for key in other:
        if chance.random() < 0.3:
            result[key] = copy.deepcopy(other[key])
    for key in [key for key in result if key != "version"]:
        if chance.random() < 0.1:
            del result[key]
    for path in RULES:
        rules = at(result, path)
        rules[:] = [rule for rule in rules if chance.random() < 0.8]
        for rule in rules:
            if isinstance(rule, dict) and chance.random() < 0.3:
                rule.pop(chance.choice(list(rule)[1:] or ["none"]), None)
            if isinstance(rule, dict) and chance.random() < 0.3:
                rule["action"] = "log"
        for rule in copy.deepcopy(at(other, path)):
            if chance.random() < 0.5 and canonical(rule) not in map(canonical, rules):
                rules.insert(chance.randint(0, len(rules)), rule)
        if chance.random() < 0.2:
            chance.shuffle(rules)
    return result


@given(documents, documents, st.randoms(use_true_random=False))
def test_what_is_wanted_is_held_and_comments_stay_where_they_belong(document, other, chance):
    text, rules, alone = with_comments(document, chance)
    assert load(text, source="").value == document
    wanted = edited(document, other, chance)
    result = update(text.encode(), wanted).decode()
    held = load(result, source="")
    assert canonical(normal(held.value)) == canonical(normal(wanted))
    assert update(result.encode(), wanted).decode() == result
    lines = result.splitlines()
    places = {}
    for path in RULES:
        node = layout.read(held)
        for step in path:
            node = next((entry.node for entry in node.entries if entry.key == step), None) if node else None
        for entry in node.entries if node and isinstance(node.value, list) else ():
            places[result.count("\n", 0, entry.start)] = (path, entry.node.value)
    for number, (*way, index) in enumerate(rules):
        path = tuple(way)
        rule = at(document, path)[index]
        alike = [one for one in at(wanted, path) if about(one) == about(rule)]
        if max(len(alike), len([one for one in at(document, path) if about(one) == about(rule)])) > 1:
            continue  # rules of one name have an order, so they may have to move
        if alike and canonical(alike[0]) == canonical(rule):
            above = next(i for i, line in enumerate(lines) if line.strip() == f"# above {number};")
            assert lines[above + 1].endswith(f"# behind {number};")
            assert places[above + 1] == (path, rule)
        elif alike:
            assert f"# above {number};" in result
        else:
            assert f"# above {number};" not in result
            assert f"# behind {number};" not in result
    if all(at(wanted, path) for path in RULES if at(document, path)):
        assert all(f"# alone {number};" in result for number in range(1, alone + 1))


def about(rule):
    heads = ("name", "path", "protocol", "ports")
    return canonical({key: rule.get(key) for key in heads} if isinstance(rule, dict) else rule)


@given(st.lists(numbers, max_size=6), st.lists(numbers, max_size=6))
def test_plans_of_lists_give_what_is_wanted(old, wanted):
    for path in (("ports",), ("capabilities",)):
        steps = plan([str(one) for one in old], [str(one) for one in wanted], path)
        kept = [step.before for step in steps if step.before is not None]
        assert kept == sorted(set(kept))
        assert all(str(old[step.before]) == step.value for step in steps if step.before is not None)
        values = [step.value for step in steps]
        if path == ("ports",):
            assert values == [str(one) for one in wanted]
        else:
            assert sorted(values) == sorted(map(str, wanted))


def test_twenty_thousand_rules():
    rules = [Flow(path=f"/srv/{i:06}", access=FlowList(["read_file"])) for i in range(20_000)]
    text = dump({"filesystem": {"rules": rules}}, header="large")
    wanted = copy.deepcopy(rules)
    random.Random(1).shuffle(wanted)
    gone, other = wanted.pop(), wanted[7]
    other["access"].append("execute")
    began = time.process_time()
    result = update(text, {"filesystem": {"rules": wanted}})
    assert time.process_time() - began < 30
    assert result == text.replace(f"    - {{path: {gone['path']}, access: [read_file]}}\n".encode(), b"").replace(
        f"{{path: {other['path']}, access: [read_file]}}".encode(),
        f"{{path: {other['path']}, access: [read_file, execute]}}".encode(),
    )
