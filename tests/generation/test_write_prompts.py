"""Prompts: references are shown while the model's context holds them and the answer, and prompts are counted before."""

import copy
import json
import subprocess
import sys
from dataclasses import asdict, replace

import numpy
import polars as pl
import pytest
from safetensors.numpy import save_file
from small_data import dataset_metadata

from archloop.corpus.tables import CANDIDATES, write_corpus
from archloop.corpus.tables import CORPUS as SCHEMA
from archloop.errors import InputError
from archloop.files import read_json, read_jsonl, write_json
from archloop.generation.generate import RESPONSE_PREFIXES
from archloop.generation.prompts import (
    PromptTexts,
    read_hints,
    read_template,
    seed_prompt,
    task_of,
    write_prompt,
)
from archloop.generation.write_prompts import (
    PromptParts,
    References,
    any_prompt_fits,
    cycle_prompts,
    room_for_answer,
)
from archloop.model.chat_template import chat_tokens, response_prefix_tokens
from archloop.model.loading import load_tokenizer
from archloop.model.memory import context_length, sees_part
from archloop.preflight.planned_run import PlannedRun
from archloop.preflight.prompt_checks import PromptLengths
from archloop.settings.complete import complete
from archloop.tools.recorded import Recorded
from archloop.tools.replay import replay_prompt
from archloop.workflow.provenance import provenance_path

DATASET = dataset_metadata()
TASK = task_of(DATASET, epochs=1, parameter_budget=300_000)
CORPUS = [
    {"id": str(at), "program": "x = 1\n" * length, "parameters": 1000, "accuracy": 0.5, "dataset": "digits"}
    for at, length in enumerate([10, 20, 30, 250])
]


def shipped_texts(root, hints: dict[str, str]) -> PromptTexts:
    return PromptTexts(read_template(root / "config" / "prompts" / "design.md.j2"), hints)


def written(root, fits, references: int = 3, count: int = 12) -> list[dict]:
    texts = shipped_texts(root, {"a": "Be bold.", "b": "Be brief."})
    shown = References(CORPUS, references, fits or any_prompt_fits)
    return cycle_prompts("main", 1, 1, count, PromptParts(texts, TASK, shown))


def test_references_are_shown_while_they_fit(root, tiny_model):
    tokenizer = load_tokenizer(tiny_model)
    without = max(len(chat_tokens(tokenizer, row["prompt"])) for row in written(root, None, references=0))
    context = context_length(tiny_model)
    answer = context - without - 600  # room for the short programs alone
    fits = room_for_answer(tiny_model, answer, "class")
    room = context - answer - len(response_prefix_tokens(tokenizer, RESPONSE_PREFIXES["class"]))
    rows, all_of_them = written(root, fits), written(root, None)
    assert any(len(row["references"]) == 3 for row in rows)
    for row, whole in zip(rows, all_of_them):
        assert row["references"] == [each for each in whole["references"] if each != "3"]
        assert len(chat_tokens(tokenizer, row["prompt"])) <= room
        assert (row["seed"], row["hint"]) == (whole["seed"], whole["hint"])


@pytest.mark.parametrize("references", [References(CORPUS), References()], ids=["programs", "nothing"])
def test_no_program_is_shown_unless_a_number_is_asked_for(root, references):
    contents = PromptParts(shipped_texts(root, {"a": "Be bold."}), TASK, references)
    assert [row["references"] for row in cycle_prompts("main", 1, 1, 3, contents)] == [[]] * 3


def test_what_fits_is_written_as_ever(root, tiny_model):
    assert written(root, room_for_answer(tiny_model, 16, "none")) == written(root, None)


def test_a_prompt_without_room_for_any_reference_is_written_bare(root):
    bare = written(root, None, references=0)
    assert [row["prompt"] for row in written(root, lambda prompt: False)] == [row["prompt"] for row in bare]


