"""Check a path pattern of a rule. Called by rules.check and rules.check_address."""

from __future__ import annotations

from collections.abc import Iterator

from scmm_oci.errors import BadInput, Problem
from scmm_oci.policy.paths.patterns import Pattern
from scmm_oci.schema import Found, Steps


def check_pattern(text: str, path: Steps) -> Iterator[Found]:
    """What is wrong with it, here where programs of many users are asked about."""
    try:
        pattern = Pattern.parse(text)
    except BadInput as error:
        for problem in error.problems:
            hint = problem.hint.replace(" or ${HOME}", "")
            yield Found(path, Problem("", problem.message, hint))
        return
    for name in sorted(pattern.variables):
        yield Found(path, Problem("", f"has ${{{name}}}, and nobody says whose", "write the path"))
