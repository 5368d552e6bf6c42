"""Programs as sets of token shingles: normalising, hashing and MinHash signatures, many programs at once.

Normalised means: comments, docstrings, layout and import lines gone; names of the program's own replaced by one
placeholder; names of libraries kept and imported names resolved to their origin, so `nn.Conv2d` is `torch.nn . Conv2d`
however torch.nn was imported. One placeholder for all, so that an edit changes only the shingles that it touches and
not the numbering of everything below it. The lexer is our own: the result does not depend on the version of Python.

A shingle is a run of normalised tokens. It is hashed to 64 bits, a polynomial in the 64-bit hashes of its tokens; exact
comparison uses all 64 (two different shingles among a thousand collide with probability 3e-14), MinHash the upper 32.
"""

import re
from array import array
from collections.abc import Iterator, Sequence
from functools import lru_cache
from hashlib import blake2b, sha256

import numpy as np

PERMUTATIONS = 256
# Pinned: a signature means nothing without them. They are written into every corpus file.
SCHEME = {
    "library": "datasketch 2.0",
    "scheme": "affine32",
    "seed": 1,
    "permutations": PERMUTATIONS,
    "hash": "blake2b-64 of tokens, polynomial 0x9e3779b97f4a7c15, fmix64, upper 32 bits",
    "tokens": 2,
}
OWN = "_"
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
BATCH_CHARACTERS = 400_000
MAXIMUM_VOCABULARY = 500_000

TOKEN = re.compile(
    r"""(?:[ \t\f\r]|\\\n|\#[^\n]*)*+(
      [^\W\d]\w*+(?!["'])
    | \n
    | (?:0[xXbBoO][\da-fA-F_]+ | (?:\d[\d_]*+\.?[\d_]*+ | \.\d[\d_]*+)(?:[eE][+-]?\d+)?[jJ]?)
    | [a-zA-Z]{0,2}(?:\"{3}(?s:\\.|[^\\])*?\"{3} | '{3}(?s:\\.|[^\\])*?'{3})
    | [a-zA-Z]{0,2}(?:"(?:[^"\\\n]|\\.|\\\n)*" | '(?:[^'\\\n]|\\.|\\\n)*')
    | \*\*= | //= | >>= | <<= | -> | := | \*\* | // | == | != | <= | >= | [-+*/%@&|^]= | << | >> | \.\.\. | \S
    )""",
    re.VERBOSE,
)
IMPORT = re.compile(r"^[ \t]*(?:from[ \t]+([\w.]+)[ \t]+)?import[ \t]+(\([^)]*\)|(?:[^\n#;\\]|\\\n)+)", re.MULTILINE)

(PLAIN, NAME, MODULE_NAME, NEWLINE, STRING, OPEN, CLOSE, DOT, EQUAL, COMMA, DEF, SELF, IMPORTING) = range(13)
KINDS = {"\n": NEWLINE, ";": NEWLINE, ".": DOT, "=": EQUAL, ",": COMMA, "def": DEF, "self": SELF}
KINDS |= dict.fromkeys("([{", OPEN) | dict.fromkeys(")]}", CLOSE) | dict.fromkeys(("import", "from"), IMPORTING)
KEPT_NAMES = """
False None True and as assert async await break class continue del elif else except finally for global if in is lambda
nonlocal not or pass raise return try while with yield
Net forward supported_hyperparameters train_setup learn __init__
super range len print int float bool str list tuple dict set zip enumerate min max sum abs round any all map isinstance
issubclass getattr setattr hasattr reversed sorted property staticmethod classmethod object type Exception ValueError
TypeError RuntimeError NotImplementedError AssertionError
"""
# What `self.NAME` means in any torch.nn.Module.
MODULE_NAMES = """
training parameters named_parameters buffers named_buffers children named_children modules named_modules train eval
apply to cuda cpu half double state_dict load_state_dict register_buffer register_parameter register_module add_module
requires_grad_ zero_grad __class__ __dict__ _modules _parameters _buffers
"""
KEPT, MODULE_NAMES = frozenset(KEPT_NAMES.split()), frozenset(MODULE_NAMES.split())


def shingles(programs: Sequence[str], size: int) -> Iterator[np.ndarray]:
    """Yield for each program the hashes (uint64) of its shingles of `size` tokens, in order, repeats included.

    A program of fewer tokens is one shingle.
    """
    for batch in _batches(programs):
        ids, documents = _normalised(batch)
        hashes = np.frombuffer(VOCABULARY.hashes, np.uint64)[ids]
        counts = np.bincount(documents, minlength=len(batch))
        short = np.repeat(np.arange(len(batch)), np.maximum(size - counts, 0))
        if len(short):  # as many blanks as a short program lacks
            documents = np.concatenate([documents, short])
            hashes = np.concatenate([hashes, np.zeros(len(short), np.uint64)])
            order = np.argsort(documents, kind="stable")
            documents, hashes = documents[order], hashes[order]
            counts = np.maximum(counts, size)
        rolled = np.zeros(len(hashes) - size + 1, np.uint64)
        for offset in range(size):
            rolled *= MULTIPLIER
            rolled += hashes[offset : offset + len(rolled)]
        rolled = _mix64(rolled)
        for start, count in zip(np.cumsum(counts) - counts, counts):
            yield rolled[start : start + count - size + 1]


