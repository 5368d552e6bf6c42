"""What the MinHash signatures of programs are made with, as corpus files on disk state it.

Apart from the hashing, so that those who read and write tables need no numpy.
"""

PERMUTATIONS = 256
# Pinned: a signature means nothing without them. They are written into every corpus file.
SCHEME: dict[str, str | int] = {
    "library": "datasketch 2.0",
    "scheme": "affine32",
    "seed": 1,
    "permutations": PERMUTATIONS,
    "hash": "blake2b-64 of tokens, polynomial 0x9e3779b97f4a7c15, fmix64, upper 32 bits",
    "tokens": 3,
}
