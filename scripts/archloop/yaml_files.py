"""Files of YAML that people write, read more strictly than YAML is."""

import math
from pathlib import Path
from typing import Any

import yaml

from archloop.errors import InputError, one_line
from archloop.files import read_text

MERGE = "tag:yaml.org,2002:merge"  # the tag of `<<`


def read_yaml(path: str | Path) -> Any:
    """Return what a file of YAML that a person wrote holds, None where it is empty.

    Raises InputError naming the file for what is no YAML, and the line too for a number that is not
    finite and for a key that is given twice: YAML itself takes the last one.
    """
    text = read_text(path)
    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        _check_nodes(root, loader, path)
        return None if root is None else loader.construct_document(root)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        # ValueError: a date that there is not.
        complaint = one_line(error)
        raise InputError(f"{path}: no YAML ({complaint})") from None


def _check_nodes(root: yaml.Node | None, loader: yaml.SafeLoader, path: str | Path) -> None:
    """Raise InputError for a key that is given twice and a number that is not finite."""
    todo: list[yaml.Node] = []
    if root is not None:
        todo.append(root)
    seen: set[int] = set()
    while todo:
        node = todo.pop()
        if id(node) in seen:  # an anchor's, met again
            continue
        seen.add(id(node))

        if isinstance(node, yaml.SequenceNode):
            todo += node.value
        elif isinstance(node, yaml.MappingNode):
            todo += _values(node, path)
        elif isinstance(node, yaml.ScalarNode) and not _is_finite(node, loader):
            raise InputError(f"{_where(path, node)}: {node.value} is no finite number")


def _is_finite(node: yaml.ScalarNode, loader: yaml.SafeLoader) -> bool:
    """Return whether a scalar is anything but a number that is not finite."""
    is_float = node.tag.endswith(":float")
    return not is_float or math.isfinite(loader.construct_yaml_float(node))


def _values(mapping: yaml.MappingNode, path: str | Path) -> list[yaml.Node]:
    """Return the values of a mapping; raise InputError for a key that is given twice."""
    lines: dict[str, int] = {}
    for key, _ in mapping.value:
        name = str(key.value)
        # `<<` takes over the keys of another mapping, and may stand there more than once.
        if name in lines and key.tag != MERGE:
            first = lines[name]
            raise InputError(f"{_where(path, key)}: {name} is given twice, first in line {first}")
        lines[name] = _line(key)
    return [value for _, value in mapping.value]


def _where(path: str | Path, node: yaml.Node) -> str:
    return f"{path}, line {_line(node)}"


def _line(node: yaml.Node) -> int:
    """Return the line that a node begins in, counted from 1."""
    line: int = node.start_mark.line
    return line + 1
