"""The programs of the seed corpus as candidates, so that they are measured as any candidate is."""

from collections.abc import Sequence
from pathlib import Path

from archloop.corpus.candidate_rows import Candidate
from archloop.families.programs import SeedProgram, seed_programs
from archloop.files import write_json, write_jsonl
from archloop.layout import SEED
from archloop.model.loading import token_counter
from archloop.seed_corpus.lemur_programs import read_programs
from archloop.seed_corpus.lemur_records import LeftOut
from archloop.settings.sections import SeedCorpus


def write_seed_programs(
    settings: SeedCorpus, model_folder: Path, outputs: Sequence[Path], left_out_output: Path
) -> None:
    """Deal the programs out to the shards, one a line, and write what was left out and why.

    model_folder: of the prepared model, whose tokenizer counts. Raises InputError for families and
    a LEMUR checkout that are not there.
    """
    candidates, left_out = _candidates(settings, model_folder, len(outputs))
    write_json(left_out_output, left_out)
    for shard, path in enumerate(outputs):
        write_jsonl(path, [row for row in candidates if row["shard"] == shard])


def _candidates(
    settings: SeedCorpus, model_folder: Path, shards: int
) -> tuple[list[Candidate], list[LeftOut]]:
    count = token_counter(model_folder)
    longest = settings.max_program_tokens

    def short_enough(program: str) -> bool:
        return longest is None or count(program) <= longest

    candidates: list[Candidate] = []
    if settings.source == "lemur":
        programs, left_out = read_programs(
            settings.lemur_folder, settings.per_family, settings.families, short_enough
        )
        for index, program in enumerate(programs):
            candidate = _candidate(
                index, shards, SeedProgram(program["id"], program["family"], program["program"])
            )
            candidate["hints"] = program["hints"]
            candidate["measured"] = program["measured"]
            candidates.append(candidate)

        return candidates, left_out

    chosen = seed_programs(settings.per_family, settings.families, short_enough)
    for index, seed in enumerate(chosen):
        candidates.append(_candidate(index, shards, seed))
    return candidates, []


def _candidate(index: int, shards: int, program: SeedProgram) -> Candidate:
    return {
        "id": program.id,
        "chain": SEED,
        "cycle": 0,
        "index": index,
        "shard": index % shards,
        "family": program.family,
        "program": program.program,
    }
