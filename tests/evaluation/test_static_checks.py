"""Static checks: what networks need passes, what none needs does not, and the reason is named."""

import pytest

from archloop.evaluation.static_checks import MAXIMUM_BYTES, check_program, without_unused
from archloop.families.programs import seed_programs
from archloop.generation.answers import wrong_line
from archloop.texts import parsed

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
        "import random; random.seed(0)",
        "self.load = torch.nn.utils.parametrizations.weight_norm(nn.Linear(1, 1))",
        "id = input = prm['lr']; self.rate = id + input",
        "self.layers = [nn.Linear(os, gc) for os, gc in ((1, 2), (3, 4))]",
        "block = lambda input, hash=1: input * hash",
        "self.__delattr__('a'); self.__dict__.update(b=1)",
        "super().__setattr__('a', 1)",
        "def act(x: F = 'relu', *y: nn): return x",
        "self.made = self.__class__.__module__",
        "self.fast = hasattr(F, 'scaled_dot_product_attention') and 'mish' in dir(F)",
        "layers = torch.nn.modules.batchnorm; self.norm = layers._BatchNorm",
        "self.tracing = torch.jit.is_scripting() or torch.jit.is_tracing()",
        "kernel: torch.jit.Final[int] = 3",
        "Conv = nn.Conv2d; self.first = Conv(1, 1, 1)",
        "self.text = '{}'.format(1) + f'{out_shape[0]}'",
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
        "from collections import *\nfrom functools import *\nOrderedDict(a=1)",
        "from math import *\nsqrt(2)",
        "import re, logging, types\nlogging.getLogger('net'), re.compile('a'), types.FunctionType",
        "import inspect\ninspect.isfunction(print)",
        "import gc, os, time\ngc.collect(); os.environ.get('FAST', '0'); time.time()",
        "from torchvision.ops.misc import Conv2dNormActivation\nConv2dNormActivation",
        "from torchvision.models._utils import _make_divisible\n_make_divisible",
        "from torchvision.models._api import register_model\nregister_model",
        "from torch.nn.modules.utils import _pair\n_pair(1)",
        "from torch.utils.data import DataLoader\ndef loader(data: DataLoader): return data",
        "from torch.nn.parallel import DataParallel\nDataParallel",
        "from torch.types import _size\n_size",
        "from einops import rearrange\nrearrange",
        "try:\n    from apex import norm\nexcept ImportError:\n    norm = None\nprint(norm)",
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
        ("getattr(torch, 'load')", "uses torch.load"),
        ("(lambda: 0).__code__", "uses the attribute __code__"),
        ("torch.ones(1).data_ptr()", "uses the attribute data_ptr"),
        ("torch.seed()", "uses torch.seed"),
        ("import random; random.seed()", "uses random.seed"),
        ("id(self)", "uses id"),
    ],
)
def test_what_no_network_needs_is_refused_and_named(line, says):
    assert check_program(program(line)) == ("unsafe", says)


