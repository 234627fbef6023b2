"""Captures whose policies granted more than was said of them: each with what must be granted all the same."""

import copy
import json

import pytest
import samples

from scmm_oci.capture import file as capture_file
from scmm_oci.policy.admit import Files
from scmm_oci.policy.decisions import Decisions
from scmm_oci.policy.infer import infer
from scmm_oci.policy.model import OnMissing

_READ, _RUN, _WRITE = ["read_file"], ["read_file", "execute"], ["write_file"]


def _made(path, access=_WRITE, *, flags=0o302):
    return samples.file_use(path, flags=flags, created=True, access=access, parent_access=["make_reg"])


def _renamed(path):
    rights = ["make_dir", "refer", "remove_dir"]
    return [
        samples.file_use(path, "rename-from", parent_access=rights[1:], other=f"{path}.old"),
        samples.file_use(path, "rename-to", access=["read_dir"], parent_access=rights, other=f"{path}.old"),
    ]


def _inferred(*files, **decisions):
    made = copy.deepcopy(samples.NGINX) | {"files": list(files), "arguments": [], "sockets": [], "order": []}
    made["sessions"] = [samples.session([samples.call("read", programs=[0])])]
    inference = infer([capture_file.parse(json.dumps(made).encode())], Decisions(**decisions))
    return inference, Files(inference.policy.filesystem)


def _told(inference):
    return [one.message.partition(" ")[0] for one in inference.findings if one.code == "needs-yes"]


def test_a_directory_for_temporary_files_is_not_made_executable_by_a_program_in_it():
    names = ("/srv/app/tmpab12cd34", "/srv/app/tmpab12cd35")
    _, files = _inferred(*map(_made, names), samples.file_use("/srv/app/bin/tool", access=_RUN))
    assert files.rights("/srv/app/tmpzz98yy76") == {"write_file", "make_reg"}
    assert files.rights("/srv/app/bin/tool") >= {"read_file", "execute"}


def test_what_is_made_and_executed_waits_for_a_yes():
    script = _made("/tmp/tmpab12cd36", [*_RUN, "write_file"])
    files = [_made("/tmp/tmpab12cd34"), _made("/tmp/tmpab12cd35"), script]
    inference, rules = _inferred(*files)
    assert "execute" not in rules.rights("/tmp/other") and _told(inference) == [script["path"]]
    _, rules = _inferred(*files, accept=("/tmp/**",))
    assert "execute" in rules.rights("/tmp/other")


@pytest.mark.parametrize("secret", ["/srv/app/.ssh/id_rsa", "/srv/app/server.key"])
def test_credentials_are_not_opened_by_a_temporary_file_beside_them(secret):
    temporary = _made("/srv/app/tmpab12cd34", ["read_file", "write_file"])
    inference, files = _inferred(samples.file_use(secret, access=_READ), temporary)
    assert files.rights(secret) == {"read_file", "make_reg"} and _told(inference) == [temporary["path"]]
    inference, files = _inferred(samples.file_use("/srv/app/plain", access=_READ), temporary)
    assert files.rights("/srv/app/other") >= {"read_file", "write_file"} and _told(inference) == []


def test_a_rejected_pattern_does_not_come_as_a_directory():
    temporary = _made("/srv/app/tmpab12cd34", ["read_file", "write_file"])
    inference, files = _inferred(temporary, reject=("/srv/app/**",))
    assert files.rights("/srv/app/other") == {"make_reg"} and _told(inference) == [temporary["path"]]


def test_renaming_a_shared_directory_away_and_back_does_not_make_it_the_programs_own():
    inference, files = _inferred(*_renamed("/usr/lib"), _made("/usr/lib/tmpab12cd34"))
    assert "write_file" not in files.rights("/usr/lib/libc.so.6") and "/usr/lib" in _told(inference)
    made = samples.file_use("/var/lib/app", "mkdir", created=True, parent_access=["make_dir"])
    inference, files = _inferred(made, _made("/var/lib/app/tmpab12cd34"))
    assert "write_file" in files.rights("/var/lib/app/other") and _told(inference) == []
    assert [rule.on_missing for rule in inference.policy.filesystem] == [OnMissing.SKIP, OnMissing.PRECREATE]


def test_renaming_credentials_away_and_back_does_not_make_them_the_programs_own():
    read = samples.file_use("/srv/app/.ssh/id_rsa", access=_READ)
    _, files = _inferred(*_renamed("/srv/app/.ssh"), read, _made("/srv/app/.ssh/tmpab12cd34"))
    assert "write_file" not in files.rights("/srv/app/.ssh/id_rsa")
    made = samples.file_use("/srv/app/.ssh", "mkdir", created=True, parent_access=["make_dir"])
    _, files = _inferred(made, _made("/srv/app/.ssh/tmpab12cd34"))
    assert "write_file" in files.rights("/srv/app/.ssh/tmpzz98yy76")
