"""Programs edited into LEMUR's contract: the older layout into today's, and methods that a program lacks added to it.

The contract: `Net(in_shape, out_shape, prm, device)` an nn.Module with `forward(x)`, `train_setup(prm)` and
`learn(train_data)`. The older layout of LEMUR is `Net(in_shape, out_shape, prm)` with `train_setup(device, prm)`. Edits
keep every other character of the source.
"""

import ast

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
# Where the judge's protocol says nothing.
PROTOCOL = {"learning_rate": 0.01, "momentum": 0.9, "gradient_clip": 3.0}


def modernise(program: str) -> str:
    """Return a program of either layout of LEMUR in the present one; raise ValueError when it is neither."""
    net = _net(program)
    methods = _methods(net)
    edits = []
    names = [argument.arg for argument in methods["__init__"].args.args[1:]]
    if len(names) == 3:
        last = ", device=None" if methods["__init__"].args.defaults else ", device"
        edits += [_after_arguments(methods["__init__"], last), _remember(methods["__init__"], "device")]
    elif len(names) != 4:
        raise ValueError(f"Net takes ({', '.join(names)}), neither layout of LEMUR")
    setup = methods.get("train_setup")
    if setup is not None and len(setup.args.args) == 3:
        first, second = setup.args.args[1:]
        if first.arg != "device":
            raise ValueError(f"train_setup takes ({first.arg}, {second.arg}), neither layout of LEMUR")
        edits.append((_start(first), _start(second), ""))
        edits.append(_first_statement(setup, "device = self.device"))
        if len(names) == 4 and not _assigns_device(net):
            edits.append(_remember(methods["__init__"], names[3]))
    return _edit(program, edits)


def complete(program: str, protocol: dict) -> str:
    """Return the program with whichever of `train_setup` and `learn` its class Net lacks; they train as the judge does.

    protocol: learning_rate, momentum and gradient_clip, the values where `prm` has none. Raises ValueError for a
    program without class Net.
    """
    net = _net(program)
    methods = _methods(net)
    edits, added = [], []
    values = PROTOCOL | {name: protocol[name] for name in PROTOCOL if name in protocol}
    if "train_setup" not in methods:
        arguments = methods["__init__"].args.args
        device = "self.device" if len(arguments) == 5 or _assigns_device(net) else "next(self.parameters()).device"
        if len(arguments) == 5 and not _assigns_device(net):
            edits.append(_remember(methods["__init__"], arguments[4].arg))
        setup = TRAIN_SETUP.format(device=device, lr=values["learning_rate"], momentum=values["momentum"])
        added.append(setup)
    if "learn" not in methods:
        added.append(LEARN.format(clip=values["gradient_clip"]))
    if not added:
        return program
    last = net.body[-1]
    text = "".join(added).replace("\n    ", "\n" + " " * last.col_offset).rstrip()
    end = (last.end_lineno, last.end_col_offset)
    edits.append((end, end, "\n" + text))
    whole = _edit(program, edits)
    return whole if _imports_torch(program) else f"import torch\n{whole}"


def supported(program: str) -> set[str]:
    """Return the names that supported_hyperparameters returns, as far as the source shows them."""
    for node in ast.parse(program).body:
        if isinstance(node, ast.FunctionDef) and node.name == "supported_hyperparameters":
            constants = [each.value for each in ast.walk(node) if isinstance(each, ast.Constant)]
            return {value for value in constants if isinstance(value, str) and value.isidentifier()}
    return set()


def _net(program: str) -> ast.ClassDef:
    try:
        tree = ast.parse(program)
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"it does not parse ({error})") from None
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == "Net" and "__init__" in _methods(node):
            return node
    raise ValueError("it has no class Net with an __init__")


def _methods(net: ast.ClassDef) -> dict[str, ast.FunctionDef]:
    return {node.name: node for node in net.body if isinstance(node, ast.FunctionDef)}


def _assigns_device(net: ast.ClassDef) -> bool:
    return any(
        isinstance(node, ast.Attribute) and node.attr == "device" and isinstance(node.ctx, ast.Store)
        for node in ast.walk(net)
    )


def _imports_torch(program: str) -> bool:
    imports = [node for node in ast.parse(program).body if isinstance(node, ast.Import)]
    return any(alias.name.split(".")[0] == "torch" and not alias.asname for node in imports for alias in node.names)


def _start(node: ast.AST) -> tuple[int, int]:
    return node.lineno, node.col_offset


def _after_arguments(function: ast.FunctionDef, text: str) -> tuple:
    parts = function.args.args + function.args.defaults
    end = max((part.end_lineno, part.end_col_offset) for part in parts)
    return end, end, text


def _first_statement(function: ast.FunctionDef, statement: str) -> tuple:
    first = function.body[0]
    if first.lineno == function.lineno:
        raise ValueError(f"{function.name} is written on one line")
    return _start(first), _start(first), f"{statement}\n{' ' * first.col_offset}"


def _remember(init: ast.FunctionDef, name: str) -> tuple:
    """Return the edit that keeps the device as an attribute, after the call of the base class."""
    for node in init.body:
        if isinstance(node, ast.Expr) and ast.unparse(node).startswith("super("):
            end = (node.end_lineno, node.end_col_offset)
            return end, end, f"\n{' ' * node.col_offset}self.device = {name}"
    return _first_statement(init, f"self.device = {name}")


def _edit(program: str, edits: list[tuple]) -> str:
    """Replace [start, end) by text for each edit; places are (line from 1, column in bytes), as ast has them."""
    lines = program.encode().split(b"\n")
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line) + 1)
    data = program.encode()
    for start, end, text in sorted(edits, reverse=True):
        low, high = (starts[line - 1] + column for line, column in (start, end))
        data = data[:low] + text.encode() + data[high:]
    return data.decode()
