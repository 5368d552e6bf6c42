"""A fingerprint of what a network computes: its operations with settings and shapes.

Whatever the source looks like: the network runs once on the meta device (shapes without numbers, no
memory) in training mode, and every operation that reaches torch's dispatcher is recorded. There
`nn.ReLU()`, `F.relu` and `x.relu_()` are one operation, and modules, classes, names and helper
functions have vanished. What does not reach the output is dropped, and so is what changes nothing.
Two programs have equal fingerprints when the remaining graphs are equal, parameters that are used
twice included. Runs inside a candidate's process: it needs torch alone, and its work and its answer
are bounded.
"""

import hashlib
import json
import random

import torch

from archloop.novelty.graph_record import MAXIMUM_NODES, GraphRecord, NodeRecord
from archloop.novelty.traced_graph import Node, Setting, Shape, Source, trace

VERSION = 1
# The batch that is traced, so that the batch size of the training leaves no trace. Two, for batch
# normalisation of 1x1 maps needs more than one.
BATCH = 2

# What a model that refuses a batch of two raises.
REFUSALS = (RuntimeError, ValueError, IndexError, TypeError, AssertionError)
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
# Operations with a number that changes nothing.
NEUTRAL = {"add": 0, "sub": 0, "mul": 1, "div": 1}
REDUCTIONS = {"mean", "sum", "amax", "amin"}

# What a node stands for among those that are kept: a source, or (index, None) for all its outputs.
Kept = tuple[int, int | None]


def fingerprint(model: torch.nn.Module, in_shape: tuple[int, ...]) -> GraphRecord:
    """Return the fingerprint of a model that lives on the meta device.

    in_shape: (batch, channels, height, width); the batch is used only if the model refuses one of
    two. The model is left in training mode. Raises an exception when the model cannot be traced.
    """
    state = random.getstate()
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            model.train()
            try:
                nodes, output = trace(model, (BATCH, *in_shape[1:]))
            except REFUSALS:
                nodes, output = trace(model, tuple(in_shape))
    finally:
        random.setstate(state)

    listed = _canonical(nodes, output)
    operations = [node for node in listed if not node[0].startswith("=")]
    return {
        "digest": _digest([VERSION, listed]),
        "method": "trace",
        "operations": len(operations),
        "nodes": listed[:MAXIMUM_NODES],
    }


