"""A fingerprint of what a network computes: its operations with settings and shapes, whatever the source looks like.

The network runs once on the meta device (shapes without numbers, no memory) in training mode, and every operation that
reaches torch's dispatcher is recorded. There `nn.ReLU()`, `F.relu` and `x.relu_()` are one operation, and modules,
classes, names and helper functions have vanished. What does not reach the output is dropped, and so is what changes
nothing. Two programs have equal fingerprints when the remaining graphs are equal, parameters that are used twice
included. Runs inside a candidate's process: it needs torch alone, and its work and its answer are bounded.
"""

import hashlib
import json
import random

import torch
from torch.utils._python_dispatch import TorchDispatchMode

VERSION = 1
# The batch that is traced, so that the batch size of the training leaves no trace. Two, for batch normalisation of
# 1x1 maps needs more than one.
BATCH = 2
MAXIMUM_OPERATIONS = 5_000
MAXIMUM_VALUES = 64  # of a constant that are part of the fingerprint
MAXIMUM_NODES_LISTED = 500

ALIASES = {
    "_unsafe_view": "view",
    "_reshape_alias": "view",
    "reshape": "view",
    "squeeze": "view",
    "unsqueeze": "view",
}
ALIASES |= {"unsafe_split": "split", "_native_batch_norm_legit": "native_batch_norm"}
# Operations that return their first argument when type and shape stay the same.
COPIES = {
    "view",
    "clone",
    "contiguous",
    "detach",
    "alias",
    "_to_copy",
    "expand",
    "lift_fresh",
    "lift",
}
COMMUTATIVE = {"add", "mul", "maximum", "minimum"}
REDUCTIONS = {"mean", "sum", "amax", "amin"}
IGNORED = {"device", "layout", "pin_memory", "memory_format", "dtype", "out", "generator"}


def fingerprint(model: torch.nn.Module, in_shape: tuple[int, ...]) -> dict:
    """Return {"digest", "method": "trace", "operations", "nodes"} of a model that lives on the meta device.

    in_shape: (batch, channels, height, width); the batch is used only if the model refuses one of two. digest: sha256
    in hexadecimal. operations: how many remain. nodes: the first 500 in canonical order, each
    [operation, settings, inputs, shape]; an input is the place of an earlier node, or [place, output] where it has
    several. The model is left in training mode. Raises an exception when the model cannot be traced.
    """
    state = random.getstate()
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            model.train()
            try:
                nodes, output = _trace(model, (BATCH, *in_shape[1:]))
            except (RuntimeError, ValueError, IndexError, TypeError, AssertionError):
                nodes, output = _trace(model, tuple(in_shape))
    finally:
        random.setstate(state)
    listed = _canonical(nodes, output)
    text = json.dumps([VERSION, listed], separators=(",", ":"), sort_keys=True)
    return {
        "digest": hashlib.sha256(text.encode()).hexdigest(),
        "method": "trace",
        "operations": sum(not node[0].startswith("=") for node in listed),
        "nodes": listed[:MAXIMUM_NODES_LISTED],
    }


def _trace(model: torch.nn.Module, in_shape: tuple[int, ...]) -> tuple[list, tuple[int, int]]:
    random.seed(0)
    torch.manual_seed(0)
    image = torch.empty(in_shape, device="meta")
    recorder = _Recorder(image, model)
    with recorder:
        result = model(image)
    if not isinstance(result, torch.Tensor) or not result.ndim or result.shape[0] != in_shape[0]:
        raise ValueError("the model does not return one row for each image")
    return recorder.nodes, recorder.source(result)


