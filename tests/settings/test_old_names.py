"""Old names of settings: read as the present ones for a release, with one line each."""

import copy
import json
import subprocess
import sys

import pytest
import yaml
from refusals import refusal

from archloop.settings.complete import complete
from archloop.settings.old_names import CHANGED, NAMES, VALUES, section_with_present_names, with_present_names

DIGITS = {"dataset": "digits"}
# Section by an old name, and by the present one.
OF_A_CHAIN = [
    ({"prompts": {"candidates": 4}}, {"cycle": {"candidates": 4}}),
    ({"prompts": {"candidates": 4, "references": 2}}, {"cycle": {"candidates": 4}, "prompts": {"references": 2}}),
    ({"generation": {"shards": 2}}, {"cycle": {"shards": 2}}),
    ({"generation": {"shards": 2}, "cycle": {"candidates": 4}}, {"cycle": {"candidates": 4, "shards": 2}}),
    ({"generation": {"opening": "class", "top_k": 3}}, {"generation": {"response_prefix": "class", "top_k": 3}}),
    ({"evaluation": {"protocol": "native32"}}, {"evaluation": {"protocol": "native"}}),
    ({"evaluation": {"protocol": "paper256"}}, {"evaluation": {"protocol": "resize256_flip"}}),
    ({"admission": {"fill_minimum": 3}}, {"admission": {"minimum_admitted": 3}}),
    ({"admission": {"fill_down_to": 0.2}}, {"admission": {"fill_accuracy": 0.2}}),
    ({"novelty": {"gate": "both"}}, {"novelty": {"gate": "either"}}),
    ({"finetuning": {"start_from": "base"}}, {"finetuning": {"initialise": "new"}}),
    ({"finetuning": {"start_from": "previous"}}, {"finetuning": {"initialise": "previous"}}),
    ({"finetuning": {"train_on": "seed"}}, {"finetuning": {"train_on": "seed_corpus"}}),
    ({"finetuning": {"train_on": "nothing"}}, {"finetuning": {"train_on": "none"}}),
    ({"finetuning": {"max_length": 700}}, {"finetuning": {"max_pair_tokens": 700}}),
    ({"finetuning": {"dispreferred": ["unsafe"]}}, {"finetuning": {"rejected": ["unsafe"]}}),
]
OF_THE_TOP = [
    ({"run": {"workers": 2}}, {"execution": {"workers": 2}}),
    ({"seed": 3}, {"random_seed": 3}),
    ({"data": {"digits_size": 8}}, {"data": {"digits_pixels": 8}}),
    ({"data": {"folder_size": 64}}, {"data": {"folder_pixels": 64}}),
    ({"seed_corpus": {"max_tokens": 900}}, {"seed_corpus": {"max_program_tokens": 900}}),
]


def names(value) -> str:
    return json.dumps(value).translate(str.maketrans("", "", '{}" ')) if isinstance(value, dict) else ""


def least(**top) -> dict:
    """Return settings as a user writes them, with these at the top."""
    model = {"name": "m", "reference": "hub:owner/name"}
    return {"model": model, "chains": {"seed": DIGITS, "main": DIGITS | {"cycles": 2}}} | top


def in_chain(**values) -> dict:
    return least(chains={"seed": DIGITS, "main": DIGITS | {"cycles": 2} | values})


def in_cycle(**values) -> dict:
    return in_chain(at={2: values})


def lines_of(config: dict) -> list[str]:
    return with_present_names(config)[1]


def written(config: dict) -> str:
    """Return complete settings as the workflow writes them, the order of the keys of sections included."""
    settings = complete(config)
    top = json.dumps({key: value for key, value in settings.items() if key != "chains"})
    return top + json.dumps(settings["chains"], sort_keys=True)


