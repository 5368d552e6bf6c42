"""What every other change rebuilds: the exact set of jobs that `snakemake -n` plans on a finished small run."""

import json
import os
import random
import shutil
from pathlib import Path

import pytest
from plans import plans
from small_run import copy, edit, run, small_settings
from stages import graph, with_followers

pytestmark = pytest.mark.workflow

JOBS = graph({"main": 2})
EVERYTHING = frozenset(JOBS)


def after(*first: str, jobs: dict | None = None) -> frozenset[str]:
    return with_followers(set(first), jobs or JOBS)


def plan(folder: Path, *arguments: str):
    (found,) = plans([(folder, list(arguments))])
    assert found.status == 0, found.text[-3000:]
    return found.jobs


# Changes of the settings: (what the page calls it, the change, the jobs, what the page calls them).


def _last_cycle(settings):
    settings["chains"]["main"]["at"] = {2: {"generation": {"temperature": 0.1}}}


def _one_more_cycle(settings):
    settings["chains"]["main"]["cycles"] = 3


def _one_cycle_fewer(settings):
    settings["chains"]["main"]["cycles"] = 1


def _one_more_chain(settings):
    settings["chains"]["again"] = {"dataset": "digits", "cycles": 1, "generation": {"temperature": 0.1}}


def _a_chains_own(settings):
    settings["chains"]["main"]["finetuning"] = {"learning_rate": 0.001}


def _swapped(settings):
    settings["evaluation"] |= {"momentum": 0.2, "dropout": 0.9}


def _reordered(settings):
    for section in [settings, *settings.values()]:
        if isinstance(section, dict):
            for key in reversed(list(section)):
                section[key] = section.pop(key)


LONGER, WIDER = graph({"main": 3}), graph({"main": 2, "again": 1})
SETTINGS = [
    ("a setting of cycle k (`chains.main.at: {k: ...}`)", _last_cycle, "that cycle and the later ones")
    + (after("generate main/2/0", "generate main/2/1"),),
    ("a setting of one chain (`chains.main.finetuning`)", _a_chains_own, "that rule of that chain and what follows")
    + (after("finetune main/1"),),
    ("one more cycle", _one_more_cycle, "that cycle, the export of its chain and report")
    + (after("write_prompts main/3", "generate main/3/0", jobs=LONGER),),
    ("one cycle fewer", _one_cycle_fewer, "the export of its chain and report", frozenset({"export main", "report"})),
    ("one more chain", _one_more_chain, "its own jobs and report", after("write_prompts again/1", jobs=WIDER)),
    ("two settings exchange their values", _swapped, "what either of them reruns", after("evaluate_seed 0")),
    ("keys in another order", _reordered, "nothing", frozenset()),
]


@pytest.fixture(scope="module")
def of_settings(plan_settings):
    wanted = []
    for _, change, _, _ in SETTINGS:
        settings = small_settings()
        change(settings)
        wanted.append(settings)
    return dict(zip((name for name, *_ in SETTINGS), plan_settings(wanted)))


@pytest.mark.parametrize(("name", "jobs"), [(row[0], row[3]) for row in SETTINGS], ids=[row[0] for row in SETTINGS])
def test_settings_of_chains_and_cycles_rebuild_exactly(of_settings, name, jobs):
    assert of_settings[name].status == 0, of_settings[name].text[-3000:]
    assert of_settings[name].jobs == jobs


# Changes of files: (what the page calls it, the change, what the page calls the jobs, the jobs).


def _no_change(folder):
    pass


def _touch(folder):
    paths = [path for path in folder.rglob("*") if path.is_file() and ".snakemake" not in path.parts]
    random.Random(1).shuffle(paths)
    for number, path in enumerate(paths):
        os.utime(path, (2_000_000_000 + number, 2_000_000_000 + number))


def _comments(folder):
    for path in folder.glob("scripts/**/*.py"):
        path.write_text(path.read_text().replace('"""', '"""Reworded. ', 1) + "\n\n# a comment\n")
    edit(
        folder / "scripts/archloop/random_seeds.py",
        "*parts: object) -> int:",
        "*parts: object\n) -> int:  # laid out anew",
    )
    edit(folder / "scripts/generate.py", "import time\n", "import time  # seconds\n")


