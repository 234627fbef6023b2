"""config.json as it is read and written: nothing lost, nothing that runtimes read in two ways."""

from __future__ import annotations

import json
import math
import os
import subprocess
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scmm_oci.oci import config_json
from scmm_oci.oci.config_json import MAX_DEPTH, Number, dumps, loads, read
from scmm_oci.recorder import installation

ROOT = Path(__file__).resolve().parents[2]

texts = st.text(st.characters(codec="utf-8"), max_size=8)
keys = st.text(st.characters(codec="utf-8", min_codepoint=1), max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)


def exact(data: bytes) -> Any:
    """What the json package reads, numbers as decimals and objects as lists of pairs: order counts."""
    return json.loads(
        data, parse_float=Decimal, parse_int=Decimal, object_pairs_hook=lambda pairs: [("object", *p) for p in pairs]
    )


@given(values, st.booleans())
def test_what_is_read_is_written(value: object, ascii_only: bool) -> None:
    data = json.dumps(value, ensure_ascii=ascii_only, indent=1).encode()
    assert exact(dumps(loads(data))) == exact(data)


@given(values)
def test_both_encoders_write_the_same(value: object) -> None:
    with_number = dumps([value, Number("1.50")])
    data = json.dumps(value).encode()
    assert with_number == b"[" + dumps(value).strip() + b",1.50]\n"
    assert exact(with_number) == [exact(data), Decimal("1.50")]


@pytest.mark.parametrize(
    "number",
    ["1.10", "1e400", "-0", "-0.0", "0.1000000000000000055511151231257827", "1E5", "18446744073709551616", "9" * 5000],
)
def test_numbers_stay_as_they_are_written(number: str) -> None:
    assert dumps(loads(b'{"a":[' + number.encode() + b'],"b":1}')) == b'{"a":[' + number.encode() + b'],"b":1}\n'


def test_the_json_package_would_change_them() -> None:
    assert json.dumps(json.loads("[1.10, 1E5]")) == "[1.1, 100000.0]"
    assert math.isinf(json.loads("1e400"))


def test_usual_integers_are_integers() -> None:
    assert loads(b"[0, -1, 4294967295, 9223372036854775807]") == [0, -1, 4294967295, 9223372036854775807]


def test_numbers_compare_by_their_text() -> None:
    assert Number("1.0") == Number("1.0")
    assert Number("1.0") != Number("1.00")
    assert len({Number("1.0"), Number("1.0")}) == 1
    assert repr(Number("1.0")) == "Number('1.0')"


def test_lone_surrogates_survive() -> None:
    assert dumps(loads(b'["\\ud800"]')) == b'["\\ud800"]\n'


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "Expecting value"),
        (b"{", "Expecting property name"),
        (b"{} {}", "Extra data"),
        (b'{"a": 1, "b": {"c": 1, "c": 2}}', "'c' stands twice"),
        (b'{"a": 1, "b": {"process\\u0000": {}, "process": {}}}', r"the key 'process\\x00' has a NUL"),
        (b"[NaN]", "NaN is not JSON"),
        (b"[-Infinity]", "-Infinity is not JSON"),
        (b'["\xff"]', "can't decode byte 0xff"),
        (b"\xef\xbb\xbf{}", "BOM"),
        (b'["\n"]', "Invalid control character"),
        (b"[" * 100_000, "nested deeper|Expecting value"),
        (b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), f"nested deeper than {MAX_DEPTH}"),
        (b'{"a":' * (MAX_DEPTH + 1) + b"{}" + b"}" * (MAX_DEPTH + 1), f"nested deeper than {MAX_DEPTH}"),
    ],
)
def test_what_is_not_json_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        loads(data)


def test_what_is_nested_less_is_read() -> None:
    data = b"[" * MAX_DEPTH + b"]" * MAX_DEPTH
    assert dumps(loads(data)) == data + b"\n"


@given(st.binary(max_size=40))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        value = loads(data)
    except ValueError:
        return
    assert loads(dumps(value)) == value


@pytest.mark.parametrize("value", [{"a": {1, 2}}, [b"x"], [Number("1.5"), b"x"], object()])
def test_what_json_has_not_is_not_written(value: object) -> None:
    with pytest.raises(TypeError, match="is not JSON"):
        dumps(value)


def test_no_number_is_not_written() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        dumps([math.nan])


# Files


@pytest.fixture
def write(tmp_path: Path) -> Callable[[object], str]:
    def written(document: object) -> str:
        path = tmp_path / "config.json"
        path.write_text(json.dumps(document))
        return str(path)

    return written


def test_a_file_is_read(write: Callable[[object], str], tmp_path: Path) -> None:
    path = write({"b": 1, "a": [2]})
    (tmp_path / "link").symlink_to(path)
    assert list(read(path).items()) == [("b", 1), ("a", [2])]
    assert read(str(tmp_path / "link")) == read(path)


def test_texts_with_a_nul_are_refused_where_they_decide(write: Callable[[object], str]) -> None:
    apart = {"annotations": {"a": "x\0y"}, "process": {"args": ["x\0y"]}}
    assert read(write(apart)) == apart
    for place, document in (
        (r"\.root\.path: 'rootfs\\x00x'", {"root": {"path": "rootfs\0x"}}),
        (r"\.mounts\[1\]\.destination", {"mounts": [{"destination": "/a"}, {"destination": "/dev\0x"}]}),
        (r"\.hooks\.poststop\[0\]\.path", {"hooks": {"poststop": [{"path": "/x\0"}]}}),
    ):
        with pytest.raises(ValueError, match=f"^{place}.* has a NUL, where crun ends it$"):
            read(write(document))


