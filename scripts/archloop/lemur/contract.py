"""Programs edited into LEMUR's contract: the older layout into today's, and methods that a program lacks added to it.

The contract: `Net(in_shape, out_shape, prm, device)` an nn.Module with `forward(x)`, `train_setup(prm)` and
`learn(train_data)`. The older layout of LEMUR is `Net(in_shape, out_shape, prm)` with `train_setup(device, prm)`. Edits
keep every other character of the source.
"""

import ast

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
# Where the judge's protocol says nothing.
PROTOCOL = {"learning_rate": 0.01, "momentum": 0.9, "gradient_clip": 3.0}
# LEMUR's names of what happens to an image.
TRANSFORMS = {"resize256_flip": "norm_256_flip", "native": "norm_32"}
# Of a hyperparameter that a program declares and nobody here knows: the middle of the range that LEMUR draws it from.
UNKNOWN = 0.5
# Base classes that have neither method.
PLAIN_BASES = {
    ast.dump(ast.parse(text, mode="eval").body)
    for text in ("nn.Module", "torch.nn.Module", "Module")
}


def modernise(program: str) -> str:
    """Return a program of either layout of LEMUR in the present one; raise ValueError when it is neither.

    One whose Net has no `__init__` of its own stays as it is: what it takes, its base decides.
    """
    if _inherits(program):
        return program
    net = _net(program)
    methods = _methods(net)
    edits = []
    names = [argument.arg for argument in methods["__init__"].args.args[1:]]
    if len(names) == 3:
        last = ", device=None" if methods["__init__"].args.defaults else ", device"
        edits += [
            _after_arguments(methods["__init__"], last),
            _remember(methods["__init__"], "device"),
        ]
    elif len(names) != 4:
        raise ValueError(f"Net takes ({', '.join(names)}), neither layout of LEMUR")
    setup = methods.get("train_setup")
    if setup is not None and len(setup.args.args) == 3:
        first, second = setup.args.args[1:]
        if first.arg != "device":
            raise ValueError(
                f"train_setup takes ({first.arg}, {second.arg}), neither layout of LEMUR"
            )
        edits.append((_start(first), _start(second), ""))
        edits.append(_first_statement(setup, "device = self.device"))
        if len(names) == 4 and not _assigns_device(net):
            edits.append(_remember(methods["__init__"], names[3]))
    whole = _edit(program, edits)
    if parsed(whole) is None:
        raise ValueError("its layout cannot be edited")
    return whole


def complete(program: str, protocol: dict) -> str:
    """Return the program with whichever of `train_setup` and `learn` its class Net lacks; they train as the judge does.

    protocol: learning_rate, momentum and gradient_clip, the values where `prm` has none. The methods are written into
    the class; where it is not plain (another name for a class, one line, bases of its own), after the program.
    """
    program = one_layout(program)
    values = PROTOCOL | {name: protocol[name] for name in PROTOCOL if name in protocol}
    try:
        whole = _completed(program, values)
    except ValueError:
        return _extended(program, values)
    return whole if parsed(whole) is not None else _extended(program, values)


def _completed(program: str, values: dict) -> str:
    """Return the program with the methods in its class Net; raise ValueError where that cannot be edited."""
    net = _net(program)
    methods = _methods(net)
    if {"train_setup", "learn"} <= methods.keys():
        return program
    edits, added = [], []
    if not all(ast.dump(base) in PLAIN_BASES for base in net.bases):
        raise ValueError("Net may inherit the methods")
    if "train_setup" not in methods:
        arguments = methods["__init__"].args.args
        device = (
            "self.device"
            if len(arguments) == 5 or _assigns_device(net)
            else "next(self.parameters()).device"
        )
        if len(arguments) == 5 and not _assigns_device(net):
            edits.append(_remember(methods["__init__"], arguments[4].arg))
        setup = TRAIN_SETUP.format(
            device=device, lr=values["learning_rate"], momentum=values["momentum"]
        )
        added.append(setup)
    if "learn" not in methods:
        added.append(LEARN.format(clip=values["gradient_clip"]))
    last = net.body[-1]
    if last.lineno == net.lineno:
        raise ValueError("Net is written on one line")
    margin = margin_of(program.split("\n")[net.body[0].lineno - 1])
    text = "".join(added).replace("\n    ", "\n" + margin).rstrip()
    end = (last.end_lineno, last.end_col_offset)
    edits.append((end, end, "\n" + text))
    return _with_torch(_edit(program, edits))


def _extended(program: str, values: dict) -> str:
    """Return the program with the methods given to Net after it, unless it has them."""
    setup = TRAIN_SETUP.format(
        device="next(self.parameters()).device",
        lr=values["learning_rate"],
        momentum=values["momentum"],
    )
    parts = [("train_setup", setup), ("learn", LEARN.format(clip=values["gradient_clip"]))]
    added = "".join(
        f'\n\nif not hasattr(Net, "{name}"):\n{text.rstrip()}\n\n    Net.{name} = {name}\n'
        for name, text in parts
    )
    return _with_torch(program.rstrip() + "\n" + added)