def _a_message_of_the_settings(folder):
    edit(
        folder / "scripts/archloop/settings/remedies.py", "see config/schema.yaml", "have a look at config/schema.yaml"
    )


def _an_indirect_module(folder):
    edit(folder / "scripts/archloop/report/intervals.py", "0.5 + confidence / 2", "0.5 + confidence / 2 + 0")


def _a_direct_module(folder):
    path = folder / "scripts/archloop/generation/generate.py"
    path.write_text(path.read_text() + "\n\nMORE = 1\n")


def _a_template(folder):
    edit(folder / "config/prompts/design.md.j2", "{{ classes }}", "{{  classes  }}")


def _a_family(folder):
    path = folder / "scripts/archloop/families/templates/plain.py.j2"
    path.write_text(path.read_text() + "\n")


def _a_caption(folder):
    path = folder / "report/captions/fates.rst"
    path.write_text(path.read_text() + "Counted once each.\n")


def _a_version(folder):
    text = (folder / "envs/archloop.yaml").read_text()
    for name in ("envs/archloop.yaml", "envs/requirements.txt"):
        edit(folder / name, "torch==2.14.1", "torch==2.14.2")
    assert "torch==2.14.1" in text


def _a_command(folder):
    edit(folder / "rules/admit.smk", "{params.admission} {params.novelty}", "{params.novelty} {params.admission}")


def _a_lost_shard(folder):
    (folder / "results/main/cycle-1/generated/0.jsonl").unlink()


def _a_lost_adapter(folder):
    (folder / "results/main/cycle-1/adapter/adapter_model.safetensors").unlink()


def _an_edited_shard(folder):
    edit(folder / "results/main/cycle-2/evaluated/0.json", '"id"', '"id" ')


FILES = [
    ("a comment, a docstring, formatting, or only the times of files", _comments, "nothing", frozenset()),
    ("a check of the settings, or its message", _a_message_of_the_settings, "nothing", frozenset()),
    ("the template of the prompts", _a_template, "the seed corpus, the prompts of every cycle and what follows")
    + (after("build_seed_corpus", "write_prompts main/1", "write_prompts main/2"),),
    ("a family of seed programs", _a_family, "the seed programs and what follows", after("write_seed_programs")),
    ("a caption or the page of the report", _a_caption, "report", frozenset({"report"})),
    ("code that `summarize` reaches through another module", _an_indirect_module, "summarize and report")
    + (after("summarize main/1", "summarize main/2"),),
    ("the code of a rule", _a_direct_module, "that rule and what follows")
    + (after("generate main/1/0", "generate main/1/1"),),
    ("the command of a rule", _a_command, "that rule and what follows", after("admit main/1")),
    ("a package version in `envs/` (with `--sdm conda`: every job)", _a_version, "nothing", frozenset()),
    ("a deleted intermediate file", _a_lost_shard, "nothing; `snakemake PATH` creates it again", frozenset()),
    ("a file edited by hand", _an_edited_shard, "what follows it; `verify.py` names it", after("admit main/2")),
]
UNTOLD = [("nothing", _no_change, "", frozenset()), ("a touch", _touch, "", frozenset())]
UNTOLD += [("a lost adapter", _a_lost_adapter, "", frozenset())]


@pytest.fixture(scope="module")
def of_files(finished, tmp_path_factory):
    folder, asked = tmp_path_factory.mktemp("copies"), []
    for number, (_, change, *_) in enumerate([*FILES, *UNTOLD]):
        clone = copy(finished, folder / str(number))
        change(clone)
        asked.append((clone, []))
    return dict(zip((name for name, *_ in [*FILES, *UNTOLD]), plans(asked)))


@pytest.mark.parametrize(
    ("name", "jobs"), [(row[0], row[3]) for row in FILES + UNTOLD], ids=[row[0] for row in FILES + UNTOLD]
)
def test_changed_files_rebuild_exactly(of_files, name, jobs):
    assert of_files[name].status == 0, of_files[name].text[-3000:]
    assert of_files[name].jobs == jobs


