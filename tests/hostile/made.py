"""Hostile programs that no editor should open: null bytes, lines of megabytes, thousands of brackets, odd encodings.

Each entry is (header, function that makes the text); the headers say what those of the files in programs/ say.
"""

HONEST = """import torch.nn as nn


def supported_hyperparameters():
    return {"lr", "momentum"}


class Net(nn.Module):
    def __init__(self, in_shape, out_shape, prm, device):
        super().__init__()
        self.features = nn.Sequential(nn.AdaptiveAvgPool2d(8), nn.Flatten())
        self.classifier = nn.Linear(64 * in_shape[1], out_shape[0])

    def forward(self, x):
        return self.classifier(self.features(x))
"""
LOOKALIKE = """
try:
    ｏｐｅｎ("/tmp/archloop-canary/secret.txt").read()
    print("BREACH open")
except OSError:
    pass
"""
# What a program ends as when it is refused by the compiler or the wire, whatever the walls.
REFUSED = "construct, crashed, unparseable"
TOO_DEEP = f"{REFUSED}, out_of_memory"
# What may also run: there is nothing hostile in it but its form.
RUNS = f"{REFUSED}, trained"
ANYHOW = f"{RUNS}, out_of_memory, timeout"


def _parser(tries: str, static: str, walls: str) -> dict[str, str]:
    return {"group": "parser", "tries": tries, "static": static, "walls": walls}


MADE = {
    "null_byte": (
        _parser("a null byte in the middle of the source", "unparseable", REFUSED),
        lambda: HONEST.replace("super()", "super\0()"),
    ),
    "null_byte_in_comment": (
        _parser("a null byte where only a comment is", "unparseable", REFUSED),
        lambda: HONEST + "# \0 import os\n",
    ),
    "many_null_bytes": (
        _parser("null bytes alone", "unparseable", REFUSED),
        lambda: "\0" * 10_000,
    ),
    "deep_parentheses": (
        _parser("ten thousand brackets in brackets", "unparseable", TOO_DEEP),
        lambda: f"{HONEST}\nx = {'(' * 10_000}{')' * 10_000}\n",
    ),
    "deep_unary": (
        _parser("fifty thousand minus signs, a tree as deep", "unparseable", TOO_DEEP),
        lambda: f"{HONEST}\nx = {'-' * 50_000}1\n",
    ),
    "deep_attributes": (
        _parser(
            "an attribute of an attribute, thirty thousand deep",
            "unparseable, passes",
            TOO_DEEP,
        ),
        lambda: f"{HONEST}\nx = nn{'.a' * 30_000}\n",
    ),
    "deep_blocks": (
        _parser("a hundred and fifty blocks in blocks", "unparseable", REFUSED),
        lambda: HONEST + "\n" + "".join(f"{' ' * depth}if 1:\n" for depth in range(150)) + " " * 150 + "pass\n",
    ),
    "deep_concatenation": (
        _parser("a sum of a hundred thousand terms", "unparseable, passes", ANYHOW),
        lambda: f"{HONEST}\nx = {'+'.join('1' * 90_000)}\n",
    ),
    "long_line": (
        _parser("one line of ten megabytes", "unparseable", ANYHOW),
        lambda: f'{HONEST}\nx = "{"a" * 10 * 2**20}"\n',
    ),
    "long_comment": (
        _parser("a comment of ten megabytes", "unparseable", ANYHOW),
        lambda: f"{HONEST}\n# {'a' * 10 * 2**20}\n",
    ),
    "many_lines": (
        _parser("fifty thousand lines", "unparseable", ANYHOW),
        lambda: HONEST + "\nx = 1" * 50_000 + "\n",
    ),
    "long_number": (
        _parser("a number of a hundred thousand digits", "unparseable, passes", REFUSED),
        lambda: f"{HONEST}\nx = {'9' * 100_000}\n",
    ),
    "surrogate": (
        _parser("a lone surrogate in the source, which UTF-8 cannot carry", "unparseable", RUNS),
        lambda: f'{HONEST}\nx = "\ud800"\n',
    ),
    "surrogate_name": (
        _parser("lone surrogates alone", "unparseable", REFUSED),
        lambda: "\udcff\udcfe\ud800",
    ),
    "byte_order_mark": (
        _parser("a byte order mark in front", "unparseable, passes", RUNS),
        lambda: "\ufeff" + HONEST,
    ),
    "coding_cookie": (
        _parser(
            "a declared encoding that reads other text than it shows",
            "unparseable, passes",
            RUNS,
        ),
        lambda: "# -*- coding: utf-7 -*-\n" + HONEST + "# +AAo-import os\n",
    ),
    "unknown_coding": (
        _parser("a declared encoding that does not exist", "unparseable, passes", RUNS),
        lambda: "# -*- coding: archloop -*-\n" + HONEST,
    ),
    "odd_line_ends": (
        _parser("carriage returns and form feeds that hide lines", "unsafe, unparseable", RUNS),
        lambda: HONEST + "# harmless\rimport os\x0c\r\nos.getcwd()\r",
    ),
    "lookalike_names": (
        _parser("letters that normalise to a forbidden name", "unsafe, unparseable", RUNS),
        lambda: HONEST + LOOKALIKE,
    ),
    "hidden_by_direction": (
        _parser(
            "text that shows in another order than it runs",
            "passes, unsafe, unparseable",
            RUNS,
        ),
        lambda: HONEST + '# \u202e\u2066 "harmless" \u2069\u2066\nprint("\u202etxt.terces\u202c")\n',
    ),
    "empty": (_parser("nothing at all", "contract, unparseable", REFUSED), lambda: ""),
    "binary": (
        _parser("the bytes of a program for the machine", "unparseable", REFUSED),
        lambda: "\x7fELF\x02\x01\x01" + "\x00\xff\x10" * 5_000,
    ),
    "decorator_bomb": (
        _parser(
            "ten thousand decorators, called one in the other",
            "unparseable, passes",
            ANYHOW,
        ),
        lambda: HONEST + "\ndef same(f):\n    return f\n\n\n" + "@same\n" * 10_000 + "def g():\n    pass\n",
    ),
    "many_classes": (
        _parser("ten thousand classes", "unparseable, passes", ANYHOW),
        lambda: HONEST + "".join(f"\n\nclass C{n}:\n    a = 1" for n in range(5_000)) + "\n",
    ),
    "comprehension_bomb": (
        _parser(
            "comprehensions in comprehensions",
            "unparseable, passes",
            ANYHOW,
        ),
        lambda: f"{HONEST}\nx = {'[' * 90}0{' for _ in range(1)]' * 90}\n",
    ),
}
