"""The report's numbers, recomputed from the parquet files by another path: plain Python, scipy, and the page's text."""

import csv
import html.parser
import itertools
import json
import math
import re
import shutil
import statistics
import subprocess
import sys
from collections import Counter

import markupsafe
import numpy as np
import polars as pl
import pytest
from scipy import stats
from synthetic_results import LOOK, TEST_IMAGES, settings, write_results

from archloop.corpus.tables import read_corpus
from archloop.errors import InputError
from archloop.files import read_json, write_json
from archloop.outcomes import OUTCOMES, VALID
from archloop.report.figures.findings import Figure
from archloop.report.figures.theme import COLORS, DARK, FATE_COLORS
from archloop.report.graph_drawing import fold
from archloop.report.graphs import judged_programs
from archloop.report.groups import repeat_groups
from archloop.report.page.best_design import best_design
from archloop.report.page.gallery import gallery
from archloop.report.parts import FIGURES, TABLES
from archloop.report.report import all_tables, page, write_report
from archloop.report.results import read_results
from archloop.report.summarize import read_training
from archloop.report.tables.per_candidate import FATES, front, reason
from archloop.report.wording import per_100

CHAINS = {
    "main": {"dataset": "cifar10", "cycles": 3},
    "again": {"dataset": "cifar10", "cycles": 3, "cycle": {"shards": 2}},  # which changes no candidate
    "hot": {"dataset": "cifar10", "cycles": 3, "generation": {"temperature": 0.9}},
    "svhn": {"dataset": "svhn", "start": "main", "cycles": 2},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_results(tmp_path_factory.mktemp("results"), settings(CHAINS), 60)


@pytest.fixture(scope="module")
def made(folder, tmp_path_factory):
    """The report of the folder."""
    output = tmp_path_factory.mktemp("report")
    write_report(read_results(folder), LOOK, output)
    return output


def table(made, name: str) -> list[dict]:
    return pl.read_parquet(made / "tables" / f"{name}.parquet").to_dicts()


def candidates(folder, chain: str, cycle: int) -> list[dict]:
    """The candidates of a cycle, read without the project's reader."""
    return pl.read_parquet(folder / chain / f"cycle-{cycle}" / "candidates.parquet").to_dicts()


def cells() -> list[tuple[str, int]]:
    return [(name, cycle) for name, chain in CHAINS.items() for cycle in range(1, chain["cycles"] + 1)]


class Tables(html.parser.HTMLParser):
    """All tables of a page as rows of texts; tags inside a cell are dropped."""

    def __init__(self, page: str):
        super().__init__()
        self.tables, self.open = [], False
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self.open = True

    def handle_endtag(self, tag):
        self.open = self.open and tag not in ("td", "th")

    def handle_data(self, text):
        if self.open:
            self.tables[-1][-1][-1] += text


def test_every_declared_file_is_there_and_csv_and_parquet_say_the_same(made):
    for name in TABLES:
        rows = list(csv.DictReader((made / "tables" / f"{name}.csv").open(newline="")))
        assert len(rows) == len(table(made, name))
    assert {path.stem for path in (made / "tables").iterdir()} == set(TABLES)
    for name in FIGURES:
        assert (made / "figures" / f"{name}.svg").read_text().startswith("<svg")
        assert (made / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")


def test_the_funnel_and_the_rates_of_every_cycle(folder, made):
    rows = {(row["chain"], row["cycle"]): row for row in table(made, "cycles")}
    assert set(rows) == set(cells())
    for cell in cells():
        found, row = candidates(folder, *cell), rows[cell]
        counts = Counter(candidate["outcome"] for candidate in found)
        assert {name: row[name] for name in OUTCOMES} == {name: counts[name] for name in OUTCOMES}
        assert sum(row[name] for name in OUTCOMES) == row["candidates"] == len(found) == 60
        scores = [candidate["accuracy"] for candidate in found if candidate["outcome"] in VALID]
        above = sum(score >= 0.4 for score in scores)
        for name, count, of in (
            ("valid", len(scores), 60),
            ("at_threshold", above, len(scores)),
            ("yield", counts["admitted"], 60),
        ):
            wilson = stats.binomtest(count, of).proportion_ci(method="wilson")
            assert [row[f"{name}_{part}"] for part in ("count", "of", "share", "low", "high")] == pytest.approx(
                [count, of, count / of, wilson.low, wilson.high]
            )
        interval = stats.t.interval(0.95, len(scores) - 1, statistics.fmean(scores), stats.sem(scores))
        assert [row["accuracy_low"], row["accuracy_high"]] == pytest.approx(interval)
        assert row["accuracy_mean"] == pytest.approx(statistics.fmean(scores))
        assert row["accuracy_median"] == pytest.approx(statistics.median(scores))
        assert row["accuracy_best"] == max(scores)


def kind(candidate: dict, seeds: set[str]) -> str:
    near = candidate["nearest_exact"] and candidate["nearest_similarity"] >= 0.9
    repeats = {candidate["repeat_of"], candidate["graph_match_id"]} - {None}
    if (near and candidate["nearest_source"] == "seed") or repeats & seeds:
        return "copy_seed"
    if near or repeats:
        return "copy_own"
    return "new_good" if candidate["accuracy"] >= 0.4 else "new_below"


def test_the_fates_of_a_cycle_add_up_to_all_that_was_generated(folder, made):
    seeds = set(pl.read_parquet(folder / "seed" / "corpus.parquet")["id"])
    rows = {(row["chain"], row["cycle"]): row for row in table(made, "fates")}
    assert set(rows) == set(cells())
    for cell in cells():
        found, row = candidates(folder, *cell), rows[cell]
        valid = [candidate for candidate in found if candidate["outcome"] in VALID]
        counts = Counter(kind(candidate, seeds) for candidate in valid) + Counter(fails=len(found) - len(valid))
        assert {name: row[name] for name in FATES} == {name: counts[name] for name in FATES}
        assert sum(row[name] for name in FATES) == row["candidates"] == len(found)
        admitted = [candidate["test_accuracy"] for candidate in found if candidate["outcome"] == "admitted"]
        assert (row["admitted"], row["test_n"]) == (len(admitted), len(admitted))
        assert row["test_sum"] == pytest.approx(math.fsum(admitted))
        assert row["distinct"] == len({candidate["text_digest"] for candidate in valid})


@pytest.mark.parametrize("accuracy", [0.3, 0.5])
def test_how_many_copies_there_are_does_not_move_with_accuracy(tmp_path, accuracy):
    # Word for word one program: the gate knows what was admitted alone, and below the threshold it knows none of them.
    def alike(row):
        if row["outcome"] not in VALID:
            return row
        changed = {"accuracy": accuracy, "nearest_similarity": 0.5, "nearest_exact": False, "text_digest": "same"}
        changed |= {"repeat_of": None if row["index"] == 0 else "main-01-0000", "repeat_similarity": 1.0}
        return row | changed | {"outcome": "below_threshold" if accuracy < 0.4 else "near_copy"}

    write_results(tmp_path, settings({"main": {"dataset": "cifar10", "cycles": 1}}), 40, taint=alike)
    tables = all_tables(read_results(tmp_path), LOOK).by_name
    (row,) = tables["fates"].to_dicts()
    assert row["copy_own"] >= row["valid"] - 1 > 10 and row["distinct"] == 1


def test_a_copy_by_its_graph_counts_where_the_gate_looks_at_graphs(tmp_path):
    def same_graph(row):
        return row | {"graph_match_id": "seed-0001", "repeat_of": None} if row["outcome"] in VALID else row

    for gate, copies in (("either", True), ("text", False), ("graph", True)):
        chain = {"main": {"dataset": "cifar10", "cycles": 1, "novelty": {"gate": gate}}}
        write_results(tmp_path / gate, settings(chain), 30, taint=same_graph)
        tables = all_tables(read_results(tmp_path / gate), LOOK).by_name
        (found,) = tables["fates"].to_dicts()
        assert (found["new_good"] + found["new_below"] == 0) == copies


def test_similarity_by_source(folder, made):
    rows = {(row["chain"], row["cycle"], row["source"]): row for row in table(made, "similarity")}
    for cell in cells():
        valid = [candidate for candidate in candidates(folder, *cell) if candidate["outcome"] in VALID]
        for source, wanted in (("seed", {"seed"}), ("own", {"earlier", "same_cycle"})):
            values = [candidate["nearest_similarity"] for candidate in valid if candidate["nearest_source"] in wanted]
            row = rows[*cell, source]
            assert row["n"] == len(values)
            if values:
                expected = np.quantile(values, [0.1, 0.25, 0.5, 0.75, 0.9])
                assert [row[name] for name in ("q10", "q25", "median", "q75", "q90")] == pytest.approx(expected)


def test_diversity_of_what_was_admitted(folder, made):
    for row in table(made, "diversity"):
        shard = read_corpus([folder / row["chain"] / f"cycle-{row['cycle']}" / "corpus.parquet"])
        hashes = [np.frombuffer(signature, "<u4") for signature in shard["signature"]]
        pairs = [1 - float((a == b).mean()) for at, a in enumerate(hashes) for b in hashes[:at]]
        assert row["admitted"] == shard.height
        if pairs:
            assert row["mean_distance"] == pytest.approx(statistics.fmean(pairs))
            assert 1 <= row["effective"] <= shard.height
        assert row["distinct_graphs"] == len(set(shard["graph_digest"]))


def test_the_pareto_front_is_what_nothing_beats(made):
    rows = table(made, "architectures")
    for row in rows:
        beaten = any(
            other["chain"] == row["chain"]
            and other["accuracy"] >= row["accuracy"]
            and other["parameters"] <= row["parameters"]
            and other["id"] != row["id"]
            for other in rows
        )
        assert row["pareto"] is not beaten
    for chain in CHAINS:
        own = [row for row in rows if row["chain"] == chain]
        assert [row["rank"] for row in own] == list(range(1, len(own) + 1))
        assert [row["accuracy"] for row in own] == sorted((row["accuracy"] for row in own), reverse=True)


def test_of_designs_as_accurate_only_the_smallest_is_on_the_front():
    sizes = {"a": (0.6, 900), "b": (0.6, 500), "c": (0.6, 700), "d": (0.5, 500), "e": (0.4, 100)}
    ranked = pl.DataFrame([{"id": name, "accuracy": at, "parameters": size} for name, (at, size) in sizes.items()])
    assert front(ranked).to_list() == [False, True, False, False, True]


def test_the_test_accuracy_of_the_best_design_stands_beside_its_own(folder, made):
    rows = table(made, "architectures")
    for row in table(made, "chains"):
        found = [one for cycle in range(1, row["finished"] + 1) for one in candidates(folder, row["chain"], cycle)]
        best = max((one for one in found if one["outcome"] == "admitted"), key=lambda one: one["accuracy"])
        assert (row["top"], row["top_test"]) == (best["accuracy"], best["test_accuracy"])
        (shown,) = (one for one in rows if one["id"] == best["id"])
        assert (shown["test_accuracy"], shown["accuracy_sd"]) == (best["test_accuracy"], best["accuracy_sd"])


def test_every_failure_has_a_reason_and_an_example(folder, made):
    rows = table(made, "failures")
    for chain, chain_settings in CHAINS.items():
        found = [row for cycle in range(1, chain_settings["cycles"] + 1) for row in candidates(folder, chain, cycle)]
        failed = Counter(row["outcome"] for row in found if row["outcome"] not in VALID)
        by_outcome = Counter()
        for row in rows:
            by_outcome[row["outcome"]] += row["count"] if row["chain"] == chain else 0
        assert +by_outcome == failed
        details = {row["id"]: row["detail"] for row in found}
        assert all(details[row["example_id"]] == row["example_detail"] for row in rows if row["chain"] == chain)


def test_reasons_leave_out_what_differs_between_programs():
    assert reason("line 12: no attribute 'conv7', 3.5 given") == "line #: no attribute '…', # given"
    # What an identifier is called is no number.
    assert reason("Conv2d.__init__() of mat1 (16x30 and 512x10)") == "Conv2d.__init__() of mat1 (# and #)"
    assert len(reason("x" * 500)) == 100


def test_the_cost_is_that_of_the_run_records(folder, made):
    for row in table(made, "cost"):
        place = folder / row["chain"] / f"cycle-{row['cycle']}"
        path = {"generate": "generated/0.run.json", "evaluate": "evaluated/0.run.json", "finetune": "adapter/run.json"}
        record = read_json(place / path[row["stage"]])
        assert row["seconds"] == row["gpu_seconds"] == record["seconds"]
        assert row["reused"] == record.get("reused", 0)
        assert row["evaluations"] == len(record.get("candidates", ()))
        tokens = sum(record.get(name, 0) for name in ("new_tokens", "prompt_tokens", "tokens"))
        assert row["tokens"] == tokens


def test_chains_with_equal_settings_are_repeats(folder):
    assert repeat_groups(read_results(folder)) == [["main", "again"], ["hot"], ["svhn"]]


def test_every_group_is_compared_with_the_loop_over_the_last_cycles_and_what_differs_is_named(folder, made):
    rows = {row["measure"]: row for row in table(made, "contrasts")}
    assert {(row["chain"], row["reference"]) for row in rows.values()} == {("hot", "main, again")}
    row = rows["admitted"]
    assert row["differs"] == "generation.temperature 0.9 (there 0.2)" and row["role"] is None and row["matched"]
    assert (row["first_cycle"], row["last_cycle"]) == (3, 3)
    admitted = {
        chain: 100 * sum(one["outcome"] == "admitted" for one in candidates(folder, chain, 3)) / 60
        for chain in ("main", "again", "hot")
    }
    assert row["value"] == pytest.approx(admitted["hot"])
    assert row["reference_value"] == pytest.approx((admitted["main"] + admitted["again"]) / 2)
    assert row["difference"] == pytest.approx(row["reference_value"] - row["value"])
    assert (row["method"], row["low"], row["p_holm"]) == ("points", None, None), "one run tells nothing of the noise"


def test_the_paper_stands_beside_with_every_point_that_differs(folder, made):
    paper = {(row["chain"], row["cycle"], row["measure"]): row for row in table(made, "paper")}
    assert paper["main", "18", "mean"]["paper"] == 50.99 and paper["main", "18", "mean"]["here"] is None
    assert paper["main", "1", "valid"]["paper"] == 44.0
    cycles = {(row["chain"], row["cycle"]): row for row in table(made, "cycles")}
    assert paper["main", "1", "valid"]["here"] == pytest.approx(100 * cycles["main", 1]["valid_share"])
    assert paper["main", "all", "admitted"]["here"] == sum(cycles["main", cycle]["admitted"] for cycle in (1, 2, 3))
    scores = [c["accuracy"] for cycle in (1, 2, 3) for c in candidates(folder, "main", cycle) if c["outcome"] in VALID]
    interval = stats.t.interval(0.95, len(scores) - 1, statistics.fmean(scores), stats.sem(scores))
    overall = paper["main", "all", "mean"]
    assert [overall["here_low"], overall["here_high"]] == pytest.approx([100 * end for end in interval])
    assert 0 <= paper["svhn", "all", "valid"]["here_low"] <= paper["svhn", "all", "valid"]["here_high"] <= 100
    points = {(row["chain"], row["item"]): row for row in table(made, "protocol")}
    assert points["main", "what counts as valid"]["differs"] and not points["main", "LoRA projections"]["differs"]
    assert points["main", "what selects"]["differs"] and points["svhn", "data set"]["differs"]
    assert not points["main", "data set"]["differs"] and not points["main", "temperature"]["differs"]
    assert points["hot", "temperature"]["differs"] and points["hot", "temperature"]["here"] == "0.9"


def test_the_page_shows_the_numbers_of_the_candidates(folder, made):
    page = Tables((made / "index.html").read_text())
    shown = [rows for rows in page.tables if rows[0][:2] == ["cycle", "candidates"]]
    order = [row["chain"] for row in table(made, "chains")]
    assert len(shown) == len(order) == len(CHAINS)
    for chain, rows in zip(order, shown):
        for row in rows[1:]:
            found = candidates(folder, chain, int(row[0]))
            scores = [candidate["accuracy"] for candidate in found if candidate["outcome"] in VALID]
            values = dict(zip(rows[0], row))
            assert values["candidates"] == str(len(found))
            assert values["valid"] == str(len(scores))
            assert values["admitted"] == str(sum(candidate["outcome"] == "admitted" for candidate in found))
            assert values["mean accuracy"] == f"{100 * math.fsum(scores) / len(scores):.1f} %"
            assert values["best"] == f"{100 * max(scores):.1f} %"


def test_a_figure_says_that_its_last_number_is_a_mean_of_a_third(made):
    rows = [row for row in table(made, "fates") if row["chain"] in ("main", "again")]
    last = [row for row in rows if int(row["cycle"]) == max(int(row["cycle"]) for row in rows)]
    share = 100 * sum(int(row["new_good"]) for row in last) / sum(int(row["candidates"]) for row in last)
    assert f"mean of the last third {per_100(share)}" in (made / "index.html").read_text()


def test_repeats_stand_together_the_loop_first(made):
    assert [row["chain"] for row in table(made, "chains")] == ["main", "again", "hot", "svhn"]
    assert [row["group"] for row in table(made, "chains")][:2] == ["main (2 runs)"] * 2


def test_every_figure_stands_on_the_page_with_its_caption(made, root):
    page = (made / "index.html").read_text()
    for name in FIGURES:
        assert f'href="figures/{name}.svg"' in page
        caption = (root / "report" / "captions" / f"{name}.rst").read_text().strip()
        assert caption and str(markupsafe.escape(caption)) in page


def test_every_figure_is_one_image_with_one_sentence_and_every_table_has_a_caption(made):
    page = (made / "index.html").read_text()
    # The gallery's drawings are hidden: the words beside each say what it shows.
    figures = [figure for figure in re.findall(r"<svg[^>]*>", page) if 'aria-hidden="true"' not in figure]
    assert len(figures) >= 5
    for figure in figures:
        assert 'role="img"' in figure and len(re.search(r'aria-label="([^"]*)"', figure)[1]) > 20, figure
    assert "graphics-symbol" not in page
    outside = re.sub(r'<section id="gallery">.*?</section>', "", page, flags=re.DOTALL)
    assert outside.count("<table") == outside.count("<caption>")
    sentence = re.search(r'aria-label="(The loop\. New[^"]*)"', page)[1]
    last = [one for chain in ("main", "again") for one in table(made, "fates") if one["chain"] == chain][2::3]
    good = 100 * sum(one["new_good"] for one in last) / sum(one["candidates"] for one in last)
    assert f"{good:.0f} in the last" in sentence


def test_a_control_has_no_verdict_and_no_colour_is_anything_but_a_fate(made):
    page = (made / "index.html").read_text()
    assert page.count("<h1>") == 1
    charts = "".join(re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL))
    used = set(re.findall(r"var\(--([\w-]+)\)", charts))
    assert used <= {"ink", "muted", "grid", "card", "on-dark", "on-light", *(name for name, _ in FATE_COLORS.values())}
    assert not re.search(r'(?:fill|stroke)="#', charts)


def test_equal_inputs_give_equal_bytes(folder, made, tmp_path):
    write_report(read_results(folder), LOOK, tmp_path)
    for path in sorted(made.glob("**/*.*")):
        assert (tmp_path / path.relative_to(made)).read_bytes() == path.read_bytes(), path.name


def test_a_partial_report_is_made_by_hand_from_what_there_is(root, tmp_path):
    chains = {"main": {"dataset": "cifar10", "cycles": 5}, "svhn": {"dataset": "svhn", "start": "main", "cycles": 5}}
    write_results(tmp_path / "results", settings(chains), 20, unfinished={"main": 2, "svhn": 0})
    # A cycle that waits for its fine-tuning has a verdict and no summary yet.
    (tmp_path / "results" / "main" / "cycle-2" / "summary.json").unlink()
    script = [sys.executable, str(root / "scripts" / "report.py"), "--results", str(tmp_path / "results")]
    script += ["--output", str(tmp_path / "partial")]
    done = subprocess.run(script, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "partial" / "index.html").read_text()
    assert "A partial report." in page and "main 2 of 5 cycles; no finished cycle yet: svhn." in page
    assert "not finished" in page and "As of cycle 2 of 5: cannot be answered" in page
    refused = subprocess.run([*script, "--whole"], capture_output=True, text=True)
    assert refused.returncode == 1 and "Traceback" not in refused.stderr
    assert "3 cycles of main (3 to 5) are not finished; leave out --whole for a partial report" in refused.stderr


def test_a_repeat_without_a_finished_cycle_takes_no_figure_from_the_others(tmp_path):
    chains = {"main": {"dataset": "cifar10", "cycles": 2}}
    chains["again"] = chains["main"] | {"random_seed": 7}
    write_results(tmp_path, settings(chains), 20, unfinished={"again": 0})
    write_report(read_results(tmp_path), LOOK, tmp_path / "report")
    assert "Of 100 programs of the loop" in (tmp_path / "report" / "index.html").read_text()


def test_a_folder_without_settings_records_graphs_or_verdicts(tmp_path):
    chain = {"main": {"dataset": "cifar10", "cycles": 2}}
    write_results(tmp_path, settings(chain), 20)
    for pattern in ("settings.json", "main/*/evaluated/*", "main/*/*/*run.json", "main/*/adapter/*"):
        for path in tmp_path.glob(pattern):
            path.unlink()
    write_report(read_results(tmp_path), LOOK, tmp_path / "report")
    page = (tmp_path / "report" / "index.html").read_text()
    assert "The folder holds no settings" in page and "recorded no versions" in page


def test_settings_of_another_version_are_refused_in_one_line_and_a_new_key_is_unknown(tmp_path):
    whole = settings({"main": {"dataset": "cifar10", "cycles": 1}})
    write_results(tmp_path, whole, 12)
    del whole["admission"]["minimum_admitted"]
    write_json(tmp_path / "settings.json", whole)
    points = all_tables(read_results(tmp_path), LOOK).by_name["protocol"]
    unknown = points.filter(pl.col("differs").is_null())
    assert unknown.height == 1 and unknown["here"].to_list() == [None]
    del whole["cycle"]
    write_json(tmp_path / "settings.json", whole)
    with pytest.raises(InputError, match=r"settings\.json: lacks the section cycle, so another version"):
        read_results(tmp_path)


def test_a_run_whose_candidates_all_fail_has_a_report(tmp_path):
    def fails(row):
        return row | {"outcome": "forward", "detail": "x", "accuracy": None, "nearest_id": None, "nearest_source": None}

    write_results(tmp_path, settings({"main": {"dataset": "cifar10", "cycles": 2}}), 8, taint=fails)
    write_report(read_results(tmp_path), LOOK, tmp_path / "report")
    page = (tmp_path / "report" / "index.html").read_text()
    assert "Cannot be answered" in page and "Nothing was admitted so far." in page
    assert "Of 100 programs that the loop writes, 0 are new and good enough." in page


@pytest.mark.parametrize(
    ("note", "said"),
    [
        (None, "Not verified"),
        ({"said": "9 files", "findings": 0, "candidates": 16}, "verify.py: nothing wrong; 9 files."),
        (
            {"said": "9 files", "findings": 2, "candidates": 8},
            "verify.py, before the last cycles: 2 findings; 9 files.",
        ),
    ],
)
def test_the_page_says_what_verify_found_and_whether_that_is_of_these_results(tmp_path, note, said):
    write_results(tmp_path, settings({"main": {"dataset": "cifar10", "cycles": 2}}), 8)
    if note:
        write_json(tmp_path / "verified.json", note)
    results = read_results(tmp_path)
    tables = all_tables(results, LOOK)
    drawn = {name: Figure("nothing", []) for name in FIGURES}
    shown = page(results, LOOK, tables, drawn, gallery(results, tables.by_name["architectures"]))
    assert said in shown


def test_the_best_design_says_whose_it_is_and_what_chance_among_the_test_images_does(made):
    page = (made / "index.html").read_text()
    card = re.search(r'<article class="card best">.*?</article>', page, re.DOTALL)[0]
    own = [row for row in table(made, "architectures") if row["chain"] in ("main", "again")]
    share = max(own, key=lambda row: row["accuracy"])["test_accuracy"]
    error = 1.96 * math.sqrt(share * (1 - share) / 10_000)
    assert "The loop's best design" in card and f"<b>{100 * share:.1f} % on the test set</b>" in card
    assert f"(± {100 * error:.1f} %, 95 %, for its 10,000 images)" in card


def test_the_images_of_the_test_set_are_counted_by_the_data_set_and_unknown_without_it(tmp_path):
    chains = {"main": {"dataset": "cifar10", "cycles": 2}}
    results = read_results(write_results(tmp_path / "results", settings(chains), 20))
    tables = all_tables(results, LOOK).by_name
    best = best_design(results, tables, {"loop": ["main"]})
    assert best.images == TEST_IMAGES and 0 < best.error < 0.02
    shutil.rmtree(tmp_path / "resources")
    alone = best_design(results, tables, {"loop": ["main"]})
    assert alone.images is None and alone.error is None and alone.design == best.design


def test_without_its_data_set_the_test_images_are_those_that_the_preflight_counted(tmp_path):
    results = read_results(
        write_results(tmp_path / "results", settings({"main": {"dataset": "cifar10", "cycles": 2}}), 20)
    )
    shutil.rmtree(tmp_path / "resources")
    counts = {"svhn": 5, "cifar10": 400}
    data = [{"values": {"dataset": name, "test_images": count}} for name, count in counts.items()]
    write_json(results.folder / "preflight.json", {"checks": [{"values": {"level": "none"}}, *data]})
    best = best_design(results, all_tables(results, LOOK).by_name, {"loop": ["main"]})
    share = best.design.test_accuracy
    assert best.images == 400 and best.error == pytest.approx(1.96 * (share * (1 - share) / 400) ** 0.5)


def test_what_is_on_other_data_sets_is_said_on_the_first_screen(made):
    lead = re.search(r'<p class="lead">.*?</p>', (made / "index.html").read_text(), re.DOTALL)[0]
    assert 'this answer is for cifar10 alone; <a href="#cost">svhn</a>' in lead


def test_every_word_that_the_page_explains_is_in_its_list_of_words(made):
    page = (made / "index.html").read_text()
    meanings = dict(re.findall(r"<dt>([^<]*)</dt><dd>([^<]*)</dd></div>", page[page.index('id="words"') :]))
    used = re.findall(r'<abbr title="([^"]*)">', page)
    assert len(used) > 5 and set(used) <= set(meanings.values())


def test_the_page_loads_nothing_from_elsewhere(made):
    page = (made / "index.html").read_text()
    loaded = re.findall(r'(?:src|href)="([^"]*)"', page)
    links = [link for link in loaded if not re.fullmatch(r"(tables|figures)/\w+\.\w+|#[\w%=.-]*|data:,", link)]
    assert not links
    assert not re.search(r"@import|url\(", page)
    assert 'href="../index.html#design=' in (made / "figures" / "sizes.svg").read_text()


def test_records_of_the_admitted_alone_are_read_and_in_any_layout(folder, tmp_path):
    whole = read_json(folder / "main" / "cycle-1" / "evaluated" / "0.json")
    whole["records"][0] |= {"id": 'odd "id"', "detail": '\n  },\n  {\n   "id": "main-01-0001"'}
    wanted = {record["id"] for record in whole["records"][:5]}
    write_json(tmp_path / "as-written.json", whole)
    (tmp_path / "other.json").write_text(json.dumps(whole))
    for name in ("as-written", "other"):
        assert judged_programs(tmp_path / f"{name}.json", wanted) == whole["records"][:5]
    text = (tmp_path / "as-written.json").read_text()
    (tmp_path / "cut.json").write_text(text[: len(text) // 2])
    with pytest.raises(InputError, match=r"cut\.json: not whole JSON"):
        judged_programs(tmp_path / "cut.json", wanted)


@pytest.mark.parametrize(("written", "lost"), [({"carried_on": True}, "pairs"), ({"pairs": 4}, "carried_on")])
def test_a_training_record_without_what_a_summary_says_is_refused_by_name(tmp_path, written, lost):
    write_json(tmp_path / "training.json", written)
    with pytest.raises(InputError, match=rf"training\.json: lacks {lost}"):
        read_training(tmp_path / "training.json")


def test_no_two_colours_are_one_and_fates_stay_apart_in_grey_print():
    assert len(set(COLORS.values())) == len(COLORS) and set(COLORS) == set(DARK)
    for theme in (COLORS, DARK):
        shades = sorted(lightness(theme[name]) for name, _ in FATE_COLORS.values())
        assert min(b - a for a, b in itertools.pairwise(shades)) > 12
        for name, over in (("new-above", "on-dark"), ("copy-own", "on-dark"), ("copy-seed", "on-light")):
            assert abs(lightness(theme[name]) - lightness(theme[over])) > 40


def lightness(colour: str) -> float:
    """Return L* of CIE Lab, 0 (black) to 100 (white)."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 116 * (0.2126 * red + 0.7152 * green + 0.0722 * blue) ** (1 / 3) - 16


def test_a_graph_folds_into_the_blocks_a_person_thinks_in():
    nodes = [
        ["=image", [], [], [2, 3, 32, 32]],
        ["=parameter", [], [], [16, 3, 3, 3]],
        ["convolution", [["input", "@"], ["stride", [2, 2]], ["groups", 1]], [0, 1], [2, 16, 16, 16]],
        ["=parameter", [], [], [16]],
        ["native_batch_norm", [["input", "@"]], [2, 3], [[2, 16, 16, 16], [16], [16]]],
        ["relu", [["self", "@"]], [4], [2, 16, 16, 16]],
        ["add", [["self", "@"], ["other", "@"]], [5, 2], [2, 16, 16, 16]],
    ]
    assert fold(nodes) == [
        ("image", "i", "3×32×32", []),
        ("conv 3×3 /2", "c", "16×16×16", [0]),
        ("batch norm · relu", "n", "16×16×16", [1]),
        ("add", "+", "16×16×16", [1, 2]),
    ]


@pytest.mark.parametrize(
    "nodes", [None, 7, [[]], [["conv", [], [9], [1]]], [[None, None, None, None]], [["x", 1, [0], "s"]]]
)
def test_what_is_no_graph_gives_no_drawing(nodes):
    assert fold(nodes) is None


def test_the_settings_that_the_rule_passes_are_those_that_the_page_shows(folder, root, tmp_path):
    told = read_json(folder / "settings.json")
    script = [sys.executable, str(root / "scripts" / "report.py"), "--results", str(folder), "--run", json.dumps(told)]
    done = subprocess.run([*script, "--whole", "--output", str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "deepseek-coder-7b-instruct-v1.5" in (tmp_path / "index.html").read_text()


def test_marks_that_turn_the_direction_of_writing_show_as_escapes():
    from archloop.texts import visible

    assert visible("a\u202eb\x1b[0m\n\tc") == "a\\u202eb\\x1b[0m\n\tc"
