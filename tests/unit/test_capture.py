import json

import pytest
from hypothesis import given
from samples import NGINX, app, as_bytes, call, captures, nginx, session

from scmm_oci.capture import file
from scmm_oci.capture.model import LossKind, NoteKind, Phase, SessionKind
from scmm_oci.errors import BadInput
from scmm_oci.schema import Draft202012Validator, _validator


def problems(data):
    with pytest.raises(BadInput) as caught:
        file.parse(data, source="x.scmm-cap")
    assert caught.value.source == "x.scmm-cap"
    return [str(problem) for problem in caught.value.problems]


@given(captures())
def test_round_trip(capture):
    data = file.dump(capture)
    assert file.parse(data) == capture
    assert file.dump(file.parse(data)) == data
    assert data.isascii()
    assert data.endswith(b"}\n")
    assert data.count(b"\n") == 1


def test_the_document_is_the_one_that_hooks_write():
    # Sorted keys, no spaces: what a plain json.dumps of the documented form gives.
    assert (
        file.dump(file.parse(as_bytes(NGINX)))
        == json.dumps(json.loads(as_bytes(NGINX)), sort_keys=True, separators=(",", ":")).encode() + b"\n"
    )


def test_files(tmp_path):
    path = tmp_path / "nginx.scmm-cap"
    capture = file.parse(as_bytes(nginx(name="caf\udcc3\udca9")))
    file.write(path, capture)
    assert file.read(path) == capture
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_number_without_a_name_survives():
    nameless = {**call("read", nr=501), "name": None}
    capture = file.parse(as_bytes(app(nameless)))
    (found,) = [one for _, one in capture.calls(Phase.APP)]
    assert (found.nr, found.name) == (501, None)
    assert file.parse(file.dump(capture)) == capture


def test_a_huge_file_is_refused_unread(tmp_path, monkeypatch):
    path = tmp_path / "huge"
    path.write_bytes(as_bytes(NGINX))
    assert file.read(path).name == "nginx"
    monkeypatch.setattr(file, "MAX_BYTES", 100)
    with pytest.raises(BadInput, match="huge: is larger than 100 bytes"):
        file.read(path)


@pytest.mark.parametrize("length", [0, 1, 100, len(as_bytes(NGINX)) - 1])
def test_a_truncated_file_is_told_as_such(length):
    (problem,) = problems(as_bytes(NGINX)[:length])
    assert "is not JSON" in problem
    assert "is the file whole?" in problem


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"\xff{}", "byte 0: is not UTF-8"),
        (b'{"a": 1, "a": 2}', "the key 'a' stands twice in one object"),
        (b'{"a": 1.5}', "1.5 is not a whole number"),
        (b'{"a": NaN}', "NaN is not a whole number"),
        (b"[" * 100_000, "is nested too deeply"),
        (b'{"a": ' + b"9" * 5000 + b"}", "integer string conversion"),
        (b"[]", ".: [] is not a mapping"),
        (b'{"format": "x"} {}', "is not JSON: Extra data"),
    ],
)
def test_what_is_no_document(data, expected):
    assert any(expected in problem for problem in problems(data))


def test_every_problem_is_told_at_once_with_its_place():
    document = nginx(
        version=2,
        complete=True,
        losses=[{"kind": "lost-call", "count": -1, "detail": "x"}],
        started_at="yesterday",
        extra=1,
        container={**NGINX["container"], "uid": True, "args": ["ok", 7]},
        sessions=[
            session([{**call("read"), "name": "raed"}, {**call("write"), "name": "read"}, call("write")]),
            session([{**call("read"), "arch": "x68_64"}, {**call("close"), "denied_errno": "EPERM"}]),
        ],
    )
    del document["host"]["kernel"]
    assert problems(as_bytes(document)) == [
        ".container.args[1]: 7 is not text",
        ".container.uid: true is not a whole number or null",
        ".extra: 'extra' is not a key that may stand here (known: complete, container, ended_at, format, host, losses, "
        "name, notes, recorder, runtime, sessions, started_at, version)",
        ".host: the key 'kernel' is missing",
        ".losses[0].count: -1 is less than 0",
        ".losses[0].kind: 'lost-call' is not a known value (did you mean 'lost-calls'?; known: lost-cgroups, "
        "lost-threads, lost-calls, left-cgroup, cut-short, never-started, unknown-phase)",
        ".sessions[1].phases.app[0].arch: 'x68_64' is not a known value (did you mean 'x86_64'?; known: x86_64, x86, "
        "x32, aarch64, arm, riscv64, s390x, s390, ppc64le)",
        ".started_at: 'yesterday' is not a time in UTC such as 2026-01-31T12:00:00Z",
        ".version: is 2, must be 1",
        ".complete: is true, but .losses is not empty",
        ".sessions[0].phases.app[0].name: 'raed' is not a system call of x86_64 (did you mean 'read'?)",
        ".sessions[0].phases.app[1].name: read is number 0 of x86_64, not 1 (1 is write)",
        ".sessions[0].phases.app[2].nr: call 1 of x86_64 is .sessions[0].phases.app[1] already",
        ".sessions[1].number: session 0 is .sessions[0] already",
        ".sessions[1].phases.app[1].denied_errno: is EPERM, but .denied is 0",
    ]


def test_complete_means_no_losses():
    loss = {"kind": "cut-short", "count": 1, "detail": "recovered"}
    assert file.parse(as_bytes(nginx(complete=False, losses=[loss]))).complete is False
    assert file.parse(as_bytes(nginx())).complete is True
    assert problems(as_bytes(nginx(complete=False))) == [".complete: is false, but .losses names no loss"]
    assert problems(as_bytes(nginx(losses=[loss]))) == [".complete: is true, but .losses is not empty"]


@pytest.mark.parametrize("key", sorted(NGINX))
def test_every_key_is_needed(key):
    document = nginx()
    del document[key]
    assert problems(as_bytes(document)) == [f".: the key {key!r} is missing"]


def test_a_number_of_x32_is_without_its_bit():
    assert file.parse(as_bytes(app(call("execve", arch="x32"))))
    with_bit = {**call("execve", arch="x32"), "nr": 0x40000000 + 520}
    assert "is more than 1073741823" in problems(as_bytes(app(with_bit)))[0]


def test_schema_and_model_have_one_vocabulary():
    defs = _validator("capture").schema["$defs"]
    assert defs["loss"]["properties"]["kind"]["enum"] == list(LossKind)
    assert defs["note"]["properties"]["kind"]["enum"] == list(NoteKind)
    assert defs["session"]["properties"]["kind"]["enum"] == list(SessionKind)
    assert list(defs["session"]["properties"]["phases"]["properties"]) == list(Phase)


@pytest.mark.parametrize("schema", ["capture", "policy", "oci-seccomp"])
def test_schemas_are_valid(schema):
    Draft202012Validator.check_schema(_validator(schema).schema)


def test_a_flood_of_mistakes_is_cut():
    flood = [{"x": number} for number in range(5000)]
    found = problems(as_bytes(app(*flood)))
    assert len(found) == 1001
    assert ".: has more than 1000 problems; the others are not told" in found
    misnamed = [{**call("read"), "nr": number, "name": "raed"} for number in range(5000)]
    assert len(problems(as_bytes(app(*misnamed)))) == 1000
