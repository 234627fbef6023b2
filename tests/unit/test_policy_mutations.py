"""Documents that were changed at random: never a crash, never a hang, and never a change that passes unsaid.

What "unsaid" means: a mutated text either is refused, with problems only, each with a place; or it is YAML of the same
plain document as before (comments, layout); or its policy differs from the original's, so that whoever reads, diffs or
compiles it sees the change; or the plain documents differ in ways that the format says mean the same (`_normal`).
An unknown key, name, right, flag, action or architecture is refused with the line and column where it stands.
"""

import copy
import os
import random
import re
import time

import pytest
import yaml
from samples import NGINX, as_bytes

from scmm_oci.capture import file
from scmm_oci.errors import BadInput
from scmm_oci.oci import rich, seccomp
from scmm_oci.policy import document
from scmm_oci.policy.infer import infer
from scmm_oci.policy.yaml import source
from scmm_oci.schema import _validator
from scmm_oci.tables import vocabulary
from scmm_oci.tables.arch import Arch

SOAK = bool(os.environ.get("SCMM_SOAK"))
COUNT = 10_000 if SOAK else 1800
LONGEST_S = 5

FULL = """\
# A policy with all that there is.
version: "1.0"
metadata: {name: web, description: "a: b", generated_from: nginx, target_executable: nginx, generated_at: "2026"}
settings:
  default_action: deny   # the rest
  default_errno: EACCES
  log_denials: true
  arch: x86_64
  architectures: [x86_64, x86]
  bad_arch_action: kill
  flags: [tsync]
  listener: {path: /run/x.sock, metadata: m}
  run_as: {uid: 1000, gid: 1000}
syscalls:
  - {name: read, action: allow, origin: {count: 3, phases: [app], sessions: [main], programs: [/bin/a]}}
  - name: openat
    action: allow
    constraints:
      - {arg: "2", type: flags, allowed: [O_RDONLY, O_CLOEXEC], denied: [O_TMPFILE]}
  - name: socket
    action: deny
    errno: EAFNOSUPPORT
    constraints:
      - {arg: "0", type: integer, match: [{pattern: "16", type: exact}]}
      - {arg: "1", type: integer, op: masked_eq, value: 2, mask: 0xf}
  - {name: "@process", action: log}
  - {names: [brk, munmap], action: allow, comment: memory, excludes: {capabilities: [CAP_SYS_ADMIN]}}
  - {name: ptrace, action: trace, message: 7, includes: {min_kernel: "4.8", architectures: [amd64]}}
capabilities: [CAP_NET_BIND_SERVICE, CHOWN]
filesystem:
  rules:
    - {path: /etc/ssl/**, access: [read_file, read_dir]}
    - {path: "/var/log/*.log", access: [write_file, truncate], on_missing: precreate}
    - {path: "${HOME}/.cache", access: [remove, make_reg], on_missing: parentdir}
network:
  allow_loopback: true
  outbound:
    - {protocol: tcp, addresses: [10.0.0.0/8, any], ports: [80, 8000-8080], observed_addresses: [10.0.0.1]}
  inbound:
    - {protocol: udp, ports: [53]}
scopes: [signal]
transitions:
  start: [read]
  read: [read, openat]
  openat:write: [socket:inet, "mprotect:exec"]
  start:exec > read: [openat]
serving:
  from: [listen, "@timer"]
  transitions:
    listen: [accept4]
watch: kill
"""


def inferred():
    return document.dump(infer([file.parse(as_bytes(NGINX))]).policy).decode()


def originals():
    return [FULL, inferred()]


def test_originals_are_policies():
    for text in originals():
        document.parse(text.encode())


def _loaded(text):
    return source.load(text, source="").value


def _normal(value, key=""):
    """A profile's document less the lists and objects that hold nothing."""
    if isinstance(value, dict):
        return {name: _normal(item, name) for name, item in value.items() if item not in ({}, [])}
    if isinstance(value, list):
        some = [_normal(item, key) for item in value]
        return sorted(some, key=str) if key in ("architectures", "flags") else some
    return value


