"""What a run asks of its model: whole files, a tokenizer, room for texts and for training."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from archloop.model.memory import (
    BYTES,
    SHAPE,
    cache_bytes,
    check_projections,
    context_length,
    loaded_bytes,
    sees_part,
    text_config,
    training_bytes,
    weight_shapes,
)
from archloop.model.prepared import check_model
from archloop.preflight import slurm_checks
from archloop.preflight.node_report import NodeReport
from archloop.preflight.planned_run import Finding, PlannedRun, error, ok, warning
from archloop.preflight.prompt_checks import PromptLengths, read_tokenizer
from archloop.quantities import gigabytes
from archloop.settings import chains
from archloop.settings.sections import Finetuning, Generation


@dataclass(frozen=True)
class Written:
    """A cycle whose candidates the model writes. prompt: tokens of its longest one."""

    chain: str
    prompt: int
    generation: Generation

    @property
    def tokens(self) -> int:
        """The tokens of prompt and answer."""
        return self.prompt + self.generation.max_new_tokens


def check_model_files(run: PlannedRun) -> Iterator[Finding]:
    """Every file that the model's manifest names, as large as it says."""
    files = check_model(run.model).files
    size = sum(file.bytes for file in files.values())
    tensors = len(weight_shapes(run.model))

    text = f"{run.model}: {tensors} tensors, {gigabytes(size, 2)}, every file whole"
    yield ok("model", text, tensors=tensors, bytes=size)


def check_tokenizer(run: PlannedRun) -> Iterator[Finding]:
    """A tokenizer that can be read."""
    tokenizer = read_tokenizer(run)
    if tokenizer is None:
        path = run.model / "tokenizer.json"
        text = f"{path}: none; the model's other tokenizer files are used, and not tried"
        yield warning("tokenizer", text)
        return
    tokens = tokenizer.get_vocab_size()
    yield ok("tokenizer", f"{tokens} tokens", tokens=tokens)


def check_limits(run: PlannedRun) -> Iterator[Finding]:
    """Texts that the context holds, a cache that holds an answer, projections that are there."""
    written = _written(run)
    if written:
        # What holds for the longest holds for all.
        longest = max(written, key=lambda each: each.tokens)
        yield _context(run, longest)
        yield from _cache(run, longest)

    part_alone = sees_part(text_config(run.model))
    if part_alone and any(each.generation.line_retries for each in written):
        yield error(
            "limits",
            "generation.line_retries: the model attends to a window of the text, in which dropped"
            " lines would count; set it to 0",
        )
    yield from _finetuning_limits(run)


def _written(run: PlannedRun) -> list[Written]:
    lengths = PromptLengths(run)
    written = []
    for chain, cycle in run.cells():
        settings = run.settings["chains"][chain]
        # Baselines have no language model.
        if settings.get("source") != chains.MODEL:
            continue

        generation = chains.typed_section(run.settings, Generation, chain, cycle)
        prompt = lengths.longest(chain, cycle)
        written.append(Written(chain, prompt, generation))
    return written


def _context(run: PlannedRun, longest: Written) -> Finding:
    answer = longest.generation.max_new_tokens
    context = context_length(run.model)
    text = (
        f"generation.max_new_tokens: {answer} after a prompt of {longest.prompt} tokens"
        f" (chain {longest.chain})"
    )

    values = {
        "chain": longest.chain,
        "answer_tokens": answer,
        "prompt_tokens": longest.prompt,
        "context_tokens": context if isinstance(context, int) else None,
    }

    if longest.tokens > context:
        return error("limits", f"{text}; the model's context is {context} tokens", **values)
    return ok("limits", f"{text}, in a context of {context}", **values)