def _with_torch(program: str) -> str:
    """Return a program that has torch as `torch`, after what must come first."""
    if _imports_torch(program):
        return program
    tree, at = parsed(program), 0
    for node in tree.body if tree else ():
        first = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and not at
        if not first and not (isinstance(node, ast.ImportFrom) and node.module == "__future__"):
            break
        at = node.end_lineno
    lines = program.split("\n")
    return "\n".join([*lines[:at], "import torch", *lines[at:]])


def hyperparameters(program: str, settings: dict) -> dict:
    """Return what a program gets as `prm`: what LEMUR gives to all, and the names that this one declares.

    settings: section evaluation, whose protocol decides the values.
    """
    rate, batch, epochs = (settings[name] for name in ("learning_rate", "batch_size", "epochs"))
    given = {"lr": rate, "batch": batch, "epoch": epochs, "epoch_max": epochs}
    given |= {name: settings[name] for name in ("momentum", "dropout")}
    given["transform"] = TRANSFORMS.get(settings.get("protocol"), "norm_32")
    known = {"learning_rate": rate, "batch_size": batch} | dict.fromkeys(
        ("epochs", "num_epochs"), epochs
    )
    known |= dict.fromkeys(("weight_decay", "label_smoothing", "pretrained"), 0.0)
    for name in sorted(supported(program) - given.keys()):
        given[name] = known.get(name, settings["dropout"] if "drop" in name else UNKNOWN)
    return given


def supported(program: str) -> set[str]:
    """Return the names that supported_hyperparameters returns, as far as the source shows them."""
    tree = parsed(program)
    for node in tree.body if tree else ():
        if isinstance(node, ast.FunctionDef) and node.name == "supported_hyperparameters":
            constants = [each.value for each in ast.walk(node) if isinstance(each, ast.Constant)]
            return {value for value in constants if isinstance(value, str) and value.isidentifier()}
    return set()


def _net(program: str) -> ast.ClassDef:
    tree = parsed(program)
    if tree is None:
        raise ValueError("it does not parse")
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == "Net" and "__init__" in _methods(node):
            return node
    raise ValueError("it has no class Net with an __init__")


def _inherits(program: str) -> bool:
    """Say whether Net is another name for something, or a class whose `__init__` is that of a base of its own."""
    tree = parsed(program)
    for node in reversed(tree.body if tree else ()):
        if isinstance(node, ast.ClassDef) and node.name == "Net":
            return "__init__" not in _methods(node) and any(
                ast.dump(base) not in PLAIN_BASES for base in node.bases
            )
        if isinstance(node, ast.Assign) and any(
            isinstance(each, ast.Name) and each.id == "Net" for each in node.targets
        ):
            return True
    return False


def _methods(net: ast.ClassDef) -> dict[str, ast.FunctionDef]:
    return {node.name: node for node in net.body if isinstance(node, ast.FunctionDef)}


def _assigns_device(net: ast.ClassDef) -> bool:
    return any(
        isinstance(node, ast.Attribute)
        and node.attr == "device"
        and isinstance(node.ctx, ast.Store)
        for node in ast.walk(net)
    )


def _imports_torch(program: str) -> bool:
    tree = parsed(program)
    imports = [node for node in (tree.body if tree else ()) if isinstance(node, ast.Import)]
    return any(
        alias.name.split(".")[0] == "torch" and not alias.asname
        for node in imports
        for alias in node.names
    )


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
        call = (
            node.value.func
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
            else None
        )
        base = (
            call.value
            if isinstance(call, ast.Attribute) and isinstance(call.value, ast.Call)
            else None
        )
        if (
            base is not None
            and isinstance(base.func, ast.Name)
            and base.func.id == "super"
            and _own_lines(init, node)
        ):
            end = (node.end_lineno, node.end_col_offset)
            return end, end, f"\n{' ' * node.col_offset}self.device = {name}"
    return _first_statement(init, f"self.device = {name}")


def _own_lines(function: ast.FunctionDef, statement: ast.stmt) -> bool:
    """Say whether nothing else stands on the lines of a statement."""
    others = [each for each in function.body if each is not statement]
    lines = {line for each in others for line in (each.lineno, each.end_lineno)} | {function.lineno}
    return lines.isdisjoint((statement.lineno, statement.end_lineno))


def _edit(program: str, edits: list[tuple]) -> str:
    """Replace [start, end) by text for each edit; places are (line from 1, column in bytes), as ast has them."""
    lines = line_feeds(program).encode().split(b"\n")
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line) + 1)
    data = line_feeds(program).encode()
    for start, end, text in sorted(edits, reverse=True):
        low, high = (starts[line - 1] + column for line, column in (start, end))
        data = data[:low] + text.encode() + data[high:]
    return data.decode()
