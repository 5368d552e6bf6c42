"""The verdict on candidates: funnel, thresholds, filling, duplicates, gates."""

import subprocess
import sys
from dataclasses import replace

import polars as pl
import pytest
from small_cycle import ADMISSION, DATASET, EMPTY, NOVELTY, PROGRAMS, cycle, joined
from small_data import dataset_metadata, write_few_digits

from archloop.corpus.admit import CycleFiles, accuracy_threshold, admit
from archloop.corpus.candidate_rows import join, read_evaluations
from archloop.corpus.tables import CANDIDATES, CORPUS, read_candidates, read_corpus, write_candidates, write_corpus
from archloop.errors import InputError
from archloop.files import write_json, write_jsonl
from archloop.novelty.repeats import COLUMNS
from archloop.novelty.tokens import text_digest


def verdicts(*entries, corpus=EMPTY, admission=ADMISSION, novelty=NOVELTY) -> list[str]:
    whole, _ = admit(joined(*entries), corpus, DATASET, admission, novelty)
    return whole["outcome"].to_list()


def test_every_candidate_ends_at_exactly_one_outcome():
    whole, shard = admit(
        joined((PROGRAMS[0], 0.5), ("forward",), (PROGRAMS[1], 0.2), (PROGRAMS[0], 0.45), ("diverged",)),
        EMPTY,
        DATASET,
        ADMISSION,
        NOVELTY,
    )
    assert whole["outcome"].to_list() == ["admitted", "forward", "below_threshold", "near_copy", "diverged"]
    assert shard["id"].to_list() == ["main-01-0000"]


def test_the_candidates_of_earlier_cycles_lie_beside_those_that_are_written(tmp_path):
    here = tmp_path / "main" / "cycle-3" / "candidates.parquet"
    files = CycleFiles([], [], [], tmp_path / "digits.safetensors", cycle=3, candidates=here)
    assert files.earlier() == [tmp_path / "main" / f"cycle-{k}" / "candidates.parquet" for k in (1, 2)]


def test_of_twins_the_better_is_admitted_and_the_other_is_its_near_copy():
    whole, _ = admit(joined((PROGRAMS[0], 0.5), (PROGRAMS[0], 0.6)), EMPTY, DATASET, ADMISSION, NOVELTY)
    assert whole["outcome"].to_list() == ["near_copy", "admitted"]
    row = whole.row(0, named=True)
    assert (row["nearest_id"], row["nearest_similarity"], row["nearest_exact"]) == ("main-01-0001", 1.0, True)
    assert row["nearest_source"] == "same_cycle"


def test_between_equal_twins_the_smaller_id_is_admitted():
    assert verdicts((PROGRAMS[0], 0.5), (PROGRAMS[0], 0.5)) == ["admitted", "near_copy"]


def test_a_copy_of_the_corpus_is_refused_in_a_later_cycle_and_its_source_is_named():
    _, first = admit(joined((PROGRAMS[0], 0.5)), EMPTY, DATASET, ADMISSION, NOVELTY)
    later = cycle((PROGRAMS[0], 0.9), (PROGRAMS[1], 0.9), number=2)
    whole, _ = admit(join(*later), first, DATASET, ADMISSION, NOVELTY)
    assert whole["outcome"].to_list() == ["near_copy", "admitted"]
    assert whole["nearest_source"].to_list()[0] == "earlier"


def test_a_design_of_the_chain_that_the_adapter_comes_from_is_known_and_its_source_is_named():
    _, inherited = admit(joined((PROGRAMS[0], 0.5)), EMPTY, DATASET, ADMISSION, NOVELTY)
    here = cycle((PROGRAMS[0], 0.9), (PROGRAMS[1], 0.9), chain="transfer")
    whole, _ = admit(join(*here), inherited, DATASET, ADMISSION, NOVELTY)
    assert whole["outcome"].to_list() == ["near_copy", "admitted"]
    assert whole["nearest_source"].to_list()[0] == "inherited"


