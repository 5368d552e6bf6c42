"""LEMUR's contract for programs, and the export of admitted ones in its format."""