def shingle_sets(programs: Sequence[str], size: int) -> Iterator[np.ndarray]:
    """Yield for each program its set of shingles: their hashes (uint64), sorted, without repeats."""
    return (np.unique(hashes) for hashes in shingles(programs, size))


def jaccard(one: np.ndarray, two: np.ndarray) -> float:
    """Return |intersection| / |union| of two sorted sets of shingles."""
    at = np.searchsorted(two, one)
    common = int(np.count_nonzero(two[np.minimum(at, len(two) - 1)] == one))
    return common / (len(one) + len(two) - common)


def signatures(programs: Sequence[str], size: int) -> np.ndarray:
    """Return the MinHash signatures, uint32 (programs, 256): bit for bit those of datasketch, many times faster."""
    multiply, add = permutations()
    found = np.empty((len(programs), PERMUTATIONS), np.uint32)
    for row, hashes in enumerate(shingles(programs, size)):
        permuted = multiply[:, None] * _mix32((hashes >> np.uint64(32)).astype(np.uint32))
        permuted += add[:, None]
        permuted.min(axis=1, out=found[row])
    return found


@lru_cache(maxsize=1)
def permutations() -> tuple[np.ndarray, np.ndarray]:
    """Return datasketch's own factors and summands, uint32 (256,) each."""
    from datasketch import MinHash  # it imports much of scipy, and few jobs sign anything

    return tuple(MinHash(PERMUTATIONS, seed=SCHEME["seed"], scheme=SCHEME["scheme"]).permutations)


def normalised_tokens(program: str) -> list[str]:
    """Return the normalised tokens of a program, as text."""
    return [VOCABULARY.texts[token] for token in _normalised([program])[0]]


def text_digest(program: str) -> str:
    """Return the sha256, in hexadecimal, of the normalised tokens: what identifies a program that cannot be traced."""
    return sha256("\x1f".join(normalised_tokens(program)).encode("utf-8", "backslashreplace")).hexdigest()


class _Vocabulary(dict):
    """Token -> number. For each number the kind of the token, its normalised text and the hash of that."""

    def __init__(self):
        super().__init__()
        self.forget()

    def forget(self) -> None:
        self.clear()
        self.kinds, self.hashes, self.texts = array("B"), array("Q"), []

    def __missing__(self, token: str) -> int:
        number = self[token] = len(self.texts)
        kind, text = _classify(token)
        self.kinds.append(kind)
        self.texts.append(text)
        digest = blake2b(text.encode("utf-8", "backslashreplace"), digest_size=8).digest()
        self.hashes.append(int.from_bytes(digest, "little"))
        return number


VOCABULARY = _Vocabulary()


def _classify(token: str) -> tuple[int, str]:
    if token in KINDS:
        return KINDS[token], token
    if token[-1] in "\"'" and len(token) > 1:
        body = token.lstrip("rRbBuUfFtT")
        return STRING, "'" + body.strip(body[0]) + "'"
    if token[0].isdigit() or (token[0] == "." and len(token) > 1 and token != "..."):
        return PLAIN, _number(token)
    if token.isidentifier() and token not in KEPT:
        return (MODULE_NAME if token in MODULE_NAMES else NAME), token
    return PLAIN, token


def _number(token: str) -> str:
    try:
        return repr(int(token, 0))
    except ValueError:
        pass
    try:
        return repr(float(token))
    except ValueError:
        return token


def _batches(programs: Sequence[str]) -> Iterator[Sequence[str]]:
    start, size = 0, 0
    for at, program in enumerate(programs):
        size += len(program)
        if size > BATCH_CHARACTERS:
            yield programs[start : at + 1]
            start, size = at + 1, 0
            if len(VOCABULARY) > MAXIMUM_VOCABULARY:
                VOCABULARY.forget()
    if start < len(programs):
        yield programs[start:]


