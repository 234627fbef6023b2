"""A seccomp profile → the value of crun's annotation ``run.oci.seccomp_bpf_data``: a filter that is made already.

crun decodes it and loads it instead of what it would make of the bundle's seccomp section (crun(1)). So the container
runs under our filter, and no libseccomp has to know the calls. Pure.
"""

from __future__ import annotations

import base64

from scmm_oci.compiled.bpf import Program, encode
from scmm_oci.compiled.filter import build, of_profile
from scmm_oci.oci.seccomp import Profile

ANNOTATION = "run.oci.seccomp_bpf_data"


def annotation(profile: Profile, *, bad_arch: int | None = None) -> tuple[bytes, Program]:
    """The annotation's value with a line end, in base64, and the filter that is in it.

    Instructions are in the byte order of the machine that the profile is for, whose kernel loads them.

    Args:
        profile: with the runtime floor, as crun loads the filter before its own last steps.
        bad_arch: what calls of other architectures get (SECCOMP_RET_*); by default what libseccomp gives them.

    Raises:
        BadInput: the filter is longer than the kernel takes, or the profile has what no filter of ours can say.
    """
    plan = of_profile(profile, bad_arch=bad_arch)
    program = build(plan)
    return base64.b64encode(encode(program, plan.machines[0].byte_order)) + b"\n", program
