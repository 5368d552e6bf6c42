"""The corpus and the candidates of a cycle: their tables, admission, and candidates that no model wrote."""
