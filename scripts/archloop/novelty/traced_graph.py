"""The operations of a network's forward pass, as torch's dispatcher sees them on the meta device.

What comes from where is known of every tensor, also where operations write in their arguments or in
another view of the same memory.
"""

import random
from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

MAXIMUM_OPERATIONS = 5_000
MAXIMUM_VALUES = 64  # of a constant that are part of the fingerprint
# Names of one and the same operation.
ALIASES = {
    "_unsafe_view": "view",
    "_reshape_alias": "view",
    "reshape": "view",
    "squeeze": "view",
    "unsqueeze": "view",
    "unsafe_split": "split",
    "_native_batch_norm_legit": "native_batch_norm",
}
# Arguments that say where or how numbers are held, not which.
IGNORED = {"device", "layout", "pin_memory", "memory_format", "dtype", "out", "generator"}

# Where a tensor comes from: the index of a node, and which of its outputs it is.
Source = tuple[int, int]
# The sizes of a tensor and, unless it is float32, its type.
Shape = list[int | str]
# An argument of an operation as JSON has it: [its name, its value], tensors as "@".
Setting = list[Any]
# The arguments of an operation, which may be anything, by position and by name.
Arguments = tuple[Any, ...]
NamedArguments = dict[str, Any]


class Node(NamedTuple):
    """An operation of a graph; the names of those that compute nothing begin with `=`."""

    operation: str
    settings: list[Setting]
    inputs: list[Source]
    shapes: list[Shape]


def trace(model: torch.nn.Module, in_shape: tuple[int, ...]) -> tuple[list[Node], Source]:
    """Return (the operations of a forward pass in their order, where its result comes from)."""
    random.seed(0)
    torch.manual_seed(0)
    image = torch.empty(in_shape, device="meta")
    recorder = _Recorder(image, model)
    with recorder:
        result = model(image)

    has_rows = isinstance(result, torch.Tensor) and result.ndim > 0
    if not has_rows or result.shape[0] != in_shape[0]:
        raise ValueError("the model does not return one row for each image")
    return recorder.nodes, recorder.source(result)


class _Recorder(TorchDispatchMode):
    """Writes down the operations, and where the content of each tensor comes from."""

    def __init__(self, image: torch.Tensor, model: torch.nn.Module) -> None:
        super().__init__()
        self.nodes: list[Node] = []
        self.operations = 0
        # Of a tensor, by its id: its source, and how often its memory had been written by then.
        self.sources: dict[int, tuple[Source, int]] = {}
        # Of a window on memory, for tensors that come by without an operation.
        self.windows: dict[tuple[object, ...], Source] = {}
        # Of memory: how often it was written, and the source of the last content.
        self.writes: dict[int, tuple[int, Source]] = {}
        # No id and no memory may be used twice, so every tensor stays.
        self.alive: list[torch.Tensor] = []

        self.leaves = {_memory(buffer): "=buffer" for buffer in model.buffers()}
        for weight in model.parameters():
            kind = "=parameter" if weight.requires_grad else "=frozen"
            self.leaves[_memory(weight)] = kind
        source = self._add("=image", [], [], [image])
        self._put(image, source)

    def __torch_dispatch__(
        self,
        func: OpOverload,
        types: Iterable[type],
        args: Arguments = (),
        kwargs: NamedArguments | None = None,
    ) -> object:
        self.operations += 1
        if self.operations > MAXIMUM_OPERATIONS:
            raise OverflowError(f"more than {MAXIMUM_OPERATIONS} operations")

        # Before it runs, for it may write in its arguments.
        values, written = _arguments(func, args, kwargs or {})
        inputs: list[Source] = []
        settings: list[Setting] = []
        for name, value in values.items():
            if name not in IGNORED:
                settings.append([name, self._plain(value, inputs)])

        result = func(*args, **(kwargs or {}))
        outputs = _outputs(result, written)
        name = _operation(func, written)
        node, _ = self._add(name, settings, inputs, outputs)
        for index, tensor in enumerate(outputs):
            source = (node, index)
            # Other views of this memory have older content now, see `source`.
            if _is_among(tensor, written):
                times = self._count(tensor) + 1
                self.writes[_memory(tensor)] = (times, source)
            self._put(tensor, source)

        return result

    def source(self, tensor: torch.Tensor) -> Source:
        """Return where the present content of a tensor comes from."""
        if id(tensor) not in self.sources:
            self._put(tensor, self._known(tensor))

        source, seen = self.sources[id(tensor)]
        if seen == self._count(tensor):
            return source
        # Its memory was written through another view.
        _, last = self.writes[_memory(tensor)]
        window: list[Setting] = [
            ["stride", list(tensor.stride())],
            ["offset", tensor.storage_offset()],
        ]
        source = self._add("view_of", window, [source, last], [tensor])
        self._put(tensor, source)
        return source

    def _known(self, tensor: torch.Tensor) -> Source:
        """Return the source of a tensor that no operation was seen to make."""
        window = _window(tensor)
        if window in self.windows:
            return self.windows[window]
        operation, settings = self._leaf(tensor)
        return self._add(operation, settings, [], [tensor])

    def _count(self, tensor: torch.Tensor) -> int:
        """Return how often the memory of a tensor was written."""
        memory = _memory(tensor)
        if memory not in self.writes:
            return 0
        times, _ = self.writes[memory]
        return times

    def _put(self, tensor: torch.Tensor, source: Source) -> None:
        self.alive.append(tensor)
        times = self._count(tensor)
        self.sources[id(tensor)] = (source, times)
        self.windows[_window(tensor)] = source

    def _add(
        self,
        operation: str,
        settings: list[Setting],
        inputs: list[Source],
        tensors: list[torch.Tensor],
    ) -> Source:
        shapes = [_shape(tensor) for tensor in tensors]
        self.nodes.append(Node(operation, settings, inputs, shapes))
        return len(self.nodes) - 1, 0

    def _leaf(self, tensor: torch.Tensor) -> tuple[str, list[Setting]]:
        """Return (name, settings) of a tensor that is a weight, a buffer or a constant."""
        memory = _memory(tensor)
        if memory in self.leaves:
            return self.leaves[memory], []
        # A tensor on the meta device has no values.
        if tensor.device.type == "meta" or tensor.numel() > MAXIMUM_VALUES:
            return "=constant", []
        values = list(map(_number, tensor.flatten().tolist()))
        return "=constant", [["values", values]]

    def _plain(self, value: object, inputs: list[Source]) -> object:
        """Return an argument as plain data, tensors as '@', their sources appended to `inputs`."""
        if isinstance(value, torch.Tensor):
            inputs.append(self.source(value))
            return "@"
        if isinstance(value, (list, tuple)):
            return [self._plain(item, inputs) for item in value]
        return _number(value)


