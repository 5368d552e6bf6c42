"""Answers of the language model to the prompts of one shard, and the program in each.

Answers are kept as they end, so a job that was cut goes on with those that are missing. A program
that is refused before it runs may be asked for again, with what is wrong with it.
"""

import dataclasses
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict, cast

from archloop.errors import InputError
from archloop.evaluation.static_checks import check_program
from archloop.files import sha256_file, sha256_text, write_jsonl
from archloop.generation.answer_log import AnswerFields, answer_log
from archloop.generation.answers import RESPONSE_PREFIXES, THINKING, extract_program
from archloop.generation.decode import Sequence, batch_limit, new_decoder, sample
from archloop.generation.prompts import ShardPrompt, prompts_of_shard
from archloop.machine import choose_device, choose_gpu, versions
from archloop.model.adapters import check_base
from archloop.model.chat_template import chat_tokens, response_prefix_tokens
from archloop.model.loading import load_model, load_tokenizer, with_adapter
from archloop.model.prepared import check_model
from archloop.model.run_record import write_run_record
from archloop.model.types import LanguageModel, Tokenizer
from archloop.progress import Progress
from archloop.random_seeds import derive
from archloop.settings.sections import Generation, Loading, Section
from archloop.workflow.provenance import Extras

REPAIR = "This program is refused: {reason}. Write the whole program again without this fault."
# Tokens at the end of a prompt in which a template opens the thinking.
LAST_TOKENS = 8


class GeneratedCandidate(ShardPrompt):
    """A line of the candidates of a shard: the prompt, and the last answer to it.

    raw: the whole answer. program: the one in it, if any. stopped: why the answer ended. The tokens
    are those of all attempts. adapter: sha256 of the one that answered, None of the bare model.
    """

    raw: str
    program: str | None
    prompt_tokens: int
    new_tokens: int
    stopped: str
    attempts: int
    adapter: str | None


@dataclass(frozen=True)
class ShardFiles:
    """The files of a shard's job; the last two are written.

    model: the manifest of the prepared one. adapter: None for the bare model. state: folder for
    finished answers.
    """

    prompts: Path
    model: Path
    adapter: Path | None
    state: Path
    output: Path
    run_record: Path


@dataclass(frozen=True)
class ShardJob:
    """Which of the shards of a cycle is answered, from 0, and how.

    code: a digest. started: when the job began, by time.monotonic().
    """

    shard: int
    shards: int
    device: str
    cache_mb: int
    code: str
    started: float


@dataclass(frozen=True)
class GenerationJob:
    """Who answers, and how.

    adapter: adapter_model.safetensors with its adapter_config.json beside it, or None for the bare
    model. log: file of the answers that are finished; those of an earlier run with the same inputs,
    settings, versions and `code` (a digest) are not made again. cache_mb: bound on the memory of
    keys and values.
    """

    model_folder: Path
    adapter: Path | None
    settings: Generation
    loading: Loading
    log: Path
    code: str = ""
    cache_mb: int = 20_000


@dataclass(frozen=True)
class ModelAnswer:
    """One answer to a prompt.

    raw: its text, the response prefix included. new_tokens: that were sampled, those of dropped
    lines included. stopped: why it ended (fence, end, length or line).
    """

    raw: str
    prompt_tokens: int
    new_tokens: int
    stopped: str


@dataclass(frozen=True)
class GenerationRecord:
    """What a job did.

    kept_from_earlier_runs: answers, earlier_s: seconds that were spent on them.
    """

    device: str
    new_tokens: int
    prompt_tokens: int
    kept_from_earlier_runs: int
    earlier_s: float


class AnswerLineage(TypedDict):
    """All that the answers of a shard depend on; an answer log of another one is not read.

    base: the sha256 of the model's files. adapter: that of its weights. prompts: index, digest and
    seed of each.
    """

    base: Mapping[str, str]
    adapter: str | None
    prompts: list[tuple[int, str, int]]
    settings: Section
    loading: Section
    code: str
    versions: dict[str, str]


