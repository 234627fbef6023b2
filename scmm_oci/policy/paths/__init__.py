"""Patterns of paths, and which of them the evidence of recordings speaks for."""
