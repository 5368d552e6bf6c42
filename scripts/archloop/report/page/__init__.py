"""The page of the report and its gallery."""
