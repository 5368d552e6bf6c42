"""Programs as normalised tokens: what is left of a text when only what it does counts.

Comments, docstrings, layout and import lines are gone. Names of the program's own are replaced by
one placeholder. Names of libraries are kept and imported names resolved to their origin, so
`nn.Conv2d` is `torch.nn . Conv2d` however it was imported (`torch.nn.Conv2d`, `from torch.nn import
Conv2d`). There is one placeholder for all, so that an edit changes only the shingles that it
touches and not the numbering of everything below it. Whatever a program holds, it takes linear
time.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256

import numpy as np

from archloop.novelty.imports import MODULES, bindings, pieces
from archloop.novelty.vocabulary import (
    CLOSE,
    COMMA,
    DEF,
    DOT,
    EQUAL,
    IMPORTING,
    MODULE_NAME,
    NAME,
    NEWLINE,
    OPEN,
    SELF,
    STRING,
    VOCABULARY,
    read_tokens,
)

PLACEHOLDER = "_"
BATCH_CHARACTERS = 400_000
MAXIMUM_VOCABULARY = 500_000
# An imported name may be followed by so many more: `torch.nn.utils.parametrizations.weight_norm`.
ATTRIBUTES_OF_LIBRARIES = 4
# Modules of MODULES lie at most so many packages deep below the first.
DEEPEST_MODULE = 3


@dataclass(frozen=True)
class Tokens:
    """The tokens of several programs, one after the other: arrays of equal length, of int64."""

    numbers: np.ndarray  # in VOCABULARY
    programs: np.ndarray  # the position of the program that each belongs to
    depths: np.ndarray  # how many brackets are open

    def __len__(self) -> int:
        return len(self.numbers)

    def kinds(self) -> np.ndarray:
        """Return the kind of each token, uint8."""
        of_vocabulary = np.array(VOCABULARY.kinds, np.uint8)
        kinds: np.ndarray = of_vocabulary[self.numbers]
        return kinds

    def names(self) -> np.ndarray:
        """Return a key of each token that tokens of one text in one program have in common."""
        names: np.ndarray = self.programs * len(VOCABULARY.texts) + self.numbers
        return names

    def where(self, keep: np.ndarray) -> "Tokens":
        """Return the tokens that a mask keeps."""
        return Tokens(self.numbers[keep], self.programs[keep], self.depths[keep])

    def repeated(self, lengths: np.ndarray) -> "Tokens":
        """Return each token as many times as `lengths` says."""
        return Tokens(
            np.repeat(self.numbers, lengths),
            np.repeat(self.programs, lengths),
            np.repeat(self.depths, lengths),
        )


# An import statement: the position of its program and its tokens.
Import = tuple[int, list[int]]


def normalised(programs: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return (numbers of the normalised tokens of all programs, the program that each belongs to).

    The numbers are those of VOCABULARY; both arrays are int64.
    """
    tokens, last = _read(programs)
    tokens = _without_inner_line_breaks(tokens, last)
    tokens, imports = _without_docstrings_and_imports(tokens)
    tokens, library = _with_origins(tokens, imports)

    numbers, kinds = tokens.numbers, tokens.kinds()
    numbers[_own_names(tokens, kinds, library)] = VOCABULARY[PLACEHOLDER]

    # A comma before a closing bracket says nothing.
    trailing_comma = (kinds == COMMA) & _before(kinds, CLOSE)
    keep = (kinds != NEWLINE) & ~trailing_comma
    return numbers[keep], tokens.programs[keep]


def normalised_tokens(program: str) -> list[str]:
    """Return the normalised tokens of a program, as text."""
    numbers, _ = normalised([program])
    return [VOCABULARY.texts[number] for number in numbers]


def text_digest(program: str) -> str:
    """Return the sha256, in hexadecimal, of the normalised tokens.

    It identifies a program that cannot be traced.
    """
    text = "\x1f".join(normalised_tokens(program))
    return sha256(text.encode("utf-8", "backslashreplace")).hexdigest()


