"""Questions to the corpus from the terminal."""

import shutil
import subprocess
import sys

import polars as pl
import pytest
from edit_pairs import PLAIN, RESIDUAL
from small_cycle import ADMISSION, DATASET, EMPTY, NOVELTY, PROGRAMS, cycle, joined

from archloop.corpus.admit import admit
from archloop.corpus.candidate_rows import join
from archloop.corpus.tables import write_candidates, write_corpus


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A seed corpus of two programs and two cycles of a chain."""
    folder = tmp_path_factory.mktemp("results")
    seed = cycle((PROGRAMS[0], 0.8), (PROGRAMS[1], 0.7), chain="seed", number=0)
    for row in seed[0]:
        row["family"] = "plain"
    _, corpus = admit(join(*seed), EMPTY, DATASET, ADMISSION, NOVELTY)
    write_corpus(corpus, folder / "seed" / "corpus.parquet")
    skipped = RESIDUAL.replace("x = F.relu(self.stem", "x = F.silu(self.stem")
    cycles = [((PLAIN, 0.6), ("forward",), (PROGRAMS[0], 0.5)), ((RESIDUAL, 0.9), (skipped, 0.5), (PROGRAMS[2], 0.1))]
    for number, entries in enumerate(cycles, start=1):
        candidates, records = cycle(*entries, number=number)
        candidates[0]["references"] = ["seed-00-0000"] if number == 1 else ["main-01-0000"]
        whole, shard = admit(join(candidates, records), corpus, DATASET, ADMISSION, NOVELTY)
        write_candidates(whole, folder / "main" / f"cycle-{number}" / "candidates.parquet")
        write_corpus(shard, folder / "main" / f"cycle-{number}" / "corpus.parquet")
        corpus = pl.concat([corpus, shard])
    return folder


def ask(root, results, *arguments: str) -> subprocess.CompletedProcess:
    script = [sys.executable, str(root / "scripts" / "inspect_corpus.py"), *arguments, "--results", str(results)]
    return subprocess.run(script, capture_output=True, text=True)


def answer(root, results, *arguments: str) -> list[list[str]]:
    done = ask(root, results, *arguments)
    assert done.returncode == 0, done.stderr
    return [line.split() for line in done.stdout.splitlines()]


def test_counts_per_cycle_add_up(root, results):
    found = answer(root, results, "counts")
    assert found[1:] == [
        ["seed", "0", "2", "2"],
        ["main", "1", "3", "2", "0", "1", "1", "3"],
        ["main", "2", "3", "3", "1", "1", "1", "4"],
    ]


def test_what_a_terminal_obeys_is_shown_as_escapes(root, results, tmp_path):
    folder = shutil.copytree(results, tmp_path / "results")
    painted = RESIDUAL.replace("class Block", "# \x1b[2J\x1b]0;owned\x07\u202e\r\nclass Block")
    whole, shard = admit(joined((painted, 0.6), chain="x"), EMPTY, DATASET, ADMISSION, NOVELTY)
    earlier = pl.DataFrame({"nearest_id": ["main-02-0000"], "nearest_similarity": [0.9], "nearest_exact": [True]})
    write_candidates(whole.with_columns(*earlier.iter_columns()), folder / "x" / "cycle-1" / "candidates.parquet")
    write_corpus(shard, folder / "x" / "cycle-1" / "corpus.parquet")
    text = ask(root, folder, "diff", "x-01-0000").stdout
    assert "\\x1b[2J\\x1b]0;owned\\x07\\u202e" in text
    assert not set(text) & set("\x1b\x07\u202e\r")


def test_the_best_come_first(root, results):
    found = answer(root, results, "best", "--count", "3")
    assert [line[0] for line in found[1:]] == ["main-02-0000", "seed-00-0000", "seed-00-0001"]


def test_neighbours_are_in_the_order_of_their_similarity(root, results):
    found = answer(root, results, "neighbours", "main-02-0001", "--count", "2")
    assert found[1][0] == "main-02-0000" and 0.9 < float(found[1][1]) < 1
    assert float(found[2][1]) < float(found[1][1])


def test_the_lineage_goes_back_to_the_seed_corpus(root, results):
    text = ask(root, results, "lineage", "main-02-0000").stdout
    assert "chain main, cycle 2, candidate 0" in text and "prompt main-02-0000-p, adapter ab" in text
    assert text.index("main-02-0000:") < text.index("main-01-0000:") < text.index("seed-00-0000:")
    assert "seed corpus, family plain" in text


def test_the_lineage_of_a_transferred_design_is_that_of_the_one_it_was(root, results, tmp_path):
    folder = shutil.copytree(results, tmp_path / "results")
    candidates, records = cycle((RESIDUAL, 0.6), chain="designs")
    candidates[0]["origin"] = "main-02-0000"
    whole, shard = admit(join(candidates, records), EMPTY, DATASET, ADMISSION, NOVELTY)
    write_candidates(whole, folder / "designs" / "cycle-1" / "candidates.parquet")
    write_corpus(shard, folder / "designs" / "cycle-1" / "corpus.parquet")
    text = ask(root, folder, "lineage", "designs-01-0000").stdout
    assert text.index("designs-01-0000:") < text.index("the same program as") < text.index("main-02-0000:")
    assert "prompt main-02-0000-p" in text and "seed-00-0000:" in text


def test_a_diff_shows_what_sets_a_program_apart_from_its_nearest(root, results):
    text = ask(root, results, "diff", "main-02-0001").stdout
    assert "main-02-0001 and its nearest, main-02-0000 of same_cycle: similarity 0.9" in text
    assert "-        x = F.relu(self.stem(x))\n+        x = F.silu(self.stem(x))" in text


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("lineage", "main-2-0000"), "there is no main-2-0000; did you mean main-02-0000?"),
        (("diff", "main-01-0001"), "main-01-0001 has no program: forward"),
        (("diff", "seed-00-0000"), "seed-00-0000 has no nearest neighbour on record"),
        (("lineage",), "lineage wants the id of a program"),
    ],
)
def test_a_question_without_an_answer_ends_with_one_line(root, results, arguments, says):
    done = ask(root, results, *arguments)
    assert done.returncode == 1 and says in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("count", ["0", "9" * 20])
def test_a_count_that_no_table_has_is_refused(root, results, count):
    done = ask(root, results, "best", "--count", count)
    assert done.returncode == 2 and "1<=x<=10000" in done.stderr and "Traceback" not in done.stderr


def test_a_folder_without_results_is_named(root, tmp_path):
    done = ask(root, tmp_path, "counts")
    assert done.returncode == 1 and "no corpus here" in done.stderr


def test_a_chain_that_is_not_there_is_named(root, results):
    done = ask(root, results, "best", "--chain", "nope")
    assert done.returncode == 1
    assert "there is no chain nope; there are main" in done.stderr
