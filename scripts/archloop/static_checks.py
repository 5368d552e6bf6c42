"""What can be said of a program without running it: does it parse, is it tame, does it keep the contract?

The allow-list is a courtesy that saves time; the walls around the process are what protects.
"""

import ast
import warnings

MAXIMUM_BYTES = 200_000
MODULES = {"torch", "torchvision", "math", "typing", "collections", "functools", "itertools", "dataclasses", "numpy"}
FORBIDDEN = {"eval", "exec", "compile", "open", "input", "breakpoint", "globals", "vars", "__import__", "exit", "quit"}


def check_program(program: str | None) -> tuple[str, str] | None:
    """Return (outcome, reason) for a program that is refused unrun: unparseable, unsafe or contract; else None."""
    if program is None:
        return "unparseable", "the answer holds no program"
    if len(program.encode("utf-8", "replace")) > MAXIMUM_BYTES:
        return "unparseable", f"longer than {MAXIMUM_BYTES} bytes"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(program)
            unsafe = next(_unsafe(tree), None)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return "unparseable", f"{type(error).__name__}: {error}"
    if unsafe:
        return "unsafe", unsafe
    missing = _missing(tree)
    return ("contract", missing) if missing else None


def _unsafe(tree: ast.Module):
    for node in ast.walk(tree):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or "."]
        yield from (f"imports {name}" for name in names if name.split(".")[0] not in MODULES)
        if isinstance(node, ast.Name) and node.id in FORBIDDEN:
            yield f"uses {node.id}"
        if isinstance(node, ast.Attribute) and node.attr.startswith("__") and node.attr != "__init__":
            yield f"uses the attribute {node.attr}"


def _missing(tree: ast.Module) -> str | None:
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    if "Net" not in classes:
        return "no class Net"
    methods = {node.name for node in classes["Net"].body if isinstance(node, ast.FunctionDef)}
    if not {"__init__", "forward"} <= methods:
        return f"Net has no {' and no '.join(sorted({'__init__', 'forward'} - methods))}"
    return None if "supported_hyperparameters" in functions else "no function supported_hyperparameters"