def test_the_examples_are_read_and_written() -> None:
    found = sorted((ROOT / "examples" / "oci-bundles").glob("*/config.json"))
    assert found
    for path in found:
        assert exact(dumps(read(str(path)))) == exact(path.read_bytes())


def test_a_file_has_a_bound(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(b"{}" + b" " * 98)
    assert read(str(path), limit=100) == {}
    with pytest.raises(ValueError, match="larger than 99 bytes"):
        read(str(path), limit=99)


def test_a_sparse_file_of_gigabytes_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ValueError, match="larger than 16777216 bytes"):
        read(str(path))


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (str(tmp_path / "fifo"), "/dev/zero", str(tmp_path)):
        with pytest.raises(ValueError, match="not a regular file"):
            read(path)
    with pytest.raises(FileNotFoundError):
        read(str(tmp_path / "none"))


def test_a_pipe_is_read_to_its_end_where_one_may_be(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for pieces, limit in (((b'{"a": [', b"1", b"]}"), 10), ((b'{"a": [', b"1", b"]}"), 9), ((b"{",), 9)):
        ready, go = os.pipe(), os.pipe()
        child = os.fork()
        if not child:
            with fifo.open("wb", buffering=0) as file:
                os.write(ready[1], b".")
                for piece in pieces:
                    os.read(go[0], 1)
                    file.write(piece)
            os._exit(0)
        keeper = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)  # lets the writer come in
        os.read(ready[0], 1)
        os.write(go[1], b"." * len(pieces))
        if limit == 10:
            assert read(str(fifo), limit=limit, pipe=True) == {"a": [1]}
        else:
            with pytest.raises(ValueError, match="larger than 9 bytes" if len(pieces) > 1 else "Expecting property"):
                read(str(fifo), limit=limit, pipe=True)
        os.waitpid(child, 0)
        for each in (*ready, *go, keeper):
            os.close(each)
    with pytest.raises(ValueError, match="not a regular file"):
        read("/dev/zero", pipe=True)


@pytest.mark.parametrize("document", [[], 1, None, "x"])
def test_what_is_no_object_is_refused(write: Callable[[object], str], document: object) -> None:
    with pytest.raises(ValueError, match="an object expected"):
        read(write(document))


def test_a_file_that_is_written_meanwhile_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "config.json"
    path.write_text("{}")
    real = os.read

    def changing(descriptor: int, count: int) -> bytes:
        data = real(descriptor, count)
        if not data:
            os.utime(path, ns=(1, 1))
        return data

    assert read(str(path)) == {}
    monkeypatch.setattr(config_json.os, "read", changing)
    with pytest.raises(ValueError, match="changed while it was read"):
        read(str(path))


@pytest.mark.parametrize(
    ("document", "place"),
    [
        ({"process": {}, "Process": {}}, ".Process: runc reads it as 'process'"),
        ({"process": {"ARGS": ["x"]}}, ".process.ARGS"),
        ({"process": {"user": {"UID": 0}}}, ".process.user.UID"),
        ({"proce\u017fs": {}}, r".proce\u017fs"),
        ({"linux": {"seccomp": {"syscalls": [{"names": []}, {"Names": []}]}}}, ".linux.seccomp.syscalls[1].Names"),
        ({"mounts": [{"Source": "/"}]}, ".mounts[0].Source"),
        ({"hooks": {"prestart": [{"Path": "/x"}]}}, ".hooks.prestart[0].Path"),
        ({"args": ["x"], "user": {"Uid": 1}}, ".user.Uid"),
    ],
)
def test_other_spellings_are_refused(write: Callable[[object], str], document: object, place: str) -> None:
    with pytest.raises(ValueError) as caught:
        read(write(document))
    assert place in str(caught.value)


def test_all_of_them_are_said(write: Callable[[object], str]) -> None:
    with pytest.raises(ValueError, match=r"^\.Root: .*; \.process\.Env: .*'env'"):
        read(write({"Root": {}, "process": {"Env": []}}))


def test_keys_of_the_users_own_are_not(write: Callable[[object], str]) -> None:
    document = {
        "annotations": {"Process": "x", "process": "y"},
        "linux": {"sysctl": {"Path": "1"}, "new": {"Args": 1}},
        "process": {"unknown": 1, "env": []},
    }
    assert read(write(document)) == document


def test_it_loads_no_json_package() -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from scmm_oci.oci import config_json as c\n"
        "c.dumps(c.loads(b'{\"a\": [1, 2.5]}')); c.read(sys.argv[2])\n"
        "print(' '.join(sorted(sys.modules)))"
    )
    example = ROOT / "examples" / "oci-bundles" / "busybox-true" / "config.json"
    command = [installation.python(), "-I", "-S", "-c", code, str(ROOT), str(example)]
    done = subprocess.run(command, env={}, capture_output=True, text=True, timeout=60, check=True)
    loaded = set(done.stdout.split())
    assert "scmm_oci.oci.config_json" in loaded
    assert loaded.isdisjoint({"json", "re", "enum", "typing", "dataclasses", "decimal", "scmm_oci.errors"})