def judge(text, original_text):
    """`refused`, `same` or `differs`; fails on anything else. The text is bytes."""
    start = time.monotonic()
    try:
        policy = document.parse(text)
    except BadInput as error:
        assert all(str(problem) for problem in error.problems)
        assert all(problem.place for problem in error.problems), str(error)
        result = "refused"
    else:
        # What is read can be written, and means the same.
        again = document.parse(document.dump(policy))
        assert again == policy
        if policy != document.parse(original_text):
            result = "differs"
        else:
            result = "same"
            before, after = _loaded(original_text.decode()), _loaded(text.decode())
            if before != after:
                _proven(before, after)
    assert time.monotonic() - start < LONGEST_S
    return result


# Keys whose value is said twice, or is what it would be without them.
_DEFAULTS = {
    ("settings", "default_action"): "deny",
    ("settings", "default_errno"): "EPERM",
    ("settings", "log_denials"): False,
    ("settings", "arch"): "x86_64",
    ("settings", "bad_arch_action"): "kill",
    ("network", "allow_loopback"): False,
}
_RULE_DEFAULTS = {
    "on_missing": "skip",
    "type": "exact",
    "denied": 0,
    "count": 0,
    "phases": ["app"],
    "sessions": ["main"],
    "comment": "",
    "protocol": "tcp",
}
# Sections and settings that say something even if nothing is in them.
_SAYING = ("capabilities", "scopes", "filesystem", "network", "transitions", "serving", "flags", "run_as")


def _plain(value, path=()):
    if isinstance(value, dict):
        result = {}
        for key, item in value.items():
            made = _plain(item, (*path, key))
            if (*path, key) in _DEFAULTS and made == _DEFAULTS[(*path, key)]:
                continue
            if key in _RULE_DEFAULTS and made == _RULE_DEFAULTS[key] and len(path) > 1:
                continue
            if made == [] or made == {}:
                if key in _SAYING:
                    result[key] = made
                continue
            result[key] = made
        if path[:1] == ("metadata",):
            result = {key: item for key, item in result.items() if item != ""}
        return result
    if isinstance(value, list):
        made = [_plain(item, (*path, index)) for index, item in enumerate(value)]
        if path and path[-1] == "architectures" and path[0] == "settings":
            return sorted({*made, "x86_64"})
        if path and path[-1] == "capabilities":
            words = [word.upper().removeprefix("CAP_") for word in made]
            return list(dict.fromkeys(words))
        if path and path[-1] == "ports":
            return [[int(part) for part in (f"{one}-{one}" if "-" not in str(one) else one).split("-")] for one in made]
        return made
    return value


def _proven(before, after):
    """The two plain documents are the same by what docs/formats.md says of defaults and spelling."""
    first, second = _plain(before), _plain(after)
    for one in (first, second):
        rules = []
        for rule in one.get("syscalls", []):
            names = rule.pop("names", None) or [rule.pop("name")]
            rules += [{**rule, "name": name} for name in names]
        one["syscalls"] = rules
        if one.get("settings", {}).get("architectures") == ["x86_64"]:
            del one["settings"]["architectures"]
        one.setdefault("settings", {})
        one.setdefault("metadata", {})
        for key in ("settings", "metadata"):
            if not one[key]:
                del one[key]
    for key in first.keys() | second.keys():
        assert first.get(key) == second.get(key), key


WORDS = [
    "read",
    "allow",
    "kill",
    "EPERM",
    "0",
    "1",
    "''",
    "~",
    "{}",
    "[]",
    "x86",
    "true",
    "[",
    "}",
    ":",
    "- ",
    "#",
    "\t",
]
LETTERS = "abcxyz_ \n\t:-{}[]\"'#&*!%@0129.,/\\\0\x85\u2028é😀"


