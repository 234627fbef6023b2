"""A compiled policy's numbers say what its policy's words do."""

from hypothesis import given, settings
from hypothesis import strategies as st
from order_samples import servings, transitions

from scmm_oci.compiled.machines import machines
from scmm_oci.compiled.transitions import transitions as policy_transitions
from scmm_oci.compiled.transitions import watch
from scmm_oci.policy.machine import Machine
from scmm_oci.policy.model import Policy, Settings
from scmm_oci.tables.arch import Arch


@settings(max_examples=60, deadline=None)
@given(transitions, st.none() | servings)
def test_a_compiled_policy_has_the_machine_of_its_policy(given, serving):
    for arches in ((Arch.X86_64, Arch.X86), (Arch.AARCH64,)):
        there = Settings(arch=arches[0], architectures=arches)
        policy = Policy(settings=there, transitions=given, serving=serving)
        compiled = machines(policy_transitions(policy), watch(policy))
        assert [one.arch for one in compiled] == list(arches)
        for one in compiled:
            known = Machine.of(policy, one.arch)
            assert one.switches == known.switches
            assert _plain(one.starting) == _plain(known.starting)
            assert _plain(one.serving) == _plain(known.serving)


def _plain(table):
    return None if table is None else ({state: to for state, to in table.rows.items() if to}, dict(table.deep))
