"""The judge: static checks, training in a sandbox, scores, and the store of them."""
