"""A fault of the machine is no verdict on a program, and what is sound is trained in a format that it takes."""

import copy
import itertools
import threading
from dataclasses import replace

import pytest
import torch

from archloop.data.dataset_file import read_metadata, read_split
from archloop.errors import InputError
from archloop.evaluation import train_candidate
from archloop.evaluation.devices import dealt_out
from archloop.evaluation.evaluate import JobResources, evaluate
from archloop.evaluation.faults import is_device
from archloop.evaluation.judge import Judge
from archloop.evaluation.machine_check import FAILURES, SOUND, TRANSIENT, judge_fairly
from archloop.evaluation.number_formats import PLAIN, Format
from archloop.evaluation.records import FIELDS
from archloop.evaluation.score_store import all_records
from archloop.settings.sections import Evaluation

RUN = JobResources("cpu", workers=1)
BUSY = "AcceleratorError: CUDA error: CUDA-capable device(s) is/are busy or unavailable"
NET = """
import torch
import torch.nn as nn

def supported_hyperparameters():
    return {"lr", "momentum"}

class Net(nn.Module):
    def __init__(self, in_shape, out_shape, prm, device):
        super().__init__()
        self.conv = nn.Conv2d(in_shape[1], 4, 3, padding=1)
        self.head = nn.Linear(4, out_shape[0])
        self.register_buffer("seen", torch.zeros(1))

    def forward(self, x):
        x = self.conv(x)
        STEP
        return self.head(x.mean((2, 3)))
"""


def crashing(monkeypatch, details) -> list[str]:
    """Let every training end as a crash with the next of some details; return what was trained, in order."""
    trained, details = [], iter(details)

    def train_once(self, program, *_):
        trained.append("sound" if program == SOUND else "program")
        detail = next(details)
        outcome = "crashed" if detail else "trained"
        return dict.fromkeys(FIELDS) | {"outcome": outcome, "detail": detail, "isolation": "namespaces"}

    monkeypatch.setattr(Judge, "train_once", train_once)
    return trained


ROWS = [{"id": "a", "program": NET.replace("STEP", "x = x")}]


class Machine:
    """A judge whose answers are given: of a program one after the other, of the sound program always the same."""

    def __init__(self, *outcomes: tuple[str, str], sound: bool = False, works: bool = True):
        self.outcomes, self.sound, self.works, self.asked = list(outcomes), sound, works, []

    def judge(self, program, settings, seed, device):
        self.asked.append((program, settings, seed, device))
        return dict(zip(("outcome", "detail"), self.outcomes.pop(0)))

    def settled(self, settings):
        return replace(settings, precision="settled")

    def train_once(self, *given):
        self.asked.append(given)
        return {"outcome": "trained" if self.works else "timeout", "detail": "too slow"}


GIVEN = Evaluation(
    protocol="native", training="candidate", repeats=3, epochs=9, batch_size=8, learning_rate=0.5, momentum=0.1,
    dropout=0.3, gradient_clip=1.0, parameter_budget=5, threads=2, precision="auto", timeout_s=1, memory_mb=7,
)  # fmt: skip
SOUND_TRIAL = Evaluation(
    protocol="native", training="evaluator", repeats=1, epochs=1, batch_size=16, learning_rate=0.01, momentum=0.9,
    dropout=0.3, gradient_clip=3.0, parameter_budget=10**6, threads=2, precision="settled", timeout_s=120, memory_mb=7,
)  # fmt: skip
OWN, GONE, DEAD = (
    ("crashed", "TypeError: own"),
    ("crashed", "CUDA error: busy"),
    ("crashed", "the process ended with x"),
)