class _Recorder(TorchDispatchMode):
    """Writes down the operations: a node is (operation, settings, inputs, shapes), a source (node, output)."""

    def __init__(self, image: torch.Tensor, model: torch.nn.Module):
        super().__init__()
        self.nodes, self.operations = [], 0
        self.sources = {}  # id of a tensor -> (source, number of writes to its memory when it was made)
        self.windows = {}  # (memory, shape, strides, offset) -> source, for tensors that come by without an operation
        self.writes = {}  # memory -> (number of writes, source of the last)
        self.alive = []  # no id and no memory may be used twice
        self.leaves = {_memory(buffer): "=buffer" for buffer in model.buffers()}
        for weight in model.parameters():
            self.leaves[_memory(weight)] = "=parameter" if weight.requires_grad else "=frozen"
        self._put(image, self._node("=image", [], [], image))

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.operations += 1
        if self.operations > MAXIMUM_OPERATIONS:
            raise OverflowError(f"more than {MAXIMUM_OPERATIONS} operations")
        arguments = func._schema.arguments
        given = dict(zip((argument.name for argument in arguments), args)) | (kwargs or {})
        given = {
            argument.name: given[argument.name] for argument in arguments if argument.name in given
        }
        inputs = []
        settings = [
            [name, self._plain(value, inputs)]
            for name, value in given.items()
            if name not in IGNORED
        ]
        marked = {
            argument.name
            for argument in arguments
            if argument.alias_info and argument.alias_info.is_write
        }
        written = [
            value
            for name, value in given.items()
            if name in marked and isinstance(value, torch.Tensor)
        ]
        result = func(*args, **(kwargs or {}))
        outputs = result if isinstance(result, (tuple, list)) else [result]
        outputs = [tensor for tensor in outputs if isinstance(tensor, torch.Tensor)]
        outputs += [tensor for tensor in written if not any(tensor is other for other in outputs)]
        operation = func._schema.name.removeprefix("aten::")
        if written and operation.endswith("_") and not operation.endswith("__"):
            operation = operation[:-1]
        node, _ = self._node(ALIASES.get(operation, operation), settings, inputs, *outputs)
        for at, tensor in enumerate(outputs):
            if any(tensor is other for other in written):
                count, _ = self.writes.get(_memory(tensor), (0, None))
                self.writes[_memory(tensor)] = (count + 1, (node, at))
            self._put(tensor, (node, at))
        return result

    def source(self, tensor: torch.Tensor) -> tuple[int, int]:
        """Return where the present content of a tensor comes from."""
        count, last = self.writes.get(_memory(tensor), (0, None))
        if id(tensor) not in self.sources:
            known = self.windows.get(_window(tensor)) or self._node(*self._leaf(tensor), [], tensor)
            self._put(tensor, known)
        source, seen = self.sources[id(tensor)]
        if seen != count:  # its memory was written through another view
            window = [["stride", list(tensor.stride())], ["offset", tensor.storage_offset()]]
            source = self._node("view_of", window, [source, last], tensor)
            self._put(tensor, source)
        return source

    def _put(self, tensor: torch.Tensor, source: tuple[int, int]) -> None:
        self.alive.append(tensor)
        self.sources[id(tensor)] = (source, self.writes.get(_memory(tensor), (0, None))[0])
        self.windows[_window(tensor)] = source

    def _node(
        self, operation: str, settings: list, inputs: list, *tensors: torch.Tensor
    ) -> tuple[int, int]:
        self.nodes.append((operation, settings, inputs, [_shape(tensor) for tensor in tensors]))
        return len(self.nodes) - 1, 0

    def _leaf(self, tensor: torch.Tensor) -> tuple[str, list]:
        if _memory(tensor) in self.leaves:
            return self.leaves[_memory(tensor)], []
        if tensor.device.type != "meta" and tensor.numel() <= MAXIMUM_VALUES:
            return "=constant", [
                ["values", [_number(value) for value in tensor.flatten().tolist()]]
            ]
        return "=constant", []

    def _plain(self, value: object, inputs: list) -> object:
        """Return an argument as plain data, tensors as '@', their sources appended to `inputs`."""
        if isinstance(value, torch.Tensor):
            inputs.append(self.source(value))
            return "@"
        if isinstance(value, (list, tuple)):
            return [self._plain(item, inputs) for item in value]
        return _number(value)


