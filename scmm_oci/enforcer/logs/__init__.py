"""What the kernel logs as refused: records, their meaning, whose they are, and what a policy would have to say."""
