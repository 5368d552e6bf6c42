"""Base programs and edits of them, each with the verdict expected of the text metric and of the graph metric."""

from dataclasses import dataclass

HEAD = """import torch
import torch.nn as nn
import torch.nn.functional as F


def supported_hyperparameters():
    return {"lr", "momentum", "dropout"}


"""

PLAIN = (
    HEAD
    + """class Net(nn.Module):
    def __init__(self, in_shape, out_shape, prm, device):
        super().__init__()
        self.conv1 = nn.Conv2d(in_shape[1], 16, kernel_size=3, padding=1)
        self.bn1 = nn.BatchNorm2d(16)
        self.conv2 = nn.Conv2d(16, 32, kernel_size=3, padding=1)
        self.bn2 = nn.BatchNorm2d(32)
        self.pool = nn.MaxPool2d(2)
        self.drop = nn.Dropout(prm["dropout"])
        self.fc = nn.Linear(32 * 8 * 8, out_shape[0])

    def forward(self, x):
        x = self.pool(F.relu(self.bn1(self.conv1(x))))
        x = self.pool(F.relu(self.bn2(self.conv2(x))))
        x = x.flatten(1)
        return self.fc(self.drop(x))
"""
)

RESIDUAL = (
    HEAD
    + """class Block(nn.Module):
    def __init__(self, c_in, c_out, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.skip = nn.Conv2d(c_in, c_out, 1, stride=stride)

    def forward(self, x):
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return F.relu(out + self.skip(x))


class Net(nn.Module):
    def __init__(self, in_shape, out_shape, prm, device):
        super().__init__()
        self.stem = nn.Conv2d(in_shape[1], 16, 3, padding=1)
        self.layer1 = Block(16, 32, stride=2)
        self.layer2 = Block(32, 64, stride=2)
        self.fc = nn.Linear(64, out_shape[0])

    def forward(self, x):
        x = F.relu(self.stem(x))
        x = self.layer1(x)
        x = self.layer2(x)
        x = x.mean((2, 3))
        return self.fc(x)
"""
)

SEQUENTIAL = (
    HEAD
    + """class Net(nn.Module):
    def __init__(self, in_shape, out_shape, prm, device):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(in_shape[1], 24, 5, stride=2, padding=2),
            nn.BatchNorm2d(24),
            nn.GELU(),
            nn.Conv2d(24, 48, 3, stride=2, padding=1),
            nn.BatchNorm2d(48),
            nn.GELU(),
            nn.AdaptiveAvgPool2d(1),
        )
        self.head = nn.Linear(48, out_shape[0])

    def forward(self, x):
        x = self.features(x)
        return self.head(x.view(x.size(0), -1))
"""
)

BRANCHES = (
    HEAD
    + """def conv(c_in, c_out, k):
    return nn.Sequential(nn.Conv2d(c_in, c_out, k, padding=k // 2), nn.BatchNorm2d(c_out), nn.SiLU())


class Net(nn.Module):
    def __init__(self, in_shape, out_shape, prm, device):
        super().__init__()
        self.stem = conv(in_shape[1], 16, 3)
        self.small = conv(16, 16, 1)
        self.middle = conv(16, 24, 3)
        self.large = conv(16, 8, 5)
        self.pool = nn.AvgPool2d(2)
        self.head = nn.Linear(48, out_shape[0])

    def forward(self, x):
        x = self.pool(self.stem(x))
        x = torch.cat([self.small(x), self.middle(x), self.large(x)], dim=1)
        return self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))
"""
)

SEPARABLE = (
    HEAD
    + """class Separable(nn.Module):
    def __init__(self, c_in, c_out):
        super().__init__()
        self.depth = nn.Conv2d(c_in, c_in, 3, padding=1, groups=c_in)
        self.point = nn.Conv2d(c_in, c_out, 1)
        self.norm = nn.GroupNorm(4, c_out)

    def forward(self, x):
        return F.hardswish(self.norm(self.point(self.depth(x))))


class Net(nn.Module):
    def __init__(self, in_shape, out_shape, prm, device):
        super().__init__()
        layers = [nn.Conv2d(in_shape[1], 16, 3, stride=2, padding=1)]
        for c_in, c_out in ((16, 32), (32, 64), (64, 96)):
            layers += [Separable(c_in, c_out), nn.MaxPool2d(2)]
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(96 * 2 * 2, out_shape[0])

    def forward(self, x):
        return self.head(self.body(x).flatten(1))
"""
)

