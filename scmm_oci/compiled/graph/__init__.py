"""Drawings of machines, which say what may follow what: SVG, and a page that needs nothing else. Pure.

Small machines are boxes and lines, large ones a square with a row for each state.
"""

from scmm_oci.compiled.graph.model import Part, Picture, picture
from scmm_oci.compiled.graph.page import page
from scmm_oci.compiled.graph.svg import svg

__all__ = ["Part", "Picture", "page", "picture", "svg"]