def _digest(parts: list[object]) -> str:
    """Return the sha256, in hexadecimal, of plain data, lists that hold no dictionaries."""
    text = json.dumps(parts, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _canonical(nodes: list[Node], output: Source) -> list[NodeRecord]:
    """Return the nodes that the output needs, simplified, in an order of the graph's own.

    It is the order in which a walk from the output, inputs first, leaves the nodes. Of a sum or a
    product the inputs are walked in the order of the digests of what they compute.
    """
    nodes, (root, root_output) = _simplified(nodes, output)
    nodes = _with_sorted_inputs(nodes)

    indices: dict[int, int] = {}  # of a node -> in the list
    listed: list[NodeRecord] = []
    todo = [root]
    while todo:
        node = nodes[todo[-1]]
        waiting = [source for source, _ in node.inputs if source not in indices]
        if waiting:
            todo.append(waiting[0])
            continue

        indices[todo.pop()] = len(listed)
        listed.append(_listed(node, indices))

    if root_output:
        source = [indices[root], root_output]
        listed.append(["=output", [], [source], []])
    return listed


def _listed(node: Node, indices: dict[int, int]) -> NodeRecord:
    """Return a node as the fingerprint lists it, its inputs by their indices there."""
    inputs: list[int | list[int]] = []
    for source, output in node.inputs:
        index = indices[source]
        inputs.append([index, output] if output else index)
    several = len(node.shapes) != 1
    shape = node.shapes if several else node.shapes[0]
    return [node.operation, node.settings, inputs, shape]


def _with_sorted_inputs(nodes: list[Node]) -> list[Node]:
    """Return the nodes, the inputs of sums and products in the order of their digests."""
    digests: list[str] = []
    result = []
    for node in nodes:
        inputs = node.inputs
        parts: list[tuple[str, int]] = []
        for source, output in inputs:
            parts.append((digests[source], output))
        if _commutes(node) and parts[1] < parts[0]:
            inputs = inputs[::-1]
            parts.reverse()

        result.append(node._replace(inputs=inputs))
        digest = _digest([node.operation, node.settings, parts, node.shapes])
        digests.append(digest)

    return result


def _commutes(node: Node) -> bool:
    """Say whether a node gives the same with its inputs swapped; `alpha` scales the second."""
    if node.operation not in COMMUTATIVE or len(node.inputs) != 2:
        return False
    names = [name for name, _ in node.settings]
    return "alpha" not in names


def _simplified(nodes: list[Node], output: Source) -> tuple[list[Node], Source]:
    """Return (nodes, output) without what changes nothing.

    That is copies, views of views, adding 0, kept dimensions.
    """
    simplifier = _Simplifier()
    for node in nodes:
        simplifier.add(node)
    return simplifier.kept, simplifier.resolve(output)


class _Simplifier:
    """Nodes that are kept, and what each node that was added stands for.

    That is a source among the kept ones, or (index, None) for all outputs of a kept node.
    """

    def __init__(self) -> None:
        self.kept: list[Node] = []
        self.stands_for: list[Kept] = []

    def resolve(self, source: Source) -> Source:
        """Return a source among the nodes that were added as one among the kept ones."""
        added, own_output = source
        index, output = self.stands_for[added]
        return index, own_output if output is None else output

    def add(self, node: Node) -> None:
        """Keep a node, or what is left of it."""
        inputs = list(map(self.resolve, node.inputs))
        self.stands_for.append(self._kept_of(node._replace(inputs=inputs)))

    def _kept_of(self, node: Node) -> Kept:
        """Keep what is left of a node whose inputs are kept ones; return what it stands for."""
        before = None
        if len(node.inputs) == 1:
            before = self._shape(node.inputs[0])
        if before is not None and _changes_nothing(node, before):
            return node.inputs[0]
        if node.operation == "view":
            return self._view(node.inputs[0], node.shapes)
        reduces = node.operation in REDUCTIONS and _dimensions(node) is not None
        if before and reduces:
            return self._reduction(node, before)
        return self._keep(node)

    def _keep(self, node: Node) -> tuple[int, None]:
        self.kept.append(node)
        return len(self.kept) - 1, None

    def _shape(self, source: Source) -> Shape:
        index, output = source
        return self.kept[index].shapes[output]

    def _view(self, source: Source, shapes: list[Shape]) -> Kept:
        """Keep a view of what a view looks at, unless that has the shape already."""
        index, _ = source
        if self.kept[index].operation == "view":
            source = self.kept[index].inputs[0]
        return self._reshaped(source, shapes)

    def _reshaped(self, source: Source, shapes: list[Shape]) -> Kept:
        if self._shape(source) == shapes[0]:
            return source
        # Its shape says all of a view.
        return self._keep(Node("view", [], [source], shapes))

    def _reduction(self, node: Node, before: Shape) -> Kept:
        """Keep a reduction that drops its dimensions and, where it kept them, a view after it."""
        dimensions = _dimensions(node) or []
        # -1 and 3 are one axis of four.
        axes = sorted(axis % len(before) for axis in dimensions)
        settings: list[Setting] = [["self", "@"], ["dim", axes]]
        reduced = node._replace(settings=settings)
        if not dict(node.settings).get("keepdim"):
            return self._keep(reduced)
        shape = [size for axis, size in enumerate(before) if axis not in axes]
        index, _ = self._keep(reduced._replace(shapes=[shape]))
        return self._reshaped((index, 0), node.shapes)


def _changes_nothing(node: Node, before: Shape) -> bool:
    """Say whether a node gives back its input, whose shape is `before`."""
    if node.shapes != [before]:
        return False
    if node.operation in COPIES:
        return True
    if node.operation not in NEUTRAL:
        return False
    neutral = NEUTRAL[node.operation]
    return node.settings == [["self", "@"], ["other", neutral]]


def _dimensions(node: Node) -> list[int] | None:
    """Return the dimensions that a node reduces, None where it names none."""
    dimensions = dict(node.settings).get("dim")
    return dimensions if isinstance(dimensions, list) else None
