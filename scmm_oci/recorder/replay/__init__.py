"""A profile tried on this host: containers that are started under it again and again, and what it lacks, by name."""
