"""A LEMUR checkout read: both layouts, image classification alone, measured accuracies, no copies, reasons."""

import json
import subprocess
import sys

import jinja2
import pytest
import torch
from edit_pairs import BRANCHES, EXCITATION, PLAIN, RESIDUAL, SEPARABLE

from archloop.errors import InputError
from archloop.files import read_json, read_jsonl, write_jsonl
from archloop.generation.prompts import PromptTexts, Task, seed_prompt
from archloop.lemur.contract import modernise
from archloop.seed_corpus.lemur_hints import hints_of
from archloop.seed_corpus.lemur_programs import family_of, read_programs

METHODS = """
    def train_setup(self, prm):
        self.to(self.device)
        self.criteria = (nn.CrossEntropyLoss().to(self.device),)
        self.optimizer = torch.optim.SGD(self.parameters(), lr=prm["lr"], momentum=prm["momentum"])

    def learn(self, train_data):
        for inputs, labels in train_data:
            inputs, labels = inputs.to(self.device), labels.to(self.device)
            self.optimizer.zero_grad()
            loss = self.criteria[0](self(inputs), labels)
            loss.backward()
            self.optimizer.step()
"""
START = "super().__init__()\n        self.conv1"
NEW = PLAIN.replace(START, START.replace("self.conv1", "self.device = device\n        self.conv1")) + METHODS
OLD = (PLAIN + METHODS).replace("prm, device)", "prm: dict)").replace("setup(self, prm)", "setup(self, device, prm)")
OLD = OLD.replace("self.to(self.device)", "self.device = device\n        self.to(device)")
UNKEPT = OLD.replace("self.device = device\n        self.to(device)", "self.to(device)").replace(
    "self.device", "device"
)


def works(program: str) -> None:
    namespace = {"__name__": "program"}
    exec(compile(program, "<program>", "exec"), namespace)
    prm = {"lr": 0.01, "momentum": 0.9, "dropout": 0.2}
    net = namespace["Net"]((4, 3, 32, 32), (10,), prm, torch.device("cpu"))
    net.train_setup(prm)
    net.learn([(torch.randn(4, 3, 32, 32), torch.arange(4))])


@pytest.fixture(params=["stat", "stat/train"])
def checkout(tmp_path, request):
    """A small checkout with the statistics where its earlier or its later history has them."""
    (tmp_path / "ab" / "nn" / "nn").mkdir(parents=True)
    (tmp_path / "ab" / "nn" / "nn" / "__init__.py").write_text("")

    def add(name, program, accuracy=None, dataset="cifar-10", task="img-classification", metric="acc", epoch=1):
        (tmp_path / "ab" / "nn" / "nn" / f"{name}.py").write_text(program)
        if accuracy is not None:
            folder = tmp_path / "ab" / "nn" / request.param / f"{task}_{dataset}_{metric}_{name}"
            folder.mkdir(parents=True, exist_ok=True)
            trials = [
                {"accuracy": accuracy / 2, "lr": 1.0},
                {"accuracy": accuracy, "lr": 0.01, "batch": 4, "uid": "ab"},
            ]
            (folder / f"{epoch}.json").write_text(json.dumps(trials))

    add("PlainNet", NEW, 0.5)
    add("ResNet18", RESIDUAL, 0.4)
    add("ResNet50", SEPARABLE, 0.7)
    add("ResNet50", SEPARABLE, 0.6, epoch=5)
    add("UNet", EXCITATION, 0.9, task="img-segmentation", dataset="coco", metric="iou")
    return tmp_path, add


HINTS = {name: f"Use {name}." for name in ("plain", "residual", "grouped", "separable", "vgg")}


def asked(row: dict) -> str:
    texts = PromptTexts(jinja2.Template("{{ hint }}"), HINTS)
    task = Task("digits", channels=1, size=8, classes=10, epochs=1, parameter_budget=1000)
    return seed_prompt(texts, task, row).strip()


def test_a_program_of_lemur_answers_the_hint_that_its_name_or_its_source_tells_of(checkout):
    folder, add = checkout
    add("ResNeXt50", EXCITATION, 0.3)
    rows = {row["id"]: row for row in read_programs(folder)[0]}
    assert asked(rows["lemur-ResNeXt50"]) == "Use grouped."
    assert asked(rows["lemur-ResNet18"]) == "Use residual."
    assert asked(rows["lemur-PlainNet"]) == "Use plain."