def batches(programs: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield the programs in batches of bounded memory; between two the vocabulary may begin again.

    So the numbers of one batch mean nothing to the next.
    """
    start = characters = 0
    for index, program in enumerate(programs):
        characters += len(program)
        if characters <= BATCH_CHARACTERS:
            continue
        yield programs[start : index + 1]
        start, characters = index + 1, 0
        if len(VOCABULARY) > MAXIMUM_VOCABULARY:
            VOCABULARY.forget()

    if start < len(programs):
        yield programs[start:]


def _read(programs: Sequence[str]) -> tuple[Tokens, np.ndarray]:
    """Return (the tokens of the programs, the position of the last one of each program)."""
    numbers: list[int] = []
    counts = []
    for program in programs:
        read = read_tokens(program)
        numbers += read
        counts.append(len(read))

    array = np.array(numbers, np.int64)
    kinds = np.array(VOCABULARY.kinds, np.uint8)[array]
    opened = (kinds == OPEN).astype(np.int64)
    depths = np.cumsum(opened - (kinds == CLOSE))

    # Each program begins at depth 0: one with a bracket too many spoils no other.
    last = np.cumsum(counts) - 1
    left_open = depths[last[:-1]]
    depths -= np.repeat(np.r_[0, left_open], counts)
    positions = np.arange(len(programs))
    owners = np.repeat(positions, counts)
    return Tokens(array, owners, depths), last


def _without_inner_line_breaks(tokens: Tokens, last: np.ndarray) -> Tokens:
    """Drop the line breaks inside brackets; that which ends a program stays."""
    ends_program = np.zeros(len(tokens), bool)
    ends_program[last] = True
    in_brackets = tokens.depths > 0
    inner = (tokens.kinds() == NEWLINE) & in_brackets
    return tokens.where(~inner | ends_program)


def _without_docstrings_and_imports(tokens: Tokens) -> tuple[Tokens, list[Import]]:
    """Return (the tokens of all other statements, the import statements)."""
    kinds = tokens.kinds()
    first = _after(kinds, NEWLINE)
    first[:1] = True
    last = _before(kinds, NEWLINE)
    last[-1:] = True
    docstring = first & (kinds == STRING) & last

    # Whether a token's statement begins as an import does.
    statement = np.cumsum(first) - 1
    importing = (first & (kinds == IMPORTING))[first][statement]

    starts = np.flatnonzero(importing & first)
    imports: list[Import] = []
    if len(starts):
        positions = np.flatnonzero(importing)
        cuts = np.searchsorted(positions, starts[1:])
        statements = np.split(tokens.numbers[positions], cuts)
        programs = tokens.programs[starts].tolist()
        for program, numbers in zip(programs, statements):
            imports.append((program, numbers.tolist()))

    return tokens.where(~docstring & ~importing), imports


def _with_origins(tokens: Tokens, imports: list[Import]) -> tuple[Tokens, np.ndarray]:
    """Put in the place of each imported name where it comes from: a module, and names below it.

    Returns (tokens, which of them are such a module or the first name of such an origin).
    """
    bound: list[tuple[int, int, str]] = []  # program, number of the name, origin
    for program, numbers in imports:
        statement = tuple(VOCABULARY.texts[number] for number in numbers)
        for name, origin in bindings(statement):
            bound.append((program, VOCABULARY[name], origin))

    if not bound:
        return tokens, np.zeros(len(tokens), bool)

    origins = sorted({origin for _, _, origin in bound})
    replacements, lengths = _replacements(origins)
    modules = _modules_by_pair()
    # From here on no token is new, so keys of one width can be compared.
    width = len(VOCABULARY.texts)
    key_of_name, origin_of_name = [], []
    for program, number, origin in bound:
        key_of_name.append(program * width + number)
        origin_of_name.append(origin)

    keys = np.array(key_of_name, np.int64)
    values = np.searchsorted(origins, origin_of_name)
    order = np.argsort(keys, kind="stable")  # of a name that is bound twice the first counts
    keys = keys[order]
    values = values[order]

    index_of, known = _look_up(tokens.names(), keys)
    imported = known & ~_after(tokens.kinds(), DOT)
    origin_of = values[index_of]

    # Each name becomes as many tokens as its origin has.
    counts = np.where(imported, lengths[origin_of], 1)
    starts = np.cumsum(counts) - counts
    tokens = tokens.repeated(counts)
    for index, pieces_of_origins in enumerate(replacements.T):
        chosen = imported & (counts > index)
        written = starts[chosen] + index
        tokens.numbers[written] = pieces_of_origins[origin_of[chosen]]

    roots = np.zeros(len(tokens), bool)
    roots[starts[imported]] = True
    return _with_joined_modules(tokens, roots, modules)


def _replacements(origins: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return (numbers of the tokens of each origin, a row each, filled up; how many they are)."""
    rows = []
    for origin in origins:
        rows.append([VOCABULARY[piece] for piece in pieces(origin)])

    lengths = np.array(list(map(len, rows)))
    longest = lengths.max()
    filled = np.zeros((len(rows), longest), np.int64)
    for index, row in enumerate(rows):
        filled[index, : len(row)] = row
    return filled, lengths


def _modules_by_pair() -> dict[tuple[int, int], int]:
    """Return (number of a package, number of a name in it) -> number of the module of both."""
    modules = {}
    for module in MODULES:
        package, _, name = module.rpartition(".")
        pair = VOCABULARY[package], VOCABULARY[name]
        modules[pair] = VOCABULARY[module]
    return modules


def _with_joined_modules(
    tokens: Tokens, roots: np.ndarray, modules: dict[tuple[int, int], int]
) -> tuple[Tokens, np.ndarray]:
    """Make one token of `torch . nn`, and so on down; return (tokens, which of them are roots)."""
    width = len(VOCABULARY.texts)
    # A pair of numbers as one, which sorts.
    whole_of: dict[int, int] = {}
    for (package, name), whole in modules.items():
        whole_of[package * width + name] = whole
    keys = np.array(sorted(whole_of))
    wholes = np.array([whole_of[key] for key in keys.tolist()])
    for _ in range(DEEPEST_MODULE):
        before_dot = _before(tokens.kinds(), DOT)
        has_attribute = roots & before_dot
        positions = np.flatnonzero(has_attribute[:-2])
        packages = tokens.numbers[positions]
        names = tokens.numbers[positions + 2]
        index_of, known = _look_up(packages * width + names, keys)

        replaced = positions[known]
        tokens.numbers[replaced] = wholes[index_of[known]]
        keep = np.ones(len(tokens), bool)
        keep[replaced + 1] = False
        keep[replaced + 2] = False
        tokens = tokens.where(keep)
        roots = roots[keep]

    return tokens, roots


def _own_names(tokens: Tokens, kinds: np.ndarray, library: np.ndarray) -> np.ndarray:
    """Return which tokens are names of the program's own; `library` says which are imported."""
    after_dot = _after(kinds, DOT)
    library = library.copy()
    for _ in range(ATTRIBUTES_OF_LIBRARIES):
        library[2:] |= after_dot[2:] & library[:-2]

    attribute = _own_attributes(tokens, kinds, after_dot)
    named = (kinds == NAME) | (kinds == MODULE_NAME)
    own_names: np.ndarray = named & ~library
    own_names &= attribute | ~after_dot
    own_names &= ~_library_keywords(kinds, tokens.depths, after_dot, own_names)
    return own_names


def _own_attributes(tokens: Tokens, kinds: np.ndarray, after_dot: np.ndarray) -> np.ndarray:
    """Return which names are attributes of the program's own, whoever they are reached through.

    Those are what it reaches through self, and what it defines.
    """
    of_self = after_dot.copy()
    of_self[:2] = False
    of_self[2:] &= kinds[:-2] == SELF
    is_name = kinds == NAME
    defined = _after(kinds, DEF)

    names = tokens.names()
    reached = is_name & (of_self | defined)
    own_names = np.unique(names[reached])
    _, known = _look_up(names, own_names)
    known &= is_name
    return known


def _library_keywords(
    kinds: np.ndarray, depths: np.ndarray, after_dot: np.ndarray, own_names: np.ndarray
) -> np.ndarray:
    """Return which tokens name arguments of calls of what is not the program's own.

    Such as `padding=` of nn.Conv2d.
    """
    in_brackets = own_names & ~after_dot & (depths > 0)
    positions = np.flatnonzero(in_brackets & _before(kinds, EQUAL))
    openers = np.flatnonzero(kinds == OPEN)
    foreign = np.zeros(len(kinds), bool)
    if not len(openers):
        return foreign

    # The opener of each: the last one before it at its depth.
    # Depth and position as one number, which sorts by depth first.
    ranks = np.sort(depths[openers] * len(kinds) + openers)
    wanted = depths[positions] * len(kinds) + positions
    nearest = np.searchsorted(ranks, wanted) - 1
    opener = ranks[nearest] % len(kinds)

    callee = np.maximum(opener - 1, 0)
    before_callee = np.maximum(opener - 2, 0)
    parameters = kinds[before_callee] == DEF
    foreign[positions] = ~own_names[callee] & ~parameters
    return foreign


def _after(kinds: np.ndarray, kind: int) -> np.ndarray:
    """Return which tokens come right after one of a kind."""
    mask = np.zeros(len(kinds), bool)
    mask[1:] = kinds[:-1] == kind
    return mask


def _before(kinds: np.ndarray, kind: int) -> np.ndarray:
    """Return which tokens come right before one of a kind."""
    mask = np.zeros(len(kinds), bool)
    mask[:-1] = kinds[1:] == kind
    return mask


def _look_up(wanted: np.ndarray, keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (index of each in the sorted keys, which of them are there); of equals the first."""
    if not len(keys):
        nowhere = np.zeros(len(wanted), np.int64)
        return nowhere, nowhere.astype(bool)
    positions = np.searchsorted(keys, wanted)
    # What is greater than all keys would lie after the last.
    indices = np.minimum(positions, len(keys) - 1)
    return indices, keys[indices] == wanted