def _memory(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage()._cdata if tensor.layout is torch.strided else id(tensor)


def _window(tensor: torch.Tensor) -> tuple:
    if tensor.layout is not torch.strided:
        return (id(tensor),)
    return (
        _memory(tensor),
        tensor.dtype,
        tuple(tensor.shape),
        tensor.stride(),
        tensor.storage_offset(),
    )


def _number(value: object) -> object:
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, float):
        return int(value) if value.is_integer() else repr(value)
    return value if isinstance(value, int) else str(value)


def _shape(tensor: torch.Tensor) -> list:
    kind = str(tensor.dtype).removeprefix("torch.")
    return list(tensor.shape) if kind == "float32" else [*tensor.shape, kind]


def _canonical(nodes: list, output: tuple[int, int]) -> list[list]:
    """Return the nodes that the output needs, simplified, in an order that the graph alone determines.

    It is the order in which a walk from the output, inputs first, leaves the nodes. Of a sum or a product the inputs
    are walked in the order of the digests of what they compute.
    """
    nodes, (root, which) = _simplified(nodes, output)
    digests = []
    for at, (operation, settings, inputs, shapes) in enumerate(nodes):
        parts = [[digests[source], place] for source, place in inputs]
        if (
            operation in COMMUTATIVE
            and len(inputs) == 2
            and not any(name == "alpha" for name, _ in settings)
        ):
            order = sorted(range(2), key=lambda i: parts[i])
            nodes[at] = (operation, settings, [inputs[i] for i in order], shapes)
            parts = [parts[i] for i in order]
        text = json.dumps([operation, settings, parts, shapes], separators=(",", ":"))
        digests.append(hashlib.sha256(text.encode()).hexdigest())
    places, listed, todo = {}, [], [root]
    while todo:
        operation, settings, inputs, shapes = nodes[todo[-1]]
        waiting = [source for source, _ in inputs if source not in places]
        if waiting:
            todo.append(waiting[0])
            continue
        at = todo.pop()
        places[at] = len(listed)
        named = [[places[source], place] if place else places[source] for source, place in inputs]
        listed.append([operation, settings, named, shapes[0] if len(shapes) == 1 else shapes])
    if which:
        listed.append(["=output", [], [[places[root], which]], []])
    return listed


def _simplified(nodes: list, output: tuple[int, int]) -> tuple[list, tuple[int, int]]:
    """Return (nodes, output) without what changes nothing: copies, views of views, adding 0, kept dimensions."""
    kept, stands_for = [], []

    def resolve(source):
        base, place = stands_for[source[0]]
        return base, source[1] if place is None else place

    def keep(*node):
        kept.append(node)
        return len(kept) - 1, None

    for operation, settings, inputs, shapes in nodes:
        inputs = [resolve(source) for source in inputs]
        options = dict(settings)
        before = kept[inputs[0][0]][3][inputs[0][1]] if len(inputs) == 1 else None
        neutral = {"add": 0, "sub": 0, "mul": 1, "div": 1}.get(operation)
        same = len(shapes) == 1 and before == shapes[0]
        if same and (
            operation in COPIES
            or (neutral is not None and settings == [["self", "@"], ["other", neutral]])
        ):
            stands_for.append(inputs[0])
        elif operation == "view":
            base = kept[inputs[0][0]]
            stands_for.append(
                _view(keep, kept, base[2][0] if base[0] == "view" else inputs[0], shapes)
            )
        elif operation in REDUCTIONS and before and isinstance(options.get("dim"), list):
            axes = sorted(axis % len(before) for axis in options["dim"])
            shape = [size for axis, size in enumerate(before) if axis not in axes]
            settings = [["self", "@"], ["dim", axes]]
            if options.get("keepdim"):
                keep(operation, settings, inputs, [shape])
                stands_for.append(_view(keep, kept, (len(kept) - 1, 0), shapes))
            else:
                stands_for.append(keep(operation, settings, inputs, shapes))
        else:
            stands_for.append(keep(operation, settings, inputs, shapes))
    return kept, resolve(output)


def _view(keep, kept: list, base: tuple[int, int], shapes: list) -> tuple[int, int | None]:
    """Keep a view (its shape says all) unless it gives its base the shape that it has."""
    return base if kept[base[0]][3][base[1]] == shapes[0] else keep("view", [], [base], shapes)
