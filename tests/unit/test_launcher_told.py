"""What the launcher tells a monitor: JSON, whatever the program is called and whatever the policy's metadata are."""

import hashlib
import json
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from launcher_questions import LAUNCHER, OWN, SANITIZED, STRICT, compiled

from scmm_oci.compiled.polfile.model import Metadata
from scmm_oci.compiled.polfile.writer import metadata_bytes
from scmm_oci.enforcer.monitor import protocol

PAYLOAD = Path(__file__).resolve().parents[1] / "payload/launcher_told.c"


@pytest.fixture(scope="module")
def tell(tmp_path_factory):
    """The lines for pairs of metadata and a path."""
    directory = tmp_path_factory.mktemp("told")
    objects = [compiled(directory, LAUNCHER / "text.c", *OWN, "-fno-builtin"), LAUNCHER / "sha256.c"]
    binary = directory / "launcher_told"
    sources = [PAYLOAD, LAUNCHER / "told.c", *objects]
    subprocess.run(["gcc", *SANITIZED, *STRICT, "-o", binary, *sources], check=True, timeout=120)

    def told(*pairs):
        records = b"".join(struct.pack("=I", len(each)) + each for pair in pairs for each in pair)
        done = subprocess.run([binary], input=records, capture_output=True, check=True, timeout=120)
        lines = done.stdout.split(b"\n")
        assert len(lines) == len(pairs) + 1
        return [json.loads(line) for line in lines[:-1]]

    return told


def of(name="", **more):
    return metadata_bytes(Metadata(name=name, **more))


def test_what_a_monitor_takes(tell):
    metadata = of("web")
    (told,) = tell((metadata, b"/bin/x"))
    handed = protocol.parse(json.dumps(told).encode(), 1)
    assert (handed.metadata, handed.pid, handed.index) == ("web", 4711, 0)
    assert (handed.state.id, handed.state.bundle) == ("scmm-enforce-4711", "")
    assert handed.state.annotations == {
        "scmm.executable": "/bin/x",
        "scmm.mode": "ask",
        "scmm.policy.sha256": hashlib.sha256(metadata).hexdigest(),
    }


# Characters that JSON must escape, or that have more bytes than one.
TEXTS = st.text(
    alphabet=st.one_of(st.sampled_from('"\\/,:{}nameu0\x00\x01\x1f\x7f\b\f\n\r\t'), st.characters(codec="utf-8"))
)


@given(TEXTS, TEXTS, TEXTS)
@example('","name":"x', ',"name":"y', "")
@example("\\", '\\","name":"', "\\")
def test_the_name_is_the_policys(tell, name, description, executable):
    (told,) = tell((of(name, description=description, target_executable=executable), b"/bin/x"))
    assert told["metadata"] == (name or "/bin/x")


@given(st.binary().filter(lambda path: b"\0" not in path))
@example(b"\xc3\xbc\xc3")
@example(b"\xed\xa0\x80")
@example(b"\xf4\x90\x80\x80")
@example(b"\xe0\x9f\xbf")
@example(b"\xf0\x8f\xbf\xbf")
@example(b"\xc1\xbf")
def test_a_path_is_its_text_in_utf_8_or_each_byte_a_character(tell, path):
    (told,) = tell((of(), path))
    try:
        expected = path.decode("utf-8")
    except UnicodeDecodeError:
        expected = path.decode("latin-1")
    assert told["state"]["annotations"]["scmm.executable"] == expected == told["metadata"]


GOOD = of('we"b\\\n\u00fc', description="x")
PIECES = st.sampled_from(
    [b',"name":"', b'"', b"\\", b"\\u", b"\\u00", b"00", b"\xc3", b"\xbc", b"\n", b"x", b',"name":', b"}"]
)
HOSTILE = st.one_of(
    st.lists(PIECES).map(b"".join),
    st.builds(
        lambda at, byte: GOOD[:at] + bytes([byte]) + GOOD[at + 1 :], st.integers(0, len(GOOD) - 1), st.integers(0, 255)
    ),
    st.integers(0, len(GOOD)).map(lambda at: GOOD[:at]),
)


@given(st.lists(HOSTILE, min_size=1, max_size=20))
def test_metadata_that_nobody_has_checked(tell, given):
    """It stays JSON with the same members; a name that is none is not told."""
    for metadata, told in zip(given, tell(*((one, b"/bin/x") for one in given)), strict=True):
        assert told.keys() == {"ociVersion", "fds", "pid", "metadata", "state"}
        assert told["state"]["annotations"]["scmm.executable"] == "/bin/x"
        name = told["metadata"]
        assert name == "/bin/x" or json.dumps(name, ensure_ascii=False).encode() in metadata or b"\\u" in metadata
