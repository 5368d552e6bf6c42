"""What happens to a candidate in its sandbox, here in this process: the training compared with one written out here."""

import itertools
import json
import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from linear_net import net
from torch.nn.functional import cross_entropy, interpolate

from archloop.evaluation import epochs, protocol, train_candidate
from archloop.evaluation.number_formats import Format
from archloop.evaluation.records import CandidateReport
from archloop.evaluation.train_candidate import CandidateData
from archloop.settings.sections import Evaluation

SETTINGS = Evaluation(
    protocol="native", training="evaluator", repeats=1, epochs=2, batch_size=4, learning_rate=0.05, momentum=0.9,
    dropout=0.0, gradient_clip=0.5, parameter_budget=10**6, threads=1, precision="float32", timeout_s=60, memory_mb=100,
)  # fmt: skip
MEAN, STD = [0.4], [0.2]


@pytest.fixture(scope="module")
def data() -> CandidateData:
    """Images of 4 pixels a side: 21 to train on, so that one is left over, 6 and 5 to predict."""
    draw = torch.Generator().manual_seed(5)
    sizes = {"train": 21, "validation": 6, "test": 5}
    images = {
        f"{split}_images": torch.randint(256, (count, 1, 4, 4), generator=draw, dtype=torch.uint8)
        for split, count in sizes.items()
    }
    labels = torch.randint(3, (21,), generator=draw)
    return CandidateData(train_labels=labels, mean=MEAN, std=STD, classes=3, **images)


def trained(
    data, program: str | None = None, images: int | None = None, seed: int = 3, **changed
) -> tuple[CandidateReport, bytes]:
    return train_candidate.run(program or net(), data, replace(SETTINGS, **changed), seed, "cpu", images)


def ended(data, program: str, **changed) -> tuple[str, str]:
    report, predictions = trained(data, program, **changed)
    assert (predictions == b"") == (report.outcome != "trained")
    return report.outcome, report.detail


def seen(images: torch.Tensor) -> torch.Tensor:
    return (images.float() / 255 - MEAN[0]) / STD[0]


