"""How often a watch takes normal work for something else: machines learnt on some inputs, judged on others.

`python -m tools.falsealarms` (part of `make soak`), as root. docs/watch.md has its figures.
"""