def test_programs_that_no_hint_fits_answer_hints_drawn_by_their_id():
    rows = [{"id": f"lemur-x{n}", "family": "x", "hints": []} for n in range(40)]
    assert {asked(row) for row in rows} == set(HINTS.values())
    assert [asked(row) for row in rows] == [asked(dict(row)) for row in rows]


def test_a_family_without_a_hint_of_its_name_is_asked_without_one():
    assert asked({"id": "seed-own-001", "family": "own"}) == ""


@pytest.mark.parametrize(
    ("name", "source", "hint"),
    [
        ("SEResNet", "", "squeeze_excitation"),
        ("rag-01", "nn.Conv2d(8, 8, 3, groups=in_channels)", "separable"),
        ("rag-02", "nn.Conv2d(8, 8, 3, groups=4)", "grouped"),
        ("rag-03", "nn.Conv2d(8, 8, 3, dilation=2)", "dilated"),
        ("rag-04", "nn.Conv2d(8, 8, 3, groups=1, dilation=1)", "plain"),
        ("rag-05", "x * torch.sigmoid(self.gate(x))", "gated"),
        ("rag-06", "class SqueezeExcitation(nn.Module)", "squeeze_excitation"),
    ],
)
def test_the_first_hint_of_a_program_is_what_it_is_called_after_or_does(name, source, hint):
    assert hints_of(name, source)[0] == hint


def test_a_trial_that_diverged_does_not_hide_the_best_one(checkout, tmp_path):
    folder, add = checkout
    add("PlainNet", NEW, 0.8, epoch=2)
    (path,) = folder.rglob("img-classification_cifar-10_acc_PlainNet/1.json")
    path.write_text('[{"accuracy": NaN, "lr": 0.1}, {"accuracy": Infinity}, {"accuracy": 1e999}, {"accuracy": true}]')
    (path.parent / "2.json").write_text('[{"accuracy": 0.9, "lr": NaN, "batch": 4}]')
    rows, _ = read_programs(folder)
    assert rows[0]["id"] == "lemur-PlainNet"
    assert rows[0]["measured"] == {"accuracy": 0.9, "batch": 4, "dataset": "cifar-10", "epoch": 2}
    write_jsonl(tmp_path / "rows.jsonl", rows)


def test_an_accuracy_in_per_cent_is_named_and_leads_nothing(checkout):
    folder, add = checkout
    add("AlexNet", BRANCHES, 61.2)
    rows, left_out = read_programs(folder)
    assert "lemur-AlexNet" not in {row["id"] for row in rows}
    (why,) = [row["why"] for row in left_out if row["id"] == "lemur-AlexNet"]
    assert "_acc_AlexNet/1.json: an accuracy of 61.2, which is no share from 0 to 1" in why


def test_a_program_with_a_byte_order_mark_and_other_line_ends_is_the_same_program(checkout):
    folder, _ = checkout
    plain = read_programs(folder)[0]
    for path in folder.rglob("nn/*.py"):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert read_programs(folder)[0] == plain


def test_image_classification_is_kept_with_its_best_trial(checkout):
    folder, _ = checkout
    rows, left_out = read_programs(folder)
    assert [row["id"] for row in rows] == ["lemur-PlainNet", "lemur-ResNet50", "lemur-ResNet18"]
    assert rows[1]["measured"] == {"accuracy": 0.7, "batch": 4, "dataset": "cifar-10", "epoch": 1, "lr": 0.01}
    assert left_out == [
        {"id": "lemur-UNet", "family": "UNet", "why": "no accuracy at image classification was measured"}
    ]


def test_its_folder_ab_nn_will_do(checkout):
    folder, _ = checkout
    assert read_programs(folder / "ab" / "nn") == read_programs(folder)


def test_the_best_of_a_family_stay_and_the_others_are_reported(checkout):
    folder, _ = checkout
    rows, left_out = read_programs(folder, per_family=1)
    assert [row["id"] for row in rows] == ["lemur-PlainNet", "lemur-ResNet50"]
    assert {"id": "lemur-ResNet18", "family": "ResNet", "why": "beyond the best 1 of its family"} in left_out


