"""Policies: what a program may do, as values and as the YAML that people read and edit."""