def test_a_lost_shard_that_is_asked_for_is_one_job(changed):
    _a_lost_shard(changed)
    assert plan(changed, "results/main/cycle-1/generated/0.jsonl") == {"generate main/1/0"}


def test_another_threshold_generates_and_judges_nothing_in_its_cycle(plan_settings, small):
    (found,) = plan_settings([small | {"admission": {"threshold": 0.3}}])
    assert found.jobs == after("admit main/1")
    assert not [job for job in found.jobs if job.startswith(("generate main/1", "evaluate main/1", "evaluate_seed"))]


def test_the_page_says_of_every_other_change_what_was_found(of_settings, of_files, rerun_table):
    rows = [(name, said) for name, _, said, jobs in FILES if of_files[name].jobs == jobs]
    rows += [(name, said) for name, _, said, jobs in SETTINGS if of_settings[name].jobs == jobs]
    assert len(rows) == len(FILES) + len(SETTINGS)
    rerun_table("other changes", rows)


# Snakemake's records lost.

RECORD = ("scripts/verify.py", "results", "--record")


def _forget(folder: Path) -> None:
    shutil.rmtree(folder / ".snakemake")


def test_lost_records_stop_a_run_with_one_line_that_names_the_command(changed):
    _forget(changed)
    (found,) = plans([(changed, [])])
    assert found.status != 0 and not found.jobs
    assert "are lost" in found.text and "scripts/verify.py results --record" in found.text
    assert "Traceback" not in found.text


def test_one_lost_record_is_noticed_and_one_command_writes_it_again(changed):
    (*_, lost) = sorted((changed / ".snakemake" / "metadata").iterdir())
    others = {path: path.read_bytes() for path in lost.parent.iterdir() if path != lost}
    lost.unlink()
    (found,) = plans([(changed, [])])
    assert found.status != 0, lost.name
    done = run(changed, *RECORD)
    assert done.returncode == 0 and "1 records written, 0 jobs" in done.stdout, done.stdout + done.stderr
    assert plan(changed) == frozenset()
    assert {path: path.read_bytes() for path in others} == others


def test_a_fresh_clone_with_the_results_copied_rebuilds_nothing_after_one_command(finished, tmp_path):
    clone = Path(shutil.copytree(finished, tmp_path / "fresh", symlinks=True, copy_function=shutil.copy))
    _forget(clone)
    shutil.rmtree(clone / "logs")
    done = run(clone, *RECORD)
    assert done.returncode == 0 and "0 jobs to do again" in done.stdout, done.stdout + done.stderr
    assert plan(clone) == frozenset()


@pytest.mark.parametrize(
    ("change", "jobs"),
    [
        ({"generation": {"temperature": 0.1}}, after("generate main/1/0", "generate main/1/1")),
        ({"report": {"title": "Another"}}, frozenset({"report"})),
    ],
    ids=["generation", "report"],
)
def test_what_changed_while_records_were_lost_is_rebuilt(changed, small, change, jobs):
    _forget(changed)
    assert run(changed, *RECORD).returncode == 0
    for section, values in change.items():
        small[section] = small.get(section, {}) | values
    (changed / "other.yaml").write_text(json.dumps(small))
    assert plan(changed, "--configfile", "other.yaml") == jobs


def test_code_hints_and_files_that_changed_while_records_were_lost_are_rebuilt(changed):
    _an_indirect_module(changed)
    edit(changed / "config/prompts/hints_demo.yaml", ":", ": Now,")
    _an_edited_shard(changed)
    _forget(changed)
    done = run(changed, *RECORD)
    assert "evaluated/0.json was altered" in done.stdout or "0.json was altered" in done.stdout
    expected = after("build_seed_corpus", "write_prompts main/1", "write_prompts main/2", "evaluate main/2/0")
    assert plan(changed) == expected


def test_an_output_without_record_and_provenance_is_not_accepted(changed):
    (changed / "results/main/cycle-1/candidates.parquet.provenance").unlink()
    _forget(changed)
    (found,) = plans([(changed, [])])
    assert found.status != 0
    assert "main/cycle-1/candidates.parquet: of unknown origin" in found.text
