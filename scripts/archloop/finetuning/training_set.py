"""What an adapter is trained on: programs of the corpus, and for dpo and kto the failed candidates
of the cycle, too.

Preferred are the programs that sft would repeat. Rejected are candidates of the cycle that have a
program and failed for a fault of their own: the outcomes in `finetuning.rejected`. By default
these are the faults of a program that parses. What does not parse is often cut off rather than
wrong; time, memory and a crash may be the machine's; a program below the threshold works, and a
near-copy works well.
"""

import dataclasses
import math
import random
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from archloop.corpus.tables import read_candidates, read_corpus
from archloop.errors import InputError
from archloop.files import sha256_text
from archloop.random_seeds import generator
from archloop.settings.sections import Finetuning

PromptAndProgram: TypeAlias = tuple[str, str]

# Bound on the weight of a program, as Peng et al. have it.
LARGEST_WEIGHT = 20.0
# Bound on the exponent: beyond it every weight is the largest anyway, and far beyond it math.exp
# overflows.
LARGEST_EXPONENT = 100.0


@dataclass(frozen=True)
class ScoredProgram:
    """A program of the corpus with what fine-tuning reads of its row; accuracy: from 0 to 1."""

    prompt: str
    program: str
    dataset: str
    accuracy: float | None
    cycle: int


@dataclass(frozen=True)
class JudgedProgram:
    """An answer of a cycle and its outcome; program: None where the answer holds none."""

    prompt: str
    program: str | None
    outcome: str


@dataclass(frozen=True)
class TrainingPrograms:
    """All that a cycle may be trained on: the corpus before it, what it admitted, and all of its
    candidates.

    candidates: for dpo and kto, which learn from those that failed; without any, sft alone is
    possible.
    """

    corpus: list[ScoredProgram]
    admitted: list[ScoredProgram]
    candidates: list[JudgedProgram] = dataclasses.field(default_factory=list)


@dataclass(frozen=True)
class TrainingPair:
    """A prompt and a program that answers it.

    score: its accuracy in standard deviations from the mean of its data set. rejected: for dpo, a
    program that failed at the same prompt. desirable: for kto, whether the judge admitted the
    program.
    """

    prompt: str
    program: str
    score: float
    rejected: str | None = None
    desirable: bool = True

    def digest(self) -> str:
        """Return the sha256 that stands for the pair.

        Its names are those of the first release, and stay.
        """
        fields = [
            ("good", self.desirable),
            ("program", self.program),
            ("prompt", self.prompt),
            ("score", self.score),
            ("worse", self.rejected),
        ]
        return sha256_text(repr(fields))


@dataclass(frozen=True)
class TrainingSet:
    """The pairs of one fine-tuning.

    failed_left_out: failed programs that have no place among them.
    """

    method: str
    pairs: list[TrainingPair]
    failed_left_out: int = 0

    def digest(self) -> str:
        digests = [pair.digest() for pair in self.pairs]
        return sha256_text("\n".join(digests))


def read_corpus_programs(paths: Iterable[Path]) -> list[ScoredProgram]:
    """Return the programs of corpus files, in their order.

    Raises InputError for a file that is damaged or missing.
    """
    rows = read_corpus(paths, _names(ScoredProgram))
    return [ScoredProgram(**row) for row in rows.iter_rows(named=True)]


def read_judged(path: Path) -> list[JudgedProgram]:
    """Return the candidates of a cycle, in their order.

    Raises InputError for a file that is damaged or missing.
    """
    rows = read_candidates([path], _names(JudgedProgram))
    return [JudgedProgram(**row) for row in rows.iter_rows(named=True)]


def read_programs_to_train_on(
    corpus: Iterable[Path], admitted: Path, candidates: Path | None
) -> TrainingPrograms:
    """Return what the files of a cycle hold. candidates: None for sft."""
    judged = [] if candidates is None else read_judged(candidates)
    return TrainingPrograms(read_corpus_programs(corpus), read_corpus_programs([admitted]), judged)


def make_training_set(
    preferred: list[TrainingPair],
    candidates: list[JudgedProgram],
    settings: Finetuning,
    seed: int,
) -> TrainingSet:
    """Return what a cycle trains on by `finetuning.method`; without candidates the method is sft.

    preferred: the programs that sft repeats. sft: these. kto: these and, none twice, at most as
    many failed programs. dpo: for each failed program one of these that answers the very same
    prompt, taken in turn. Raises InputError for settings that do not go with the method.
    """
    method = settings.method if candidates else "sft"
    by_accuracy = settings.order != "random" or settings.accuracy_weight
    if method != "sft" and by_accuracy:
        raise InputError(
            f"finetuning.method: {method} knows no order and no accuracy_weight, which are for sft"
        )

    if method == "sft":
        return TrainingSet(method, preferred)

    # Both methods take the failed programs in the same random order. The generator's key is the
    # first name of the setting, and stays: another key would be another order.
    rng = generator(seed, "dispreferred")
    failed = _failed(candidates, settings.rejected)
    rng.shuffle(failed)
    if method == "kto":
        return _with_undesirable(preferred, failed)
    return _in_pairs(preferred, failed, rng)


