"""The sandbox of a candidate's process, and the supervisor that watches it."""
