"""Hypothesis without luck and without a trace: the same examples in every run, and no directory in the tree."""

import tempfile
from pathlib import Path

from hypothesis import configuration, settings

configuration.set_hypothesis_home_dir(Path(tempfile.gettempdir()) / "scmm-hypothesis")
settings.register_profile("scmm", database=None, derandomize=True, deadline=None, max_examples=60)
settings.load_profile("scmm")
