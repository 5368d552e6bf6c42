"""Data sets: where they come from, how they are divided and checked, the one file that each becomes."""