@pytest.mark.parametrize(
    ("imports", "says"),
    [
        ("import os\nos.fork()", "uses os.fork"),
        ("import socket\nsocket.socket()", "imports socket"),
        ("from os import path\npath.exists('x')", "imports os.path"),
        ("import torch.utils.cpp_extension\ntorch.utils.cpp_extension.load", "imports torch.utils.cpp_extension"),
        ("from torch import load\nload('x')", "imports torch.load"),
        ("from torch.utils import tensorboard\ntensorboard.x", "imports torch.utils.tensorboard"),
        ("from . import x\nx()", "imports ."),
        ("from torch import *", "imports everything from torch"),
        ("from random import SystemRandom\nSystemRandom()", "imports random.SystemRandom"),
    ],
)
def test_imports_of_anything_else_are_refused_and_named(imports, says):
    assert check_program(program(imports=imports)) == ("unsafe", says)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        # Modules that libraries have imported for themselves.
        ("torch.os.listdir('/')", "uses os.listdir"),
        ("torch.sys.modules", "uses sys.modules"),
        ("torch.ctypes.CDLL(None)", "uses torch.ctypes"),
        ("torch.builtins.open", "uses torch.builtins"),
        ("F.importlib.import_module('os')", "uses torch.nn.functional.importlib"),
        ("import contextlib; contextlib.sys.modules", "uses sys.modules"),
        ("import enum; enum.sys.modules", "uses sys.modules"),
        ("import enum; enum.bltns.open", "uses enum.bltns"),
        ("import warnings; warnings.sys.modules", "uses sys.modules"),
        ("import typing; typing.sys._getframe()", "uses sys._getframe"),
        ("import dataclasses; dataclasses.inspect.stack()", "uses inspect.stack"),
        ("import numpy as np; np.ma.core.builtins.open", "uses numpy.ma.core.builtins"),
        ("from logging import os; os.system('x')", "imports logging.os"),
        # Other names for what is refused.
        ("t = torch; t.load('x')", "uses torch.load"),
        ("t: object = torch; u = t; u.load('x')", "uses torch.load"),
        ("(t := torch).load('x')", "uses torch.load"),
        ("t, u = torch, nn", "hands the module torch around"),
        ("[torch][0].load('x')", "hands the module torch around"),
        ("(lambda t=torch: t.load('x'))()", "hands the module torch around"),
        ("self.t = torch", "hands the module torch around"),
        ("read = getattr; read(self.x, self.name)", "hands getattr around"),
        ("[print, getattr][1](self.x, self.name)", "hands getattr around"),
        ("list(map(getattr, [torch], ['load']))", "hands getattr around"),
        ("import functools; functools.partial(getattr, F)", "hands getattr around"),
        ("M = nn.Module; M.parameters = None", "changes torch.nn.Module.parameters"),
        # An import in a function that never runs, and names that are not a function's own.
        ("eval('1')\n\n        def never():\n            from torch import ones as eval", "uses eval"),
        ("pass\n\n    open = open", "uses open"),
        # Attributes that a pattern reads, and names that are put together.
        ("match F.relu:\n            case object(__globals__=g): pass", "uses the attribute __globals__"),
        ("match F.relu:\n            case object(ctypes=g): pass", "uses the attribute ctypes"),
        ("match F.relu:\n            case object(__dict__=g): pass", "uses the attribute __dict__"),
        ("match torch:\n            case object(load=g): pass", "hands the module torch around"),
        ("getattr(self.x, '__glo' + 'bals__')", "uses __globals__"),
        ("getattr(self.x, '_' + '_globals_' + '_')", "uses __globals__"),
        ("getattr(self, f\"{'__'}globals__\")", "spells __globals__"),
        ("getattr(self, ''.join(['__glo', 'bals__']))", "spells __globals__"),
        ("glo = '__glo'; x = f'{glo}bals__'", "spells __globals__"),
        ("glo = '__glo'; end = 'bals__'; getattr(self.x, glo + end)", "uses __globals__"),
        ("name = 'import' + 'lib'; getattr(F, name)", "uses torch.nn.functional.importlib"),
    ],
)
def test_other_ways_to_what_is_refused_are_seen(line, says):
    assert check_program(program(line)) == ("unsafe", says)


@pytest.mark.parametrize(
    "line",
    [
        "name = 'relu'; getattr(self, 'conv').name = getattr(self.conv, name)",
        "name = 're'; name += 'lu'; getattr(nn.functional, name)",
        "name = 'a'; name = name + name; getattr(F, name)",
        "low, high = '_', '__'; x = low + high + 'x'",
    ],
)
def test_a_name_that_is_known_or_may_be_any_is_refused_for_no_reason_of_its_own(line):
    assert check_program(program(line)) is None


def test_what_only_a_script_runs_counts_for_nothing():
    script = "if __name__ == '__main__':\n    import os, sys\n    os.system(sys.argv[1])\n"
    assert check_program(program() + script) is None
    assert "os" not in without_unused(program() + script)
    assert check_program(program() + script + "else:\n    import os\n    os.system('')\n")[0] == "unsafe"


@pytest.mark.parametrize(
    ("imports", "left"),
    [
        ("import socket", "pass"),
        ("import socket, math; import shutil", "import math; pass"),
        ("from torch.utils.cpp_extension import (\n    load,\n    CppExtension)", "pass\n\n"),
        ("from torch import nn as n", "from torch import nn as n"),
        ("try:\n    import apex\nexcept ImportError:\n    apex = None\nprint(apex)",
         "try:\n    raise ImportError\nexcept ImportError:\n    apex = None\nprint(apex)"),
    ],
)  # fmt: skip
def test_imports_that_nothing_reads_are_left_out_of_what_is_run(imports, left):
    assert check_program(program(imports=imports)) is None
    assert without_unused(program(imports=imports)) == program(imports=left)


def test_a_program_that_needs_no_change_is_run_as_it_is():
    for text in (program(), "class Net(", "x\r\ny"):
        assert without_unused(text) == text


def test_a_text_may_name_the_module_that_a_script_is():
    assert check_program(program("self.name = '__main__'")) is None


@pytest.mark.parametrize("call", ["getattr()", "getattr(x)", "setattr(x)", "delattr()", "hasattr()", "getattr(*x)"])
def test_a_call_with_too_few_arguments_ends_no_check(call):
    refused = check_program(program(call))
    assert refused is None or (refused[0] == "unsafe" and "attr" in refused[1])


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
    assert check_program("") == check_program("# nothing") == ("contract", "no class Net")
    assert check_program(whole.replace("class Net", "class Model")) == ("contract", "no class Net")
    assert check_program(whole.replace("forward", "call")) == ("contract", "Net has no forward")
    assert check_program(whole.replace("supported_", "known_"))[1] == "no function supported_hyperparameters"


