"""A language model trained from scratch: its settings, its tokenizer, what is held out of it, and equal bytes."""

import hashlib
from dataclasses import replace

import pytest
import torch
import yaml

from archloop.errors import InputError
from archloop.families.programs import AXES, render, seed_programs
from archloop.generation.prompts import PromptTexts, read_hints, read_template
from archloop.model.chat_template import encode_pair
from archloop.model.loading import load_model, load_tokenizer
from archloop.model.prepared import check_model
from archloop.scratch_model.scratch_programs import HeldOut, training_pairs
from archloop.scratch_model.train_model import ScratchJob, train_model, train_tokenizer
from archloop.settings.complete import scratch_model
from archloop.settings.sections import Loading, ScratchModel

SMALLEST = {"layers": 1, "width": 16, "heads": 2, "vocabulary": 400, "programs": 16, "steps": 6, "batch_size": 4}


@pytest.fixture(scope="module")
def texts(root):
    prompts = root / "config" / "prompts"
    return PromptTexts(read_template(prompts / "design.md.j2"), read_hints(prompts / "hints.yaml"))


@pytest.fixture(scope="module")
def pairs(texts):
    return training_pairs(120, 1, texts)


@pytest.fixture(scope="module")
def tokenizer(pairs):
    return train_tokenizer(pairs, 1024, 2048)


@pytest.fixture
def settings(tmp_path):
    path = tmp_path / "model.yaml"
    path.write_text(yaml.safe_dump(SMALLEST | {"checkpoint_steps": 2}))
    return ScratchModel(**scratch_model(path))


def trained(folder, settings, texts, seed=1) -> dict[str, str]:
    """Train in a folder and return the digest of each file of the model."""
    train_model(ScratchJob("scratch:x", settings, texts, folder / "model", folder / "state", seed), "cpu")
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (folder / "model").iterdir()}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("widht: 3\n", "widht is no setting; did you mean width?"),
        ("steps: many\n", "steps: 'many' is not of type 'integer'"),
        ("steps: 0\n", "steps: 0 is less than the minimum of 1"),
        ("learning_rate: 1e-3\n", "learning_rate: YAML reads 1e-3 as text"),
        ("width: 18\nheads: 2\n", "width: 18 is no multiple of twice the 2 heads"),
        ("- steps\n", "the file: ['steps'] is not of type 'object'"),
        ("steps: [\n", "no YAML"),
    ],
)
def test_a_wrong_file_is_refused_with_its_name_and_one_line(tmp_path, text, says):
    path = tmp_path / "model.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        scratch_model(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match=r"gone\.yaml"):
        scratch_model(tmp_path / "gone.yaml")


@pytest.mark.parametrize("name", ["small", "tiny"])
def test_the_shipped_files_are_whole(root, name):
    assert scratch_model(root / "config" / "models" / f"{name}.yaml")["context"] == 2048


def test_pairs_are_different_programs_outside_the_seed_corpus(pairs):
    programs = {program for _, program in pairs}
    assert len(programs) == 120
    assert programs.isdisjoint(each.program for each in seed_programs())


def test_a_prompt_asks_for_the_family_of_its_program(pairs):
    asks = [prompt for prompt, program in pairs if "class ShuffleBlock" in program]
    assert len(asks) > 2
    assert all("shuffle the channels" in prompt for prompt in asks)


def test_equal_seeds_give_equal_pairs_and_others_others(texts, pairs):
    few = training_pairs(20, 1, texts)
    assert few == training_pairs(20, 1, texts)
    assert training_pairs(20, 2, texts) != few
    assert {program for _, program in few} < {program for _, program in pairs}  # the first of more


def test_families_that_no_hint_names_are_left_out(texts):
    vgg = texts.hints["vgg"]
    shown = training_pairs(40, 1, PromptTexts(texts.template, {"vgg": vgg}))
    assert {prompt.count(vgg) for prompt, _ in shown} == {1}


def test_more_programs_than_there_are_is_refused(texts):
    plain = PromptTexts(texts.template, {"plain": texts.hints["plain"]})
    with pytest.raises(InputError, match="programs: 1000000 are asked for; the families have fewer than 6048"):
        training_pairs(1_000_000, 1, plain)


def test_a_seed_program_in_other_words_is_held_out_and_a_changed_width_is_not():
    known = next(each.program for each in seed_programs() if each.family == "vgg")
    held_out = HeldOut()
    assert known in held_out
    assert known.replace("self.head", "self.answer").replace("\n\n\n", "\n\n") in held_out
    plain = {axis: values[0] for axis, values in AXES.items()}
    assert render("vgg", plain | {"widths": (10, 18, 34)}) not in held_out


def test_tokens_end_with_their_line_and_numbers_stand_apart(tokenizer):
    texts = [tokenizer.decode([token]) for token in range(len(tokenizer)) if token not in tokenizer.all_special_ids]
    assert all("\n" not in text[:-1] for text in texts)
    assert not [text for text in texts if any(c.isdigit() for c in text) and not text.isdigit()]


def test_a_program_is_short_and_comes_back_whole(tokenizer, pairs):
    lengths = [len(encode_pair(tokenizer, *pair)[1]) for pair in pairs]
    assert sum(lengths) / len(lengths) < 150
    for _, program in pairs[:20]:
        assert tokenizer.decode(tokenizer(program)["input_ids"]) == program


def test_any_text_comes_back_whole(tokenizer):
    text = "def é(x):\t# 漢字 \r\n    return x ** 2_000  \n\n🙂 <b>"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_what_comes_out_is_a_prepared_model(tmp_path, settings, texts):
    trained(tmp_path, settings, texts)
    prepared = check_model(tmp_path / "model")
    assert prepared.reference == "scratch:x" and "model.safetensors" in prepared.files
    model = load_model(tmp_path / "model", Loading("float32", "none"), "cpu")
    tokenizer = load_tokenizer(tmp_path / "model")
    ids = torch.tensor([tokenizer("import torch\n")["input_ids"]])
    assert model(ids).logits.shape[-1] == len(tokenizer)


def test_equal_seeds_give_equal_bytes_and_others_others(tmp_path, settings, texts):
    first = trained(tmp_path / "first", settings, texts)
    assert trained(tmp_path / "second", settings, texts) == first
    assert trained(tmp_path / "third", settings, texts, seed=2)["model.safetensors"] != first["model.safetensors"]


def test_a_training_that_was_cut_goes_on_to_the_same_bytes(tmp_path, settings, texts, monkeypatch, caplog):
    whole = trained(tmp_path / "whole", settings, texts)
    counted, step = [], torch.optim.AdamW.step

    def cut(self, *arguments, **options):
        counted.append(1)
        if len(counted) == 5:
            raise KeyboardInterrupt
        return step(self, *arguments, **options)

    monkeypatch.setattr(torch.optim.AdamW, "step", cut)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "cut", settings, texts)
    assert not (tmp_path / "cut" / "model" / "manifest.json").exists()
    assert trained(tmp_path / "cut", settings, texts) == whole
    assert len(counted) == 5 + 2  # four steps and the cut one, then what followed the checkpoint


def test_pairs_that_do_not_fit_the_context_are_refused(tmp_path, settings, texts):
    with pytest.raises(InputError, match="context: 100 tokens, but a prompt with its program takes"):
        trained(tmp_path, replace(settings, context=100), texts)


def test_a_width_that_the_heads_do_not_share_evenly_is_refused(tmp_path, settings, texts):
    with pytest.raises(InputError, match="width: 18 is no multiple of twice the 2 heads"):
        trained(tmp_path, replace(settings, width=18), texts)
