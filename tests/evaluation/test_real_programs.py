"""Kinds of programs that people and models write: sound ones are checked, run and trained, whatever they look like.

How often each kind was seen: docs/judge.md. Trained in this process, by the judge's own code, without the sandbox.
"""

from dataclasses import replace

import pytest
import torch
from small_data import write_few_digits

from archloop.data.dataset_file import SPLITS, read_metadata, read_split
from archloop.evaluation import train_candidate
from archloop.evaluation.static_checks import check_program, without_unused
from archloop.evaluation.train_candidate import CandidateData
from archloop.lemur.hyperparameters import hyperparameters
from archloop.settings.complete import complete
from archloop.settings.sections import Evaluation

IMPORTS = "import torch\nimport torch.nn as nn\nimport torch.nn.functional as F\n"
SUPPORTED = "\ndef supported_hyperparameters():\n    return {'lr', 'momentum', 'weight_decay'}\n"
# A class Net from the lines of its __init__ and of its forward.
NET = """
class Net(nn.Module):
    def __init__(self, in_shape, out_shape, prm, device):
        super().__init__()
        self.conv = nn.Conv2d(in_shape[1], 8, 3, padding=1)
        self.head = nn.Linear(8, out_shape[0])
        {init}

    def forward(self, {x}):
        x = F.relu(self.conv({x}))
        {forward}
        return self.head(x.mean((2, 3)))
"""
ATTENTION = """
class Attention(nn.Module):
    def forward(self, x):
        b, c, h, w = x.shape
        q = x.flatten(2).transpose(1, 2).contiguous().view(b, h * w, 2, c // 2).transpose(1, 2)
        y = F.scaled_dot_product_attention(q, q, q)
        return y.transpose(1, 2).view(b, h * w, c).transpose(1, 2).reshape(b, c, h, w)
"""
CONFIG = """
from dataclasses import dataclass, field, fields
from typing import ClassVar, get_type_hints

@dataclass
class Config:
    width: int = 8
    names: list[str] = field(default_factory=list)
    kind: ClassVar[str] = "net"

WIDTH = Config().width * len(fields(Config)) + len(get_type_hints(Config))
"""
PARTS = """
class Base(nn.Module):
    def __init__(self, in_shape, out_shape, prm, device):
        super().__init__()
        self.conv = nn.Conv2d(in_shape[1], 8, 3, padding=1)
        self.head = nn.Linear(8, out_shape[0])

    def forward(self, x):
        return self.head(F.relu(self.conv(x)).mean((2, 3)))
"""
SEQUENTIAL = """
class Net(nn.Sequential):
    def __init__(self, in_shape, out_shape, prm, device):
        super().__init__(nn.Flatten(), nn.Linear(in_shape[1] * in_shape[2] * in_shape[3], out_shape[0]))
"""


def net(init: str = "pass", forward: str = "pass", x: str = "x", imports: str = "", more: str = "") -> str:
    return imports + IMPORTS + SUPPORTED + more + NET.format(init=init, forward=forward, x=x)


