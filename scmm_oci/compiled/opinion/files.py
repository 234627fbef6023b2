"""Compare the filters of a compiled file, each with the policy for its architecture."""

from __future__ import annotations

from random import Random

from scmm_oci.compiled import needed
from scmm_oci.compiled.opinion.compare import Report, check
from scmm_oci.compiled.polfile.model import PolicyFile
from scmm_oci.compiled.retarget import retarget
from scmm_oci.policy.model import Policy


def check_file(policy: Policy, file: PolicyFile, *, random: Random, calls: int) -> tuple[Report, ...]:
    """`check` for every filter of a file that was made of a policy, in the file's order.

    Raises:
        Failure: a filter differs from libseccomp's or from the policy, or libseccomp is not there.
    """
    reports = []
    for one in file.filters:
        there, _ = needed.completed(retarget(policy, one.arch)[0])
        reports.append(check(there, one.program, random=random, calls=calls))
    return tuple(reports)
