"""Data sets: where they come from, how they are divided and checked, the file that each becomes."""
