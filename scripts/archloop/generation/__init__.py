"""Prompts, and the answers of the language model to them."""
