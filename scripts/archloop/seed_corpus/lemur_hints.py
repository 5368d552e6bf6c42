"""Design hints for LEMUR's programs: which of config/prompts/hints.yaml each could have answered.

LEMUR's families are called after papers (ResNeXt, DPN), the hints after what is done (grouped,
dense). What the name tells comes first, then what the source shows.
"""

import re

# Part of a program's name, in small letters -> hint; of several that fit, the first.
BY_NAME = {
    "convnext": "convnext",
    "resnext": "grouped",
    "regnet": "grouped",
    "shufflenet": "shuffle",
    "densenet": "dense",
    "inception": "inception",
    "googlenet": "inception",
    "xception": "separable",
    "mobilenet": "separable",
    "mnasnet": "separable",
    "efficientnet": "squeeze_excitation",
    "senet": "squeeze_excitation",
    "seresn": "squeeze_excitation",
    "squeezenet": "bottleneck",
    "dpn": "multi_branch",
    "fractal": "multi_branch",
    "preact": "preactivation",
    "resnet": "residual",
    "vgg": "vgg",
    "alexnet": "plain",
    "lenet": "plain",
}
# Pattern in a program's source -> hint, the rarer ones first.
BY_SOURCE = {
    r"(?i)squeeze_?(and_?)?excit|\bSE(Layer|Block|Module)\b": "squeeze_excitation",
    r"(?i)channel_?shuffle": "shuffle",
    r"dilation ?= ?(?!1\b)\w": "dilated",
    r"(?i)depthwise|groups ?= ?\w*(channels|dim|planes)": "separable",
    r"groups ?= ?(?!1\b)\w": "grouped",
    r"sigmoid\([^()]*\) ?\*|\* ?(torch\.|F\.)?sigmoid\(": "gated",
    r"torch\.cat\(": "multi_branch",
    r"(?i)bottleneck": "bottleneck",
    r"(?i)shortcut|residual|identity\b": "residual",
    r"Conv2d\(": "plain",
}


def hints_of(name: str, program: str) -> list[str]:
    """Return the names of the hints that fit a program: one by its name at most, then by source."""
    by_name = [hint for part, hint in BY_NAME.items() if part in name.lower()][:1]
    by_source = [hint for pattern, hint in BY_SOURCE.items() if re.search(pattern, program)]
    return list(dict.fromkeys(by_name + by_source))