def _normalised(programs: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return (numbers of the normalised tokens of all programs, the program that each belongs to)."""
    tokens, counts = [VOCABULARY["\n"]], []
    number = VOCABULARY.__getitem__
    for program in programs:
        before = len(tokens)
        tokens += map(number, TOKEN.findall(program + "\n"))
        counts.append(len(tokens) - before)
    own = VOCABULARY[OWN]
    keys, origins = _imports(programs)
    ids = np.array(tokens[1:], np.int64)
    kinds = np.frombuffer(VOCABULARY.kinds, np.uint8)
    documents = np.repeat(np.arange(len(programs)), counts)
    ids, documents, depth = _statements(ids, documents, counts, kinds)
    kind = kinds[ids]
    width = len(VOCABULARY.texts)
    key = documents * width + ids
    after_dot = np.r_[False, kind[:-1] == DOT]
    # Imported names, and what is reached through them.
    library = np.zeros(len(ids), bool)
    if len(keys):
        order = np.argsort(keys, kind="stable")
        keys, origins = keys[order], origins[order]
        at = np.minimum(np.searchsorted(keys, key), len(keys) - 1)
        library = (keys[at] == key) & ~after_dot
        ids = np.where(library, origins[at], ids)
    for _ in range(4):
        library[2:] |= after_dot[2:] & library[:-2]
    # Attributes of the program's own: what it reaches through self, and what it defines.
    of_self = after_dot.copy()
    of_self[:2] = False
    of_self[2:] &= kind[:-2] == SELF
    defined = np.r_[False, kind[:-1] == DEF]
    own_keys = np.unique(key[((of_self & (kind == NAME)) | (defined & (kind == NAME)))])
    at = np.minimum(np.searchsorted(own_keys, key), max(len(own_keys) - 1, 0))
    known = own_keys[at] == key if len(own_keys) else np.zeros(len(ids), bool)
    named = (kind == NAME) | (kind == MODULE_NAME)
    replaced = named & ~library & np.where(after_dot, known & (kind == NAME), True)
    replaced &= ~_library_keywords(kind, depth, after_dot, replaced)
    ids[replaced] = own
    keep = (kind != NEWLINE) & ~((kind == COMMA) & np.r_[kind[1:] == CLOSE, False])
    return ids[keep], documents[keep]


def _statements(ids: np.ndarray, documents: np.ndarray, counts: list[int], kinds: np.ndarray) -> tuple:
    """Drop line breaks inside brackets, docstrings and import statements; return (ids, documents, depth)."""
    kind = kinds[ids]
    depth = np.cumsum((kind == OPEN).astype(np.int64) - (kind == CLOSE))
    ends = np.cumsum(counts) - 1
    depth -= np.repeat(np.r_[0, depth[ends[:-1]]], counts)  # a program with a bracket too many spoils no other
    keep = (kind != NEWLINE) | (depth <= 0)
    ids, documents, depth = ids[keep], documents[keep], depth[keep]
    kind = kinds[ids]
    first = np.r_[True, kind[:-1] == NEWLINE]
    statement = np.cumsum(first) - 1
    docstring = first & (kind == STRING) & np.r_[kind[1:] == NEWLINE, True]
    importing = (first & (kind == IMPORTING))[first][statement]
    keep = ~docstring & ~importing
    return ids[keep], documents[keep], depth[keep]


def _library_keywords(kind: np.ndarray, depth: np.ndarray, after_dot: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Mark the names of keyword arguments in calls of what is not the program's own (`padding=` of nn.Conv2d)."""
    keyword = own & ~after_dot & (depth > 0) & np.r_[kind[1:] == EQUAL, False]
    foreign = np.zeros(len(kind), bool)
    places = np.flatnonzero(keyword)
    for level in np.unique(depth[places]):
        here = places[depth[places] == level]
        openers = np.flatnonzero((kind == OPEN) & (depth == level))
        opener = openers[np.searchsorted(openers, here) - 1]
        callee = np.maximum(opener - 1, 0)
        parameters = kind[np.maximum(opener - 2, 0)] == DEF
        foreign[here] = ~own[callee] & ~parameters
    return foreign


def _imports(programs: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return (program and name of every imported name as one number, the origin's token), two arrays."""
    documents, names, origins = [], [], []
    for document, program in enumerate(programs):
        for module, listed in IMPORT.findall(program):
            for name, origin in _bindings(module, listed):
                documents.append(document)
                names.append(VOCABULARY[name])
                origins.append(VOCABULARY[origin])
    width = len(VOCABULARY.texts)
    return np.array(documents, np.int64) * width + np.array(names, np.int64), np.array(origins, np.int64)


@lru_cache(maxsize=10_000)
def _bindings(module: str, listed: str) -> tuple[tuple[str, str], ...]:
    """Return (name, origin) for each name that an import statement binds."""
    found = []
    for item in re.sub(r"#[^\n]*|[()\\]", "", listed).split(","):
        words = item.split()
        if not words or words[0] == "*":
            continue
        if module:
            found.append((words[-1], f"{module}.{words[0]}"))
        elif len(words) == 3:
            found.append((words[2], words[0]))
        else:
            root = words[0].split(".")[0]
            found.append((root, root))
    return tuple(found)


def _mix32(value: np.ndarray) -> np.ndarray:
    """The finaliser of MurmurHash3, as datasketch applies it before its affine permutations."""
    value = value ^ (value >> np.uint32(16))
    value *= np.uint32(0x85EBCA6B)
    value ^= value >> np.uint32(13)
    value *= np.uint32(0xC2B2AE35)
    value ^= value >> np.uint32(16)
    return value


def _mix64(value: np.ndarray) -> np.ndarray:
    value = value ^ (value >> np.uint64(33))
    value *= np.uint64(0xFF51AFD7ED558CCD)
    value ^= value >> np.uint64(33)
    value *= np.uint64(0xC4CEB9FE1A85EC53)
    value ^= value >> np.uint64(33)
    return value
