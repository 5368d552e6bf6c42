"""Texts of programs: one layout for all, and what cannot be seen made visible. Standard library only."""

import ast
import re
import warnings

TAB = 4
MARGIN = re.compile(r"[ \t]*")
UNREADABLE = (SyntaxError, ValueError, RecursionError, MemoryError, OverflowError)


def line_feeds(text: str) -> str:
    """Return a text with a line feed for every end of a line, as Python reads it."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def one_layout(program: str) -> str:
    """Return a program with line feeds as its line ends and spaces as its margins.

    Margins change where the program parses and means the same without tabs; text inside strings stays as it is.

    >>> one_layout("if x:\\r\\n\\ty = 1\\r")
    'if x:\\n    y = 1\\n'
    """
    program = line_feeds(program)
    lines = program.split("\n")
    if not any("\t" in MARGIN.match(line)[0] for line in lines):
        return program
    tree = parsed(program)
    if tree is None:
        return program
    texts = [node for node in ast.walk(tree) if isinstance(node, (ast.Constant, ast.JoinedStr))]
    inside = {
        number for node in texts for number in range(node.lineno, node.end_lineno or node.lineno)
    }
    for number, line in enumerate(lines):
        margin = MARGIN.match(line)[0]
        if number not in inside:
            lines[number] = margin.expandtabs(TAB) + line[len(margin) :]
    spaced = "\n".join(lines)
    other = parsed(spaced)
    return spaced if other is not None and _dumped(other) == _dumped(tree) else program


def parsed(program: str) -> ast.Module | None:
    """Return the syntax tree of a program that compiles, else None."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(program)
            compile(tree, "<program>", "exec")
    except UNREADABLE:
        return None
    return tree


def visible(text: str) -> str:
    """Return a text with what cannot be seen (controls, marks that turn the direction of writing) as escapes.

    >>> visible("a\\u202eb\\x1b[2J")
    'a\\\\u202eb\\\\x1b[2J'
    """
    seen = "\n\t"
    return "".join(
        c if c.isprintable() or c in seen else c.encode("unicode_escape").decode() for c in text
    )


def _dumped(tree: ast.Module) -> list[tuple]:
    """Return a tree as a flat list that says all but the places, however deep it is."""
    found = []
    for node in ast.walk(tree):
        plain = [
            value for _, value in ast.iter_fields(node) if not isinstance(value, (ast.AST, list))
        ]
        counts = [len(value) for _, value in ast.iter_fields(node) if isinstance(value, list)]
        found.append((type(node).__name__, repr(plain), counts))
    return found
