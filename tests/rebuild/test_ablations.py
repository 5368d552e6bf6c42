"""config/ablations.yaml goes on from the results of config/config.yaml: two files, of which the second is laid over."""

import json

import pytest
import yaml
from plans import plans
from small_run import ROOT, small_settings


@pytest.mark.workflow
def test_nothing_that_is_there_is_made_again(finished, tmp_path):
    """The chains of ablations.yaml, on digits and with two cycles, over a finished run of main alone."""
    chains = yaml.safe_load((ROOT / "config" / "ablations.yaml").read_text())["chains"]
    added = {name: chain for name, chain in chains.items() if chain.get("dataset", "cifar10") == "cifar10"}
    for chain in added.values():
        chain |= {"dataset": "digits", "cycles": 2}
        chain.pop("cycle", None)
    for name, settings in (("first", small_settings()), ("more", {"chains": added})):
        (tmp_path / f"{name}.yaml").write_text(json.dumps(settings))
    files = [str(tmp_path / f"{name}.yaml") for name in ("first", "more")]

    (found,) = plans([(finished, ["--configfile", *files])])

    assert found.status == 0, found.text[-3000:]
    whose = {job.split()[1].split("/")[0] for job in found.jobs if " " in job}
    assert whose == {name + end for name in added for end in ("", "_s2", "_s3")} - {"main"}
    assert {job for job in found.jobs if " " not in job} == {"report"}
