"""Fine-tuning of an adapter: what it is trained on and for, and the loop, on one GPU or several."""
