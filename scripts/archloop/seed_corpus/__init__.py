"""Cycle 0: the programs that the corpus begins with, the project's own or LEMUR's."""