def test_every_old_name_and_value_is_tried_below():
    tried = json.dumps([old for old, _ in OF_A_CHAIN + OF_THE_TOP])
    assert all(json.dumps(old.split(".")[-1]) in tried for old in NAMES)
    assert all(json.dumps(value) in tried for values in VALUES.values() for value in values)


@pytest.mark.parametrize(("old", "new"), OF_A_CHAIN + OF_THE_TOP, ids=names)
def test_an_old_name_at_the_top_is_read_as_the_present_one(old, new):
    assert written(least(**old)) == written(least(**new))
    assert (len(lines_of(least(**old))), lines_of(least(**new))) == (1, [])


@pytest.mark.parametrize(("old", "new"), [*OF_A_CHAIN, ({"seed": 5}, {"random_seed": 5})], ids=names)
def test_an_old_name_in_a_chain_is_read_as_the_present_one(old, new):
    assert written(in_chain(**old)) == written(in_chain(**new))
    assert (len(lines_of(in_chain(**old))), lines_of(in_chain(**new))) == (1, [])


@pytest.mark.parametrize(("old", "new"), OF_A_CHAIN, ids=names)
def test_an_old_name_in_a_cycle_is_read_as_the_present_one(old, new):
    assert written(in_cycle(**old)) == written(in_cycle(**new))
    assert (len(lines_of(in_cycle(**old))), lines_of(in_cycle(**new))) == (1, [])


@pytest.mark.parametrize("section", [{"finetuning": {"train_on": "seed"}}, {"evaluation": {"protocol": "paper256"}}])
def test_an_old_name_in_the_chain_of_the_seed_is_read_too(section):
    config = least(chains={"seed": DIGITS | section, "main": DIGITS | {"cycles": 2}})
    assert complete(config)
    assert lines_of(config)[0].startswith("chains.seed.")


@pytest.mark.parametrize(
    ("config", "line"),
    [
        (least(seed=3), "seed is now random_seed; version 0.2.0 refuses the old one"),
        (
            in_chain(generation={"shards": 2}),
            "chains.main.generation.shards is now chains.main.cycle.shards; version 0.2.0 refuses the old one",
        ),
        (
            in_cycle(finetuning={"start_from": "base"}),
            "chains.main.at.2.finetuning.start_from: base is now chains.main.at.2.finetuning.initialise: new;"
            " version 0.2.0 refuses the old one",
        ),
        (
            least(novelty={"gate": "both"}),
            "novelty.gate: both is now novelty.gate: either; version 0.2.0 refuses the old one",
        ),
    ],
    ids=["top", "chain", "cycle", "value"],
)
def test_the_line_says_where_what_now_and_until_when(config, line):
    assert lines_of(config) == [line]


def test_several_old_names_get_a_line_each_and_the_settings_as_given_stay():
    config = least(seed=3, prompts={"candidates": 8}, finetuning={"train_on": "seed", "max_length": 700})
    before = copy.deepcopy(config)
    assert len(lines_of(config)) == 4
    complete(config)
    assert config == before


@pytest.mark.parametrize(
    ("config", "old", "new"),
    [
        (least(seed=3, random_seed=3), "seed", "random_seed"),
        (least(run={}, execution={}), "run", "execution"),
        (least(prompts={"candidates": 4}, cycle={"candidates": 4}), "prompts.candidates", "cycle.candidates"),
        (
            in_chain(generation={"opening": "class", "response_prefix": "none"}),
            "chains.main.generation.opening",
            "chains.main.generation.response_prefix",
        ),
        (
            in_cycle(finetuning={"start_from": "base", "initialise": "new"}),
            "chains.main.at.2.finetuning.start_from",
            "chains.main.at.2.finetuning.initialise",
        ),
    ],
    ids=["seed", "run", "candidates", "chain", "cycle"],
)
def test_a_setting_by_both_names_is_refused(config, old, new):
    line = (
        f"settings: {old} and {new} are the old and the present name of one setting; give the second alone, also in a"
        " file that is laid over another"
    )
    assert refusal(config) == line


