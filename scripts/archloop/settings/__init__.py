"""Settings: checked against config/schema.yaml, completed, spelt as options; what chains are."""