def mutate_text(rng, text):
    """The text with one to three changes: letters, tokens, lines."""
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        at = rng.randrange(len(text) + 1)
        match rng.randrange(8):
            case 0:
                text = text[:at] + rng.choice(LETTERS) + text[at:]
            case 1:
                text = text[:at] + text[at + rng.randint(1, 4) :]
            case 2:
                text = text[:at] + rng.choice(LETTERS) + text[at + 1 :]
            case 3:
                tokens = list(re.finditer(r"[\w.@/$*-]+", text))
                one, other = rng.choice(tokens), rng.choice([*tokens])
                text = text[: one.start()] + other.group() + text[one.end() :]
            case 4:
                tokens = list(re.finditer(r"[\w.@/$*-]+", text))
                one = rng.choice(tokens)
                text = text[: one.start()] + rng.choice(WORDS) + text[one.end() :]
            case 5:
                lines = text.splitlines(keepends=True)
                lines.insert(rng.randrange(len(lines) + 1), rng.choice(lines))
                text = "".join(lines)
            case 6:
                lines = text.splitlines(keepends=True)
                del lines[rng.randrange(len(lines))]
                text = "".join(lines)
            case _:
                other = rng.randrange(len(text) + 1)
                first, last = min(at, other), max(at, other)
                text = text[:first] + text[first:last][:200] * 2 + text[last:]
        text = text or "a"
    return text


def mutate_bytes(rng, data):
    """The bytes with one to three of them changed."""
    some = bytearray(data)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        at = rng.randrange(len(some))
        some[at : at + rng.randint(0, 2)] = bytes(rng.randrange(256) for _ in range(rng.randint(0, 2)))
    return bytes(some)


