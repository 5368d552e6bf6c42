"""Teach a LoRA adapter the programs of the corpus: prompts in, programs out, the loss on the programs alone."""

import math
from pathlib import Path

import torch
from safetensors.torch import save_file

from archloop.errors import InputError
from archloop.files import read_json, replacing, sha256_file, sha256_text, write_json
from archloop.models import chat_tokens, check_model, choose_device, load_adapter, load_model, load_tokenizer
from archloop.progress import Progress, get_logger
from archloop.seeds import generator

logger = get_logger("finetune")


def finetune(
    corpus: list[dict],
    fresh: list[dict],
    model_folder: Path,
    parent: Path | None,
    output: Path,
    state: Path,
    settings: dict,
    loading: dict,
    device: str,
    seed: int,
) -> dict:
    """Write the adapter of a cycle to the folder `output` and return the run record.

    corpus: rows of the earlier corpus (prompt, program); fresh: the rows this cycle admitted. parent: the adapter to go
    on from (adapter_model.safetensors), None for the bare model. state: folder for checkpoints; one that was made for
    these same inputs is resumed. seed: of this fine-tuning alone. Where nothing is new (no fresh rows; with train_on
    seed, no rows at all) the parent is carried on unchanged.
    """
    rows = training_rows(corpus, fresh, settings, seed)
    if parent is not None and not (rows if settings["train_on"] == "seed" else fresh):
        return _carry_on(parent, output)
    device = choose_device(device)
    manifest = check_model(model_folder)
    parent = parent if settings["start_from"] == "previous" else None
    tokenizer = load_tokenizer(model_folder)
    pairs = [encode_pair(tokenizer, row["prompt"], row["program"]) for row in rows]
    kept = [pair for pair in pairs if len(pair[0]) + len(pair[1]) <= settings["max_length"]]
    if pairs and not kept and parent is None:
        raise InputError(
            f"finetuning.max_length: all {len(pairs)} pairs are longer than {settings['max_length']} tokens"
        )
    lineage = {
        "base": {name: facts["sha256"] for name, facts in manifest["files"].items()},
        "parent": sha256_file(parent) if parent else None,
        "training_set": sha256_text("\n".join(sha256_text(row["prompt"] + row["program"]) for row in rows)),
        "settings": settings,
        "seed": seed,
    }
    torch.manual_seed(seed)
    model = attach_adapter(load_model(model_folder, loading, device), parent, settings)
    losses, tokens = train(model, kept, settings, seed, state / "checkpoint.pt", sha256_text(repr(lineage)))
    facts = {"pairs": len(kept), "left_out_too_long": len(pairs) - len(kept), "carried_on": False}
    save_adapter(model, output, model_folder, lineage | facts | {"losses": losses})
    (state / "checkpoint.pt").unlink(missing_ok=True)
    return {"device": device, "tokens": tokens, "pairs": len(kept)}


def training_rows(corpus: list[dict], fresh: list[dict], settings: dict, seed: int) -> list[dict]:
    """Return what a cycle trains on: its own rows and some of the earlier corpus, or as many of the corpus alone."""
    replay = settings["replay"]
    if settings["train_on"] == "seed":
        return _replayed(corpus, None if replay is None else replay + len(fresh), seed)
    return fresh + _replayed(corpus, replay, seed)


def encode_pair(tokenizer, prompt: str, program: str) -> tuple[list[int], list[int]]:
    """Return (prompt ids, answer ids); the answer is the program in its fence and the end of the turn."""
    answer = tokenizer(f"```python\n{program.strip()}\n```", add_special_tokens=False)["input_ids"]
    return chat_tokens(tokenizer, prompt), [*answer, tokenizer.eos_token_id]


