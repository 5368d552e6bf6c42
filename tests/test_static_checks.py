"""Static checks: what networks need passes, what none needs does not, and the reason is named."""

import pytest

from archloop.seed_programs import seed_programs
from archloop.static_checks import MAXIMUM_BYTES, check_program

FRAME = """
import torch
import torch.nn as nn
import torch.nn.functional as F
{imports}

def supported_hyperparameters():
    return {{"lr"}}

class Net(nn.Module):
    def __init__(self, in_shape, out_shape, prm, device):
        super().__init__()
        {line}

    def forward(self, x):
        return x
"""


def program(line: str = "pass", imports: str = "") -> str:
    return FRAME.format(line=line, imports=imports)


@pytest.mark.parametrize(
    "line",
    [
        "setattr(self, f'block{1}', nn.Identity())",
        "getattr(self, f'block{1}')",
        "getattr(nn, prm['act'])()",
        "getattr(F, 'relu')",
        "self.weight = nn.Parameter(torch.empty(3, 3))",
        "self.register_buffer('scale', torch.ones(1)); self.name = self.__class__.__name__",
        "print('made', in_shape)",
        "self.a, self.b = (nn.Linear(1, 1) for _ in range(2))",
        "torch.manual_seed(0)",
        "self.load = torch.nn.utils.parametrizations.weight_norm(nn.Linear(1, 1))",
    ],
)
def test_what_networks_do_passes(line):
    assert check_program(program(line)) is None


@pytest.mark.parametrize(
    "imports",
    [
        "import math, random, itertools",
        "from torch.nn import *",
        "from typing import Optional",
        "from functools import partial",
        "import numpy as np",
        "from torch.utils.checkpoint import checkpoint",
        "from torchvision.ops import StochasticDepth",
        "from dataclasses import dataclass",
    ],
)
def test_imports_that_networks_need_pass(imports):
    assert check_program(program(imports=imports)) is None


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("open('x')", "uses open"),
        ("torch.load('x')", "uses torch.load"),
        ("torch.optim.SGD = None", "changes torch.optim.SGD"),
        ("F.cross_entropy = lambda *a: 0", "changes torch.nn.functional.cross_entropy"),
        ("nn.Module.parameters = lambda self: []", "changes torch.nn.Module.parameters"),
        ("setattr(nn.Module, 'parameters', None)", "uses setattr on something other than self"),
        ("getattr(torch, prm['x'])", "uses getattr with a computed name"),
        ("().__class__.__bases__", "uses the attribute __bases__"),
        ("x = '{0.__globals__}'", "spells __globals__"),
        ("getattr(torch, 'load')", "uses load"),
        ("(lambda: 0).__code__", "uses the attribute __code__"),
        ("torch.ones(1).data_ptr()", "uses the attribute data_ptr"),
        ("torch.seed()", "uses torch.seed"),
        ("id(self)", "uses id"),
    ],
)
def test_what_no_network_needs_is_refused_and_named(line, says):
    assert check_program(program(line)) == ("unsafe", says)


@pytest.mark.parametrize(
    ("imports", "says"),
    [
        ("import os", "imports os"),
        ("from os import path", "imports os"),
        ("import torch.utils.cpp_extension", "imports torch.utils.cpp_extension"),
        ("from torch import load", "imports torch.load"),
        ("from torch.utils import data", "imports torch.utils.data"),
        ("from . import x", "imports ."),
        ("from math import *", "imports everything from math"),
        ("from random import SystemRandom", "imports random.SystemRandom"),
    ],
)
def test_imports_of_anything_else_are_refused_and_named(imports, says):
    assert check_program(program(imports=imports)) == ("unsafe", says)


@pytest.mark.parametrize(
    "text",
    [
        None,
        "class Net(",
        "x = '\0'",
        "(" * 10_000,
        "x\n" * MAXIMUM_BYTES,
        "def f():\n    return\n  x",
        "return 1",
        "\ud800",
    ],
    ids=range(8),
)
def test_what_does_not_parse_is_unparseable(text):
    assert check_program(text)[0] == "unparseable"


def test_the_contract_is_asked_for_by_name():
    whole = program()
    assert check_program(whole.replace("class Net", "class Model")) == ("contract", "no class Net")
    assert check_program(whole.replace("forward", "call")) == ("contract", "Net has no forward")
    assert check_program(whole.replace("supported_", "known_"))[1] == "no function supported_hyperparameters"


def test_every_seed_program_passes():
    assert [each.id for each in seed_programs() if check_program(each.program)] == []
