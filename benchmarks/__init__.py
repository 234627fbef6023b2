"""What the project costs, measured side by side with what there was before.

Each benchmark is a module that runs by itself (`python -m benchmarks.start`), uses real engines through `rig`, and
checks what every measured run produced: something that did nothing must not look fast. Figures are for comparing
within one run; nothing here fails because a machine is slow.
"""