def attach_adapter(model, parent: Path | None, settings: dict):
    """Return the model with a trainable adapter: the parent's, or a new one that starts as a no-op."""
    from peft import LoraConfig, get_peft_model

    if settings["gradient_checkpointing"]:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    if parent is not None:
        model = load_adapter(model, parent, settings["lora_dropout"])
        _check_shape(parent, model.peft_config["default"], settings)
        return model
    config = LoraConfig(
        r=settings["lora_rank"],
        lora_alpha=settings["lora_alpha"],
        lora_dropout=settings["lora_dropout"],
        target_modules=sorted(settings["targets"]),
        layers_to_transform=list(range(*settings["layers"])) if settings["layers"] else None,
        bias="none",
        task_type="CAUSAL_LM",
    )
    try:
        return get_peft_model(model, config)
    except ValueError as error:
        raise InputError(f"finetuning.targets, finetuning.layers: they do not fit the model ({error})") from None


def length_grouped_batches(lengths: list[int], size: int, *seed: object) -> list[list[int]]:
    """Return batches of indices, in random order, whose members are of similar length.

    The indices are shuffled, cut into pools of 50 batches, and sorted by length inside a pool.
    """
    dice = generator(*seed, "order")
    order = list(range(len(lengths)))
    dice.shuffle(order)
    pool = 50 * size
    pools = [sorted(order[at : at + pool], key=lambda i: (lengths[i], i)) for at in range(0, len(order), pool)]
    batches = [group[at : at + size] for group in pools for at in range(0, len(group), size)]
    dice.shuffle(batches)
    return batches


def train(model, pairs: list[tuple[list[int], list[int]]], settings: dict, seed: int, checkpoint: Path, key: str):
    """Train the adapter in place; return (mean loss of each epoch, tokens seen).

    AdamW, linear warm-up and a cosine to 0. The loss of a step is the mean over all answer tokens of its pairs. A
    checkpoint with the same key is resumed, and the result is that of an undisturbed run.
    """
    from transformers import get_cosine_schedule_with_warmup

    lengths = [len(prompt) + len(answer) for prompt, answer in pairs]
    steps = []
    for epoch in range(settings["epochs"]):
        batches = length_grouped_batches(lengths, settings["batch_size"], seed, epoch)
        width = settings["accumulation"]
        steps += [(epoch, batches[at : at + width]) for at in range(0, len(batches), width)]
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=settings["learning_rate"], weight_decay=settings["weight_decay"])
    warmup = min(settings["warmup_steps"], math.ceil(len(steps) / 10))
    schedule = get_cosine_schedule_with_warmup(optimizer, warmup, len(steps))
    done, sums, tokens = _resume(checkpoint, key, weights, optimizer, schedule)
    model.train()
    with Progress(sum(lengths) * settings["epochs"], "token", "finetune") as progress:
        progress.step(tokens)
        for number, (epoch, batches) in enumerate(steps[done:], start=done + 1):
            answers = sum(len(pairs[i][1]) for batch in batches for i in batch)
            step_loss = 0.0
            for batch in batches:
                loss = answer_loss(model, [pairs[i] for i in batch]) / answers
                loss.backward()
                step_loss += loss.item()
            torch.nn.utils.clip_grad_norm_(weights, settings["max_grad_norm"])
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            seen = sum(lengths[i] for batch in batches for i in batch)
            tokens += seen
            sums.setdefault(epoch, [0.0, 0])
            sums[epoch][0] += step_loss * answers
            sums[epoch][1] += answers
            progress.step(seen, note=f"step {number} of {len(steps)}, loss {step_loss:.3f}")
            if number % settings["checkpoint_steps"] == 0 and number < len(steps):
                _save_checkpoint(checkpoint, key, number, weights, optimizer, schedule, sums, tokens)
    return [total / count for total, count in sums.values()], tokens


def answer_loss(model, pairs: list[tuple[list[int], list[int]]]) -> torch.Tensor:
    """Return the summed cross-entropy (nats) of the answers' tokens. Prompts and padding carry none.

    Only positions that predict a token of an answer go through the projection onto the vocabulary.
    """
    device = next(model.parameters()).device
    width = max(len(prompt) + len(answer) for prompt, answer in pairs)
    ids = torch.zeros(len(pairs), width, dtype=torch.long, device=device)
    mask = torch.zeros_like(ids)
    labels = torch.full_like(ids, -100)
    for row, (prompt, answer) in enumerate(pairs):
        ids[row, : len(prompt) + len(answer)] = torch.tensor(prompt + answer)
        mask[row, : len(prompt) + len(answer)] = 1
        labels[row, len(prompt) - 1 : len(prompt) + len(answer) - 1] = torch.tensor(answer)
    base = model.get_base_model()
    hidden = base.model(input_ids=ids, attention_mask=mask if len(pairs) > 1 else None, use_cache=False)[0]
    predicts = labels != -100
    logits = base.lm_head(hidden[predicts]).float()
    return torch.nn.functional.cross_entropy(logits, labels[predicts], reduction="sum")


