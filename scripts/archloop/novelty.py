"""What counts as a near-copy: Jaccard similarity of token shingles, found by MinHash, decided exactly.

Tokens are those of the program without comments and docstrings and with its own names replaced, so that renaming makes
nothing new; names of libraries stay. Source of the method: A. Broder, On the resemblance and containment of documents,
1997.
"""

import ast
import io
import tokenize
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from datasketch import MinHash

# Pinned: a signature means nothing without them. They are written into every corpus file.
SCHEME = {"scheme": "affine32", "seed": 1, "permutations": 256, "hash": "sha1_hash32"}
KEPT = {"Net", "forward", "supported_hyperparameters", "self", "train_setup", "learn"}
# The prefilter passes what MinHash estimates this far below the threshold; the estimate's standard deviation at a
# Jaccard similarity of 0.9 is sqrt(0.9 * 0.1 / 256) = 0.019, so a miss is six deviations away.
MARGIN = 0.12


@dataclass(frozen=True)
class Nearest:
    """The most similar known program: its id, the similarity, whether that is exact (else the MinHash estimate)."""

    id: str | None
    similarity: float
    exact: bool


class Index:
    """Known programs, in the order they were added, and the search for the most similar one."""

    def __init__(self, threshold: float, shingle_tokens: int):
        self.threshold, self.shingle_tokens = threshold, shingle_tokens
        self.ids, self.programs, self.signatures = [], [], []

    def add(self, identity: str, program: str, known_signature: bytes) -> None:
        self.ids.append(identity)
        self.programs.append(program)
        self.signatures.append(np.frombuffer(known_signature, np.uint32))

    def nearest(self, program: str) -> Nearest:
        """Return the most similar known program; ties go to the one added first."""
        if not self.ids:
            return Nearest(None, 0.0, True)
        own = np.frombuffer(signature(program, self.shingle_tokens), np.uint32)
        estimates = (np.stack(self.signatures) == own).mean(axis=1)
        close = np.flatnonzero(estimates >= self.threshold - MARGIN)
        if len(close):
            found = shingles(program, self.shingle_tokens)
            exact = [jaccard(found, shingles(self.programs[i], self.shingle_tokens)) for i in close]
            best = int(np.argmax(exact))
            return Nearest(self.ids[close[best]], exact[best], True)
        best = int(estimates.argmax())
        return Nearest(self.ids[best], float(estimates[best]), False)


@lru_cache(maxsize=4096)
def shingles(program: str, count: int) -> frozenset[str]:
    """Return the set of runs of `count` normalised tokens; a program of fewer tokens is one shingle."""
    tokens = normalised_tokens(program)
    return frozenset("\x1f".join(tokens[at : at + count]) for at in range(max(1, len(tokens) - count + 1)))


def jaccard(one: frozenset, two: frozenset) -> float:
    """Return |intersection| / |union|."""
    return len(one & two) / len(one | two)


@lru_cache(maxsize=4096)
def signature(program: str, count: int) -> bytes:
    """Return the MinHash signature of a program: 256 little-endian uint32."""
    minhash = MinHash(num_perm=SCHEME["permutations"], seed=SCHEME["seed"], scheme=SCHEME["scheme"])
    minhash.update_batch([shingle.encode() for shingle in shingles(program, count)])
    return minhash.hashvalues.astype("<u4").tobytes()


def normalised_tokens(program: str) -> list[str]:
    """Return the tokens of a program that parses, its own names replaced by their order of appearance."""
    tree = ast.parse(program)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if (
            isinstance(body, list)
            and body
            and isinstance(body[0], ast.Expr)
            and isinstance(body[0].value, ast.Constant)
        ):
            node.body = body[1:] or [ast.Pass()]
    renamer = _Renamer(_own_names(tree))
    text = ast.unparse(renamer.visit(tree))
    ignored = (tokenize.COMMENT, tokenize.NL, tokenize.ENCODING, tokenize.ENDMARKER)
    readable = io.StringIO(text + "\n").readline
    return [
        token.string or token.exact_type.__str__()
        for token in tokenize.generate_tokens(readable)
        if token.type not in ignored
    ]


def _own_names(tree: ast.Module) -> set[str]:
    """Return the names that the program itself binds: variables, arguments, functions, classes, attributes of self."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.arg):
            names.add(node.arg)
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            names.add(node.attr)
    return {name for name in names if name not in KEPT and not name.startswith("__")}


class _Renamer(ast.NodeTransformer):
    def __init__(self, own: set[str]):
        self.own, self.given = own, {}

    def _name(self, name: str) -> str:
        return self.given.setdefault(name, f"v{len(self.given)}") if name in self.own else name

    def visit_Name(self, node):
        node.id = self._name(node.id)
        return node

    def visit_arg(self, node):
        node.arg, node.annotation = self._name(node.arg), None
        return node

    def visit_Attribute(self, node):
        self.generic_visit(node)
        if isinstance(node.value, ast.Name) and node.value.id == "self":
            node.attr = self._name(node.attr)
        return node

    def visit_FunctionDef(self, node):
        node.name = self._name(node.name)
        self.generic_visit(node)
        return node

    visit_ClassDef = visit_FunctionDef