@pytest.mark.parametrize(
    ("machine", "device", "outcome", "lasting", "asked"),
    [
        (Machine(("trained", "")), "cpu", "trained", True, "p"),
        (Machine(("construct", "x")), "cpu", "construct", True, "p"),
        (Machine(("timeout", "x")), "cpu", "timeout", False, "p"),
        (Machine(("out_of_memory", "x")), "cuda", "out_of_memory", False, "p"),
        (Machine(OWN), "cpu", "crashed", True, "ps"),
        (Machine(OWN, sound=True), "cpu", "crashed", True, "p"),
        (Machine(OWN, sound=True), "cuda", "crashed", True, "ps"),
        (Machine(GONE, ("trained", "")), "cuda", "trained", True, "psp"),
        (Machine(GONE, GONE), "cuda", "crashed", False, "psp"),
        (Machine(DEAD, DEAD), "cpu", "crashed", True, "psp"),
        (Machine(DEAD, ("timeout", "")), "cpu", "timeout", False, "psp"),
    ],
)
def test_a_crash_counts_where_a_sound_program_goes_through(machine, device, outcome, lasting, asked):
    machine, was_sound = copy.deepcopy(machine), machine.sound
    record, kept = judge_fairly(machine, "program", GIVEN, 5, device)
    assert (record["outcome"], kept) == (outcome, lasting)
    calls = {
        "p": ("program", GIVEN, 5, device),
        "s": (SOUND, SOUND_TRIAL, 0, device, 64),
    }
    assert machine.asked == [calls[each] for each in asked]
    assert machine.sound == (asked != "p" or outcome == "trained" or was_sound)


def test_where_the_sound_program_fails_no_verdict_counts():
    machine = Machine(OWN, works=False)
    with pytest.raises(InputError, match=r"on cuda:1 a sound program fails, too \(timeout: too slow\); no candidate"):
        judge_fairly(machine, "program", GIVEN, 5, "cuda:1")
    assert not machine.sound


def test_outcomes_are_of_these_kinds():
    assert TRANSIENT == ("timeout", "out_of_memory")
    assert FAILURES == ("timeout", "out_of_memory", "crashed")


def test_where_a_sound_program_fails_too_the_job_ends_and_nothing_is_kept(digits, settings, tmp_path, monkeypatch):
    crashing(monkeypatch, itertools.repeat("RuntimeError: the machine is broken"))
    with pytest.raises(InputError, match="a sound program fails, too"):
        evaluate(ROWS, digits, settings, 1, tmp_path, RUN)
    assert not list(all_records(tmp_path))
    monkeypatch.undo()
    (record,), _ = evaluate(ROWS, digits, settings, 1, tmp_path, RUN)
    assert record["outcome"] == "trained"


def test_timeouts_of_a_machine_that_fails_are_forgotten(digits, settings, tmp_path, monkeypatch):
    def hangs(*_):
        return dict.fromkeys(FIELDS) | {"outcome": "timeout", "isolation": "namespaces"}

    monkeypatch.setattr(Judge, "train_once", hangs)
    with pytest.raises(InputError, match="a sound program fails, too"):
        evaluate(ROWS, digits, settings, 1, tmp_path / "store", replace(RUN, pending=tmp_path / "pending"))
    assert not (tmp_path / "pending").exists()


def test_a_crash_by_the_device_is_tried_again_and_never_kept(digits, settings, tmp_path, monkeypatch):
    trained = crashing(monkeypatch, [BUSY, "", "", BUSY, "", BUSY, ""])
    (record,), _ = evaluate(ROWS, digits, settings, 1, tmp_path / "one", RUN)
    assert record["outcome"] == "trained" and trained == ["program", "sound", "program"]
    (record,), _ = evaluate(ROWS, digits, settings, 1, tmp_path / "two", RUN)
    assert record["outcome"] == "crashed" and trained[3:] == ["program", "sound", "program", "sound"]
    assert not list(all_records(tmp_path / "two"))


def test_a_crash_of_the_programs_own_is_kept_once_a_sound_program_went_through(digits, settings, tmp_path, monkeypatch):
    trained = crashing(monkeypatch, ["RuntimeError: its own", "", ""])
    (record,), _ = evaluate(ROWS, digits, settings, 1, tmp_path, RUN)
    assert record["outcome"] == "crashed" and trained[:2] == ["program", "sound"]
    assert len(list(all_records(tmp_path))) == 1


@pytest.fixture(scope="module")
def data(digits):
    metadata, (train, labels) = read_metadata(digits), read_split(digits, "train")
    others = [torch.from_numpy(read_split(digits, split)[0]) for split in ("validation", "test")]
    shown = [getattr(metadata, name) for name in ("mean", "std", "classes")]
    return train_candidate.CandidateData(torch.from_numpy(train), torch.from_numpy(labels), *others, *shown)


def trained_in(data, settings, step: str, precision: str = "float32") -> tuple[str, str]:
    """Return (outcome, format) of a program with a step of its own after its convolution, trained here."""
    program = NET.replace("STEP", step)
    report, _ = train_candidate.run(
        program, data, replace(settings, precision=precision, epochs=2), 1, "cpu", images=32
    )
    return report.outcome + report.detail, report.format


