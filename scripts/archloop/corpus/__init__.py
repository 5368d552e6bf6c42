"""The corpus and the candidates of a cycle: tables, admission, candidates that no model wrote."""
