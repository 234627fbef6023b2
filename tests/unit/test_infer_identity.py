"""Who the programs ran as, and the capabilities that their calls show."""

import pytest
from samples import app, argument, as_bytes, call, nginx, socket_use

from scmm_oci.capture import file
from scmm_oci.policy.decisions import Decisions
from scmm_oci.policy.infer import infer
from scmm_oci.policy.model import RunAs
from scmm_oci.tables.privileges import UNSEEN


def capture(*calls, uid=1000, gid=1000, **changes):
    container = {**nginx()["container"], "uid": uid, "gid": gid}
    return file.parse(as_bytes(app(*(calls or [call("read")]), container=container, **changes)))


def policy(*captures):
    return infer(list(captures)).policy


def test_run_as_is_what_all_recordings_have():
    assert policy(capture()).settings.run_as == RunAs(1000, 1000)
    assert policy(capture(), capture(name="b")).settings.run_as == RunAs(1000, 1000)
    assert policy(capture(uid=None, gid=None)).settings.run_as is None
    assert policy(capture(uid=None, gid=5)).settings.run_as == RunAs(None, 5)
    # (uid_t) -1 stands for no id, and a policy cannot have it.
    assert policy(capture(uid=2**32 - 1)).settings.run_as == RunAs(None, 1000)
    assert policy(capture(uid=2**32 - 2)).settings.run_as == RunAs(2**32 - 2, 1000)
    result = infer([capture(), capture(uid=0, name="b")])
    assert result.policy.settings.run_as is None
    assert [one.message for one in result.findings if one.code == "many-users"] == [
        "the captures ran as different users (0:1000, 1000:1000): none is written"
    ]
    assert not [one for one in infer([capture()]).findings if one.code == "many-users"]


def test_root_keeps_what_no_call_shows():
    assert policy(capture(uid=0)).capabilities == tuple(sorted(UNSEEN))
    assert policy(capture()).capabilities == ()
    assert policy(capture(uid=None)).capabilities is None
    assert policy(capture(uid=0), capture(uid=None, name="b")).capabilities is None
    assert infer([capture()], Decisions(capabilities=False)).policy.capabilities is None


def test_call_that_succeeds_only_with_a_capability_shows_it():
    assert policy(capture(call("chroot"))).capabilities == ("CAP_SYS_CHROOT",)
    assert policy(capture(call("chroot", errnos=["EPERM"]))).capabilities == ()
    assert policy(capture(call("chroot", 0, denied=1, denied_errno="EPERM"), call("read"))).capabilities == ()


@pytest.mark.parametrize(
    ("operation", "port", "changes", "shown"),
    [
        ("bind", 80, {}, True),
        ("bind", 1023, {"family": "inet6"}, True),
        ("bind", 1024, {}, False),
        ("bind", 0, {}, False),
        ("bind", 80, {"errnos": ["EACCES"]}, False),
        ("connect", 80, {}, False),
        ("listen", 80, {}, False),
    ],
)
def test_low_ports(operation, port, changes, shown):
    found = capture(sockets=[socket_use(operation, "::", port, programs=[], **changes)])
    assert policy(found).capabilities == (("CAP_NET_BIND_SERVICE",) if shown else ())


def test_values_of_arguments_tell_calls_apart():
    raw = capture(call("socket"), arguments=[argument("socket", 0, 17)])
    assert policy(raw).capabilities == ("CAP_NET_RAW",)
    plain = capture(call("socket"), arguments=[argument("socket", 0, 2)])
    assert policy(plain).capabilities == ()
    spaces = capture(call("clone3"), arguments=[argument("clone3", 0, 0x2000_0000, field="flags")])
    assert policy(spaces).capabilities == ("CAP_SYS_ADMIN",)
    threads = capture(call("clone3"), arguments=[argument("clone3", 0, 0x3D0F00, field="flags")])
    assert policy(threads).capabilities == ()