def _arguments(
    func: OpOverload, args: Arguments, kwargs: NamedArguments
) -> tuple[NamedArguments, list[torch.Tensor]]:
    """Return (name -> value of the arguments that were given, the tensors that are written to)."""
    schema = func._schema.arguments
    names = [argument.name for argument in schema]
    given = dict(zip(names, args)) | kwargs

    values: NamedArguments = {}
    written = []
    for argument in schema:
        if argument.name not in given:
            continue
        value = given[argument.name]
        values[argument.name] = value
        alias = argument.alias_info
        if alias and alias.is_write and isinstance(value, torch.Tensor):
            written.append(value)

    return values, written


def _outputs(result: object, written: list[torch.Tensor]) -> list[torch.Tensor]:
    """Return the tensors that an operation returns, then those that it wrote to and does not."""
    returned = result if isinstance(result, (tuple, list)) else [result]
    outputs = [tensor for tensor in returned if isinstance(tensor, torch.Tensor)]
    others = [tensor for tensor in written if not _is_among(tensor, outputs)]
    return outputs + others


def _is_among(tensor: torch.Tensor, tensors: list[torch.Tensor]) -> bool:
    return any(tensor is other for other in tensors)


def _operation(func: OpOverload, written: list[torch.Tensor]) -> str:
    """Return the name of an operation, the same whether it writes in its argument or not."""
    name: str = func._schema.name.removeprefix("aten::")
    # `add_` writes in its argument; `__and__` is a name of Python's.
    in_place = name.endswith("_") and not name.endswith("__")
    if written and in_place:
        name = name[:-1]
    return ALIASES.get(name, name)


def _memory(tensor: torch.Tensor) -> int:
    """Return what tells the memory of a tensor from all other."""
    if tensor.layout is not torch.strided:
        return id(tensor)
    address: int = tensor.untyped_storage()._cdata
    return address


def _window(tensor: torch.Tensor) -> tuple[object, ...]:
    """Return what tensors have in common that look at the same memory in the same way."""
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
    """Return a value as JSON holds it: 2.0 as 2, another float by its shortest decimal form."""
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, float):
        return int(value) if value.is_integer() else repr(value)
    return value if isinstance(value, int) else str(value)


def _shape(tensor: torch.Tensor) -> Shape:
    shape: Shape = list(tensor.shape)
    if tensor.dtype is not torch.float32:
        shape.append(str(tensor.dtype).removeprefix("torch."))
    return shape
