"""The files in config/: what each says that it costs, and how the second goes on from the results of the first."""

import csv
import json

import pytest
import yaml
from benchmark_modules import load
from workflow import snakemake

from archloop.settings.complete import complete
from archloop.settings.schema import Validator, schema

FILES = ("config.yaml", "ablations.yaml", "images.yaml")


@pytest.fixture(scope="module")
def cost():
    return load("cost")


@pytest.mark.parametrize("name", FILES)
def test_the_first_line_says_what_a_complete_run_costs(root, cost, name):
    first = (root / "config" / name).read_text().splitlines()[0]
    assert first == cost.line(name), "python benchmarks/cost.py --write rewrites it"


def test_the_run_of_config_yaml_leaves_fewer_than_20_000_files(cost):
    assert cost.cost(complete(cost.laid_over(["config.yaml"]))).files < 20_000


def test_the_jobs_are_those_that_snakemake_plans(cost, papers_plan):
    total = next(line.split()[1] for line in papers_plan.splitlines() if line.startswith("total "))
    assert cost.cost(complete(cost.laid_over(["config.yaml"]))).jobs + 1 == int(total)  # and `all`, which does nothing


def test_a_file_alone_takes_what_it_leaves_out_from_the_schema(root):
    """config.yaml is not under a file that is given alone: its transfer chains are not there."""
    images = complete(yaml.safe_load((root / "config" / "images.yaml").read_text()))
    assert list(images["chains"]) == ["seed", "main", "frozen"]


def test_ablations_alone_are_refused_with_the_command_that_is_meant(tmp_path, root):
    done = snakemake(tmp_path, "-n", "--configfile", str(root / "config" / "ablations.yaml"))
    assert done.returncode and "--configfile config/config.yaml config/ablations.yaml" in done.stdout + done.stderr


def test_the_protocol_of_the_paper_names_settings_and_values_that_there_are(root):
    settings = complete(yaml.safe_load((root / "config" / "config.yaml").read_text()))
    rows = list(csv.DictReader((root / "report" / "protocol.csv").read_text().splitlines()))
    for row in rows:
        if row["setting"] in ("", "dataset"):
            continue
        section, key = row["setting"].split(".")
        assert key in settings[section], row["item"]
        for value in json.loads(row["same"]):
            Validator(schema()["$defs"][section]["properties"][key]).validate(value)
