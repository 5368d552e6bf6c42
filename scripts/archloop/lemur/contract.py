"""Programs edited into LEMUR's contract: the older layout into today's, and missing methods added.

The contract: `Net(in_shape, out_shape, prm, device)` an nn.Module with `forward(x)`,
`train_setup(prm)` and `learn(train_data)`. The older layout of LEMUR is `Net(in_shape, out_shape,
prm)` with `train_setup(device, prm)`. Edits keep every other character of the source.
"""

import ast
from typing import NamedTuple, TypedDict

from archloop.texts import line_feeds, margin_of, one_layout, parsed

TRAIN_SETUP = """
    def train_setup(self, prm):
        self.to({device})
        self.optimizer = torch.optim.SGD(
            self.parameters(), lr=prm.get("lr", {lr!r}), momentum=prm.get("momentum", {momentum!r})
        )
"""
LEARN = """
    def learn(self, train_data):
        self.train()
        device = next(self.parameters()).device
        for inputs, labels in train_data:
            self.optimizer.zero_grad()
            torch.nn.functional.cross_entropy(self(inputs.to(device)), labels.to(device)).backward()
            torch.nn.utils.clip_grad_norm_(self.parameters(), {clip!r})
            self.optimizer.step()
"""
# Where the weights are, for a program that keeps no device.
DEVICE_OF_WEIGHTS = "next(self.parameters()).device"
# Base classes that have neither method.
PLAIN_BASES = {
    ast.dump(ast.parse(text, mode="eval").body)
    for text in ("nn.Module", "torch.nn.Module", "Module")
}

# Line from 1, column in bytes, as ast has them.
Position = tuple[int, int]


class RecordedProtocol(TypedDict, total=False):
    """How the judge trained a program, as far as its record says: keys of section evaluation."""

    protocol: str
    epochs: int
    batch_size: int
    learning_rate: float
    momentum: float
    dropout: float
    gradient_clip: float


# Where a record says nothing.
DEFAULTS: RecordedProtocol = {"learning_rate": 0.01, "momentum": 0.9, "gradient_clip": 3.0}


class Edit(NamedTuple):
    """A text that replaces what lies between two positions."""

    start: Position
    end: Position
    text: str


def modernise(program: str) -> str:
    """Return a program of either layout of LEMUR in the present one; raise ValueError for others.

    One whose Net has no `__init__` of its own stays as it is: what it takes, its base decides.
    """
    if _inherits(program):
        return program
    net = _net(program)
    methods = _methods(net)
    init = methods["__init__"]
    _, *arguments = init.args.args
    names = [argument.arg for argument in arguments]
    edits = []
    # In the older layout Net gets no device, train_setup does.
    if len(names) == 3:
        device = ", device=None" if init.args.defaults else ", device"
        edits += [_after_arguments(init, device), _remember(init, "device")]
    elif len(names) != 4:
        raise ValueError(f"Net takes ({', '.join(names)}), neither layout of LEMUR")

    setup = methods.get("train_setup")
    if setup is not None and len(setup.args.args) == 3:
        edits += _without_device(setup)
        if len(names) == 4 and not _assigns_device(net):
            edits.append(_remember(init, names[3]))

    # Such as a line that another statement shares.
    whole = _edit(program, edits)
    if parsed(whole) is None:
        raise ValueError("its layout cannot be edited")
    return whole


def _without_device(setup: ast.FunctionDef) -> list[Edit]:
    """Return the edits that make `train_setup(device, prm)` one of `prm` alone."""
    _, device, prm = setup.args.args
    if device.arg != "device":
        takes = f"({device.arg}, {prm.arg})"
        raise ValueError(f"train_setup takes {takes}, neither layout of LEMUR")
    return [
        Edit(_start(device), _start(prm), ""),
        _first_statement(setup, "device = self.device"),
    ]


def complete_program(program: str, protocol: RecordedProtocol) -> str:
    """Return the program with whichever of `train_setup` and `learn` its class Net lacks.

    They train as the judge does. protocol: learning_rate, momentum and gradient_clip, the values
    where `prm` has none. The methods are written into the class; where it is not plain (another
    name for a class, one line, bases of its own), after the program.
    """
    program = one_layout(program)
    values: RecordedProtocol = {**DEFAULTS, **protocol}
    try:
        whole = _completed(program, values)
    except ValueError:
        return _extended(program, values)

    if parsed(whole) is None:
        return _extended(program, values)
    return whole