FUTURE = "from __future__ import annotations\n"
KINDS = {
    "string annotations": net(imports=FUTURE, more=CONFIG, init="self.more = nn.Linear(WIDTH, 1)"),
    "a parameter named input": net(x="input"),
    "locals named id, os, gc": net(forward="id, os, gc = x, 1, 2; x = id * os + gc"),
    "a main block the other way round": net(more="\nif '__main__' == __name__:\n    import sys\n    exec(sys)\n"),
    "a main block": net(more="\nif __name__ == '__main__':\n    import os, sys\n    os.system(sys.argv[1])\n"),
    "unused imports": net(imports="import os, sys\nfrom torch.utils.data import DataLoader\nimport subprocess\n"),
    "unused transforms": net(imports="from torchvision import transforms, datasets\n"),
    "what may be missing": net(imports="try:\n    import apex\nexcept ImportError:\n    apex = None\n"),
    "torchvision.ops.misc": net(imports="from torchvision.ops.misc import Conv2dNormActivation as C\n", init="C(1, 1)"),
    "torchvision.models._utils": net(imports="from torchvision.models._utils import _make_divisible as m\n",
        init="m(9, 4)"),
    "torch.nn.modules.utils": net(imports="from torch.nn.modules.utils import _pair\n", init="_pair(1)"),
    "a declared hyperparameter": net(init="self.decay = prm['weight_decay']"),
    "what LEMUR gives": net(init="prm['batch'], prm['epoch'], prm['epoch_max'], prm['transform'], prm['dropout']"),
    "an inherited __init__ and forward": IMPORTS + SUPPORTED + PARTS + "\nclass Net(Base):\n    pass\n",
    "an inherited forward": IMPORTS + SUPPORTED + PARTS + NET.format(init="pass", forward="pass", x="x").replace(
        "nn.Module", "Base").replace("super().__init__()", "super().__init__(in_shape, out_shape, prm, device)"),
    "another name": IMPORTS + SUPPORTED + PARTS + "\nNet = Base\n",
    "a function": IMPORTS + SUPPORTED + PARTS + "\ndef Net(*arguments):\n    return Base(*arguments)\n",
    "a Sequential": IMPORTS + SUPPORTED + SEQUENTIAL,
    "attention and a view": net(more=ATTENTION, forward="x = Attention()(x)"),
    "autocast of the device's type": net(forward="with torch.autocast(x.device.type): x = x + self.conv.bias.sum()"),
    "autocast by its name": net(forward="with torch.autocast(device_type='cpu', dtype=torch.bfloat16): x = x * 1"),
    "a buffer of evaluation": net(init="self.register_buffer('seen', torch.zeros(8, 1, 1))",
        forward="self.seen = 0.9 * self.seen + 0.1 * x.detach().mean((0, 2, 3))[:, None, None]; x = x + self.seen"),
    "tabs": net().replace("    ", "\t"),
    "carriage returns": net().replace("\n", "\r"),
    "everything from collections": net(imports="from collections import *\nfrom functools import *\n",
        init="self.d = OrderedDict(a=partial(max, 1))"),
    "a layer removed": net(init="self.more = nn.Linear(1, 1); self.__delattr__('more')"),
    "functions of inspect and types": net(imports="import inspect, types, re, logging, gc\n",
        init="inspect.isfunction(types.FunctionType); re.match('a', 'a'); logging.info('x'); gc.collect()"),
    "TorchScript's words": net(forward="x = x if torch.jit.is_scripting() else x * 1",
        more="\nKind = torch.jit.Final[int]\n"),
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    digits = write_few_digits(tmp_path_factory.mktemp("data") / "digits.safetensors", images=32)
    metadata = read_metadata(digits)
    images = {f"{split}_images": torch.from_numpy(read_split(digits, split)[0]) for split in SPLITS}
    labels = torch.from_numpy(read_split(digits, "train")[1])
    return CandidateData(train_labels=labels, mean=metadata.mean, std=metadata.std, classes=metadata.classes, **images)


@pytest.fixture
def evaluation(config):
    return Evaluation(**complete(config)["evaluation"] | {"precision": "float32", "epochs": 2})


@pytest.mark.parametrize("kind", KINDS)
def test_a_sound_program_of_this_kind_is_trained(kind, data, evaluation):
    assert check_program(KINDS[kind]) is None
    report, predictions = train_candidate.run(without_unused(KINDS[kind]), data, evaluation, 1, "cpu", images=32)
    assert (report.outcome, report.detail) == ("trained", "")
    assert len(predictions) == 3 * 32


@pytest.mark.parametrize(
    ("program", "outcome", "says"),
    [
        (net(init="prm['nobody_declared']"), "construct", "KeyError: 'nobody_declared'"),
        (net(forward="x = x.view(3, -1)"), "forward", "shape"),
        (net(imports="import apex\n", init="apex.norm()"), "unsafe", "imports apex"),
        (net(init="torch.load('x')"), "unsafe", "uses torch.load"),
        (IMPORTS + SUPPORTED + "class Net(nn.Module):\n    pass\n", "contract", "no __init__ and no forward"),
        (IMPORTS + SUPPORTED + "class Net(nn.Sequential):\n    pass\n", "construct", "TypeError"),
        (IMPORTS + SUPPORTED + "class Net(nn.Identity):\n    pass\n", "forward", "returns (64, 1, 32, 32)"),
    ],
)
def test_a_program_that_is_none_is_told_why(program, outcome, says, data, evaluation):
    verdict = check_program(program)
    if verdict is None:
        large = replace(evaluation, batch_size=64)
        report, _ = train_candidate.run(without_unused(program), data, large, 1, "cpu", images=64)
        verdict = report.outcome, report.detail
    assert verdict[0] == outcome and says in verdict[1]


def test_a_declared_hyperparameter_has_the_protocols_value(evaluation):
    program = "def supported_hyperparameters(): return {'learning_rate', 'weight_decay', 'drop_path', 'alpha', 'lr'}"
    given = hyperparameters(program, evaluation)
    assert (given["learning_rate"], given["weight_decay"]) == (evaluation.learning_rate, 0.0)
    assert (given["drop_path"], given["alpha"]) == (evaluation.dropout, 0.5)
    assert "alpha" not in hyperparameters("", evaluation)
