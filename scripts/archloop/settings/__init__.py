"""Settings: completed and checked against config/schema.yaml, spelt as options; what chains are made of."""
