"""What targets cannot hold of the order of calls is told: in profiles and in drop-ins for systemd."""

import pytest

from scmm_oci.compiled.profiles import oci_profile
from scmm_oci.compiled.systemd import drop_in
from scmm_oci.oci.seccomp import to_json
from scmm_oci.policy.model import Action, Policy, Serving, SyscallRule, Transition, WatchAction
from scmm_oci.tables.floor import Floor

FLOOR = Floor(frozenset(), ())
RULES = (SyscallRule("read", Action.ALLOW),)


def of(**sections):
    return Policy(syscalls=RULES, **sections)


@pytest.mark.parametrize(
    ("sections", "named"),
    [
        ({}, None),
        ({"transitions": (Transition("read", ("read",)),)}, "transitions"),
        ({"transitions": ()}, "transitions"),
        ({"serving": Serving(("listen",), ())}, "serving"),
        ({"transitions": (), "watch": WatchAction.KILL}, "transitions, watch"),
    ],
)
def test_sections_about_order_are_told(sections, named):
    profile, unit = oci_profile(of(**sections), FLOOR), drop_in(of(**sections))
    told = [one.message for one in profile.findings if one.code == "not-in-profile"]
    assert told == ([f"a seccomp profile holds calls only: not the policy's {named}"] if named else [])
    told = [one.message for one in unit.findings if one.code == "not-in-unit"]
    assert told == ([f"the drop-in does not hold the policy's {named}"] if named else [])
    # They change nothing of what is held.
    assert to_json(profile.profile) == to_json(oci_profile(of(), FLOOR).profile)
    assert unit.text == drop_in(of()).text