EXCITATION = (
    HEAD
    + """class Gate(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.down = nn.Linear(channels, channels // 4)
        self.up = nn.Linear(channels // 4, channels)

    def forward(self, x):
        weight = torch.sigmoid(self.up(F.relu(self.down(x.mean((2, 3))))))
        return x * weight[:, :, None, None]


class Net(nn.Module):
    def __init__(self, in_shape, out_shape, prm, device):
        super().__init__()
        self.conv1 = nn.Conv2d(in_shape[1], 32, 3, stride=2, padding=1)
        self.conv2 = nn.Conv2d(32, 32, 3, padding=1)
        self.gate = Gate(32)
        self.conv3 = nn.Conv2d(32, 64, 3, stride=2, padding=1)
        self.head = nn.Linear(64, out_shape[0])

    def forward(self, x):
        x = F.relu(self.conv1(x))
        y = self.gate(F.relu(self.conv2(x)))
        x = F.relu(self.conv3(x + y))
        return self.head(x.mean((2, 3)))
"""
)


@dataclass(frozen=True)
class Pair:
    """One edit: replacements in order, and whether each metric calls the result a copy."""

    name: str
    base: str
    replacements: tuple[tuple[str, str], ...]
    text_copy: bool
    graph_copy: bool

    @property
    def edited(self) -> str:
        program = self.base
        for old, new in self.replacements:
            assert old in program, f"{self.name}: {old!r} is not there"
            program = program.replace(old, new)
        return program


def pair(name: str, base: str, *replacements: tuple[str, str], text: str, graph: str) -> Pair:
    return Pair(name, base, replacements, text == "copy", graph == "copy")


UNUSED = """class Attention(nn.Module):
    def __init__(self, channels, heads):
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.attention = nn.MultiheadAttention(channels, heads, batch_first=True)

    def forward(self, x):
        return x + self.attention(self.norm(x), self.norm(x), self.norm(x))[0]


class Net("""
REORDERED = """        return F.relu(out + self.skip(x))

    def __init__(self, c_in, c_out, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.skip = nn.Conv2d(c_in, c_out, 1, stride=stride)

"""
BLOCK_INIT = RESIDUAL[RESIDUAL.index("    def __init__(self, c_in") : RESIDUAL.index("    def forward")]
FEATURES = SEQUENTIAL[SEQUENTIAL.index("        self.features") : SEQUENTIAL.index("        self.head")]
WRITTEN_OUT = """        self.a = nn.Conv2d(in_shape[1], 24, 5, stride=2, padding=2)
        self.b = nn.BatchNorm2d(24)
        self.c = nn.Conv2d(24, 48, 3, stride=2, padding=1)
        self.d = nn.BatchNorm2d(48)
"""
INLINED = "nn.Sequential(nn.Conv2d({}, {}, {}, padding={}), nn.BatchNorm2d({}), nn.SiLU())"
HELPER = BRANCHES[BRANCHES.index("def conv(") : BRANCHES.index("class Net")]

LAYERS = ("AdaptiveAvgPool2d", "BatchNorm2d", "Conv2d", "GELU", "Linear", "Module")

