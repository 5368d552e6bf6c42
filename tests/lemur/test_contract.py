"""Programs edited into LEMUR's contract: what comes out is spelled out, character by character."""

import pytest

from archloop.lemur.contract import complete_program, modernise

OLD = """import torch
import torch.nn as nn


class Net(nn.Module):
    def __init__(self, in_shape: tuple, out_shape: tuple, prm: dict) -> None:
        super().__init__()
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(x)

    def train_setup(self, device: torch.device, prm: dict) -> None:
        self.to(device)
"""
NEW = """import torch
import torch.nn as nn


class Net(nn.Module):
    def __init__(self, in_shape: tuple, out_shape: tuple, prm: dict, device) -> None:
        super().__init__()
        self.device = device
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(x)

    def train_setup(self, prm: dict) -> None:
        device = self.device
        self.to(device)
"""
PLAIN = """from torch import nn


class Net(nn.Module):
  def __init__(self, in_shape, out_shape, prm, where):
    super().__init__()
    self.head = nn.Linear(4, 2)

  def forward(self, x):
    return self.head(x)
"""
COMPLETE = """import torch
from torch import nn


class Net(nn.Module):
  def __init__(self, in_shape, out_shape, prm, where):
    super().__init__()
    self.device = where
    self.head = nn.Linear(4, 2)

  def forward(self, x):
    return self.head(x)

  def train_setup(self, prm):
      self.to(self.device)
      self.optimizer = torch.optim.SGD(
          self.parameters(), lr=prm.get("lr", 0.5), momentum=prm.get("momentum", 0.9)
      )

  def learn(self, train_data):
      self.train()
      device = next(self.parameters()).device
      for inputs, labels in train_data:
          self.optimizer.zero_grad()
          torch.nn.functional.cross_entropy(self(inputs.to(device)), labels.to(device)).backward()
          torch.nn.utils.clip_grad_norm_(self.parameters(), 1.0)
          self.optimizer.step()
"""
ANOTHER_NAME = '''"""Doc."""
from __future__ import annotations
from torch import nn
Net = nn.Linear
'''
EXTENDED = '''"""Doc."""
from __future__ import annotations
import torch
from torch import nn
Net = nn.Linear


if not hasattr(Net, "train_setup"):

    def train_setup(self, prm):
        self.to(next(self.parameters()).device)
        self.optimizer = torch.optim.SGD(
            self.parameters(), lr=prm.get("lr", 0.01), momentum=prm.get("momentum", 0.7)
        )

    Net.train_setup = train_setup


if not hasattr(Net, "learn"):

    def learn(self, train_data):
        self.train()
        device = next(self.parameters()).device
        for inputs, labels in train_data:
            self.optimizer.zero_grad()
            torch.nn.functional.cross_entropy(self(inputs.to(device)), labels.to(device)).backward()
            torch.nn.utils.clip_grad_norm_(self.parameters(), 3.0)
            self.optimizer.step()

    Net.learn = learn
'''


def test_a_program_of_the_older_layout_becomes_one_of_the_present_one():
    assert modernise(OLD) == NEW
    assert modernise(NEW) == NEW


def test_a_default_of_the_last_argument_stays():
    old = OLD.replace("prm: dict) -> None:\n        super", "prm: dict = {}) -> None:\n        super")
    new = NEW.replace("prm: dict, device) -> None:", "prm: dict = {}, device=None) -> None:")
    assert modernise(old) == new


def test_a_device_that_the_present_layout_gives_is_kept_for_an_older_train_setup():
    mixed = OLD.replace("prm: dict) -> None:\n        super", "prm: dict, device) -> None:\n        super")
    assert modernise(mixed) == NEW
    keeps = mixed.replace("self.head = nn", "self.device = device\n        self.head = nn")
    assert modernise(keeps) == NEW