def _cache(run: PlannedRun, longest: Written) -> Iterator[Finding]:
    """Room for the keys and values of one answer, where the model's shape is known."""
    # Some models name no shape, and then nothing can be said.
    shape = text_config(run.model)
    if not all(shape.get(name) for name in SHAPE[:3]):
        return

    number_bytes = BYTES.get(run.loading.dtype, 2)
    token_mb = cache_bytes(shape, number_bytes) / 2**20
    needed_mb = token_mb * longest.tokens
    room_mb = run.execution.cache_mb
    if needed_mb > room_mb:
        yield error(
            "limits",
            f"execution.cache_mb: {room_mb} MB hold no answer; one of {longest.tokens} tokens takes"
            f" {needed_mb:.0f} MB",
            cache_mb=room_mb,
            answer_mb=round(needed_mb),
        )


def _finetuning_limits(run: PlannedRun) -> Iterator[Finding]:
    shapes, context = weight_shapes(run.model), context_length(run.model)
    for settings in finetunings(run):
        check_projections(shapes, settings)
        if settings.max_pair_tokens > context:
            yield warning(
                "limits",
                f"finetuning.max_pair_tokens: {settings.max_pair_tokens}; pairs beyond the model's"
                f" context of {context} tokens are left out",
                pair_tokens=settings.max_pair_tokens,
                context_tokens=context,
            )
            return


def finetunings(run: PlannedRun) -> Iterator[Finetuning]:
    """Yield the settings of every fine-tuning of the run: that of cycle 0 is sft in any case."""
    for chain, cycle in run.cells():
        if chains.trains(run.settings, chain, cycle):
            settings = chains.typed_section(run.settings, Finetuning, chain, cycle)
            yield settings if cycle else replace(settings, method="sft")


def check_memory(run: PlannedRun, node: NodeReport | None) -> Iterator[Finding]:
    """The weights, and an estimate of the training, against the memory of the GPU.

    node: None where none was looked at; then SLURM's name of the GPU says how much it has.
    """
    on_cpu = run.execution.device == "cpu"
    if on_cpu or not _has_gpu(run, node):
        if run.loading.quantization == "nf4":
            why = "execution.device is cpu" if on_cpu else "there is none"
            text = f"nf4 needs a GPU, and {why}; set loading.quantization to none"
            yield error("quantization", text)
        return

    memory, source = _gpu_memory(run, node)
    shapes = weight_shapes(run.model)
    model = text_config(run.model)
    # The weights stay the same, the activations are those of the largest fine-tuning.
    weights = loaded_bytes(shapes, run.loading, gpu=True)
    training = 0
    for settings in finetunings(run):
        training = max(training, training_bytes(shapes, model, settings))
    yield _compared(memory, source, weights, training)


def _has_gpu(run: PlannedRun, node: NodeReport | None) -> bool:
    """Return whether a fine-tuning is to run on a GPU; without a node, whether it asks for one."""
    if node is None:
        return run.slurm and run.finetuning_request() is not None
    return bool(node.gpus)


def _gpu_memory(run: PlannedRun, node: NodeReport | None) -> tuple[int | None, str]:
    """Return (bytes of the smallest GPU, None where nobody says; where that is from)."""
    # What the node says goes before what a name promises.
    gpus = node.gpus if node else []
    measured = [gpu.bytes for gpu in gpus if gpu.bytes]
    if measured:
        return min(measured), "measured"
    return slurm_checks.declared_memory(run)


def _compared(memory: int | None, source: str, weights: int, training: int) -> Finding:
    text = f"weights {gigabytes(weights)}, fine-tuning {gigabytes(training)} more (estimate)"
    values = {"weights_bytes": weights, "training_bytes": training, "gpu_bytes": memory}
    if memory is None:
        return warning("memory", f"{text}; how much the GPU has is not known", **values)

    text += f", the GPU has {gigabytes(memory, 0)} ({source})"
    if weights > memory:
        remedy = "take a larger GPU, or loading.quantization: nf4"
        return error("memory", f"{text}; {remedy}", **values)
    # An estimate: it may go well.
    if weights + training > memory:
        remedy = "set finetuning.gradient_checkpointing, or a smaller max_pair_tokens"
        return warning("memory", f"{text}; {remedy}", **values)
    return ok("memory", text, **values)