PAIRS = [
    # The same network: nothing of this makes a program new.
    pair(
        "a comment", PLAIN, ("        self.pool", "        # Halve it.\n        self.pool"), text="copy", graph="copy"
    ),
    pair(
        "a docstring",
        RESIDUAL,
        ("    def forward(self, x):\n        out", '    def forward(self, x):\n        """A block."""\n        out'),
        text="copy",
        graph="copy",
    ),
    pair("a renamed class", SEPARABLE, ("Separable", "DepthwiseBlock"), text="copy", graph="copy"),
    pair("renamed attributes", PLAIN, ("conv1", "first"), ("bn2", "second_norm"), text="copy", graph="copy"),
    pair("renamed locals", EXCITATION, ("weight", "scale"), ("y", "gated"), text="copy", graph="copy"),
    pair("a renamed parameter", RESIDUAL, ("c_in", "inputs"), ("c_out", "outputs"), text="copy", graph="copy"),
    pair(
        "a renamed keyword",
        RESIDUAL,
        ("stride=1", "s=1"),
        ("=stride", "=s"),
        (", stride=2)", ", s=2)"),
        text="copy",
        graph="copy",
    ),
    pair(
        "other quotes and a wrapped line",
        PLAIN,
        ('"', "'"),
        ("(16, 32, ", "(\n            16, 32,\n            "),
        text="copy",
        graph="copy",
    ),
    pair("other imports", SEQUENTIAL, ("import torch.nn as nn", "from torch import nn"), text="copy", graph="copy"),
    pair(
        "torch.nn written out",
        SEPARABLE,
        ("import torch.nn as nn\n", ""),
        *((f"{mark}nn.", f"{mark}torch.nn.") for mark in " (["),
        text="copy",
        graph="copy",
    ),
    pair(
        "layers imported by name",
        SEQUENTIAL,
        ("import torch.nn as nn", f"from torch.nn import ({', '.join(LAYERS)},\n    Sequential as Chain)"),
        ("nn.Sequential", "Chain"),
        *((f"nn.{name}", name) for name in LAYERS),
        text="copy",
        graph="copy",
    ),
    pair(
        "an import in a docstring",
        RESIDUAL,
        ("class Block", '"""Blocks.\n\nimport .\nimport torch as F\n"""\n\n\nclass Block'),
        text="copy",
        graph="copy",
    ),
    pair("carriage returns", BRANCHES, ("\n", "\r\n"), text="copy", graph="copy"),
    pair("tabs", EXCITATION, ("    ", "\t"), text="copy", graph="copy"),
    pair("unused imports", PLAIN, ("import torch\n", "import torch\nimport math, random\n"), text="copy", graph="copy"),
    pair(
        "another alias",
        PLAIN,
        ("torch.nn as nn", "torch.nn as layers"),
        ("nn.", "layers."),
        ("torch.layers.", "torch.nn."),
        ("torch.nn as", "torch.nn as"),
        text="copy",
        graph="copy",
    ),
    pair(
        "reordered methods",
        RESIDUAL,
        (BLOCK_INIT, ""),
        ("        return F.relu(out + self.skip(x))\n", REORDERED),
        text="new",
        graph="copy",
    ),
    pair("an unused class", PLAIN, ("class Net(", UNUSED), text="new", graph="copy"),
    pair(
        "an unused layer",
        PLAIN,
        ("        self.fc", "        self.extra = nn.Linear(7, 7)\n        self.fc"),
        text="copy",
        graph="copy",
    ),
    pair(
        "dead code in forward",
        EXCITATION,
        ("        y = ", "        z = self.conv3(x)\n        y = "),
        text="copy",
        graph="copy",
    ),
    pair(
        "a Sequential written out",
        SEQUENTIAL,
        (FEATURES, WRITTEN_OUT),
        ("x = self.features(x)", "x = F.gelu(self.b(self.a(x)))\n        x = F.gelu(self.d(self.c(x))).mean((2, 3))"),
        text="new",
        graph="copy",
    ),
    pair(
        "a helper inlined",
        BRANCHES,
        (HELPER, ""),
        ("conv(in_shape[1], 16, 3)", INLINED.format("in_shape[1]", 16, 3, 1, 16)),
        ("conv(16, 16, 1)", INLINED.format(16, 16, 1, 0, 16)),
        ("conv(16, 24, 3)", INLINED.format(16, 24, 3, 1, 24)),
        ("conv(16, 8, 5)", INLINED.format(16, 8, 5, 2, 8)),
        text="new",
        graph="copy",
    ),
    pair(
        "an Identity",
        SEQUENTIAL,
        ("            nn.AdaptiveAvg", "            nn.Identity(),\n            nn.AdaptiveAvg"),
        text="copy",
        graph="copy",
    ),
    pair("dropout at rate 0", SEPARABLE, ("self.body(x)", "F.dropout(self.body(x), 0.0)"), text="new", graph="copy"),
    pair("a module for a function", RESIDUAL, ("F.relu", "nn.ReLU()"), text="new", graph="copy"),
    pair("in-place activation", BRANCHES, ("nn.SiLU()", "nn.SiLU(inplace=True)"), text="copy", graph="copy"),
    pair("view for flatten", SEPARABLE, (".flatten(1)", ".reshape(x.size(0), -1)"), text="copy", graph="copy"),
    pair(
        "pooling for a mean",
        EXCITATION,
        ("self.head(x.mean((2, 3)))", "self.head(F.adaptive_avg_pool2d(x, 1).flatten(1))"),
        text="copy",
        graph="copy",
    ),
    pair("a sum the other way round", RESIDUAL, ("out + self.skip(x)", "self.skip(x) + out"), text="new", graph="copy"),
    pair(
        "branches computed in another order",
        BRANCHES,
        (
            "        x = torch.cat([self.small(x), self.middle(x), self.large(x)]",
            "        large = self.large(x)\n        x = torch.cat([self.small(x), self.middle(x), large]",
        ),
        text="new",
        graph="copy",
    ),
    pair("a multiplication by one", PLAIN, ("self.drop(x)", "self.drop(x) * 1.0"), text="copy", graph="copy"),
    # Another network. A small edit of a long program is a near-copy of its text all the same, as in the paper.
    pair("a wider layer", PLAIN, ("16", "20"), text="new", graph="new"),
    pair(
        "another width of a block",
        RESIDUAL,
        ("Block(16, 32", "Block(16, 40"),
        ("Block(32, 64", "Block(40, 64"),
        text="new",
        graph="new",
    ),
    pair("another kernel", SEQUENTIAL, ("5, stride=2, padding=2", "7, stride=2, padding=3"), text="new", graph="new"),
    pair("another squeeze ratio", EXCITATION, ("// 4", "// 8"), text="new", graph="new"),
    pair("another stride", EXCITATION, ("32, 64, 3, stride=2", "32, 64, 3, stride=1"), text="copy", graph="new"),
    pair("another activation", SEQUENTIAL, ("nn.GELU()", "nn.ELU()"), text="new", graph="new"),
    pair("one activation", RESIDUAL, ("x = F.relu(self.stem", "x = F.silu(self.stem"), text="copy", graph="new"),
    pair("a removed skip", RESIDUAL, ("F.relu(out + self.skip(x))", "F.relu(out)"), text="copy", graph="new"),
    pair(
        "an extra block",
        SEPARABLE,
        ("(64, 96))", "(64, 64), (64, 96))"),
        ("96 * 2 * 2", "96 * 1 * 1"),
        text="new",
        graph="new",
    ),
    pair("another dropout rate", PLAIN, ('prm["dropout"]', "0.5"), text="new", graph="new"),
    pair(
        "a normalisation removed",
        SEPARABLE,
        ("self.norm(self.point(self.depth(x)))", "self.point(self.depth(x))"),
        text="copy",
        graph="new",
    ),
    pair("grouped instead of depthwise", SEPARABLE, ("groups=c_in", "groups=2"), text="copy", graph="new"),
    pair("a sum for a product", EXCITATION, ("return x * weight", "return x + weight"), text="copy", graph="new"),
    pair(
        "one layer used twice",
        EXCITATION,
        ("self.conv3(x + y)", "self.conv3(self.conv2(x) + y)"),
        text="copy",
        graph="new",
    ),
    pair("average for maximum", PLAIN, ("MaxPool2d", "AvgPool2d"), text="new", graph="new"),
]
