"""The picture of a computed graph: its listed operations folded into the few blocks that a person thinks in.

The nodes were sent by a candidate's process: whatever does not look like a graph gives no picture, and every text that
comes out of here is cut to a length, what cannot be seen in it as escapes.
"""

from archloop.texts import visible

# How the operations that torch records are called, and the kind (a letter, see KINDS) that decides the colour.
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
KINDS = {
    "i": "image",
    "c": "convolution",
    "d": "depthwise",
    "l": "linear",
    "p": "pooling",
    "+": "add",
    "k": "concat",
}
KINDS |= {"m": "gate or attention", "n": "other", "o": "other"}
# What is drawn as part of the block before it, when that feeds nothing else.
FOLLOWERS = {
    "native_batch_norm",
    "native_group_norm",
    "native_layer_norm",
    "view",
    "t",
    "native_dropout",
    "bernoulli",
}
FOLLOWERS |= {
    "relu",
    "gelu",
    "silu",
    "hardswish",
    "leaky_relu",
    "elu",
    "sigmoid",
    "hardsigmoid",
    "tanh",
    "hardtanh",
}
FOLLOWERS |= {
    "softplus",
    "mish",
    "_log_softmax",
    "_softmax",
    "permute",
    "transpose",
    "clamp",
    "celu",
    "selu",
    "div",
}
LONGEST_LABEL, LONGEST_SHAPE = 80, 24


def blocks(nodes: object) -> list[list] | None:
    """Return the blocks of a graph, each [label, kind, shape, inputs]; None when it cannot be read.

    nodes: as graph.py lists them. kind: a letter of KINDS. shape: of the output without the batch, as text. inputs:
    places of earlier blocks.
    """
    try:
        return _folded(nodes)
    except (TypeError, ValueError, IndexError, KeyError, AttributeError, OverflowError):
        return None


def strip(found: list[list]) -> str:
    """Return a graph as a row of letters with the channels of each block, for the small picture: `i3c16c16p16l10`."""
    return "".join(
        f"{kind}{shape.split('×')[0] if shape[:1].isdigit() else 0}" for _, kind, shape, _ in found
    )


def _folded(nodes: list) -> list[list]:
    feeds = [[at if isinstance(at, int) else at[0] for at in inputs] for _, _, inputs, _ in nodes]
    constant = []
    for at, (operation, *_) in enumerate(nodes):
        leaf = operation.startswith("=") and operation not in ("=image", "=output")
        constant.append(leaf or (bool(feeds[at]) and all(constant[source] for source in feeds[at])))
    data = [[source for source in sources if not constant[source]] for sources in feeds]
    consumers = [0] * len(nodes)
    for at, sources in enumerate(data):
        for source in set(sources) if not constant[at] else ():
            consumers[source] += 1
    found, place = [], {}
    for at, (operation, settings, _, shape) in enumerate(nodes):
        if constant[at] or operation == "=output":
            continue
        label, kind = _named(
            operation, dict(settings), [nodes[source] for source in feeds[at]], len(data[at])
        )
        own = data[at]
        follows = operation in FOLLOWERS or (operation in ("mul", "add") and len(own) == 1)
        if follows and len(own) == 1 and consumers[own[0]] == 1 and found[place[own[0]]][1] != "i":
            place[at] = place[own[0]]
            block = found[place[at]]
            block[0], block[2] = f"{block[0]} · {visible(label)}"[:LONGEST_LABEL], _shape(shape)
        else:
            place[at] = len(found)
            found.append(
                [
                    visible(label)[:LONGEST_LABEL],
                    kind,
                    _shape(shape),
                    sorted({place[source] for source in own}),
                ]
            )
    return found


def _named(operation: str, settings: dict, inputs: list, sources: int) -> tuple[str, str]:
    if operation == "=image":
        return "image", "i"
    word, kind = WORDS.get(operation, (operation.strip("_").replace("_", " "), "o"))
    if operation == "convolution":
        weight = inputs[1][3]
        stride = settings.get("stride", [1])[0]
        word = "up-conv" if settings.get("transposed") is True else word
        if settings.get("groups", 1) != 1:
            depthwise = weight[1] == 1
            word, kind = (
                ("depthwise", "d") if depthwise else (f"conv in {settings['groups']} groups", kind)
            )
        return f"{word} {_size(weight[2:])}" + (f" /{stride}" if stride != 1 else ""), kind
    if operation in ("max_pool2d_with_indices", "avg_pool2d"):
        return f"{word} {_size(settings['kernel_size'])}", kind
    if "output_size" in settings and operation in WORDS:
        return f"{word} {_size(settings['output_size'])}", kind
    if operation in ("mean", "amax") and len(settings.get("dim", [])) == 2:
        return f"global {'avg' if operation == 'mean' else 'max'} pool", kind
    if operation in ("add", "mul") and sources < 2:
        return {"add": "shift", "mul": "scale"}[operation], "n"
    return word, kind


def _size(numbers: list) -> str:
    return "×".join(str(int(number)) for number in numbers)


def _shape(shape: list) -> str:
    first = shape[0] if shape and isinstance(shape[0], list) else shape
    return "×".join(str(int(size)) for size in first[1:] if isinstance(size, int))[:LONGEST_SHAPE]
