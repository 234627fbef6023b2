"""A second opinion on filters: what libseccomp makes of the same policy or profile, and what the policy itself answers.

`calls` chooses the calls to compare with, `reference` asks the policy, `libseccomp` and `ask` the library, `compare`
compares. Nothing here is used to make a filter.
"""