def test_prompts_with_references_are_made_again_from_their_record(root, tiny_model, tmp_path):
    (tmp_path / "results").mkdir()
    (tmp_path / "resources" / "models").mkdir(parents=True)
    (tmp_path / "resources" / "models" / "tiny").symlink_to(tiny_model)
    (tmp_path / "resources" / "datasets").mkdir()
    head = {"facts": json.dumps(asdict(DATASET))}
    save_file({"test_labels": numpy.zeros(1)}, tmp_path / "resources" / "datasets" / "digits.safetensors", head)
    rows = [{name: row.get(name) for name in SCHEMA} | {"outcome": "trained"} for row in CORPUS]
    write_corpus(pl.DataFrame(rows, schema=SCHEMA), tmp_path / "results" / "corpus.parquet")
    prompts = root / "config" / "prompts"
    command = (
        f"--chain main --cycle 1 --seed 1 --epochs 1 --candidates 8 --references 3 --template {prompts}/design.md.j2"
    )
    command += f" --hints {prompts}/hints.yaml --parameter-budget 300000"
    command += " --max-new-tokens 1200 --response-prefix class --model resources/models/tiny/manifest.json"
    command += " --dataset resources/datasets/digits.safetensors --corpus results/corpus.parquet"
    command += " --output results/main/cycle-1/prompts.jsonl"
    script = [sys.executable, root / "scripts" / "write_prompts.py", *command.split()]
    inputs = ["--", "--", f"{prompts}/design.md.j2", f"{prompts}/hints.yaml"]
    subprocess.run([*script, *inputs], cwd=tmp_path, check=True, capture_output=True)
    place = tmp_path / "results" / "main" / "cycle-1"
    made = read_jsonl(place / "prompts.jsonl")
    assert {len(row["references"]) for row in made} >= {2, 3}
    assert all(replay_prompt(Recorded(row, place, tmp_path / "results")).same for row in made)

    # An earlier version recorded the setting by its old name.
    path = provenance_path(place / "prompts.jsonl")
    provenance = read_json(path)
    provenance["options"]["opening"] = provenance["options"].pop("response_prefix")
    write_json(path, provenance)
    assert replay_prompt(Recorded(made[0], place, tmp_path / "results")).same


@pytest.mark.parametrize("response_prefix", ["none", "class"])
def test_the_preflight_counts_the_prompt_that_generate_will_read(root, tiny_model, config, tmp_path, response_prefix):
    tokenizer = load_tokenizer(tiny_model)
    models = tmp_path / "resources" / "models"
    models.mkdir(parents=True)
    (models / config["model"]["name"]).symlink_to(tiny_model)
    manifest = json.loads((tiny_model / "manifest.json").read_text())
    overhead = len(chat_tokens(tokenizer, "x")) - 1
    config["generation"]["response_prefix"] = response_prefix
    settings = complete(copy.deepcopy(config))
    run = PlannedRun(tmp_path / "results", settings, "local", {}, {}, [], 1)
    asked = settings["prompts"]
    template, hints = read_template(root / asked["template"]), read_hints(root / asked["hints"])
    task = replace(TASK, channels=3, size=256, classes=1000)
    longest = max(len(chat_tokens(tokenizer, write_prompt(template, task, hint, []))) for hint in hints.values())
    expected = longest + len(response_prefix_tokens(tokenizer, RESPONSE_PREFIXES[response_prefix]))
    counted = PromptLengths(run).longest("main", 1) + (0 if "chat_tokens" in manifest else overhead)
    assert counted == pytest.approx(expected, abs=3)


@pytest.mark.parametrize(
    ("config", "part"),
    [
        ({"sliding_window": 512}, True),
        ({"sliding_window": 512, "use_sliding_window": False}, False),
        ({"sliding_window": None}, False),
        ({"layer_types": ["full_attention", "sliding_attention"]}, True),
        ({"layer_types": ["full_attention"], "sliding_window": 512}, False),
        ({"attention_chunk_size": 8192}, True),
        ({}, False),
    ],
)
def test_a_window_is_known_from_the_configuration(config, part):
    assert sees_part(config) is part


PROMPT = """Design a PyTorch image classifier for digits: 1x8x8 images, 10 classes. Reach the highest accuracy \
after 1 epoch with at most 300,000 parameters. Be bold.

This program has 1,234 parameters and reached 50.0 % on digits; design a different and better one:
```python
x = 1
```

Write one Python program: supported_hyperparameters() and class Net(nn.Module) with __init__(self, in_shape, \
out_shape, prm, device) and forward(self, x), \
where in_shape is (batch, channels, height, width) and out_shape is (classes,).
"""
KNOWN = [
    {"id": "s1", "program": "x = 1\n", "parameters": 1234, "accuracy": 0.5, "dataset": "digits"},
    {"id": "s2", "program": "y = 2\n", "parameters": 99, "accuracy": 0.25, "dataset": "digits"},
]


