"""The one home of the names below results/: folders, ids, shards; and that nothing else builds them by hand."""

import re
from pathlib import Path

import pytest

from archloop.layout import (
    ROOT,
    Cell,
    cell_of,
    cells_with,
    dataset_path,
    evaluated,
    generated,
    indices_of_shard,
    is_in_shard,
    manifest_path,
    run_record,
)

RESULTS = Path("results")
# A folder of a cycle, and the id of a candidate or prompt, put together from their parts.
BY_HAND = re.compile(r"""cycle-[{(*)\[\\"']|\{[\w.\[\]"']*cycle\}?:02d\}|:04d\}""")


def test_a_cycle_has_a_folder_of_its_own_and_cycle_0_is_that_of_its_chain():
    assert Cell("main", 3).folder(RESULTS) == Path("results/main/cycle-3")
    assert Cell("seed", 0).folder(RESULTS) == Path("results/seed")


def test_ids_name_chain_cycle_and_index():
    cell = Cell("main_s2", 3)
    assert (cell.candidate_id(7), cell.prompt_id(7)) == ("main_s2-03-0007", "main_s2-03-p0007")
    assert Cell("main", 123).candidate_id(12345) == "main-123-12345"


@pytest.mark.parametrize(
    ("path", "cell"),
    [
        ("main/cycle-3", Cell("main", 3)),
        ("main/cycle-12/evaluated/0.json", Cell("main", 12)),
        ("main/cycle-0", None),
        ("main/cycle-x/summary.json", None),
        ("main/cycle-03", None),
        ("main/architectures/index.json", None),
        ("seed/corpus.parquet", None),
        ("report", None),
    ],
)
def test_the_cell_of_a_path_is_read_from_its_folders(path, cell):
    assert cell_of(Path(path)) == cell


def test_cells_come_by_chain_and_number_and_only_where_the_file_is(tmp_path):
    for chain, cycle in (("b", 10), ("b", 9), ("a", 1)):
        folder = Cell(chain, cycle).folder(tmp_path)
        folder.mkdir(parents=True)
        (folder / "summary.json").touch()
    (tmp_path / "a" / "cycle-2").mkdir()
    (tmp_path / "a" / "cycle-none").mkdir()
    finished = [Cell("a", 1), Cell("b", 9), Cell("b", 10)]
    assert cells_with(tmp_path, "summary.json") == finished
    assert cells_with(tmp_path, "summary.json", "b") == finished[1:]
    assert cells_with(tmp_path) == [Cell("a", 1), Cell("a", 2), *finished[1:]]


def test_candidates_are_dealt_out_in_turn():
    shards = [list(indices_of_shard(7, shard, 3)) for shard in range(3)]
    assert shards == [[0, 3, 6], [1, 4], [2, 5]]
    for shard in range(3):
        assert [index for index in range(7) if is_in_shard(index, shard, 3)] == shards[shard]


def test_files_of_a_shard_and_of_the_resources():
    assert (generated(2), evaluated(2)) == ("generated/2.jsonl", "evaluated/2.json")
    assert run_record(generated(2)) == "generated/2.run.json"
    assert run_record(evaluated("{shard}")) == "evaluated/{shard}.run.json"
    assert dataset_path("digits") == Path("resources/datasets/digits.safetensors")
    assert manifest_path("tiny", Path("r")) == Path("r/models/tiny/manifest.json")


def test_nothing_else_builds_a_folder_of_a_cycle_or_an_id_by_hand():
    sources = [*(ROOT / "scripts").rglob("*.py"), *(ROOT / "rules").iterdir(), ROOT / "Snakefile"]
    found = []
    for path in sources:
        if path.name == "layout.py":
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if BY_HAND.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()}")
    assert found == []