def test_exact_and_near_copies_leave_the_better_one(checkout):
    folder, add = checkout
    add("CopyNet", NEW.replace("conv1", "first") + "# Another.\n", 0.6)
    add("NearNet", RESIDUAL.replace("x = F.relu(self.stem", "x = F.silu(self.stem"), 0.1)
    rows, left_out = read_programs(folder)
    assert {"lemur-CopyNet", "lemur-ResNet18"} <= {row["id"] for row in rows}
    reasons = {row["id"]: row["why"] for row in left_out}
    assert reasons["lemur-PlainNet"] == "the same as lemur-CopyNet but for names, comments and layout"
    assert reasons["lemur-NearNet"].startswith("near-copy of lemur-ResNet18 (0.9")


def test_programs_of_the_older_layout_are_brought_into_the_present_one(checkout):
    folder, add = checkout
    add("OldNet", OLD.replace("16", "20"), 0.5)
    rows, _ = read_programs(folder)
    program = next(row["program"] for row in rows if row["id"] == "lemur-OldNet")
    assert "def __init__(self, in_shape, out_shape, prm: dict, device):" in program
    works(program)


@pytest.mark.parametrize(
    "program",
    [
        OLD,
        OLD.replace("prm: dict", "prm: dict = None"),
        OLD.replace("super().__init__()", "super(Net, self).__init__()  # é"),
        OLD.replace("self.device = device\n        self.to(device)", "self.to(device)").replace(
            "self.device", "device"
        ),
        NEW,
    ],
    ids=["plain", "default", "comment", "device by setup", "present"],
)
def test_both_layouts_work_after_reading(program):
    works(modernise(program.replace("inputs.to(device), labels.to(device)", "inputs, labels")))


@pytest.mark.parametrize("net", ["class Net(Base):\n    pass\n", "Net = Base\n"])
def test_a_net_without_an_init_of_its_own_is_taken_as_it_is(net):
    program = PLAIN.replace("class Net(", "class Base(") + "\n\n" + net
    assert modernise(program) == program


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("class Net(", "does not parse"),
        ("x = 1\n", "no class Net"),
        (PLAIN.replace("prm, device", "prm, device, more"), "neither layout"),
        (PLAIN.replace("prm, device", ""), "neither layout"),
    ],
)
def test_what_is_of_neither_layout_is_left_out_with_the_reason(checkout, program, why):
    folder, add = checkout
    add("OddNet", program, 0.9)
    _, left_out = read_programs(folder)
    (reason,) = (row["why"] for row in left_out if row["id"] == "lemur-OddNet")
    assert why in reason


def test_a_filter_and_a_choice_of_families(checkout):
    folder, add = checkout
    add("LongNet", BRANCHES, 0.8)
    rows, left_out = read_programs(folder, families=["PlainNet", "LongNet"], keep=lambda text: "SiLU" not in text)
    assert [row["id"] for row in rows] == ["lemur-PlainNet"]
    assert left_out == [{"id": "lemur-LongNet", "family": "LongNet", "why": "too long"}]


def test_a_folder_that_is_no_checkout_is_refused(tmp_path):
    with pytest.raises(InputError, match="no LEMUR checkout"):
        read_programs(tmp_path)


def test_a_family_is_what_a_name_begins_with():
    assert [family_of(name) for name in ("DPN107", "rag-0a1b", "ResNet", "3d")] == ["DPN", "rag", "ResNet", "other"]


def test_the_script_writes_the_programs_of_a_checkout_as_candidates(checkout, root, smollm2, tmp_path):
    folder, _ = checkout
    outputs = [tmp_path / "out" / name for name in ("0.jsonl", "1.jsonl", "left_out.json")]
    arguments = ["--source", "lemur", "--lemur-folder", folder, "--model", smollm2 / "manifest.json"]
    arguments += ["--output", outputs[0], "--output", outputs[1], "--left-out", outputs[2]]
    script = root / "scripts" / "write_seed_programs.py"
    subprocess.run([sys.executable, script, *map(str, arguments)], check=True)
    rows = read_jsonl(outputs[0]) + read_jsonl(outputs[1])
    assert sorted(row["index"] for row in rows) == [0, 1, 2]
    assert {row["family"] for row in rows} == {"PlainNet", "ResNet"}
    assert [row["id"] for row in read_json(outputs[2])] == ["lemur-UNet"]