def test_a_prompt_of_the_shipped_template_is_this_text_and_its_row_says_where_it_comes_from(root):
    texts = shipped_texts(root, {"b": "Be bold.", "a": "Be brief."})
    first, second = cycle_prompts("main", 3, 1, 2, PromptParts(texts, TASK, References(KNOWN, 1)))
    assert first == {
        "id": "main-03-0000",
        "chain": "main",
        "cycle": 3,
        "index": 0,
        "prompt_id": "main-03-p0000",
        "hint": "b",
        "references": ["s1"],
        "prompt": PROMPT,
        "seed": 1244593503207084,
    }
    assert (second["hint"], second["references"], second["seed"]) == ("a", ["s2"], 7356256524834439)
    assert "with at most 300,000 parameters. Be brief." in second["prompt"] and "after 2 epochs" in (
        write_prompt(texts.template, replace(TASK, epochs=2), "", [])
    )


def test_a_row_of_a_prompt_has_columns_that_candidates_take_over(root):
    (row,) = written(root, None, count=1)
    assert set(row) <= set(CANDIDATES)


@pytest.mark.parametrize(("references", "shown"), [(0, 0), (1, 1), (2, 2), (9, 2)])
def test_as_many_references_are_shown_as_there_are(root, references, shown):
    contents = PromptParts(shipped_texts(root, {"a": "A."}), TASK, References(KNOWN, references))
    rows = cycle_prompts("main", 1, 1, 5, contents)
    assert [len(set(row["references"])) for row in rows] == [shown] * 5
    assert [row["index"] for row in rows] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("row", "hint"),
    [
        ({"family": "plain"}, "Plain."),
        ({"family": "other"}, ""),
        ({"family": "other", "id": "a", "hints": ["dense"]}, "Dense."),
        ({"family": "plain", "id": "x", "hints": ["dense"]}, "Plain."),
        ({"family": "other", "id": "a", "hints": []}, "Gated."),  # drawn by its id
    ],
)
def test_a_seed_program_answers_the_hint_of_its_family_or_one_that_fits(root, row, hint):
    texts = shipped_texts(root, {"plain": "Plain.", "dense": "Dense.", "gated": "Gated."})
    assert seed_prompt(texts, TASK, row) == write_prompt(texts.template, TASK, hint, [])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{{ unknown }}", "'unknown' is undefined"),
        ("{{ 1 / 0 }}", "division by zero"),
        ("{{ hint[9] }}", "no element 9"),
    ],
)
def test_a_template_that_cannot_be_filled_is_one_line(tmp_path, text, says):
    (tmp_path / "t.j2").write_text(text)
    with pytest.raises(InputError, match=f"the prompt's template cannot be filled: .*{says}"):
        write_prompt(read_template(tmp_path / "t.j2"), TASK, "", [])


def test_a_template_that_is_none_is_named(tmp_path):
    (tmp_path / "t.j2").write_text("{% if %}")
    with pytest.raises(InputError, match=r"t\.j2: no Jinja2 template"):
        read_template(tmp_path / "t.j2")


@pytest.mark.parametrize("text", ["", "[]", "a: 1", "a: [b", "{}", "- a"])
def test_hints_that_are_none_are_named(tmp_path, text):
    (tmp_path / "hints.yaml").write_text(text)
    with pytest.raises(InputError, match=r"hints\.yaml: (no YAML|wants lines of the form)"):
        read_hints(tmp_path / "hints.yaml")


def test_hints_are_trimmed_and_named_by_text(tmp_path):
    (tmp_path / "hints.yaml").write_text("1: ' One. '\nb: Two.\n")
    assert read_hints(tmp_path / "hints.yaml") == {"1": "One.", "b": "Two."}


@pytest.mark.parametrize("response_prefix", RESPONSE_PREFIXES)
def test_a_prompt_fits_where_the_answer_and_its_prefix_fit_to_the_token(tiny_model, response_prefix):
    tokenizer = load_tokenizer(tiny_model)
    prompt = "Design a net."
    taken = len(chat_tokens(tokenizer, prompt)) + len(
        response_prefix_tokens(tokenizer, RESPONSE_PREFIXES[response_prefix])
    )
    room = context_length(tiny_model) - taken
    assert room_for_answer(tiny_model, room, response_prefix)(prompt)
    assert not room_for_answer(tiny_model, room + 1, response_prefix)(prompt)
