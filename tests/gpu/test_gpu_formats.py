"""What sound programs are trained in on a GPU: the fastest format and layout that they take."""

from dataclasses import replace

import pytest

from archloop.evaluation.evaluate import JobResources, evaluate

NET = """
import torch
import torch.nn as nn

def supported_hyperparameters():
    return {"lr", "momentum"}

class Net(nn.Module):
    def __init__(self, in_shape, out_shape, prm, device):
        super().__init__()
        self.conv = nn.Conv2d(in_shape[1], 8, 3, padding=1)
        self.head = nn.Linear(8, out_shape[0])

    def forward(self, x):
        x = self.conv(x)
        STEP
        return self.head(x.mean((2, 3)))
"""
VIEW = "x = x.view(len(x), -1).view(x.shape)"
INDEX = "y = torch.zeros(x.shape, device=x.device); y.index_add_(0, torch.arange(len(x), device=x.device), x); x = y"
MASK = "y = torch.zeros(x.shape, device=x.device); y[x > 0] = x[x > 0]; x = y"


@pytest.mark.parametrize(
    ("step", "precision", "layout"),
    [
        ("x = x * 1", "bfloat16", "channels_last"),
        (VIEW, "bfloat16", "contiguous"),
        (INDEX, "float32", "channels_last"),
        (MASK, "float32", "channels_last"),
        (f"{VIEW}; {INDEX}", "float32", "contiguous"),
    ],
)
def test_a_sound_program_is_trained_in_the_fastest_format_that_it_takes(judge, settings, step, precision, layout):
    record = judge.judge(NET.replace("STEP", step), replace(settings, precision="bfloat16"), 1)
    assert record["outcome"] == "trained", record
    assert record["format"] == f"{precision}, {layout if judge.device != 'cpu' else 'contiguous'}"


def test_the_record_names_the_precision_that_holds_on_the_card(judge, settings):
    record = judge.judge(NET.replace("STEP", "x = x * 1"), settings, 1)
    assert record["protocol"]["precision"] in ("float32", "bfloat16")
    assert record["format"].startswith(record["protocol"]["precision"])


def test_candidates_are_judged_on_all_cards_of_a_job(digits, settings, device, tmp_path):
    import torch

    count = torch.cuda.device_count()
    if device != "cuda" or count < 2:
        pytest.skip("no two GPUs here")
    rows = [{"id": str(at), "program": NET.replace("STEP", f"x = x * {at + 1}.0")} for at in range(2 * count)]
    run = JobResources(device, gpus=count)
    records, run_record = evaluate(rows, digits, settings, 1, tmp_path, run)
    assert {record["outcome"] for record in records} == {"trained"}
    assert run_record["workers"] == run_record["devices"]