def save_adapter(model, output: Path, model_folder: Path, training: dict) -> None:
    """Write adapter_model.safetensors, adapter_config.json and training.json, each whole, the weights last."""
    from peft import get_peft_model_state_dict

    config = model.peft_config["default"].to_dict()
    config |= {"base_model_name_or_path": model_folder.name, "inference_mode": True}
    plain = {key: sorted(value) if isinstance(value, set) else value for key, value in config.items()}
    write_json(output / "adapter_config.json", {key: getattr(value, "value", value) for key, value in plain.items()})
    write_json(output / "training.json", training)
    tensors = {
        name: weight.detach().cpu().contiguous()
        for name, weight in get_peft_model_state_dict(model, save_embedding_layers=False).items()
    }
    with replacing(output / "adapter_model.safetensors") as temporary:
        save_file(dict(sorted(tensors.items())), temporary, metadata={"format": "pt"})


def _carry_on(parent: Path, output: Path) -> dict:
    logger.info("finetune: nothing was admitted, the adapter is carried on")
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        with replacing(output / name) as temporary:
            temporary.write_bytes((parent.parent / name).read_bytes())
    training = read_json(parent.parent / "training.json")
    write_json(output / "training.json", training | {"parent": sha256_file(parent), "carried_on": True})
    return {"device": None, "tokens": 0, "pairs": 0}


def _check_shape(parent: Path, config, settings: dict) -> None:
    """Refuse settings that the parent's adapter does not have: they would be left unheeded."""
    layers = list(range(*settings["layers"])) if settings["layers"] else None
    for key, wanted, has in (
        ("lora_rank", settings["lora_rank"], config.r),
        ("lora_alpha", settings["lora_alpha"], config.lora_alpha),
        ("targets", sorted(settings["targets"]), sorted(config.target_modules)),
        ("layers", layers, config.layers_to_transform),
    ):
        if wanted != has:
            raise InputError(
                f"finetuning.{key}: {parent} has {has}, not {wanted}; leave it as it was, or start_from: base"
            )


def _replayed(corpus: list[dict], count: int | None, seed: int) -> list[dict]:
    if count is None or count >= len(corpus):
        return corpus
    return generator(seed, "replay").sample(corpus, count)


def _save_checkpoint(path, key, done, weights, optimizer, schedule, sums, tokens) -> None:
    state = {
        "key": key,
        "done": done,
        "weights": [weight.detach().cpu() for weight in weights],
        "optimizer": optimizer.state_dict(),
        "schedule": schedule.state_dict(),
        "random": torch.get_rng_state(),
        "cuda_random": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "sums": sums,
        "tokens": tokens,
    }
    with replacing(path) as temporary:
        torch.save(state, temporary)


def _resume(path: Path, key: str, weights, optimizer, schedule) -> tuple[int, dict, int]:
    """Return (steps done, loss sums by epoch, tokens seen), having loaded the checkpoint if it is of this training."""
    if not path.is_file():
        return 0, {}, 0
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception:  # a torn file of any kind: the training starts again
        logger.warning("finetune: %s cannot be read; starting from the beginning", path)
        return 0, {}, 0
    if state["key"] != key:
        return 0, {}, 0
    with torch.no_grad():
        for weight, saved in zip(weights, state["weights"]):
            weight.copy_(saved)
    optimizer.load_state_dict(state["optimizer"])
    schedule.load_state_dict(state["schedule"])
    torch.set_rng_state(state["random"])
    if state["cuda_random"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda_random"])
    logger.info("finetune: resuming after step %d", state["done"])
    return state["done"], state["sums"], state["tokens"]