@pytest.mark.parametrize(
    "step",
    [
        "y = torch.zeros(x.shape); y.index_add_(0, torch.arange(len(x)), x); x = y",
        "y = torch.zeros(x.shape); y[:] = 1.0; y[x > 0] = x[x > 0]; x = y",
        "x = torch.lerp(x, torch.zeros(x.shape), 0.5)",
        "x = torch.zeros(x.shape).scatter_add(0, torch.zeros(x.shape, dtype=torch.long), x)",
    ],
)
def test_what_bfloat16_does_not_take_is_trained_in_float32(data, settings, step):
    assert trained_in(data, settings, "x = x", "bfloat16") == ("trained", "bfloat16, contiguous")
    with pytest.raises(RuntimeError), torch.autocast("cpu", torch.bfloat16):
        x = torch.nn.functional.conv2d(torch.ones(2, 1, 8, 8), torch.ones(4, 1, 3, 3))
        exec(step, {"torch": torch, "x": x})
    assert trained_in(data, settings, step, "bfloat16") == ("trained", "float32, contiguous")


def test_a_view_after_a_convolution_is_trained_in_contiguous_memory(data, settings, monkeypatch):
    monkeypatch.setattr(train_candidate, "formats", lambda *_: [Format("float32", "channels_last"), PLAIN])
    assert trained_in(data, settings, "x = x * 1") == ("trained", "float32, channels_last")
    assert trained_in(data, settings, "x = x.view(len(x), -1).view(x.shape)") == ("trained", "float32, contiguous")


def test_a_buffer_that_forward_changes_in_evaluation_mode_is_no_crash_in_the_second_epoch(data, settings):
    assert trained_in(data, settings, "self.seen = self.seen + x.detach().mean()")[0] == "trained"


def test_candidates_are_dealt_out_to_gpus_of_one_kind(monkeypatch):
    cards = {"cuda:0": "H100", "cuda:1": "H100", "cuda:2": "A100"}
    monkeypatch.setattr("archloop.evaluation.devices.device_name", cards.get)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 3)
    assert dealt_out("cuda", 3) == ["cuda:0", "cuda:1"]
    assert (dealt_out("cuda", 1), dealt_out("cuda:1", 1), dealt_out("cpu", 4)) == (["cuda"], ["cuda:1"], ["cpu"])
    with pytest.raises(InputError, match="but torch sees 3 here"):
        dealt_out("cuda", 4)


def test_every_device_has_as_many_candidates_as_workers_allow(digits, settings, tmp_path, monkeypatch):
    at_work, four = [], threading.Barrier(4, timeout=60)

    def train_once(self, program, settings, seed, device, *_):
        at_work.append(device)
        four.wait()
        assert sorted(at_work[-4:]) == ["one", "one", "two", "two"]
        four.wait()
        return dict.fromkeys(FIELDS) | {"outcome": "trained", "isolation": "namespaces"}

    monkeypatch.setattr(Judge, "train_once", train_once)
    monkeypatch.setattr("archloop.evaluation.evaluate.dealt_out", lambda *_: ["one", "two"])
    monkeypatch.setattr("archloop.evaluation.evaluate.shares", lambda *_: {})
    rows = [{"id": str(at), "program": ROWS[0]["program"] + f"# {at}\n"} for at in range(8)]
    evaluate(rows, digits, settings, 1, tmp_path, replace(RUN, workers=4))
    assert len(at_work) == 8


@pytest.mark.parametrize(
    ("place", "fails"),
    [
        ("import torch\n", "import torch\n{}\n"),
        ('self.register_buffer("seen", torch.zeros(1))', "{}"),
        ('self.register_buffer("seen", torch.zeros(1))', 'if device.type != "meta": {}'),
        ("STEP", "{}; x = x"),
        ("STEP", 'if x.device.type != "meta": {}'),
    ],
    ids=["import", "check", "construction", "forward", "training"],
)
def test_an_error_of_the_device_is_no_fault_of_what_the_program_does_just_then(data, settings, place, fails):
    assert place in NET
    program = NET.replace(place, fails.format('raise RuntimeError("CUDA error: device is busy")'), 1)
    report, _ = train_candidate.run(
        program.replace("STEP", "x = x"), data, replace(settings, precision="float32"), 1, "cpu", images=32
    )
    assert report.outcome == "crashed" and is_device(report.detail)
