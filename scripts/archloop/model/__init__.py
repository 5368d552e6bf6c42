"""The language model: made ready, loaded, its chat template, its adapters, its size in memory."""