@pytest.mark.parametrize("gate", ["text", "graph", "either", "none"])
@pytest.mark.parametrize("accuracy", [0.3, 0.5])
def test_repeats_are_told_whatever_they_score(accuracy, gate):
    entries = [(PROGRAMS[0], accuracy, "a")] * 48
    whole, _ = admit(joined(*entries), EMPTY, DATASET, ADMISSION, replace(NOVELTY, gate=gate))
    assert whole["repeat_of"].to_list() == [None, *["main-01-0000"] * 47]
    assert whole["text_digest"].n_unique() == 1


def test_a_repeat_of_an_earlier_cycle_is_told_although_nothing_of_it_was_admitted():
    first, _ = admit(joined((PROGRAMS[0], 0.1), (PROGRAMS[1], 0.2)), EMPTY, DATASET, ADMISSION, NOVELTY)
    entries = [(PROGRAMS[1], 0.9), (PROGRAMS[2], 0.3), (PROGRAMS[0], 0.3)]
    later = cycle(*entries, number=2)
    alone = admit(join(*later), EMPTY, DATASET, ADMISSION, NOVELTY)
    whole, shard = admit(join(*later), EMPTY, DATASET, ADMISSION, NOVELTY, first.select(COLUMNS))
    assert whole["repeat_of"].to_list() == ["main-01-0001", None, "main-01-0000"]
    assert whole["repeat_similarity"].to_list()[0] == 1.0
    # The gate asks what was admitted, and stays as it is.
    assert whole["outcome"].equals(alone[0]["outcome"]) and shard.equals(alone[1].with_columns(shard["id"]))


def test_the_nearest_of_a_novel_program_is_an_estimate_and_marked_as_one():
    whole, _ = admit(joined((PROGRAMS[0], 0.6), (PROGRAMS[1], 0.5)), EMPTY, DATASET, ADMISSION, NOVELTY)
    row = whole.row(1, named=True)
    assert row["nearest_id"] == "main-01-0000"
    assert row["nearest_exact"] is False
    assert 0 < row["nearest_similarity"] < 0.8


@pytest.mark.parametrize(
    ("gate", "expected"), [("text", "admitted"), ("graph", "near_copy"), ("either", "near_copy")], ids=str
)
def test_the_same_graph_in_other_words_is_refused_by_the_gates_that_look_at_graphs(gate, expected):
    outcomes = verdicts((PROGRAMS[0], 0.6, "a"), (PROGRAMS[1], 0.5, "a"), novelty=replace(NOVELTY, gate=gate))
    assert outcomes == ["admitted", expected]


@pytest.mark.parametrize(
    ("gate", "expected"), [("text", "near_copy"), ("graph", "admitted"), ("either", "near_copy")], ids=str
)
def test_the_same_text_with_another_graph_is_refused_by_the_gates_that_look_at_text(gate, expected):
    outcomes = verdicts((PROGRAMS[0], 0.6, "a"), (PROGRAMS[0], 0.5, "b"), novelty=replace(NOVELTY, gate=gate))
    assert outcomes == ["admitted", expected]


def test_what_could_not_be_traced_is_compared_by_its_text_and_says_so():
    whole, _ = admit(joined((PROGRAMS[0], 0.5)), EMPTY, DATASET, ADMISSION, NOVELTY)
    assert whole["graph_method"].to_list() == ["text"]
    assert len(whole["graph_digest"][0]) == 64


def test_a_fingerprint_that_is_none_is_not_believed():
    candidates, records = cycle((PROGRAMS[0], 0.5))
    records[0]["graph"] = {"digest": "../x", "method": "trace"}
    assert join(candidates, records)[0]["graph_method"] == "text"


def test_an_answer_of_any_letters_is_recorded():
    candidates, records = cycle(("unparseable",), (PROGRAMS[0], 0.5))
    candidates[0] |= {"program": "\ud800\0\x1b", "raw": "\udfff" * 9}
    records[0]["detail"] = "\ud800"
    whole, _ = admit(join(candidates, records), EMPTY, DATASET, ADMISSION, NOVELTY)
    assert whole["outcome"].to_list() == ["unparseable", "admitted"]
    assert whole["program"][0] == "\\ud800\0\x1b"


