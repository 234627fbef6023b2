"""What policies are compiled to."""