def _completed(program: str, values: RecordedProtocol) -> str:
    """Return the program with the methods in its class Net; raise ValueError where it cannot be."""
    net = _net(program)
    methods = _methods(net)
    if {"train_setup", "learn"} <= methods.keys():
        return program
    if _has_own_bases(net):
        raise ValueError("Net may inherit the methods")

    edits, added = [], []
    if "train_setup" not in methods:
        init = methods["__init__"]
        arguments = init.args.args
        keeps_device = _assigns_device(net)
        # The contract's four and self: the last is the device.
        if len(arguments) == 5 and not keeps_device:
            edits.append(_remember(init, arguments[4].arg))
            keeps_device = True

        device = "self.device" if keeps_device else DEVICE_OF_WEIGHTS
        added.append(_train_setup(device, values))

    if "learn" not in methods:
        added.append(LEARN.format(clip=values["gradient_clip"]))

    edits.append(_at_the_end(net, program, "".join(added)))
    return _with_torch(_edit(program, edits))


def _train_setup(device: str, values: RecordedProtocol) -> str:
    return TRAIN_SETUP.format(
        device=device, lr=values["learning_rate"], momentum=values["momentum"]
    )


def _at_the_end(net: ast.ClassDef, program: str, text: str) -> Edit:
    """Return the edit that ends a class with methods, in its own margin."""
    last = net.body[-1]
    if last.lineno == net.lineno:
        raise ValueError("Net is written on one line")

    lines = program.split("\n")
    first_line = lines[net.body[0].lineno - 1]
    margin = margin_of(first_line)
    # The methods here are written in a margin of four blanks.
    indented = text.replace("\n    ", f"\n{margin}").rstrip()
    return Edit(_end(last), _end(last), f"\n{indented}")


def _extended(program: str, values: RecordedProtocol) -> str:
    """Return the program with the methods given to Net after it, unless it has them."""
    parts = {
        "train_setup": _train_setup(DEVICE_OF_WEIGHTS, values),
        "learn": LEARN.format(clip=values["gradient_clip"]),
    }
    added = ""
    for name, text in parts.items():
        method = f"{text.rstrip()}\n\n    Net.{name} = {name}\n"
        added += f'\n\nif not hasattr(Net, "{name}"):\n{method}'
    return _with_torch(program.rstrip() + "\n" + added)


def _with_torch(program: str) -> str:
    """Return a program that has torch as `torch`, after what must come first."""
    if _imports_torch(program):
        return program

    # The last line of a docstring and of imports from __future__, which must come first.
    line = 0
    for node in _statements(program):
        is_text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        docstring = is_text and line == 0
        if not docstring and not _is_from_future(node):
            break
        line, _ = _end(node)

    lines = program.split("\n")
    return "\n".join([*lines[:line], "import torch", *lines[line:]])


def _is_from_future(node: ast.stmt) -> bool:
    return isinstance(node, ast.ImportFrom) and node.module == "__future__"


def _statements(program: str) -> list[ast.stmt]:
    """Return the statements of a program, none of one that does not parse."""
    tree = parsed(program)
    return tree.body if tree is not None else []


def _net(program: str) -> ast.ClassDef:
    """Return the first class Net with an `__init__`; raise ValueError where there is none."""
    if parsed(program) is None:
        raise ValueError("it does not parse")
    for node in _statements(program):
        if not isinstance(node, ast.ClassDef) or node.name != "Net":
            continue
        if "__init__" in _methods(node):
            return node

    raise ValueError("it has no class Net with an __init__")


def _inherits(program: str) -> bool:
    """Say whether Net is another name for something, or a class that inherits its `__init__`."""
    for node in reversed(_statements(program)):
        if isinstance(node, ast.ClassDef) and node.name == "Net":
            return _has_own_bases(node) and "__init__" not in _methods(node)
        if isinstance(node, ast.Assign) and any(map(_is_net, node.targets)):
            return True

    return False


