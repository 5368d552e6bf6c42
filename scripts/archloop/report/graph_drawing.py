"""The drawing of a computed graph: operations folded into the few blocks that a person thinks in.

The nodes were sent by a candidate's process: whatever does not look like a graph gives no drawing,
and every text that comes out of here is cut to a length, what cannot be seen in it as escapes.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeAlias, TypedDict, cast

from archloop.texts import visible

# What the operations that torch records are called, and the kind (a letter of KINDS) that decides
# the colour.
WORDS = {
    "convolution": ("conv", "c"),
    "native_batch_norm": ("batch norm", "n"),
    "native_group_norm": ("group norm", "n"),
    "native_layer_norm": ("layer norm", "n"),
    "max_pool2d_with_indices": ("max pool", "p"),
    "avg_pool2d": ("avg pool", "p"),
    "_adaptive_avg_pool2d": ("avg pool to", "p"),
    "adaptive_max_pool2d": ("max pool to", "p"),
    "mean": ("mean", "p"),
    "amax": ("max", "p"),
    "addmm": ("linear", "l"),
    "mm": ("linear", "l"),
    "bmm": ("matmul", "m"),
    "cat": ("concat", "k"),
    "add": ("add", "+"),
    "mul": ("multiply", "m"),
    "_softmax": ("softmax", "m"),
    "view": ("reshape", "o"),
    "native_dropout": ("dropout", "n"),
}
# Other words: for a reduction over height and width, and for an operation with a constant.
OVER_THE_IMAGE = {"mean": "global avg pool", "amax": "global max pool"}
BY_A_CONSTANT = {"add": "shift", "mul": "scale"}
KINDS = {
    "i": "image",
    "c": "convolution",
    "d": "depthwise",
    "l": "linear",
    "p": "pooling",
    "+": "add",
    "k": "concat",
    "m": "gate or attention",
    "n": "other",
    "o": "other",
}
# What is drawn as part of the block before it, when that feeds nothing else.
FOLLOWERS = {
    "native_batch_norm",
    "native_group_norm",
    "native_layer_norm",
    "view",
    "t",
    "permute",
    "transpose",
    "native_dropout",
    "bernoulli",
    "relu",
    "gelu",
    "silu",
    "hardswish",
    "leaky_relu",
    "elu",
    "celu",
    "selu",
    "sigmoid",
    "hardsigmoid",
    "tanh",
    "hardtanh",
    "softplus",
    "mish",
    "_softmax",
    "_log_softmax",
    "clamp",
    "div",
}
LONGEST_LABEL = 80
LONGEST_SHAPE = 24

# As graph_fingerprint lists them. A setting: (name, value). What feeds a node: its index, or
# (index, output) where it has several. A shape: sizes, or a shape for each output.
Setting: TypeAlias = tuple[str, object]
Source: TypeAlias = int | list[int]
Shape: TypeAlias = list[int | list[int]]


class GraphBlock(NamedTuple):
    """One block of a drawing.

    kind: a letter of KINDS. shape: of the output without the batch, as text (`16×8×8`). inputs: the
    indices of the earlier blocks that feed it.
    """

    label: str
    kind: str
    shape: str
    inputs: list[int]


class ListedNode(NamedTuple):
    """One operation of a graph."""

    operation: str
    settings: list[Setting]
    inputs: list[Source]
    shape: Shape


class NodeSettings(TypedDict, total=False):
    """Of the settings of an operation, those that its label names. Sizes: (height, width)."""

    kernel_size: list[int]
    output_size: list[int]
    stride: list[int]
    groups: int
    transposed: bool
    dim: list[int]


def fold(nodes: object) -> list[GraphBlock] | None:
    """Return the blocks of a graph as graph_fingerprint lists it; None when it cannot be read."""
    try:
        listed = [ListedNode(*node) for node in cast(Iterable[ListedNode], nodes)]
        return _fold(listed)
    except (TypeError, ValueError, IndexError, KeyError, AttributeError, OverflowError):
        return None


def strip(blocks: Sequence[GraphBlock]) -> str:
    """Return a graph as a row of letters with the channels of each block, for the small drawing.

    An image, a convolution, a pooling and a classifier: `i3c16p16l10`.
    """
    parts = []
    for block in blocks:
        channels = block.shape.split("×")[0]
        if not channels[:1].isdigit():
            channels = "0"
        parts.append(f"{block.kind}{channels}")

    return "".join(parts)


def _fold(nodes: list[ListedNode]) -> list[GraphBlock]:
    sources = list(map(_sources, nodes))
    constant = _constant(nodes, sources)

    data = []
    for feeding in sources:
        data.append([source for source in feeding if not constant[source]])
    consumers = _count_consumers(data, constant)

    blocks: list[GraphBlock] = []
    block_of: dict[int, int] = {}  # node -> index of its block
    for index, node in enumerate(nodes):
        if constant[index] or node.operation == "=output":
            continue
        inputs = data[index]
        feeding_nodes = [nodes[source] for source in sources[index]]
        label, kind = _name(node, feeding_nodes, len(inputs))
        label = visible(label)
        shape = _shape(node.shape)

        before = None
        # What others take, too, stays a block of its own: there the graph forks.
        if _may_follow(node, inputs) and consumers[inputs[0]] == 1:
            before = block_of[inputs[0]]
        if before is not None and blocks[before].kind != "i":
            block_of[index] = before
            label = f"{blocks[before].label} · {label}"[:LONGEST_LABEL]
            blocks[before] = blocks[before]._replace(label=label, shape=shape)
        else:
            block_of[index] = len(blocks)
            feeding = sorted({block_of[source] for source in inputs})
            block = GraphBlock(label[:LONGEST_LABEL], kind, shape, feeding)
            blocks.append(block)

    return blocks


def _may_follow(node: ListedNode, inputs: list[int]) -> bool:
    """Say whether a node is drawn as part of the block before it. inputs: those of the image."""
    if len(inputs) != 1:
        return False
    # Of one input of the image alone, they are a scale or a shift by a constant.
    return node.operation in FOLLOWERS or node.operation in ("mul", "add")


def _sources(node: ListedNode) -> list[int]:
    """Return the nodes that feed a node, whichever of their outputs it takes."""
    sources = []
    for entry in node.inputs:
        sources.append(entry if isinstance(entry, int) else entry[0])
    return sources


def _constant(nodes: list[ListedNode], sources: list[list[int]]) -> list[bool]:
    """Mark the nodes that do not depend on the image: parameters, and what is computed of them."""
    constant: list[bool] = []
    for node, feeding in zip(nodes, sources):
        of_graph = node.operation.startswith("=")
        leaf = of_graph and node.operation not in ("=image", "=output")
        derived = bool(feeding) and all(constant[source] for source in feeding)
        constant.append(leaf or derived)

    return constant


def _count_consumers(data: list[list[int]], constant: list[bool]) -> list[int]:
    consumers = [0] * len(data)
    for index, feeding in enumerate(data):
        if not constant[index]:
            for source in set(feeding):
                consumers[source] += 1

    return consumers


def _name(node: ListedNode, inputs: list[ListedNode], data_inputs: int) -> tuple[str, str]:
    """Return (label, kind). inputs: all of them. data_inputs: how many depend on the image."""
    operation = node.operation
    settings = cast(NodeSettings, dict(node.settings))
    if operation == "=image":
        return "image", "i"

    unknown = operation.strip("_").replace("_", " ")
    word, kind = WORDS.get(operation, (unknown, "o"))
    if operation == "convolution":
        # Its inputs: the image, the weight and, where there is one, the bias.
        return _name_convolution(word, kind, settings, inputs[1].shape)
    if operation in ("max_pool2d_with_indices", "avg_pool2d"):
        size = _size(settings["kernel_size"])
        return f"{word} {size}", kind
    if "output_size" in settings and operation in WORDS:
        size = _size(settings["output_size"])
        return f"{word} {size}", kind
    # Over height and width at once; over a single dimension it is no pooling.
    over = settings.get("dim", [])
    if operation in OVER_THE_IMAGE and len(over) == 2:
        return OVER_THE_IMAGE[operation], kind
    if operation in BY_A_CONSTANT and data_inputs < 2:
        return BY_A_CONSTANT[operation], "n"
    return word, kind


def _name_convolution(
    word: str, kind: str, settings: NodeSettings, weight: Shape
) -> tuple[str, str]:
    """Return (label, kind). weight: (channels, channels of a group, height, width)."""
    if settings.get("transposed") is True:
        word = "up-conv"
    groups = settings.get("groups", 1)
    if groups != 1:
        word = f"conv in {groups} groups"
        if weight[1] == 1:  # each group is a single channel
            word, kind = "depthwise", "d"

    # A weight is one tensor, so its shape is numbers alone.
    label = f"{word} {_size(cast(list[int], weight[2:]))}"
    stride = settings.get("stride", [1])[0]
    if stride != 1:
        label += f" /{stride}"
    return label, kind


def _size(numbers: list[int]) -> str:
    sizes = [str(int(number)) for number in numbers]
    return "×".join(sizes)


def _shape(shape: Shape) -> str:
    """Return a shape without its batch; of several outputs that of the first."""
    first = shape[0] if shape else None
    whole = first if isinstance(first, list) else shape
    sizes = [size for size in whole[1:] if isinstance(size, int)]
    return _size(sizes)[:LONGEST_SHAPE]
