"""Programs as sets of token shingles: normalising, hashing and MinHash signatures, many programs at once.

Normalised means: comments, docstrings, layout and import lines gone; names of the program's own replaced by one
placeholder; names of libraries kept and imported names resolved to their origin, so `nn.Conv2d` is `torch.nn . Conv2d`
however it was imported (`torch.nn.Conv2d`, `from torch.nn import Conv2d`). One placeholder for all, so that an edit
changes only the shingles that it touches and not the numbering of everything below it. The lexer is our own: the result
does not depend on the version of Python. Whatever a program holds, it takes linear time.

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
    "tokens": 3,
}
OWN = "_"
MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
LINE_END = re.compile("\r\n?")
BATCH_CHARACTERS = 400_000
MAXIMUM_VOCABULARY = 500_000
MAXIMUM_PIECES = 8  # names below a module that stand for an imported one
SIGNED_AT_ONCE = (
    16_384  # shingles of one program: the memory that their permutations take is bounded
)

# No part of it looks at the same text from many starts: a string that does not end is one token all the same.
TOKEN = re.compile(
    r"""(?:[^\S\n]|\\\n|\#[^\n]*)*+(
      [^\W\d]\w*+(?!["'])
    | \n
    | (?:0[xXbBoO][\da-fA-F_]+ | (?:\d[\d_]*+\.?[\d_]*+ | \.\d[\d_]*+)(?:[eE][+-]?\d+)?[jJ]?)
    | [a-zA-Z]{0,2}(?:\"{3}(?:[^"\\]|\\(?s:.)|"(?!""))*+(?:"{3})? | '{3}(?:[^'\\]|\\(?s:.)|'(?!''))*+(?:'{3})?)
    | [a-zA-Z]{0,2}(?:"(?:[^"\\\n]|\\(?s:.))*+"? | '(?:[^'\\\n]|\\(?s:.))*+'?)
    | [^\W\d]\w*+
    | \*\*= | //= | >>= | <<= | -> | := | \*\* | // | == | != | <= | >= | [-+*/%@&|^]= | << | >> | \.\.\. | \S
    )""",
    re.VERBOSE,
)
# Modules that are one token, however a program reaches them; each after the package that it is in.
MODULES = """
torch.nn torch.nn.functional torch.nn.init torch.nn.modules torch.nn.parameter torch.nn.utils
torch.nn.utils.parametrizations torch.optim torch.optim.lr_scheduler torch.amp torch.autograd torch.cuda torch.cuda.amp
torch.fft torch.linalg torch.special torch.utils torch.utils.checkpoint torchvision.models torchvision.ops numpy.random
collections.abc
"""

(
    PLAIN,
    NAME,
    MODULE_NAME,
    NEWLINE,
    STRING,
    OPEN,
    CLOSE,
    DOT,
    EQUAL,
    COMMA,
    DEF,
    SELF,
    IMPORTING,
) = range(13)
KINDS = {"\n": NEWLINE, ";": NEWLINE, ".": DOT, "=": EQUAL, ",": COMMA, "def": DEF, "self": SELF}
KINDS |= (
    dict.fromkeys("([{", OPEN)
    | dict.fromkeys(")]}", CLOSE)
    | dict.fromkeys(("import", "from"), IMPORTING)
)
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
MODULES = MODULES.split()


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
        least = np.full(PERMUTATIONS, np.iinfo(np.uint32).max, np.uint32)
        for start in range(0, len(hashes), SIGNED_AT_ONCE):
            part = hashes[start : start + SIGNED_AT_ONCE]
            permuted = multiply[:, None] * _mix32((part >> np.uint64(32)).astype(np.uint32))
            permuted += add[:, None]
            np.minimum(least, permuted.min(axis=1), out=least)
        found[row] = least
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
    return sha256(
        "\x1f".join(normalised_tokens(program)).encode("utf-8", "backslashreplace")
    ).hexdigest()


class _Vocabulary(dict):
    """Token -> number. For each number the kind of the token, its normalised text and the hash of that."""

    def __init__(self):
        super().__init__()
        self.forget()

    def forget(self) -> None:
        self.clear()
        self.kinds, self.hashes, self.texts = array("B"), array("Q"), []

    def __missing__(self, token: str) -> int:
        kind, text = _classify(token)
        number = self[token] = len(self.texts)
        self.kinds.append(kind)
        self.texts.append(text)
        digest = blake2b(text.encode("utf-8", "backslashreplace"), digest_size=8).digest()
        self.hashes.append(int.from_bytes(digest, "little"))
        return number


VOCABULARY = _Vocabulary()


def _classify(token: str) -> tuple[int, str]:
    if token in KINDS:
        return KINDS[token], token
    if token[-1:] in ('"', "'") and len(token) > 1:
        body = token.lstrip("rRbBuUfFtT")
        return STRING, "'" + body.strip(body[0]) + "'"
    if token[:1].isdigit() or (token[:1] == "." and len(token) > 1 and token != "..."):
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
    tokens, counts = [], []
    number = VOCABULARY.__getitem__
    for program in programs:
        before = len(tokens)
        tokens += map(number, TOKEN.findall(LINE_END.sub("\n", program) + "\n"))
        tokens.append(number("\n"))
        counts.append(len(tokens) - before)
    own, ids = VOCABULARY[OWN], np.array(tokens, np.int64)
    documents = np.repeat(np.arange(len(programs)), counts)
    ids, documents, depth, imports = _statements(ids, documents, counts)
    ids, documents, depth, library = _resolved(ids, documents, depth, imports)
    kind = _kinds()[ids]
    after_dot = np.r_[False, kind[:-1] == DOT]
    for _ in range(4):  # what is reached through an imported name
        library[2:] |= after_dot[2:] & library[:-2]
    # Attributes of the program's own: what it reaches through self, and what it defines.
    key = documents * len(VOCABULARY.texts) + ids
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


def _kinds() -> np.ndarray:
    """Return the kind of every token of the vocabulary, by its number."""
    return np.array(VOCABULARY.kinds, np.uint8)


def _statements(ids: np.ndarray, documents: np.ndarray, counts: list[int]) -> tuple:
    """Drop line breaks inside brackets, docstrings and import statements.

    Returns (ids, documents, depth, the import statements: the program of each and its tokens).
    """
    kinds = _kinds()
    kind = kinds[ids]
    depth = np.cumsum((kind == OPEN).astype(np.int64) - (kind == CLOSE))
    ends = np.cumsum(counts) - 1
    depth -= np.repeat(
        np.r_[0, depth[ends[:-1]]], counts
    )  # a program with a bracket too many spoils no other
    last = np.zeros(len(ids), bool)
    last[ends] = True
    keep = (kind != NEWLINE) | (depth <= 0) | last
    ids, documents, depth = ids[keep], documents[keep], depth[keep]
    kind = kinds[ids]
    first = np.r_[True, kind[:-1] == NEWLINE][: len(ids)]
    statement = np.cumsum(first) - 1
    docstring = first & (kind == STRING) & np.r_[kind[1:] == NEWLINE, True][: len(ids)]
    importing = (first & (kind == IMPORTING))[first][statement]
    starts = np.flatnonzero(importing & first)
    places = np.flatnonzero(importing)
    parts = np.split(ids[places], np.searchsorted(places, starts[1:])) if len(starts) else []
    keep = ~docstring & ~importing
    return ids[keep], documents[keep], depth[keep], list(zip(documents[starts].tolist(), parts))


def _resolved(ids: np.ndarray, documents: np.ndarray, depth: np.ndarray, imports: list) -> tuple:
    """Put in the place of each imported name where it comes from: a module, and what is taken from it.

    Returns (ids, documents, depth, which tokens are such a module or root).
    """
    bound = [
        (document, VOCABULARY[name], origin)
        for document, tokens in imports
        for name, origin in _bindings(tuple(VOCABULARY.texts[token] for token in tokens.tolist()))
    ]
    origins = sorted({origin for _, _, origin in bound})
    pieces = [[VOCABULARY[part] for part in _pieces(origin)] for origin in origins]
    joined = {
        (VOCABULARY[name.rpartition(".")[0]], VOCABULARY[name.rpartition(".")[2]]): name
        for name in MODULES
    }
    joined = {pair: VOCABULARY[name] for pair, name in joined.items()}
    if not bound:
        return ids, documents, depth, np.zeros(len(ids), bool)
    width, kinds = len(VOCABULARY.texts), _kinds()
    keys = np.array([document * width + name for document, name, _ in bound], np.int64)
    values = np.searchsorted(origins, [origin for _, _, origin in bound])
    order = np.argsort(keys, kind="stable")
    keys, values = keys[order], values[order]
    key = documents * width + ids
    at = np.minimum(np.searchsorted(keys, key), len(keys) - 1)
    library = (keys[at] == key) & ~np.r_[False, kinds[ids[:-1]] == DOT][: len(ids)]
    # Each name becomes as many tokens as its origin has pieces.
    lengths = np.where(library, np.array([len(each) for each in pieces])[values[at]], 1)
    starts = np.cumsum(lengths) - lengths
    ids, documents, depth = (np.repeat(each, lengths) for each in (ids, documents, depth))
    for place in range(max(map(len, pieces))):
        piece = np.array([(each + [0] * place)[place] for each in pieces])[values[at]]
        chosen = library & (lengths > place)
        ids[starts[chosen] + place] = piece[chosen]
    roots = np.zeros(len(ids), bool)
    roots[starts[library]] = True
    # `torch . nn` becomes `torch.nn`, and so on down.
    pairs = np.array(sorted((one * width + two, whole) for (one, two), whole in joined.items()))
    for _ in range(3):
        places = np.flatnonzero(roots[:-2] & (kinds[ids[1:-1]] == DOT))
        pair = ids[places] * width + ids[places + 2]
        at = np.minimum(np.searchsorted(pairs[:, 0], pair), len(pairs) - 1)
        found = pairs[at, 0] == pair
        ids[places[found]] = pairs[at[found], 1]
        keep = np.ones(len(ids), bool)
        keep[places[found] + 1] = keep[places[found] + 2] = False
        ids, documents, depth, roots = ids[keep], documents[keep], depth[keep], roots[keep]
    return ids, documents, depth, roots


def _library_keywords(
    kind: np.ndarray, depth: np.ndarray, after_dot: np.ndarray, own: np.ndarray
) -> np.ndarray:
    """Mark the names of keyword arguments in calls of what is not the program's own (`padding=` of nn.Conv2d)."""
    keyword = own & ~after_dot & (depth > 0) & np.r_[kind[1:] == EQUAL, False]
    foreign = np.zeros(len(kind), bool)
    places, openers = np.flatnonzero(keyword), np.flatnonzero(kind == OPEN)
    # The opener of each: the last one before it at its depth.
    order = np.lexsort((openers, depth[openers]))
    openers = openers[order]
    at = (
        np.searchsorted(depth[openers] * len(kind) + openers, depth[places] * len(kind) + places)
        - 1
    )
    opener = openers[at] if len(openers) else places
    callee = np.maximum(opener - 1, 0)
    parameters = kind[np.maximum(opener - 2, 0)] == DEF
    foreign[places] = ~own[callee] & ~parameters
    return foreign


@lru_cache(maxsize=10_000)
def _bindings(statement: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """Return (name, origin) for each name that an import statement, given as its tokens, binds."""
    at = statement.index("import") if "import" in statement else len(statement)
    module = "".join(statement[1:at])
    found, item = [], []
    for token in (*statement[at + 1 :], ","):
        if token in ("(", ")", "\n", ";"):
            continue
        if token != ",":
            item.append(token)
            continue
        renamed = len(item) > 2 and item[-2] == "as"
        path, name = (item[:-2], item[-1]) if renamed else (item, item[0] if item else "")
        if name.isidentifier() and "*" not in item:
            whole = f"{module}." + "".join(path) if module else "".join(path) if renamed else name
            found.append((name, whole))
        item = []
    return tuple(found)


def _pieces(origin: str) -> list[str]:
    """Return the tokens that stand for an origin: its longest module that is one token, and the names below it."""
    known = [name for name in MODULES if origin == name or origin.startswith(name + ".")]
    first = max(known, key=len, default="." if origin.startswith(".") else origin.partition(".")[0])
    rest = [part for part in origin[len(first) :].split(".", MAXIMUM_PIECES) if part]
    return [first, *(piece for part in rest for piece in (".", part))]


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