def generate_shard(
    files: ShardFiles, settings: Generation, loading: Loading, job: ShardJob
) -> Extras:
    """Answer the prompts of a shard, write its run record and its candidates.

    Return what its provenance says besides: the file of work under way.
    """
    log = files.state / "answers.jsonl"
    rows = prompts_of_shard(files.prompts, job.shard, job.shards)
    work = GenerationJob(
        files.model.parent, files.adapter, settings, loading, log, job.code, job.cache_mb
    )
    candidates, record = generate(rows, work, choose_gpu(job.device, job.shard))

    counts = dataclasses.asdict(record)
    seconds = time.monotonic() - job.started + counts.pop("earlier_s")
    write_run_record(files.run_record, counts, seconds)
    write_jsonl(files.output, candidates)
    return {"spent": log}


def generate(
    prompts: list[ShardPrompt], job: GenerationJob, device: str
) -> tuple[list[GeneratedCandidate], GenerationRecord]:
    """Return (candidates, run record) for the prompts of one shard, in their order."""
    started = time.monotonic()
    device = choose_device(device)

    prepared = check_model(job.model_folder)
    digest = None
    if job.adapter is not None:
        check_base(job.adapter, prepared.files)
        digest = sha256_file(job.adapter)
    files = {name: file.sha256 for name, file in prepared.files.items()}
    key = sha256_text(repr(_lineage(prompts, job, files, digest)))

    answers: list[list[ModelAnswer]] = [[] for _ in prompts]
    with answer_log(job.log, key) as (finished, keep):
        for row in finished:
            answer = ModelAnswer(**row["answer"])
            answers[row["position"]].append(answer)
        earlier = max((row["seconds"] for row in finished), default=0.0)

        for position, answer in _missing_answers(prompts, answers, job, device):
            answers[position].append(answer)
            fields = cast(AnswerFields, dataclasses.asdict(answer))
            seconds = round(time.monotonic() - started + earlier, 2)
            keep({"position": position, "answer": fields, "seconds": seconds})

    candidates = []
    for prompt, attempts in zip(prompts, answers):
        candidates.append(_candidate(prompt, attempts, digest))
    record = GenerationRecord(
        device=device,
        new_tokens=sum(candidate["new_tokens"] for candidate in candidates),
        prompt_tokens=sum(candidate["prompt_tokens"] for candidate in candidates),
        kept_from_earlier_runs=len(finished),
        earlier_s=earlier,
    )
    return candidates, record


def next_sequence(
    tokenizer: Tokenizer, prompt: ShardPrompt, attempts: list[ModelAnswer], response_prefix: str
) -> Sequence:
    """Return the answer to come: to the prompt, or to what is wrong with the answer before.

    response_prefix: the text of generation.response_prefix.
    """
    text, seed = prompt["prompt"], prompt["seed"]
    tokens = chat_tokens(tokenizer, text)

    if attempts:
        refused = attempts[-1].raw
        _, reason = _refusal(refused) or ("", "")
        repair = REPAIR.format(reason=reason)
        tokens = chat_tokens(tokenizer, text, refused, repair)
        # With the seed of the first attempt the same draws would meet much the same text.
        seed = derive(seed, "repair", len(attempts))

    end = tokenizer.decode(tokens[-LAST_TOKENS:])
    if not response_prefix and end.rstrip().endswith(THINKING):
        # The template has opened the thinking; what ends it is no part of the program.
        return Sequence(tokens, seed, f"{THINKING}\n")
    tokens = tokens + response_prefix_tokens(tokenizer, response_prefix)
    return Sequence(tokens, seed, response_prefix)


def _lineage(
    prompts: list[ShardPrompt], job: GenerationJob, files: Mapping[str, str], adapter: str | None
) -> AnswerLineage:
    """Return all that the answers depend on; files, adapter: digests."""
    settings = dataclasses.asdict(job.settings)
    del settings["batch_size"]  # it does not change what an answer is

    asked = []
    for row in prompts:
        digest = sha256_text(row["prompt"])
        asked.append((row["index"], digest, row["seed"]))
    return {
        "base": files,
        "adapter": adapter,
        "prompts": asked,
        "settings": settings,
        "loading": dataclasses.asdict(job.loading),
        "code": job.code,
        "versions": versions(("torch", "transformers", "peft", "tokenizers")),
    }


