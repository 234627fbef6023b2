"""Enforce policies: what stands before the static launcher (launcher/), which alone applies them."""