def test_a_relative_threshold_counts_from_chance():
    relative = replace(ADMISSION, relative_to_chance=True)  # 0.1 + 0.4 * 0.9 = 0.46
    assert verdicts((PROGRAMS[0], 0.45), (PROGRAMS[1], 0.47), admission=relative) == ["below_threshold", "admitted"]


def test_by_balanced_accuracy_whoever_always_says_one_class_is_at_chance():
    candidates, records = cycle((PROGRAMS[0], 0.95), (PROGRAMS[1], 0.7))
    for record, balanced in zip(records, (0.5, 0.8)):
        record["balanced_accuracy"] = balanced
    uneven = dataset_metadata(name="folder", classes=2, chance=0.95)
    relative = replace(ADMISSION, relative_to_chance=True, measure="balanced_accuracy")  # 0.5 + 0.4 * 0.5 = 0.7
    whole, _ = admit(join(candidates, records), EMPTY, uneven, relative, NOVELTY)
    assert whole["outcome"].to_list() == ["below_threshold", "admitted"]
    assert whole["score"].to_list() == [0.5, 0.8]


def test_by_accuracy_whoever_always_says_the_commonest_class_is_at_chance():
    relative = replace(ADMISSION, relative_to_chance=True)  # 0.95 + 0.4 * 0.05 = 0.97
    uneven = dataset_metadata(name="folder", classes=2, chance=0.95)
    whole, _ = admit(joined((PROGRAMS[0], 0.95), (PROGRAMS[1], 0.98)), EMPTY, uneven, relative, NOVELTY)
    assert whole["outcome"].to_list() == ["below_threshold", "admitted"]


def test_who_is_exactly_at_the_threshold_or_at_the_floor_is_in():
    filling = replace(ADMISSION, minimum_admitted=3, fill_accuracy=0.35)
    outcomes = verdicts(*zip(PROGRAMS, (0.4, 0.3999, 0.35, 0.3499)), admission=replace(filling, minimum_admitted=9))
    assert outcomes == ["admitted", "admitted", "admitted", "below_threshold"]
    assert verdicts((PROGRAMS[0], 0.4), (PROGRAMS[1], 0.3999)) == ["admitted", "below_threshold"]


@pytest.mark.parametrize(
    ("relative", "measure", "share", "expected"),
    [
        (False, "accuracy", None, 0.4),
        (False, "balanced_accuracy", 0.35, 0.35),
        (True, "accuracy", None, 0.3 + 0.4 * 0.7),
        (True, "accuracy", 0.0, 0.3),
        (True, "balanced_accuracy", 0.5, 0.25 + 0.5 * 0.75),
    ],
)
def test_a_threshold_is_a_share_of_the_way_from_chance_to_perfect(relative, measure, share, expected):
    admission = replace(ADMISSION, relative_to_chance=relative, measure=measure)
    assert accuracy_threshold(admission, dataset_metadata(chance=0.3, classes=4), share) == pytest.approx(expected)


def test_the_nearest_of_several_admitted_ones_is_the_most_similar():
    entries = [(PROGRAMS[0], 0.9), (PROGRAMS[1], 0.8), (PROGRAMS[2], 0.7)]
    close = PROGRAMS[1].replace("16", "18").replace("32", "36") + "\n\ndef more(a, b):\n    return [a + b, a * b]\n"
    whole, _ = admit(joined(*entries, (close, 0.6)), EMPTY, DATASET, ADMISSION, NOVELTY)
    assert whole["nearest_id"][3] == "main-01-0001" and whole["nearest_source"][3] == "same_cycle"


