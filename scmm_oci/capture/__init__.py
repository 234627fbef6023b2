"""Captures: what one recording of one container saw, as values and as files."""