def _missing_answers(
    prompts: list[ShardPrompt], answers: list[list[ModelAnswer]], job: GenerationJob, device: str
) -> Iterator[tuple[int, ModelAnswer]]:
    """Yield (position of the prompt, answer) as they end: all first answers, then all first
    repairs, and so on.

    answers: what is there of each prompt; the caller adds to it what is yielded.
    """
    tokenizer = load_tokenizer(job.model_folder)
    model = None  # loaded when an answer is missing: a job that was cut may have none left
    for attempt in range(job.settings.repairs + 1):
        sequences = {}
        for position, attempts in enumerate(answers):
            if _wants_attempt(attempts, attempt):
                response_prefix = RESPONSE_PREFIXES[job.settings.response_prefix]
                sequence = next_sequence(tokenizer, prompts[position], attempts, response_prefix)
                sequences[position] = sequence
        if not sequences:
            continue

        if model is None:
            model = _load(job, device)
        if attempt:  # where a prompt has grown too long, the answer before stays
            sequences = _fitting(model, sequences, job)
        label = "repair" if attempt else "generate"
        try:
            yield from _answer(model, tokenizer, sequences, job, label)
        except FloatingPointError as error:
            raise InputError(
                f"{job.adapter or job.model_folder}: {error}; take another loading.dtype, or an"
                " adapter that is sound"
            ) from None


def _load(job: GenerationJob, device: str) -> LanguageModel:
    model = load_model(job.model_folder, job.loading, device)
    if job.adapter is None:
        return model
    return with_adapter(model, job.adapter)


def _refusal(raw: str) -> tuple[str, str] | None:
    """Return (outcome, reason) where the program of an answer is refused without being run."""
    return check_program(extract_program(raw))


def _wants_attempt(attempts: list[ModelAnswer], attempt: int) -> bool:
    """Tell whether the answer of that number is to be made: the first one, or one after a refused
    one."""
    if len(attempts) != attempt:
        return False
    return not attempts or _refusal(attempts[-1].raw) is not None


def _fitting(
    model: LanguageModel, sequences: Mapping[int, Sequence], job: GenerationJob
) -> dict[int, Sequence]:
    """Return the sequences that the model's context, and the memory for keys and values, hold."""
    fitting = {}
    for position, sequence in sequences.items():
        length = len(sequence.prompt)
        try:
            batch_limit(model.config, model.dtype, length, job.settings, job.cache_mb)
        except InputError:
            continue
        fitting[position] = sequence
    return fitting


def _answer(
    model: LanguageModel,
    tokenizer: Tokenizer,
    sequences: Mapping[int, Sequence],
    job: GenerationJob,
    label: str,
) -> Iterator[tuple[int, ModelAnswer]]:
    """Yield (position, answer) as the answers end."""
    if not sequences:
        return

    # Prompts of similar length share a batch: less padding.
    def length_of(position: int) -> tuple[int, int]:
        return len(sequences[position].prompt), position

    order = sorted(sequences, key=length_of)
    longest = len(sequences[order[-1]].prompt)
    size = batch_limit(model.config, model.dtype, longest, job.settings, job.cache_mb)
    position_of = {id(sequence): position for position, sequence in sequences.items()}

    decoder = new_decoder(model, tokenizer, job.settings)
    sampled = 0
    with Progress(len(sequences), "candidate", label) as progress:
        for sequence in sample(decoder, [sequences[position] for position in order], size):
            sampled += sequence.sampled
            progress.step(note=f"{sampled} tokens")

            text = tokenizer.decode(sequence.new, skip_special_tokens=True)
            answer = ModelAnswer(
                raw=sequence.response_prefix + text,
                prompt_tokens=len(sequence.prompt),
                new_tokens=sequence.sampled,
                stopped=sequence.finish_reason or "",
            )
            yield position_of[id(sequence)], answer


def _candidate(
    prompt: ShardPrompt, attempts: list[ModelAnswer], adapter: str | None
) -> GeneratedCandidate:
    """Return the candidate: the last answer, and the tokens of all of them with those of dropped
    lines."""
    prompt_tokens, new_tokens = 0, 0
    for answer in attempts:
        prompt_tokens += answer.prompt_tokens
        new_tokens += answer.new_tokens

    last = attempts[-1]
    return {
        **prompt,
        "raw": last.raw,
        "program": extract_program(last.raw),
        "prompt_tokens": prompt_tokens,
        "new_tokens": new_tokens,
        "stopped": last.stopped,
        "attempts": len(attempts),
        "adapter": adapter,
    }
