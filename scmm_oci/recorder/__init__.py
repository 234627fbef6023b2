"""Recording: what the kernel keeps (wire), where it is pinned (pins, slots), and who asks for it (hook)."""