@pytest.mark.parametrize(
    "net",
    [
        "class Base(nn.Module):\n    def __init__(self, *a): ...\nclass Net(Base):\n    def forward(self, x): ...",
        "class Model(nn.Module): ...\nNet = Model",
        "class Net(nn.Sequential):\n    def __init__(self, *a): super().__init__()",
        "from torchvision.models import ResNet\nclass Net(ResNet): ...",
        "class Net(nn.Module): ...\nclass Net(nn.Module):\n    def __init__(self): ...\n    def forward(self): ...",
        "class Net(nn.Module):\n    if True:\n        def __init__(self): ...\n        def forward(self): ...",
        "class Net(nn.Module):\n    def __init__(self): ...\n    forward = nn.Module.__call__",
    ],
)
def test_what_net_inherits_or_may_define_is_left_to_the_run(net):
    assert check_program("import torch.nn as nn\ndef supported_hyperparameters(): ...\n" + net) is None


def test_what_defines_nothing_is_no_method():
    net = "class Net(nn.Module):\n    'Has a forward.'\n    depth: int\n    def __init__(self): ...\n    pass"
    refused = check_program("import torch.nn as nn\ndef supported_hyperparameters(): ...\n" + net)
    assert refused == ("contract", "Net has no forward")


@pytest.mark.parametrize(
    "text",
    [
        "x = f(x)\n" * 6_000,
        "import torch\n" + "".join(f"a{i + 1} = a{i}\n" for i in range(4_000)) + "a0 = torch\n",
        "import torch\n" + "x = torch\n" * 3_000 + "x = x.a\n" * 3_000,
        "import socket\n" * 6_000,
        "import torch\n" + "".join(f"x = torch.a{i}\n" for i in range(2_000)) + "x.b\n" * 2_000,
        ("x = 'a'" + " + 'a'" * 400 + "\n") * 20,
        "import torch\n" + ("x = torch" + ".a" * 900 + "\n") * 20,
        "x = " + "(lambda: " * 90 + "x" + ")" * 90,
        "a = 1\n" * 10_000 + "".join(f"def f{i}(): a\n" for i in range(8_000)),
        "a = 1\n" * 10_000 + "".join(f"class C{i}: a.b; a = 1\n" for i in range(6_000)),
        "".join(f"def f{i}():\n global a\n a = 1\n" for i in range(5_000)) + "a.b\n" * 5_000,
    ],
    ids=range(11),
)
def test_the_longest_programs_are_read_in_linear_time(text):
    """Seconds where a pass over the program for each name would take hours."""
    check_program(text)
    without_unused(text)


@pytest.mark.parametrize("between", [".", " .", ".\\\n"])
def test_a_name_that_takes_the_parser_gigabytes_is_not_parsed(between):
    """Python's parser takes 1 GB for 30,000 parts, ten times as much for three times as many."""
    for statement in ("import {}", "from {} import x"):
        text = program() + statement.format(between.join("a" * 30_000))
        assert check_program(text) == ("unparseable", "ValueError: a name of more than 1000 parts")
        assert without_unused(text) == text and parsed(text) is None and wrong_line(f"```python\n{text}\n")


def test_a_name_of_many_parts_that_can_be_parsed_is_looked_at():
    assert check_program(program() + "import " + ".".join(["a" * 100] * 900)) is None


def test_every_seed_program_passes():
    assert [each.id for each in seed_programs() if check_program(each.program)] == []


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("Module.parameters = lambda self: []", "changes torch.nn.Module.parameters"),
        ("self.keep = functional", "hands the module torch.nn.functional around"),
        ("self.layer = Linear(1, 1)", None),
    ],
)
def test_a_name_that_everything_of_a_module_brings_is_that_modules(line, says):
    refused = check_program(program(line, imports="from torch.nn import *"))
    assert refused == (("unsafe", says) if says else None)


@pytest.mark.parametrize("number", range(8))
def test_of_several_modules_that_a_name_may_be_the_first_by_name_is_told(number):
    """Eight times with other names: an order that a hash decides would hardly be right each time."""
    modules = ["math", "random", "itertools", "copy"]
    choices = [f"m{number} = {module}" for module in modules[number % 4 :] + modules[: number % 4]]
    program = "\n".join([f"import {module}" for module in modules] + choices + [f"f(m{number})"])
    assert check_program(program) == ("unsafe", "hands the module copy around")