def places(value, path=()):
    """Every place in a plain document, as a path."""
    yield path
    if isinstance(value, dict):
        for key, item in value.items():
            yield from places(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from places(item, (*path, index))


def mutate_document(rng, value):
    """The plain document with one thing in it removed, doubled, renamed or replaced."""
    value = copy.deepcopy(value)
    path = rng.choice([path for path in places(value) if path])
    holder = value
    for step in path[:-1]:
        holder = holder[step]
    last = path[-1]
    match rng.randrange(5):
        case 0:
            del holder[last]
        case 1 if isinstance(holder, list):
            holder.insert(last, copy.deepcopy(holder[last]))
        case 2 if isinstance(holder, dict):
            holder[str(last) + rng.choice("sx_")] = holder.pop(last)
        case 3:
            donor = value
            for step in rng.choice([path for path in places(value) if path]):
                donor = donor[step]
            holder[last] = copy.deepcopy(donor)
        case _:
            holder[last] = rng.choice([None, True, 0, -1, 1 << 70, 1.5, "", "x", [], {}, ["x"], {"x": 1}, "read", "2"])
    return value


KINDS = ("text", "bytes", "document")


@pytest.mark.parametrize("kind", KINDS)
def test_mutated_policies_are_refused_or_differ(kind):
    rng = random.Random(kind)
    counts = {"refused": 0, "differs": 0, "same": 0}
    texts = originals()
    for number in range(COUNT // len(KINDS) + 1):
        text = texts[number % len(texts)]
        if kind == "text":
            mutated = mutate_text(rng, text).encode("utf-8", "surrogatepass")
        elif kind == "bytes":
            mutated = mutate_bytes(rng, text.encode())
        else:
            mutated = yaml.safe_dump(mutate_document(rng, _loaded(text)), sort_keys=False).encode()
        try:
            counts[judge(mutated, text.encode())] += 1
        except BaseException:
            print(mutated.decode("utf-8", "backslashreplace"))
            raise
    # A test that refuses, or lets through, everything would prove nothing.
    assert counts["refused"] > COUNT // 10
    assert counts["differs"] > COUNT // 400


def vocabulary_places():
    """(the text to replace, what is wrong then) for each kind of word that a policy has."""
    return [
        *((f"{key}:", f"{key}z:") for key in re.findall(r"(?<=[\s{])([a-z_]+)(?=: )", FULL) if key not in ("read",)),
        *((word, f"{word}z") for word in ("CAP_NET_BIND_SERVICE", "O_CLOEXEC", "O_TMPFILE", "EACCES", "EAFNOSUPPORT")),
        *((f" {word}", f" {word}z") for word in ("read_dir", "truncate", "precreate", "parentdir", "masked_eq", "udp")),
        *((f" {word}", f" {word}z") for word in ("allow,", "deny\n", "log}", "trace,", "kill\n")),
        *((f"[{word}", f"[{word}z") for word in ("x86_64", "tsync", "signal", "amd64", "read, open", "app", "main")),
        *((f"name: {word}", f"name: {word}z") for word in ("read", "openat", "socket", "ptrace")),
        ("brk", "brkz"),
        ("@process", "@procezz"),
        ("10.0.0.0/8", "10.0.0.0/z"),
        ("8000-8080", "8000-z"),
        ("${HOME}", "${HOMEZ}"),
    ]


@pytest.mark.parametrize(("word", "wrong"), vocabulary_places())
def test_misspelt_word_is_refused_where_it_stands(word, wrong):
    wrong = wrong.replace(",z", "z,").replace("\nz", "z\n").replace("}z", "z}").replace("read, open", "readz, open")
    wrong = wrong.replace("readz, openz", "readz, open")
    starts = [match.start() for match in re.finditer(re.escape(word), FULL)]
    assert starts, word
    for start in starts:
        if FULL.rfind("\n", 0, start) < FULL.rfind("#", 0, start):
            continue
        mutated = FULL[:start] + wrong + FULL[start + len(word) :]
        with pytest.raises(BadInput) as caught:
            document.parse(mutated.encode())
        line = mutated.count("\n", 0, start + len(wrong) - len(wrong.lstrip(" [")) + 1) + 1
        assert any(problem.place.startswith(f"line {line}, column ") for problem in caught.value.problems), (
            f"{word!r} in line {line}: {caught.value}"
        )


def test_words_of_the_schema_are_all_checked():
    # No enumeration of the schema takes a word that is no member of it.
    schema = _validator("policy").schema
    enums = {tuple(one["enum"]) for one in _dicts(schema) if "enum" in one}
    assert tuple(vocabulary.ACCESS_RIGHTS) in enums and tuple(Arch) in enums
    closed = [one for one in _dicts(schema) if "properties" in one]
    assert closed and all(one.get("additionalProperties") is False for one in closed)


def _dicts(value):
    if isinstance(value, dict):
        yield value
        for item in value.values():
            yield from _dicts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _dicts(item)


RICH = {
    "defaultAction": "SCMP_ACT_ERRNO",
    "defaultErrnoRet": 38,
    "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}],
    "syscalls": [
        {"names": ["read", "write"], "action": "SCMP_ACT_ALLOW"},
        {
            "names": ["personality"],
            "action": "SCMP_ACT_ALLOW",
            "args": [{"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}],
            "excludes": {"caps": ["CAP_SYS_ADMIN"]},
            "includes": {"minKernel": "4.8"},
        },
    ],
}
SPEC = {
    "defaultAction": "SCMP_ACT_ERRNO",
    "defaultErrnoRet": 1,
    "architectures": ["SCMP_ARCH_X86_64"],
    "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW"}],
}


@pytest.mark.parametrize(("module", "original"), [(rich, RICH), (seccomp, SPEC)])
def test_mutated_profiles_are_refused_or_differ(module, original):
    import json

    rng = random.Random(module.__name__)
    first = module.parse(json.dumps(original).encode())
    refused = 0
    for _ in range(COUNT // 3):
        value = mutate_document(rng, original)
        try:
            found = module.parse(json.dumps(value).encode())
        except BadInput:
            refused += 1
            continue
        if found == first:
            # Lists of nothing are as good as none.
            assert _normal(value) == _normal(original) or json.dumps(value) == json.dumps(original), value
    assert refused > COUNT // 20
