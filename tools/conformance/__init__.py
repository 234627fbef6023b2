"""runc's own integration cases, driven through scmm-runc: `make conformance`.

The cases are those of Debian's source package of the runc that is installed; they are fetched when the tool runs, and
nothing of them is kept in this repository. Each case is run under runc itself, then with scmm-runc in its place: as it
is, with every container enforced, with every container recorded. What passes under runc has to pass under the shim.
"""
