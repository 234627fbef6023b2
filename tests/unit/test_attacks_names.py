"""Names that a hostile container gives its files and programs, on the way from a capture into a policy and back."""

import copy
import json

import pytest
import samples

from scmm_oci.capture import file as capture_file
from scmm_oci.errors import BadInput
from scmm_oci.policy import document
from scmm_oci.policy.admit import refusals
from scmm_oci.policy.infer import infer
from scmm_oci.policy.paths.patterns import Pattern, PatternSet, escape
from scmm_oci.policy.render import dump

_LATIN = "/srv/caf\udce9/\udcff*"


def _capture(files, *, program="/usr/sbin/nginx"):
    made = copy.deepcopy(samples.NGINX) | {"files": files, "arguments": [], "sockets": [], "order": []}
    made["programs"] = [samples.program(0, program, "x"), samples.program(1, "/bin/sh", "sh")]
    made["sessions"] = [samples.session([samples.call("read", programs=[0])])]
    return capture_file.parse(json.dumps(made).encode())


@pytest.mark.parametrize("program", ["/usr/sbin/nginx", "/srv/\udcfe"])
@pytest.mark.parametrize("path", [_LATIN, "/srv/\udcff/tmpab12cd34", "/srv/é"])
def test_bytes_that_are_no_utf8_are_granted_and_no_others(path, program):
    use = samples.file_use(path, access=["read_file"])
    capture = _capture([use], program=program)
    policy = infer([capture]).policy
    again = document.parse(dump(policy))
    assert again.filesystem == policy.filesystem and again.syscalls == policy.syscalls
    assert refusals(again, capture) == ()
    other = _capture([samples.file_use(path.replace("/srv", "/opt"), access=["read_file"])])
    assert refusals(again, other) != ()


def test_a_byte_of_a_pattern_is_that_byte():
    pattern = Pattern.exact(_LATIN)
    assert pattern.text == "/srv/caf\\xe9/\\xff\\*" == escape(_LATIN)
    assert pattern.grants(_LATIN) and not pattern.grants("/srv/café/\udcff*")
    assert PatternSet([pattern]).granting(_LATIN) == (pattern,)
    wild = Pattern.parse("/srv/caf\\xe9/*")
    assert wild.grants(_LATIN) and not wild.grants("/srv/café/x")


@pytest.mark.parametrize("text", ["/a/\\x41", "/a/\\xFF", "/a/\\xc3\\xa9", "/a/\udcff", "/a/\\x"])
def test_bytes_are_written_in_one_way(text):
    with pytest.raises(BadInput):
        Pattern.parse(text)
