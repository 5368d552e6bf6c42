"""Admitted programs as files that LEMUR takes: best first, each with its measured statistics.

A program that lacks a method of LEMUR's contract (`train_setup`, `learn`) gets one that trains as the judge does.
"""

import ast
from pathlib import Path

import polars as pl

from archloop.files import sha256_text, write_text

TRAIN_SETUP = """
    def train_setup(self, prm):
        self.to(self._device)
        self.criteria = torch.nn.CrossEntropyLoss().to(self._device)
        self.optimizer = torch.optim.SGD(self.parameters(), lr=prm["lr"], momentum=prm["momentum"])
"""
LEARN = """
    def learn(self, train_data):
        self.train()
        for inputs, labels in train_data:
            inputs, labels = inputs.to(self._device), labels.to(self._device)
            self.optimizer.zero_grad()
            self.criteria(self(inputs), labels).backward()
            torch.nn.utils.clip_grad_norm_(self.parameters(), 3)
            self.optimizer.step()
"""
REMEMBER = """

_own_init = Net.__init__


def _init(self, in_shape, out_shape, prm, device):
    _own_init(self, in_shape, out_shape, prm, device)
    self._device = device


Net.__init__ = _init
"""


def export(corpus: pl.DataFrame, folder: Path) -> list[dict]:
    """Write NAME.py for every row, best first, and return the index: rank, name, id, accuracy, parameters, sha256."""
    ranked = corpus.sort(["accuracy", "id"], descending=[True, False])
    index = []
    for rank, row in enumerate(ranked.iter_rows(named=True), start=1):
        name = f"{rank:04d}-{row['id']}.py"
        text = complete_contract(row["program"])
        write_text(folder / name, text)
        facts = {key: row[key] for key in ("id", "dataset", "accuracy", "parameters", "chain", "cycle")}
        index.append({"rank": rank, "file": name, "sha256": sha256_text(text)} | facts)
    wanted = {entry["file"] for entry in index}
    for stale in folder.glob("[0-9]*.py"):
        if stale.name not in wanted:
            stale.unlink()
    return index


def complete_contract(program: str) -> str:
    """Return the program with the methods of LEMUR's contract that it lacks appended to its class Net."""
    tree = ast.parse(program)
    net = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Net")
    methods = {node.name for node in net.body if isinstance(node, ast.FunctionDef)}
    missing = [text for name, text in (("train_setup", TRAIN_SETUP), ("learn", LEARN)) if name not in methods]
    if not missing:
        return program
    lines = program.rstrip("\n").split("\n")
    indent = net.body[0].col_offset
    added = "".join(missing).replace("\n    ", "\n" + " " * indent).rstrip().split("\n")
    whole = lines[: net.end_lineno] + added + lines[net.end_lineno :]
    head = [] if any(line == "import torch" for line in lines) else ["import torch"]
    return "\n".join(head + whole) + "\n" + REMEMBER