def test_candidates_carry_the_data_set_and_what_their_record_and_its_protocol_say(tmp_path):
    candidates, records = cycle((PROGRAMS[0], 0.5, "a"), ("forward",))
    records[0] |= {"accuracy_sd": 0.01, "balanced_accuracy": 0.4, "test_accuracy": 0.45, "multiply_adds": 7}
    write_json(tmp_path / "0.json", {"records": records, "protocol": {"seed": 1, "epochs": 2}})
    read = read_evaluations([tmp_path / "0.json"])
    assert [row["protocol"] for row in read] == ['{"epochs": 2, "seed": 1}'] * 2
    whole, shard = admit(join(candidates, read), EMPTY, DATASET, ADMISSION, NOVELTY)
    assert whole["dataset"].to_list() == ["digits", "digits"]
    row = shard.row(0, named=True)
    expected = {
        "accuracy": 0.5,
        "accuracy_sd": 0.01,
        "balanced_accuracy": 0.4,
        "test_accuracy": 0.45,
        "parameters": 1000,
    }
    expected |= {"multiply_adds": 7, "evaluation": "key0", "protocol": '{"epochs": 2, "seed": 1}', "seed": 0}
    expected |= {"prompt_id": "main-01-0000-p", "prompt": "Design.\n", "references": [], "adapter": "ab", "cycle": 1}
    expected |= {"graph_digest": "a" * 64, "graph_method": "trace", "shingle_tokens": 10, "outcome": "admitted"}
    assert {name: row[name] for name in expected} == expected
    assert len(row["signature"]) == 1024
    assert whole["text_digest"].to_list() == [text_digest(PROGRAMS[0]), None]
    failed = whole.row(1, named=True)
    assert (failed["score"], failed["signature"], failed["graph_digest"], failed["raw"]) == (None, None, None, "```")


def test_a_record_without_what_admission_needs_is_refused_with_its_file(tmp_path):
    _, records = cycle((PROGRAMS[0], 0.5))
    del records[0]["detail"]
    write_json(tmp_path / "0.json", {"records": records})
    with pytest.raises(InputError, match=r"0\.json: lacks detail"):
        read_evaluations([tmp_path / "0.json"])


def test_filling_goes_best_first_until_enough_are_in_and_never_below_its_floor():
    filling = replace(ADMISSION, minimum_admitted=3, fill_accuracy=0.35)
    entries = zip(PROGRAMS, (0.5, 0.36, 0.38, 0.39, 0.34))
    outcomes = verdicts(*entries, admission=filling)
    assert outcomes == ["admitted", "below_threshold", "admitted", "admitted", "below_threshold"]


def test_filling_never_lets_a_near_copy_in():
    filling = replace(ADMISSION, minimum_admitted=3, fill_accuracy=0.35)
    assert verdicts((PROGRAMS[0], 0.5), (PROGRAMS[0], 0.38), admission=filling) == ["admitted", "near_copy"]


def test_a_cycle_that_admits_nothing_writes_an_empty_shard_with_the_whole_schema(tmp_path):
    whole, shard = admit(joined(("unparseable",), ("forward",)), EMPTY, DATASET, ADMISSION, NOVELTY)
    write_candidates(whole, tmp_path / "candidates.parquet")
    write_corpus(shard, tmp_path / "corpus.parquet")
    assert dict(read_corpus([tmp_path / "corpus.parquet"]).schema) == CORPUS
    assert dict(read_candidates([tmp_path / "candidates.parquet"]).schema) == CANDIDATES


@pytest.mark.parametrize(("missing", "of"), [("accuracy", 1), ("program", 0)])
def test_a_trained_candidate_without_what_it_is_judged_by_is_one_line(missing, of):
    entries = cycle((PROGRAMS[0], 0.5))
    entries[of][0][missing] = None
    with pytest.raises(
        InputError, match=rf"main-01-0000: trained, but without a {missing}; delete results/main/cycle-1/evaluated/"
    ):
        admit(join(*entries), EMPTY, DATASET, ADMISSION, NOVELTY)


def test_candidates_and_records_that_do_not_match_are_refused():
    candidates, records = cycle((PROGRAMS[0], 0.5), ("forward",))
    for wrong in (records[:1], records + records[:1], [records[0], records[1] | {"id": "x"}]):
        with pytest.raises(InputError, match="candidates but"):
            join(candidates, wrong)


