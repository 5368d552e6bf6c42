"""Architectures for LEMUR: the files import, follow the contract and train; equal corpora give equal files."""

import importlib.util
import json

import polars as pl
import pytest
import torch
from edit_pairs import PLAIN, RESIDUAL

from archloop.corpus.tables import CORPUS
from archloop.families.programs import family_names, family_programs
from archloop.files import sha256_file
from archloop.lemur.contract import complete_program
from archloop.lemur.export import export
from archloop.lemur.hyperparameters import declared_names

PROTOCOL = {"batch_size": 8, "learning_rate": 0.05, "momentum": 0.8, "dropout": 0.1, "gradient_clip": 3.0, "epochs": 1}
PROTOCOL |= {"protocol": "resize256_flip"}
OWN_METHODS = PLAIN + (
    "\n    def train_setup(self, prm):\n        self.optimizer = torch.optim.Adam(self.parameters(), lr=prm['lr'])\n"
)


def corpus(*entries: tuple[str, float]) -> pl.DataFrame:
    rows = [
        {"id": f"my_chain-01-{index:04d}", "chain": "my_chain", "cycle": 1, "index": index, "dataset": "cifar10"}
        | {"program": program, "accuracy": accuracy, "parameters": 9, "evaluation": "ab" * 32, "outcome": "admitted"}
        | {"protocol": json.dumps(PROTOCOL)}
        for index, (program, accuracy) in enumerate(entries)
    ]
    return pl.DataFrame([{name: row.get(name) for name in CORPUS} for row in rows], schema=CORPUS)


def imported(path):
    spec = importlib.util.spec_from_file_location("exported", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def trains(module) -> None:
    """Do with a module what LEMUR's evaluator does."""
    assert isinstance(module.supported_hyperparameters(), set)
    prm = {name: value for name, value in (("lr", 0.01), ("momentum", 0.9), ("dropout", 0.2)) if
           name in module.supported_hyperparameters()} | {"batch": 4}  # fmt: skip
    torch.manual_seed(0)
    net = module.Net((4, 3, 32, 32), (10,), prm, torch.device("cpu"))
    net.train_setup(prm)
    before = [weight.detach().clone() for weight in net.parameters()]
    net.learn([(torch.randn(4, 3, 32, 32), torch.arange(4)) for _ in range(2)])
    assert any(not torch.equal(one, two) for one, two in zip(before, net.parameters()))
    assert net(torch.randn(2, 3, 32, 32)).shape == (2, 10)


def test_exported_programs_import_and_train_best_first(tmp_path):
    index = export(corpus((PLAIN, 0.5), (RESIDUAL, 0.7), (OWN_METHODS, 0.6)), tmp_path)
    assert [(entry["rank"], entry["accuracy"]) for entry in index] == [(1, 0.7), (2, 0.6), (3, 0.5)]
    for entry in index:
        (program,) = (path for path in entry["files"] if path.startswith("nn/"))
        trains(imported(tmp_path / program))
        for path, digest in entry["files"].items():
            assert sha256_file(tmp_path / path) == digest


@pytest.mark.parametrize("family", family_names())
def test_every_family_of_the_seed_corpus_can_be_completed(family, tmp_path):
    (tmp_path / "one.py").write_text(complete_program(family_programs(family)[0].program, PROTOCOL))
    trains(imported(tmp_path / "one.py"))


def test_a_program_that_has_all_methods_is_exported_as_it_is():
    whole = complete_program(PLAIN, PROTOCOL)
    assert whole != PLAIN
    assert complete_program(whole, PROTOCOL) == whole


def test_methods_are_added_to_programs_of_any_layout():
    tabs = PLAIN.replace("    ", "\t")
    unimported = PLAIN.replace("import torch\n", "", 1)
    for program in (tabs.replace("\t", " " * 3), unimported, PLAIN + "\n\ndef after():\n    return 'é'\n"):
        compile(complete_program(program, {}), "<program>", "exec")


TINY = """from __future__ import annotations
import torch.nn as nn

def supported_hyperparameters(): return {"lr"}

class Base(nn.Module):
    def __init__(self, in_shape, out_shape, prm, device):
        super().__init__(); self.head = nn.Linear(in_shape[1], out_shape[0])
    def forward(self, x): return self.head(x.mean((2, 3)))

"""
SHAPES = {
    "an inherited __init__": "class Net(Base):\n    pass\n",
    "another name": "Net = Base\n",
    "one line": "class Net(Base): pass\n",
    "an __init__ on one line": "class Net(nn.Module):\n    def __init__(self, i, o, p, d): super().__init__(); "
    "self.head = nn.Linear(i[1], o[0])\n    def forward(self, x): return self.head(x.mean((2, 3)))\n",
    "an import in __init__": "class Net(nn.Module):\n    def __init__(self, i, o, p, d):\n"
    "        super().__init__(); self.head = nn.Linear(i[1], o[0])\n    forward = Base.forward\n",
}


@pytest.mark.parametrize("shape", SHAPES)
def test_programs_of_any_shape_are_completed(shape, tmp_path):
    (tmp_path / "one.py").write_text(complete_program(TINY + SHAPES[shape], PROTOCOL))
    trains(imported(tmp_path / "one.py"))


@pytest.mark.parametrize("change", [("    ", "\t"), ("\n", "\r"), ("\n", "\r\n")], ids=["tabs", "CR", "CRLF"])
def test_programs_of_any_layout_are_completed(change, tmp_path):
    for program in (PLAIN, RESIDUAL, OWN_METHODS):
        (tmp_path / "one.py").write_text(complete_program(program.replace(*change), PROTOCOL))
        trains(imported(tmp_path / "one.py"))


@pytest.mark.parametrize("program", ["class Net(", "", "x = 1\n" * 9, "Net = 1", "class Net: ...", "\0"])
def test_no_program_ends_an_export(program, tmp_path):
    assert len(export(corpus((program, 0.5), (PLAIN, 0.4)), tmp_path)) == 2


def test_statistics_are_in_lemurs_form(tmp_path):
    (entry,) = export(corpus((PLAIN, 0.5)), tmp_path)
    path = "stat/train/img-classification_cifar-10_acc_archloop-my-chain-01-0000/1.json"
    assert path in entry["files"]
    text = (tmp_path / path).read_text()
    assert text.startswith('[\n    {\n        "accuracy": 0.5,\n        "batch": 8,\n') and text.endswith("\n]\n")
    (trial,) = json.loads(text)
    assert trial == {
        **{"accuracy": 0.5, "batch": 8, "dropout": 0.1, "lr": 0.05, "momentum": 0.8},
        **{"transform": "norm_256_flip", "uid": "ab" * 16},
    }


def test_files_of_an_earlier_export_that_no_longer_belong_are_removed(tmp_path):
    export(corpus((PLAIN, 0.5), (RESIDUAL, 0.7)), tmp_path)
    (tmp_path / "nn" / "mine.py").write_text("")
    export(corpus((PLAIN, 0.5)), tmp_path)
    assert sorted(path.name for path in (tmp_path / "nn").iterdir()) == ["archloop-my-chain-01-0000.py", "mine.py"]
    assert len(list((tmp_path / "stat" / "train").iterdir())) == 1


def test_an_empty_corpus_exports_an_empty_index(tmp_path):
    assert export(corpus(), tmp_path) == []


def test_supported_names_are_read_from_the_source():
    assert declared_names(PLAIN) == {"lr", "momentum", "dropout"}
    assert declared_names("x = 1") == set()
