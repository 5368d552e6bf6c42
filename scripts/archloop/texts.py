"""Texts of programs: one layout, and what cannot be seen as escapes. Standard library only."""

import ast
import re
import warnings

TAB = 4
UNREADABLE = (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError)
# Python's parser copies `a.b.c` again for each part: 60 KB of them in an import take a gigabyte.
MOST_PARTS = 1000
NO_DOTTED_NAME = re.compile(r"[^\w \t\f.]+")


def line_feeds(text: str) -> str:
    """Return a text with a line feed for every end of a line, as Python reads it."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def one_layout(program: str) -> str:
    """Return a program with line feeds as its line ends, spaces as its margins and no mark of its
    encoding before it, which Python reads over in a file, but not in a text.

    Margins change where the program parses and means the same without tabs; text inside strings
    stays as it is.

    >>> one_layout("if x:\\r\\n\\ty = 1\\r")
    'if x:\\n    y = 1\\n'
    """
    program = line_feeds(program).removeprefix("\ufeff")
    lines = program.split("\n")
    # Most programs have no tabs, and need not be parsed.
    if not any("\t" in margin_of(line) for line in lines):
        return program
    tree = parsed(program)
    if tree is None:
        return program

    inside = _lines_in_strings(tree)
    for number, line in enumerate(lines):
        margin = margin_of(line)
        if number not in inside:
            lines[number] = margin.expandtabs(TAB) + line[len(margin) :]

    spaced = "\n".join(lines)
    other = parsed(spaced)
    if other is None:
        return program
    same_meaning = _flat(other) == _flat(tree)
    return spaced if same_meaning else program


def margin_of(line: str) -> str:
    """Return the spaces and tabs that a line begins with."""
    return line[: len(line) - len(line.lstrip(" \t"))]


def _lines_in_strings(tree: ast.Module) -> set[int]:
    """Return the numbers, from 0, of the lines that begin inside a string."""
    numbers: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.Constant, ast.JoinedStr)):
            numbers.update(range(node.lineno, node.end_lineno or node.lineno))
    return numbers


def syntax_tree(program: str) -> ast.Module:
    """Return the syntax tree of a program that parses; raises one of UNREADABLE for others."""
    check_names(program)
    # A program's odd escapes are of no interest to the user.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(program)


def check_names(program: str) -> None:
    """Raise ValueError for a dotted name with so many parts that the parser runs out of memory."""
    lines = line_feeds(program).replace("\\\n", " ")
    if any(part.count(".") > MOST_PARTS for part in NO_DOTTED_NAME.split(lines)):
        raise ValueError(f"a name of more than {MOST_PARTS} parts")


def parsed(program: str) -> ast.Module | None:
    """Return the syntax tree of a program that compiles, else None."""
    try:
        tree = syntax_tree(program)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(tree, "<program>", "exec")
    except UNREADABLE:
        return None
    return tree


def visible(text: str) -> str:
    """Return a text with what cannot be seen (controls, marks that turn writing) as escapes.

    >>> visible("a\\u202eb\\x1b[2J")
    'a\\\\u202eb\\\\x1b[2J'
    """
    return "".join(map(_visible, text))


def _visible(character: str) -> str:
    if character.isprintable() or character in "\n\t":
        return character
    return character.encode("unicode_escape").decode()


def _flat(tree: ast.Module) -> list[tuple[str, str, list[int]]]:
    """Return a tree, however deep it is, as a flat list that says all but positions."""
    flat = []
    for node in ast.walk(tree):
        plain, counts = [], []
        for _, value in ast.iter_fields(node):
            if isinstance(value, list):
                counts.append(len(value))
            elif not isinstance(value, ast.AST):
                plain.append(value)
        flat.append((type(node).__name__, repr(plain), counts))
    return flat