@pytest.mark.parametrize(
    ("config", "where"),
    [
        (least(prompts={"parameter_budget": 300000}), "prompts.parameter_budget"),
        (in_chain(prompts={"parameter_budget": 300000}), "chains.main.prompts.parameter_budget"),
        (in_cycle(prompts={"parameter_budget": 300000}), "chains.main.at.2.prompts.parameter_budget"),
        (least(run={"cache_mb": 9000, "workers": 2}), "run.cache_mb"),
    ],
    ids=["top", "chain", "cycle", "cache"],
)
def test_an_old_name_whose_meaning_has_changed_is_refused(config, where):
    name = where.removeprefix("chains.main.").removeprefix("at.2.")
    assert refusal(config) == f"settings: {where} {CHANGED[name]}"


@pytest.mark.parametrize(
    ("config", "line"),
    [
        (least(finetuning={"max_length": "x"}), "finetuning.max_pair_tokens: 'x' is not of type 'integer'"),
        (least(novelty={"gate": ["both"]}), "novelty.gate: ['both'] is not one of"),
        (least(novelty={"gate": float("nan")}), "novelty.gate: nan is not one of"),
        (least(prompts={"candidates": 4}, cycle=None), "cycle is empty; delete the line, or give it keys"),
        (least(run=None), "execution is empty; delete the line, or give it keys"),
        (least(prompts=[]), "prompts: [] is not of type 'object'"),
        (least(chains=3), "chains: 3 is not of type 'object'"),
        (least(chains={"seed": DIGITS, "main": None}), "chains.main is empty; delete the line, or give it keys"),
        (in_chain(at=[1]), "chains.main.at: [1] is not of type 'object'"),
        (in_chain(at={1: 4}), "chains.main.at.1: 4 is not of type 'object'"),
        (in_chain(run={"workers": 2}), "chains.main.run is no setting"),
        (in_cycle(seed=2), "chains.main.at.2.seed is no setting"),
        (
            least(chains={"seed": DIGITS | {"prompts": {"candidates": 2}}, "main": DIGITS | {"cycles": 1}}),
            "chains.seed.prompts.candidates is no setting",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_settings_of_any_shape_are_refused_with_one_line(config, line):
    assert refusal(config).startswith(f"settings: {line}")


def test_what_an_earlier_version_recorded_is_read_by_the_names_of_today():
    recorded = {"opening": "class", "shards": 2, "top_k": 0}
    present = {"response_prefix": "class", "shards": 2, "top_k": 0}
    assert section_with_present_names("generation", recorded) == present
    assert section_with_present_names("prompts", {"parameter_budget": 9}) == {"parameter_budget": 9}
    assert section_with_present_names("finetuning", {"start_from": "base"}) == {"initialise": "new"}
    assert section_with_present_names("novelty", {"gate": "both"}) == {"gate": "either"}
    assert section_with_present_names("scratch_model", {}) == {}


@pytest.mark.workflow
@pytest.mark.parametrize("mode", ["default", "remote"])
def test_the_run_says_it_once_and_its_jobs_do_not(tmp_path, root, mode):
    config = least(seed=3) | {"model": {"name": "tiny", "reference": "scratch:config/models/tiny.yaml"}}
    path = tmp_path / "old.yaml"
    path.write_text(yaml.safe_dump(config))

    command = [sys.executable, "-m", "snakemake", "--snakefile", str(root / "Snakefile"), "--configfile", str(path)]
    command += ["--dry-run", "--cores", "1", "--mode", mode]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, stdin=subprocess.DEVNULL)

    assert done.returncode == 0, done.stderr
    lines = [line for line in (done.stdout + done.stderr).splitlines() if "is now" in line]
    line = f"Settings in {path}: seed is now random_seed; version 0.2.0 refuses the old one"
    assert lines == ([line] if mode == "default" else [])