def test_what_to_delete_is_named_where_evaluations_are_missing():
    candidates, records = cycle((PROGRAMS[0], 0.5), ("forward",))
    with pytest.raises(InputError) as caught:
        join([row | {"chain": "main", "cycle": 3} for row in candidates], records[:1])
    assert str(caught.value) == (
        f"2 candidates but 1 evaluations ({candidates[1]['id']} has none); delete results/main/cycle-3/evaluated/ and"
        " start again: finished scores are kept in results/evaluations/"
    )


def test_verdicts_depend_on_neither_the_order_of_the_shards_nor_that_of_the_candidates():
    shards = []
    for number, program in enumerate(PROGRAMS[:4], start=1):
        _, shard = admit(joined((program, 0.5, "abcd"[number - 1]), number=number), EMPTY, DATASET, ADMISSION, NOVELTY)
        shards.append(shard)
    entries = [(program, 0.5 + 0.01 * (index % 3), "abcdefgh"[index]) for index, program in enumerate(PROGRAMS)]
    candidates, records = cycle(*entries, *entries[4:], number=9)
    one = admit(join(candidates, records), pl.concat(shards), DATASET, ADMISSION, NOVELTY)
    two = admit(join(candidates[::-1], records[3:] + records[:3]), pl.concat(shards[::-1]), DATASET, ADMISSION, NOVELTY)
    assert one[0].equals(two[0]) and one[1].equals(two[1])
    assert one[0]["outcome"].to_list() == ["near_copy"] * 4 + ["admitted"] * 4 + ["near_copy"] * 4


def test_a_chain_with_another_shingle_size_signs_the_corpus_anew():
    _, first = admit(joined((PROGRAMS[0], 0.5)), EMPTY, DATASET, ADMISSION, NOVELTY)
    later = cycle((PROGRAMS[0], 0.9), number=2)
    whole, _ = admit(join(*later), first, DATASET, ADMISSION, replace(NOVELTY, shingle_tokens=5))
    assert whole["outcome"].to_list() == ["near_copy"]
    assert whole["shingle_tokens"].to_list() == [5]


def test_without_a_gate_copies_are_admitted_and_their_likeness_is_recorded_all_the_same():
    entries = [(PROGRAMS[0], 0.9, "a"), (PROGRAMS[0], 0.8, "a"), (PROGRAMS[1], 0.1, "b")]
    whole, shard = admit(joined(*entries), EMPTY, DATASET, ADMISSION, replace(NOVELTY, gate="none"))
    assert whole["outcome"].to_list() == ["admitted", "admitted", "below_threshold"] and shard.height == 2
    assert (whole["nearest_similarity"][1], whole["graph_match_id"][1]) == (1.0, "main-01-0000")


def test_a_cycle_without_candidates_has_an_empty_table():
    whole, shard = admit([], EMPTY, DATASET, ADMISSION, NOVELTY)
    assert whole.height == shard.height == 0


def test_the_script_compares_with_the_cycles_that_lie_beside_its_own(root, tmp_path):
    data = write_few_digits(tmp_path / "digits.safetensors", images=8)
    _, seeds = admit(joined((PROGRAMS[2], 0.5), chain="seed", number=0), EMPTY, DATASET, ADMISSION, NOVELTY)
    write_corpus(seeds, tmp_path / "seed.parquet")
    for number in (1, 2):
        folder = tmp_path / "results" / "main" / f"cycle-{number}"
        candidates, records = cycle((PROGRAMS[0], 0.1), number=number)
        write_jsonl(folder / "generated" / "0.jsonl", candidates)
        write_json(folder / "evaluated" / "0.json", {"records": records, "protocol": {}})
        arguments = ["--generated", folder / "generated/0.jsonl", "--evaluated", folder / "evaluated/0.json"]
        arguments += ["--corpus", tmp_path / "seed.parquet", "--dataset", data, "--cycle", number]
        arguments += ["--candidates-output", folder / "candidates.parquet"]
        arguments += ["--corpus-output", folder / "corpus.parquet"]
        subprocess.run([sys.executable, root / "scripts" / "admit.py", *map(str, arguments)], check=True)
    tables = sorted(tmp_path.glob("results/main/*/candidates.parquet"))
    repeated = [read_candidates([path])["repeat_of"][0] for path in tables]
    assert repeated == [None, "main-01-0000"]
