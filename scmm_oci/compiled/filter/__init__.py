"""The filter compiler: what a policy or profile answers to calls → classic BPF that seccomp(2) loads.

`of_policy` and `of_profile` say what is to be answered (a `Plan`), `build` makes the shortest program for it. Both are
pure; numbers come from tables, so that a filter for any architecture can be made on any machine.
"""
