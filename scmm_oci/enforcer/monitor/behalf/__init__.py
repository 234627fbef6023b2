"""Calls that the monitor makes itself, as the thread that wanted them, with names that nobody can swap any more.

`table` says which; `deputies` is for the monitor. The rest runs in a deputy, a process for one call: `identity` becomes
the thread's equal, `lookup` and `walk` find what names stand for and hold it, `acting` makes the call.
"""
