"""LEMUR's contract for programs, their hyperparameters, and the export of admitted ones."""