INIT = "super().__init__()\n        self.head = nn.Linear(4, 2)"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("self.head = nn.Linear(4, 2)", "self.device = device\n        self.head = nn.Linear(4, 2)"),
        ("nn.Module.__init__(self)", "self.device = device\n        nn.Module.__init__(self)"),
        (
            "x = 1; super().__init__()\n        y = 2",
            "self.device = device\n        x = 1; super().__init__()\n        y = 2",
        ),
        ("super().__init__(); x = 1", "self.device = device\n        super().__init__(); x = 1"),
        ("x = 1\n        super().__init__()", "x = 1\n        super().__init__()\n        self.device = device"),
    ],
)
def test_the_device_is_kept_after_the_call_of_the_base_where_that_has_its_own_line(old, new):
    kept = "super().__init__()\n        self.device = device\n        self.head = nn.Linear(4, 2)"
    assert modernise(OLD.replace(INIT, old)) == NEW.replace(kept, new)


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("class Net(:", "does not parse"),
        ("x = 1\n", "no class Net with an __init__"),
        ("class Net:\n    pass\n", "no class Net with an __init__"),
        ("class Other:\n    def __init__(self, a, b, c):\n        pass\n", "no class Net with an __init__"),
        (
            OLD.replace("prm: dict) -> None:\n        super", ") -> None:\n        super"),
            r"takes \(in_shape, out_shape\)",
        ),
        (OLD.replace("device: torch.device", "where"), r"train_setup takes \(where, prm\), neither layout"),
        (OLD.split("    def train_setup")[0] + "    def train_setup(self, device, prm): pass\n", "on one line"),
    ],
)
def test_what_is_of_neither_layout_is_refused_with_the_reason(program, why):
    with pytest.raises(ValueError, match=why):
        modernise(program)


@pytest.mark.parametrize(
    "program",
    [
        "from torch import nn\nNet = nn.Linear\n",
        "class Base:\n    def __init__(self, a):\n        pass\n\nclass Net(Base):\n    pass\n",
        "class Net:\n    def __init__(self, a):\n        pass\n\nNet = Net\n",
    ],
)
def test_a_net_whose_init_is_not_its_own_stays_as_it_is(program):
    assert modernise(program) == program


def test_the_last_net_of_a_program_counts():
    with pytest.raises(ValueError, match=r"takes \(a\)"):
        modernise("Net = 1\n\nclass Net:\n    def __init__(self, a):\n        pass\n")


def test_methods_that_lack_are_written_into_the_class_in_its_margin():
    assert complete_program(PLAIN, {"learning_rate": 0.5, "gradient_clip": 1.0, "batch_size": 7}) == COMPLETE
    assert complete_program(COMPLETE, {}) == COMPLETE


def test_the_device_is_that_of_the_weights_where_nothing_keeps_it():
    three = PLAIN.replace(", where)", ")")
    asks = COMPLETE.replace(", where)", ")").replace("    self.device = where\n", "")
    asks = asks.replace("self.to(self.device)", "self.to(next(self.parameters()).device)")
    assert complete_program(three, {"learning_rate": 0.5, "gradient_clip": 1.0}) == asks
    keeps = three.replace("self.head =", "self.device = 1\n    self.head =")
    assert "self.to(self.device)" in complete_program(keeps, {})


@pytest.mark.parametrize(
    ("has", "lacks"), [("train_setup(self, prm)", "learn("), ("learn(self, data)", "train_setup(")]
)
def test_a_method_that_is_there_stays(has, lacks):
    method = f"\n  def {has}:\n    pass\n"
    whole = complete_program(PLAIN + method, {})
    assert whole.count("  def train_setup(") == whole.count("  def learn(") == 1
    assert whole.index(method) < whole.index(f"  def {lacks}")


@pytest.mark.parametrize(
    "program",
    [
        ANOTHER_NAME,
        ANOTHER_NAME.replace("Net = nn.Linear", "class Net(nn.Linear):\n    pass"),
        ANOTHER_NAME.replace("Net = nn.Linear", "class Net(nn.Linear):\n    def __init__(self):\n        pass"),
        ANOTHER_NAME.replace("Net = nn.Linear", "class Net(nn.Module): __init__ = None"),
    ],
)
def test_a_class_that_cannot_be_written_into_gets_its_methods_after_the_program(program):
    plain = "Net = nn.Linear"
    written = program.split("import nn\n")[1].rstrip()
    assert complete_program(program, {"momentum": 0.7}) == EXTENDED.replace(plain, written)


@pytest.mark.parametrize(
    ("start", "wanted"),
    [
        ("import torch\n", "import torch\n"),
        ("import torch.nn\n", "import torch.nn\n"),
        ("import torch as t\n", "import torch\nimport torch as t\n"),
        ("import math\n", "import torch\nimport math\n"),
        ('"""A."""\n"""B."""\n', '"""A."""\nimport torch\n"""B."""\n'),
        (
            "from __future__ import annotations\nfrom __future__ import division\n",
            "from __future__ import annotations\nfrom __future__ import division\nimport torch\n",
        ),
        ("5\n", "5\nimport torch\n"),
        ("import os, torch\n", "import os, torch\n"),
    ],
)
def test_torch_is_imported_after_what_must_come_first(start, wanted):
    body = COMPLETE.removeprefix("import torch\nfrom torch import nn\n")
    program = start + PLAIN.removeprefix("from torch import nn\n")
    assert complete_program(program, {"learning_rate": 0.5, "gradient_clip": 1.0}) == wanted + body