def by_hand(data, steps_of: int | None = None, seed: int = 3, epochs: int = 2):
    """Return (losses of each epoch, share right of each, predictions): SGD written out."""
    torch.manual_seed(seed)
    model = torch.nn.Linear(16, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    order, losses, shares, predictions = torch.Generator().manual_seed(seed), [], [], []
    for _ in range(epochs):
        places, epoch_losses, right = torch.randperm(21, generator=order), [], 0
        for batch in places.split(4)[:5]:  # the sixth has one image
            answers = model(seen(data.train_images[batch]).flatten(1))
            loss = cross_entropy(answers, data.train_labels[batch])
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
            optimizer.step()
            epoch_losses.append(loss.item())
            right += (answers.argmax(1) == data.train_labels[batch]).sum().item()
        losses.append(epoch_losses)
        shares.append(right / 20)
        predictions.append(model(seen(data.validation_images).flatten(1)).argmax(1))
    predictions.append(model(seen(data.test_images).flatten(1)).argmax(1))
    return losses, shares, bytes(torch.cat(predictions).tolist())


def test_a_training_is_that_of_the_protocol(data):
    losses, shares, expected = by_hand(data)
    report, predictions = trained(data)
    assert predictions == expected and len(predictions) == 2 * 6 + 5
    assert [epoch["train_accuracy"] for epoch in report.epochs] == shares
    assert [epoch["loss"] for epoch in report.epochs] == pytest.approx(
        [sum(epoch_losses) / 5 for epoch_losses in losses], abs=2e-5
    )
    assert report.losses == pytest.approx([loss for epoch_losses in losses for loss in epoch_losses], abs=1e-4)
    assert [epoch["repeat"] for epoch in report.epochs] == [0, 0]
    assert [round(loss, 4) for loss in report.losses] == report.losses
    assert [round(epoch["loss"], 5) for epoch in report.epochs] == [epoch["loss"] for epoch in report.epochs]


def test_a_training_reports_this(data):
    report, _ = trained(data)
    assert set(json.loads(report.to_json())) == {
        "outcome", "detail", "parameters", "multiply_adds", "graph", "epochs", "losses", "format", "seconds",
    }  # fmt: skip
    assert (report.outcome, report.detail, report.format) == ("trained", "", "float32, contiguous")
    assert (report.parameters, report.multiply_adds) == (16 * 3 + 3, 16 * 3)
    assert list(report.seconds) == ["check", "build", "train", "predict"]
    assert all(0 <= value < 60 and round(value, 4) == value for value in report.seconds.values())
    assert report.graph["nodes"] and len(report.graph["digest"]) == 64


def test_the_share_that_is_right_has_five_digits(data):
    shares = [epoch["train_accuracy"] for epoch in trained(data, images=7, epochs=9)[0].epochs]
    assert set(shares) <= {0.0, 0.14286, 0.28571, 0.42857, 0.57143, 0.71429, 0.85714, 1.0} and len(set(shares)) > 1


def test_seconds_are_those_of_all_that_a_stage_does(data, monkeypatch):
    """By a clock that shows a second more whenever it is read: predictions follow two epochs and the whole training."""
    monkeypatch.setattr(train_candidate, "time", SimpleNamespace(monotonic=itertools.count().__next__))
    assert trained(data, epochs=2)[0].seconds == {"check": 1, "build": 1, "train": 2, "predict": 3}


def test_another_seed_is_another_order_and_other_weights(data):
    assert trained(data, seed=4)[0].losses != trained(data)[0].losses
    assert trained(data, seed=4)[1] == by_hand(data, seed=4)[2]


def test_a_trial_takes_the_first_images_of_each_split(data):
    report, predictions = trained(data, images=4, epochs=1)
    assert (len(report.losses), len(predictions)) == (1, 8)


def test_a_curve_has_at_most_50_points_evenly_apart(data):
    whole = trained(data, epochs=10)[0].losses  # 50 steps
    assert len(whole) == 50
    longer = trained(data, epochs=12)[0].losses
    assert longer[:25] == whole[::2] and len(longer) == 30
    assert len(trained(data, images=12, epochs=17)[0].losses) == 26  # of 51 steps


def test_a_batch_of_one_is_left_out_and_one_of_two_is_not(data):
    assert [len(trained(data, images=count, epochs=1)[0].losses) for count in (8, 9, 10)] == [2, 2, 3]


def test_a_format_is_taken_in_which_a_step_and_a_prediction_go_through(data):
    assert trained(data, precision="bfloat16")[0].format == "bfloat16, contiguous"
    fails = "h = self.head(x.flatten(1)); torch.lerp(h, torch.zeros(h.shape), 0.5)"  # wants one format of both
    for when in ("self.training", "not self.training"):
        report, _ = trained(data, net(forward=f"if {when}: {fails}"), precision="bfloat16")
        assert (report.outcome, report.format) == ("trained", "float32, contiguous")


def test_a_program_is_a_module_of_its_own_name(data):
    assert ended(data, net("assert __name__ == 'candidate'")) == ("trained", "")


@pytest.mark.parametrize(
    ("program", "outcome", "detail"),
    [
        (net("nonsense"), "construct", "NameError: name 'nonsense' is not defined"),
        (net(forward="x = x[:, :, :3]"), "forward", "RuntimeError"),
        (net("self.more = nn.Linear(1000, 1000)"), "over_budget", "1,001,051 parameters, 1,000,000 allowed"),
        (net("self.many = device.type != 'meta' and nn.Linear(1000, 1000)"), "over_budget", "1,001,051 parameters, 1,"),
        (net(forward="x = x * (1 if x.is_meta else float('inf'))"), "diverged", "the loss is no finite number in the"),
        (
            net(forward="x = x * (1 if self.training else float('nan'))"),
            "diverged",
            "its answers are no finite numbers",
        ),
        (
            net(forward="if not self.training: return x.flatten(1)"),
            "forward",
            "its answers have another type or shape in evaluation mode",
        ),
        (net(forward="assert x.is_meta, 'late'"), "crashed", "AssertionError: late"),
        (net(forward="raise KeyboardInterrupt"), "forward", "KeyboardInterrupt"),
        (net(forward="if not x.is_meta: raise SystemExit(3)"), "crashed", "SystemExit: 3"),
        (net(forward="if not x.is_meta: raise MemoryError"), "out_of_memory", "MemoryError"),
        (net("raise MemoryError"), "out_of_memory", "MemoryError"),
        (net("if device.type != 'meta': raise MemoryError"), "out_of_memory", "MemoryError"),
        (net("torch.empty(10**13, device='cpu')"), "out_of_memory", "RuntimeError"),
        (net("self.head.requires_grad_(False)"), "construct", "Net has no parameter to train"),
        ("x = 1", "construct", "KeyError: 'Net'"),
        ("Net = lambda *_: 5", "construct", "Net makes a int, no torch.nn.Module"),
    ],
)
def test_a_program_that_fails_ends_with_what_it_is_to_blame_for(data, program, outcome, detail):
    end = ended(data, program)
    assert end[0] == outcome and end[1].startswith(detail), end


def test_facts_that_were_found_before_the_end_stay(data):
    report, _ = trained(data, net(forward="assert x.is_meta"))
    assert (report.parameters, report.multiply_adds) == (51, 48) and report.graph and report.seconds["check"]
    report, _ = trained(data, net("nonsense"))
    assert report.parameters is report.multiply_adds is report.graph is None
    assert report.epochs == report.losses == [] and report.format == ""


def test_a_loss_is_looked_at_every_50_steps(data):
    late = net("self.seen = 0", "self.seen += self.training; x = x * (float('nan') if self.seen > 30 else 1)")
    images, labels = data.train_images.repeat(12, 1, 1, 1), data.train_labels.repeat(12)
    more = replace(data, train_images=images, train_labels=labels)
    assert ended(more, late, epochs=1) == ("diverged", "the loss is no finite number in the first 50 steps")


def test_weights_that_no_module_holds_are_counted_where_a_result_depends_on_them(data):
    init = "hidden = nn.Linear(16, 16).to(device); self.hidden = [hidden]"
    report, _ = trained(data, net(init, "x = self.hidden[0].to(x.device)(x.flatten(1))"))
    assert (report.outcome, report.parameters) == ("trained", 51 + 16 * 17)
    end = ended(data, net(init, "x = self.hidden[0].to(x.device)(x.flatten(1))"), parameter_budget=100)
    assert end == ("over_budget", "323 parameters, 100 allowed")


def test_a_network_is_in_training_mode_where_it_has_gradients_and_in_evaluation_mode_elsewhere(data):
    checks = "assert x.is_meta or self.training == torch.is_grad_enabled()"
    assert ended(data, net(forward=checks)) == ("trained", "")


LEARNS = """
    def train_setup(self, prm):
        assert prm["lr"] == 0.05 and prm["batch"] == 4, prm
        self.epochs = 0

    def learn(self, train_data):
        assert self.training and len(train_data) == 6
        sizes = [(tuple(inputs.shape), tuple(labels.shape)) for inputs, labels in train_data]
        assert sizes == [((4, 1, 4, 4), (4,))] * 5, sizes
        self.epochs += 1
        with torch.no_grad():
            self.head.weight.fill_(0)
            self.head.bias.copy_(torch.eye(3)[self.epochs])
"""


def test_a_program_may_train_itself(data):
    report, predictions = trained(data, net() + LEARNS, training="candidate")
    assert report.outcome == "trained", report
    assert predictions == bytes([1] * 6 + [2] * 6 + [2] * 5)
    assert report.epochs == [{"repeat": 0, "loss": None, "train_accuracy": None}] * 2 and report.losses == []
    lacks = ("contract", "training: candidate, but Net has no train_setup and learn")
    assert ended(data, net(), training="candidate") == lacks
    assert ended(data, net() + LEARNS.replace("def learn", "def other"), training="candidate") == lacks


def test_the_protocols_are_these():
    assert {
        "native": protocol.Protocol(size=None, flip=False, predict_batch=256),
        "resize256_flip": protocol.Protocol(size=256, flip=True, predict_batch=32),
    } == protocol.PROTOCOLS


def prepared(images, flips=None, layout="contiguous", name="resize256_flip"):
    plan = protocol.Plan(SETTINGS, protocol.PROTOCOLS[name], 1, "cpu", Format("float32", layout))
    return protocol.preparer([0.4, 0.5], [0.2, 0.1], plan)(images, flips)


def test_an_image_is_normalised_resized_and_flipped():
    images = torch.randint(256, (3, 2, 8, 8), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    mean, std = torch.tensor([0.4, 0.5]).view(1, 2, 1, 1), torch.tensor([0.2, 0.1]).view(1, 2, 1, 1)
    normal = (images.float() / 255 - mean) / std
    assert torch.allclose(prepared(images, name="native"), normal, atol=1e-5)
    large = interpolate(normal, size=(256, 256), mode="bilinear", align_corners=False)
    assert torch.allclose(prepared(images), large, atol=1e-5)
    flipped = prepared(images, torch.tensor([True, False, True]))
    assert torch.allclose(flipped, torch.stack([large[0].flip(2), large[1], large[2].flip(2)]), atol=1e-5)
    last = prepared(images, layout="channels_last")
    assert last.is_contiguous(memory_format=torch.channels_last) and not last.is_contiguous()
    assert prepared(images).is_contiguous()


def test_half_of_the_images_are_flipped_each_time_they_are_seen(data):
    flipping, counts = protocol.Protocol(None, True, 8), []

    def prepare(images, flips):
        counts.append(flips.tolist())
        return images.float()

    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16, 3))
    many = data.train_images.repeat(20, 1, 1, 1), data.train_labels.repeat(20)
    plan = protocol.Plan(replace(SETTINGS, batch_size=32), flipping, 1, "cpu")
    train_epoch = epochs.epoch_trainer(model, *many, prepare, plan)
    for _ in range(2):
        train_epoch()
    flips = [flip for batch in counts for flip in batch]
    assert len(flips) == 840 and abs(sum(flips) / 840 - 0.5) < 4 * math.sqrt(0.25 / 840)
    assert flips[:420] != flips[420:]


def test_a_warm_up_goes_through():
    train_candidate.warm_up()
