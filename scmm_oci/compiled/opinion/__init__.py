"""A second opinion on filters: what libseccomp makes of the same policy or profile, and what the policy itself answers.

`calls` chooses the calls to compare with, `reading` reads the policy or profile anew, `libseccomp` and `ask` ask the
library, `compare` and `files` compare. Nothing here is used to make a filter, and nothing needs pyseccomp but asking.
"""

from scmm_oci.compiled.opinion.calls import boundary_calls, random_calls
from scmm_oci.compiled.opinion.compare import Report, check, check_profile, reference, value_text
from scmm_oci.compiled.opinion.files import check_file
from scmm_oci.compiled.opinion.libseccomp import unavailable

__all__ = [
    "Report",
    "boundary_calls",
    "check",
    "check_file",
    "check_profile",
    "random_calls",
    "reference",
    "unavailable",
    "value_text",
]
