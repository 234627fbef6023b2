"""The filter compiler: what a policy or profile answers to calls → classic BPF that seccomp(2) loads.

`of_policy` and `of_profile` say what is to be answered (a `Plan`), `build` makes the shortest program for it. All is
pure; numbers come from tables, so that a filter for any architecture can be made on any machine.
"""

from scmm_oci.compiled.filter.build import build
from scmm_oci.compiled.filter.plan import Case, Decision, Machine, Piece, Plan
from scmm_oci.compiled.filter.sources import of_policy, of_profile, permissive
from scmm_oci.compiled.filter.values import VIOLATION, is_cached, passes, returned, returned_by

__all__ = [
    "VIOLATION",
    "Case",
    "Decision",
    "Machine",
    "Piece",
    "Plan",
    "build",
    "is_cached",
    "of_policy",
    "of_profile",
    "passes",
    "permissive",
    "returned",
    "returned_by",
]