def training_rows(
    corpus: list[ScoredProgram], admitted: list[ScoredProgram], settings: Finetuning, seed: int
) -> list[ScoredProgram]:
    """Return what a cycle repeats: its own rows and some of the earlier corpus, or as many of the
    seed corpus.

    corpus: the rows of cycle 0 and what the chain admitted since. Where the seed corpus has fewer
    rows than are wanted of it, all of them come again, as often as it takes, and then some.
    """
    replayed = _sample(corpus, settings.replay, seed)
    if settings.train_on == "corpus":
        return admitted + replayed

    wanted = len(admitted) + len(replayed)
    seed_corpus = [row for row in corpus if row.cycle == 0]
    passes, more = divmod(wanted, max(1, len(seed_corpus)))
    return seed_corpus * passes + _sample(seed_corpus, more, seed)


def with_scores(rows: list[ScoredProgram]) -> list[TrainingPair]:
    """Return the programs with their scores; raise InputError for one without an accuracy.

    A score is the accuracy in standard deviations from the mean of the rows of the same data set.
    """
    by_dataset: dict[str, list[float]] = {}
    for row in rows:
        by_dataset.setdefault(row.dataset, []).append(_accuracy(row))

    pairs = []
    for row in rows:
        accuracies = by_dataset[row.dataset]
        mean = statistics.fmean(accuracies)
        # Where all are equally good, every score is 0.
        deviation = statistics.pstdev(accuracies) or 1.0
        score = (_accuracy(row) - mean) / deviation
        pairs.append(TrainingPair(row.prompt, row.program, score))
    return pairs


def accuracy_weights(scores: list[float], strength: float) -> list[float]:
    """Return e^(strength x score), at most LARGEST_WEIGHT, over their mean.

    The exponential weights of Peng et al., Advantage-Weighted Regression, arXiv 1910.00177, with
    the score as the advantage and 1 / strength as the temperature.
    """
    weights = []
    for score in scores:
        exponent = min(strength * score, LARGEST_EXPONENT)
        weights.append(min(math.exp(exponent), LARGEST_WEIGHT))

    if not weights:
        return []
    mean = statistics.fmean(weights)
    return [weight / mean for weight in weights]


def _names(kind: type) -> list[str]:
    return [field.name for field in dataclasses.fields(kind)]


def _accuracy(row: ScoredProgram) -> float:
    if row.accuracy is None or not math.isfinite(row.accuracy):
        raise InputError(
            f"corpus: a program for {row.dataset} has no accuracy; make the corpus again"
        )
    return row.accuracy


def _sample(rows: list[ScoredProgram], count: int | None, seed: int) -> list[ScoredProgram]:
    if count is None or count >= len(rows):
        return rows
    return generator(seed, "replay").sample(rows, count)


def _failed(candidates: list[JudgedProgram], outcomes: list[str]) -> list[PromptAndProgram]:
    """Return (prompt, program) of the candidates that failed by one of the outcomes, each once, in
    their order."""
    failed: dict[PromptAndProgram, None] = {}
    for row in candidates:
        if row.outcome in outcomes and row.program:
            failed[row.prompt, row.program] = None
    return list(failed)


def _with_undesirable(preferred: list[TrainingPair], failed: list[PromptAndProgram]) -> TrainingSet:
    """Return the pairs of kto: the preferred ones, and at most as many failed programs."""
    taken = failed[: len(preferred)]
    pairs = list(preferred)
    for prompt, program in taken:
        pairs.append(TrainingPair(prompt, program, score=0.0, desirable=False))
    left_out = len(failed) - len(taken)
    return TrainingSet("kto", pairs, left_out)


def _in_pairs(
    preferred: list[TrainingPair], failed: list[PromptAndProgram], rng: random.Random
) -> TrainingSet:
    """Return the pairs of dpo: to each failed program one that answers the very same prompt, taken
    in turn."""
    by_prompt: dict[str, list[TrainingPair]] = {}
    for pair in preferred:
        by_prompt.setdefault(pair.prompt, []).append(pair)
    for answers in by_prompt.values():
        rng.shuffle(answers)

    taken = dict.fromkeys(by_prompt, 0)
    pairs = []
    for prompt, program in failed:
        if prompt in by_prompt:
            answers = by_prompt[prompt]
            chosen = answers[taken[prompt] % len(answers)]
            # In turn, so that no preferred program is repeated before all were.
            taken[prompt] += 1
            pairs.append(dataclasses.replace(chosen, rejected=program))
    return TrainingSet("dpo", pairs, len(failed) - len(pairs))
