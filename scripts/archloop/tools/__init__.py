"""What a person runs on a results folder: verify, replay, inspect_corpus."""