def _has_own_bases(net: ast.ClassDef) -> bool:
    """Say whether a class inherits from another than torch's own."""
    bases = {ast.dump(base) for base in net.bases}
    return not bases <= set(PLAIN_BASES)


def _is_net(target: ast.expr) -> bool:
    return isinstance(target, ast.Name) and target.id == "Net"


def _methods(net: ast.ClassDef) -> dict[str, ast.FunctionDef]:
    methods = {}
    for node in net.body:
        if isinstance(node, ast.FunctionDef):
            methods[node.name] = node
    return methods


def _assigns_device(net: ast.ClassDef) -> bool:
    """Say whether a class keeps its device as an attribute."""
    for node in ast.walk(net):
        if not isinstance(node, ast.Attribute) or node.attr != "device":
            continue
        if isinstance(node.ctx, ast.Store):
            return True

    return False


def _imports_torch(program: str) -> bool:
    """Say whether a program has torch under its own name."""
    for node in _statements(program):
        if not isinstance(node, ast.Import):
            continue
        for alias in node.names:
            package, _, _ = alias.name.partition(".")
            if package == "torch" and not alias.asname:
                return True

    return False


def _start(node: ast.stmt | ast.arg) -> Position:
    return node.lineno, node.col_offset


def _end(node: ast.stmt | ast.expr | ast.arg) -> Position:
    """Return where a node of a parsed program ends: there every one has its end."""
    assert node.end_lineno is not None
    assert node.end_col_offset is not None
    return node.end_lineno, node.end_col_offset


def _after_arguments(function: ast.FunctionDef, text: str) -> Edit:
    ends = [_end(argument) for argument in function.args.args]
    ends += [_end(default) for default in function.args.defaults]
    return Edit(max(ends), max(ends), text)


def _first_statement(function: ast.FunctionDef, statement: str) -> Edit:
    """Return the edit that begins a function with a statement."""
    first = function.body[0]
    if first.lineno == function.lineno:
        raise ValueError(f"{function.name} is written on one line")
    margin = " " * first.col_offset
    return Edit(_start(first), _start(first), f"{statement}\n{margin}")


def _remember(init: ast.FunctionDef, name: str) -> Edit:
    """Return the edit that keeps the device as an attribute, after the call of the base class."""
    for node in init.body:
        if _calls_base(node) and _has_lines_of_its_own(init, node):
            margin = " " * node.col_offset
            text = f"\n{margin}self.device = {name}"
            return Edit(_end(node), _end(node), text)
    return _first_statement(init, f"self.device = {name}")


def _calls_base(node: ast.stmt) -> bool:
    """Say whether a statement is `super().METHOD(...)`."""
    if not isinstance(node, ast.Expr) or not isinstance(node.value, ast.Call):
        return False
    method = node.value.func
    if not isinstance(method, ast.Attribute) or not isinstance(method.value, ast.Call):
        return False
    base = method.value.func
    return isinstance(base, ast.Name) and base.id == "super"


def _has_lines_of_its_own(function: ast.FunctionDef, statement: ast.stmt) -> bool:
    """Say whether nothing else stands on the lines of a statement."""
    taken = {function.lineno}
    for other in function.body:
        if other is not statement:
            taken |= _ends_of(other)
    return taken.isdisjoint(_ends_of(statement))


def _ends_of(statement: ast.stmt) -> set[int]:
    """Return the first and the last line of a statement."""
    last, _ = _end(statement)
    return {statement.lineno, last}


def _edit(program: str, edits: list[Edit]) -> str:
    """Return the program with its edits, from the last to the first."""
    # Bytes, because ast counts columns in them.
    data = line_feeds(program).encode()
    # Where each line begins.
    starts = [0]
    for line in data.split(b"\n"):
        length = len(line) + 1
        starts.append(starts[-1] + length)

    def offset(position: Position) -> int:
        line, column = position
        return starts[line - 1] + column

    # From the end on, so that what comes before stays where it is.
    for start, end, text in sorted(edits, reverse=True):
        before = data[: offset(start)]
        after = data[offset(end) :]
        data = before + text.encode() + after

    return data.decode()
