"""A small language model trained from scratch, for experiments and tests."""
