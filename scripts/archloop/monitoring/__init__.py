"""A run as it is now: status in the terminal, the live page, and why a run failed."""
