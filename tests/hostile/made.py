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
# What becomes of a source that some Pythons find too deep: the compiler refuses it in words of its own.
DEEP, PYTHONS = "construct, out_of_memory, trained", "how deep a source may be is a matter of the Python"


def _parser(tries: str, static: str, sandbox: str, why: str = "") -> dict[str, str]:
    return {"group": "parser", "tries": tries, "static": static, "sandbox": sandbox} | ({"why": why} if why else {})


MADE = {
    "null_byte": (
        _parser("a null byte in the middle of the source", "unparseable", "construct"),
        lambda: HONEST.replace("super()", "super\0()"),
    ),
    "null_byte_in_comment": (
        _parser("a null byte where only a comment is", "unparseable", "construct"),
        lambda: HONEST + "# \0 import os\n",
    ),
    "many_null_bytes": (
        _parser("null bytes alone", "unparseable", "construct"),
        lambda: "\0" * 10_000,
    ),
    "deep_parentheses": (
        _parser("ten thousand brackets in brackets", "unparseable", "construct"),
        lambda: f"{HONEST}\nx = {'(' * 10_000}{')' * 10_000}\n",
    ),
    "deep_unary": (
        _parser("fifty thousand minus signs, a tree as deep", "unparseable", DEEP, PYTHONS),
        lambda: f"{HONEST}\nx = {'-' * 50_000}1\n",
    ),
    "deep_attributes": (
        _parser("an attribute of an attribute, thirty thousand deep", "unparseable, passes", DEEP, PYTHONS),
        lambda: f"{HONEST}\nx = nn{'.a' * 30_000}\n",
    ),
    "deep_blocks": (
        _parser("a hundred and fifty blocks in blocks", "unparseable", "construct"),
        lambda: HONEST + "\n" + "".join(f"{' ' * depth}if 1:\n" for depth in range(150)) + " " * 150 + "pass\n",
    ),
    "deep_concatenation": (
        _parser("a sum of a hundred thousand terms", "unparseable, passes", DEEP, PYTHONS),
        lambda: f"{HONEST}\nx = {'+'.join('1' * 90_000)}\n",
    ),
    "long_line": (
        _parser("one line of ten megabytes", "unparseable", "trained"),
        lambda: f'{HONEST}\nx = "{"a" * 10 * 2**20}"\n',
    ),
    "long_comment": (
        _parser("a comment of ten megabytes", "unparseable", "trained"),
        lambda: f"{HONEST}\n# {'a' * 10 * 2**20}\n",
    ),
    "many_lines": (
        _parser("fifty thousand lines", "unparseable", "trained"),
        lambda: HONEST + "\nx = 1" * 50_000 + "\n",
    ),
    "long_number": (
        _parser("a number of a hundred thousand digits", "unparseable", "construct"),
        lambda: f"{HONEST}\nx = {'9' * 100_000}\n",
    ),
    "surrogate": (
        _parser("a lone surrogate in the source, which UTF-8 cannot carry", "unparseable", "construct"),
        lambda: f'{HONEST}\nx = "\ud800"\n',
    ),
    "surrogate_name": (
        _parser("lone surrogates alone", "unparseable", "construct"),
        lambda: "\udcff\udcfe\ud800",
    ),
    "byte_order_mark": (
        _parser("a byte order mark in front", "unparseable", "construct"),
        lambda: "\ufeff" + HONEST,
    ),
    "coding_cookie": (
        _parser("a declared encoding that reads other text than it shows", "passes", "trained"),
        lambda: "# -*- coding: utf-7 -*-\n" + HONEST + "# +AAo-import os\n",
    ),
    "unknown_coding": (
        _parser("a declared encoding that does not exist", "passes", "trained"),
        lambda: "# -*- coding: archloop -*-\n" + HONEST,
    ),
    "odd_line_ends": (
        _parser("carriage returns and form feeds that hide lines", "unsafe", "trained"),
        lambda: HONEST + "# harmless\rimport os\x0c\r\nos.getcwd()\r",
    ),
    "lookalike_names": (
        _parser("letters that normalise to a forbidden name", "unsafe", "trained"),
        lambda: HONEST + LOOKALIKE,
    ),
    "hidden_by_direction": (
        _parser("text that shows in another order than it runs", "passes", "trained"),
        lambda: HONEST + '# \u202e\u2066 "harmless" \u2069\u2066\nprint("\u202etxt.terces\u202c")\n',
    ),
    "empty": (_parser("nothing at all", "contract", "construct"), lambda: ""),
    "binary": (
        _parser("the bytes of a program for the machine", "unparseable", "construct"),
        lambda: "\x7fELF\x02\x01\x01" + "\x00\xff\x10" * 5_000,
    ),
    "decorator_bomb": (
        _parser("ten thousand decorators, called one in the other", "passes, unparseable", DEEP, PYTHONS),
        lambda: HONEST + "\ndef same(f):\n    return f\n\n\n" + "@same\n" * 10_000 + "def g():\n    pass\n",
    ),
    "many_classes": (
        _parser("ten thousand classes", "passes", "trained"),
        lambda: HONEST + "".join(f"\n\nclass C{n}:\n    a = 1" for n in range(5_000)) + "\n",
    ),
    "comprehension_bomb": (
        _parser("comprehensions in comprehensions", "passes, unparseable", DEEP, PYTHONS),
        lambda: f"{HONEST}\nx = {'[' * 90}0{' for _ in range(1)]' * 90}\n",
    ),
}
