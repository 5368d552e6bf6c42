"""The preflight: each check sees what it is for, with real files, a real model, and commands that answer as SLURM's."""

import ast
import json
import os
import re
import subprocess
import sys
from dataclasses import asdict, replace
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from safetensors.torch import load_file, save_file
from sections import defaults
from small_data import data_settings
from workflow import ROOT

from archloop.cluster import node_job
from archloop.cluster import slurm as slurm_facts
from archloop.data.dataset_file import read_metadata
from archloop.data.prepare_dataset import prepare_dataset
from archloop.errors import InputError
from archloop.files import read_json, write_json
from archloop.model.memory import adapter_parameters, loaded_bytes, read_header, training_bytes, weight_shapes
from archloop.preflight import node_probe, trial
from archloop.preflight.model_checks import check_memory, finetunings
from archloop.preflight.node_checks import check_gpu, check_packages, check_trial
from archloop.preflight.node_report import Gpu, NodeReport, TrialRequest, TrialResult
from archloop.preflight.planned_run import ERROR, OK, WARNING, PlannedRun, read_run
from archloop.preflight.preflight import preflight
from archloop.preflight.storage_checks import check_datasets, check_plan, check_room
from archloop.quantities import GB
from archloop.settings.complete import complete
from archloop.settings.sections import Evaluation, Finetuning, Loading
from archloop.site_limits import SiteLimits, hard_limits

REQUEST = {"slurm_account": "lab", "slurm_partition": "gpu", "mem_mb": 24000, "runtime": 240, "gpu": 1, "threads": 8}
RULES = ("generate", "evaluate", "evaluate_seed", "finetune", "finetune_seed")
# What SLURM's commands say on a cluster of two nodes, as 22.05 says it.
COMMANDS = {
    "scontrol": 'if [ "$4" = gone ]; then echo "Partition gone not found"; exit 1; fi\n'
    'echo "PartitionName=$4 AllowGroups=ALL MaxTime=1-00:00:00 State=UP TotalNodes=2"',
    "sinfo": "echo 'n1|idle|gpu:a100:4(S:0-1),gpu:t4:2'; echo 'n2|down*|gpu:a100:8(S:0),lustre:1'",
    "sacctmgr": "echo lab; echo physics; echo lab",
    "sbatch": "echo 'sbatch: Job 3 to start at 2030-01-01T00:00:00 a processor on nodes n1 in partition gpu' >&2",
    # The node's part of it is real but for the trial, which takes several seconds; its name is that of a node. What it
    # says is kept in the file of this name: the node is this machine, which says the same to every test.
    "srun": 'while [ "$1" != "' + sys.executable + '" ]; do shift; done; shared="${@: -2:1}"; : > "$shared/head"\n'
    'if [ -s "$NODE_SAYS" ]; then : > "$shared/node"; else SLURMD_NODENAME=n1 "$@" > "$NODE_SAYS"; fi\n'
    'cat "$NODE_SAYS"',
}

FULL = "printf 'sbatch: error: AssocMaxSubmitJobLimit\\nsrun: error: Job violates accounting/QOS policy' >&2"
ACCOUNTING = """case "$*" in
    *format=account) echo lab ;;
    *"show assoc"*) echo 'lab||normal|8||' ;;
    *"show qos name=normal"*) echo 'normal|2|||01:00:00' ;;
esac"""


@pytest.fixture(scope="module")
def prepared(tiny_model, tmp_path_factory) -> Path:
    """A folder with a prepared model and data set, and no results."""
    folder = tmp_path_factory.mktemp("prepared")
    (folder / "resources" / "models").mkdir(parents=True)
    prepare_dataset("digits", folder / "resources" / "datasets" / "digits.safetensors", data_settings(), 1)
    (folder / "resources" / "models" / "tiny").symlink_to(tiny_model)
    return folder


@pytest.fixture
def made(prepared, config, tmp_path):
    """Return a function that makes a run; given settings replace those of tests/test.yaml, others the requests'."""

    def make(executor="local", asked=None, retried=None, pending=(), jobs=100, **sections) -> PlannedRun:
        (tmp_path / "resources").exists() or (tmp_path / "resources").symlink_to(prepared / "resources")
        config["finetuning"]["layers"] = [1, 2]  # the tiny model has two
        for name, values in sections.items():
            config[name] = config.get(name, {}) | values
        requests = {"executor": executor, "rules": dict.fromkeys(RULES, REQUEST | (asked or {}))}
        requests["retried"] = dict.fromkeys(RULES, REQUEST | (asked or {}) | (retried or {}))
        write_json(tmp_path / "results" / "settings.json", complete(config))
        requests |= {"pending": pending, "jobs": jobs}
        write_json(tmp_path / "results" / "requests.json", requests)
        return read_run(tmp_path / "results")

    return make


def test_a_data_set_that_the_run_prepares_itself_is_not_missed(made):
    run = made(pending=["mnist"], chains={"main": {"dataset": "mnist", "cycles": 1}})
    lines = [finding for finding in check_datasets(run) if finding.name == "data"]
    assert [line.status for line in lines] == ["ok", "ok"]
    assert lines[1].what == "mnist: this run prepares it first"


@pytest.mark.parametrize("key", ["root", "folder"])
def test_images_that_candidates_could_read_are_refused_where_they_come_from(made, key):
    run = made(data=asdict(data_settings()) | {key: "/usr/share/of-mine"})
    with pytest.raises(InputError, match="which generated programs may read"):
        list(check_datasets(run))


def test_what_is_odd_about_a_data_set_is_a_warning(made, tmp_path):
    run = made()
    path = tmp_path / "resources" / "datasets" / "digits.safetensors"
    head = {"facts": json.dumps(asdict(read_metadata(path)) | {"notes": ["test lacks 1 of 10 classes: 7"]})}
    odd = replace(run, results=tmp_path / "odd" / "results")
    odd.dataset("digits").parent.mkdir(parents=True)
    save_file(load_file(path), odd.dataset("digits"), metadata=head)
    assert [line.status for line in check_datasets(odd)] == ["ok", "warning"]
    assert [*check_datasets(odd)][1].what == "digits: test lacks 1 of 10 classes: 7"


@pytest.fixture(scope="module")
def node_says(tmp_path_factory) -> Path:
    """The file with what the node said to the first test that asked it."""
    return tmp_path_factory.mktemp("node") / "says.json"


@pytest.fixture
def slurm(node_says, tmp_path, monkeypatch):
    """Put commands on the path that answer as SLURM's do; return a function that changes what one says."""
    monkeypatch.setenv("NODE_SAYS", str(node_says))
    place = tmp_path / "bin"
    place.mkdir()

    def say(command: str, script: str) -> None:
        (place / command).write_text(f"#!/bin/bash\n{script}\n")
        (place / command).chmod(0o755)

    for command, script in COMMANDS.items():
        say(command, script)
    monkeypatch.setenv("PATH", f"{place}:{os.environ['PATH']}")
    return say


def report(**known) -> NodeReport:
    """What a node in order says, but for what is known."""
    limits = SiteLimits(hard_limits(), groups={}, processors=4, affinity=4)
    whole = {"node": "n1", "isolation": "landlock", "isolation_trouble": None, "gpus": [], "limits": limits}
    whole |= {"versions": {}, "shares_gpu": False, "sees_head": True, "trial": None, "trouble": []}
    return NodeReport(**whole | {"tmp": "/tmp", "free_tmp": None, "route": False} | known)


def told(findings, name: str, status: str) -> str:
    return "\n".join(finding.what for finding in findings if (finding.name, finding.status) == (name, status))


def own_copy(run: PlannedRun, tmp_path: Path) -> None:
    """Give a run resources that a test may break."""
    source = (tmp_path / "resources").resolve()
    (tmp_path / "resources").unlink()
    for path in [*source.glob("datasets/*"), *source.glob("models/*/*")]:
        target = tmp_path / "resources" / path.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())


def test_on_one_machine_a_run_in_order_passes(made):
    findings = [*preflight(made())]
    names = {finding.name for finding in findings}
    assert {"model", "tokenizer", "data", "results", "temporary", "isolation", "versions", "device"} <= names
    assert [finding for finding in findings if finding.status == ERROR] == []
    assert "1295 train, 143 validation, 359 test images" in told(findings, "data", OK)


def test_the_numbers_of_a_line_are_values_beside_it(made, tmp_path):
    by_name = {finding.name: finding for finding in preflight(made()) if finding.status == OK}
    images = {"train_images": 1295, "validation_images": 143, "test_images": 359}
    assert by_name["data"].values == {"dataset": "digits"} | images
    assert by_name["plan"].what.startswith(f"{by_name['plan'].values['jobs']} jobs left")
    size = by_name["model"].values["bytes"]
    assert size > 10**5 and f"{size / GB:.2f} GB" in by_name["model"].what
    free = by_name["results"].values["free_bytes"]
    assert f"{free / GB:.1f} GB free" in by_name["results"].what


def test_where_nobody_says_how_much_is_free_that_is_a_warning(made, monkeypatch):
    monkeypatch.setattr(node_probe, "free_space", lambda folder: None)
    findings = [*check_room(made())]
    assert [finding.status for finding in findings] == [WARNING, WARNING]
    assert "how much is free is not known, the run writes about" in findings[0].what


def test_what_a_node_says_travels_as_json():
    node = report(gpus=[Gpu("a", GB, "Default")], trial=TrialResult(trouble="none"))
    said = "greetings\n" + node_probe.printed(node) + "\nbye\n"
    assert node_probe.read_printed(said) == node
    assert node_probe.read_printed("greetings\n") is None


@pytest.mark.parametrize("part", trial.LEFT_OUT)
def test_what_a_trial_leaves_out_of_the_sandbox_is_there(part):
    changed = [node for node in ast.walk(ast.parse(trial.LEFT_OUT[part])) if isinstance(node, ast.Assign)]
    targets = [node.targets[0] for node in changed if isinstance(node.targets[0], ast.Attribute)]
    assert len(targets) == (part != trial.WHOLE)
    for target in targets:
        assert hasattr(import_module(f"archloop.sandbox.{target.value.id}"), target.attr)


def test_the_script_writes_every_finding_and_imports_nothing_heavy(made, tmp_path):
    run = made()
    code = "import sys; sys.path.insert(0, sys.argv.pop(1)); import preflight\n"
    code += "try: preflight.main()\nfinally: print(sorted({'torch', 'transformers', 'polars'} & set(sys.modules)))"
    arguments = ["--results", run.results, "--output", tmp_path / "p.json"]
    done = subprocess.run(
        [sys.executable, "-c", code, ROOT / "scripts", *arguments], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[]\n"
    written = read_json(tmp_path / "p.json", "executor", "passed", "checks")
    assert written["passed"] and written["executor"] == "local"
    for check in written["checks"]:
        assert any(
            line.split()[:2] == [check["status"], check["name"]] and line.endswith(check["what"])
            for line in done.stderr.splitlines()
        )


def test_an_error_ends_with_status_1_and_one_line_that_names_it(made, tmp_path):
    run = made(loading={"quantization": "nf4"}, execution={"device": "cpu"})
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "preflight.py", "--results", run.results], capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "checks failed (quantization); nothing is queued" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("name", "path", "damage"),
    [
        ("model", "models/tiny/model.safetensors", lambda path: path.unlink()),
        ("model", "models/tiny/model.safetensors", lambda path: os.truncate(path, 5000)),
        ("tokenizer", "models/tiny/tokenizer.json", lambda path: path.write_text('{"version": 1}')),
        ("data", "datasets/digits.safetensors", lambda path: path.unlink()),
        ("data", "datasets/digits.safetensors", lambda path: os.truncate(path, 5000)),
        ("data", "datasets/digits.safetensors", lambda path: path.write_bytes(b"\xff" * 9)),
    ],
)
def test_a_file_that_is_missing_or_broken_is_named(made, tmp_path, name, path, damage):
    run = made()
    own_copy(run, tmp_path)
    damage(tmp_path / "resources" / path)
    assert Path(path).name in told(preflight(run), name, ERROR)


def test_no_room_for_results_is_an_error(made, monkeypatch):
    run = made()
    monkeypatch.setattr(node_probe, "free_space", lambda folder: 1000)
    assert "0.0 GB free, the run writes about" in told(preflight(run), "results", ERROR)


def test_a_write_that_a_quota_refuses_is_an_error_though_the_disk_has_room(made, monkeypatch):
    run = made()

    def refuse(folder):
        raise OSError(122, "Disk quota exceeded")

    monkeypatch.setattr(node_probe, "try_writing", refuse)
    assert "Disk quota exceeded" in told(preflight(run), "results", ERROR)


def test_an_isolation_that_does_not_work_are_an_error(made, monkeypatch):
    from archloop.sandbox import isolation

    monkeypatch.setattr(isolation, "obstacle", lambda level, gpu: "not on this kernel")
    assert "nothing is run; allow user namespaces" in told(preflight(made()), "isolation", ERROR)


def test_four_bits_without_a_gpu_are_an_error(made, monkeypatch):
    monkeypatch.setattr(node_probe, "find_gpus", list)
    assert "nf4 needs a GPU" in told(preflight(made(loading={"quantization": "nf4"})), "quantization", ERROR)


def test_a_gpu_that_the_settings_name_must_be_there(made):
    run = made(execution={"device": "cuda"})
    assert "cuda, but n1 shows no GPU" in told(check_gpu(run, report(gpus=[])), "device", ERROR)


@pytest.mark.parametrize(("share", "status"), [(0.5, ERROR), (1.5, WARNING), (1e6, OK)])
def test_weights_and_training_are_held_against_the_gpus_memory(made, share, status):
    run = made()
    weights = loaded_bytes(weight_shapes(run.model), Loading(**run.settings["loading"]), gpu=True)
    node = report(gpus=[Gpu("a", round(share * weights), mode=None)])
    assert "(measured)" in told(check_memory(run, node), "memory", status)


def test_memory_is_known_by_the_name_of_the_gpu_where_no_node_was_looked_at(made, slurm):
    run = made("slurm", execution={"preflight_wait_min": 0})
    findings = [*preflight(run)]
    assert "no node was looked at" in told(findings, "node", WARNING)
    assert "the GPU has 16 GB (a100, t4 by its name)" in told(findings, "memory", OK)


def test_the_adapters_size_is_that_of_peft(tiny_model, config):
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    settings = Finetuning(**complete(config)["finetuning"] | {"layers": [1, 2]})
    lora = LoraConfig(r=settings.lora_rank, target_modules=settings.targets, layers_to_transform=[1])
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_model), lora)
    assert adapter_parameters(weight_shapes(tiny_model), settings) == model.get_nb_trainable_parameters()[0]


def test_weights_are_counted_from_their_shapes():
    shapes = {"model.embed_tokens.weight": [100, 8], "model.layers.0.mlp.up_proj.weight": [16, 8], "norm.weight": [8]}
    plain = Loading(dtype="auto", quantization="none")
    assert loaded_bytes(shapes, plain, gpu=False) == 4 * (800 + 128 + 8)
    assert loaded_bytes(shapes, plain, gpu=True) == 2 * (800 + 128 + 8)
    assert loaded_bytes(shapes, replace(plain, quantization="nf4"), gpu=True) == round(2 * 808 + 128 * 4.127 / 8)


def test_checkpoints_need_less_memory(tiny_model, config):
    settings = Finetuning(**complete(config)["finetuning"])
    model, shapes = read_json(tiny_model / "config.json"), weight_shapes(tiny_model)
    less = training_bytes(shapes, model, replace(settings, gradient_checkpointing=True))
    assert less < training_bytes(shapes, model, replace(settings, gradient_checkpointing=False))


def test_dpo_holds_two_answers_to_a_prompt(tiny_model, config):
    settings, model = Finetuning(**complete(config)["finetuning"]), read_json(tiny_model / "config.json")
    one, two = (training_bytes({}, model, replace(settings, method=method)) for method in ("sft", "dpo"))
    assert two == 2 * one > 0


@pytest.mark.parametrize(
    ("changes", "says", "status"),
    [
        ({"generation": {"max_new_tokens": 8192}}, "the model's context is 2048 tokens", ERROR),
        ({"generation": {"max_new_tokens": 2010}}, "2010 after a prompt of [1-9][0-9]+ tokens .chain main.; ", ERROR),
        ({"generation": {"max_new_tokens": 1800}}, "1800 after a prompt of [1-9][0-9]+ tokens .chain main., in", OK),
        ({"finetuning": {"max_pair_tokens": 2049}}, "pairs beyond the model's context of 2048 tokens", WARNING),
        (
            {"execution": {"cache_mb": 1}, "generation": {"max_new_tokens": 4000}},
            "execution.cache_mb: 1 MB hold no answer",
            ERROR,
        ),
        ({"finetuning": {"targets": ["nothing"]}}, "finetuning.targets: the model has no nothing", ERROR),
        ({"finetuning": {"layers": [1, 3]}}, "finetuning.layers: .1, 3., but the model's layers are .0, 2.", ERROR),
    ],
    ids=["context", "prompt", "fits", "length", "cache", "targets", "layers"],
)
def test_what_the_model_cannot_take_is_found_before_anything_is_queued(made, changes, says, status):
    assert re.search(says, told(preflight(made(**changes)), "limits", status))


def test_cycle_0_is_sft_whatever_the_method_and_a_chain_that_trains_on_nothing_needs_no_memory(config, tmp_path):
    config["finetuning"] = {"method": "dpo"}
    config["chains"]["frozen"] = {"dataset": "digits", "cycles": 3, "finetuning": {"train_on": "none"}}
    own = config["chains"]["main"]["cycles"]
    run = PlannedRun(tmp_path, complete(config), "local", {}, {}, [], 1)
    assert [each.method for each in finetunings(run)] == ["sft"] + own * ["dpo"]


def test_a_head_that_is_no_json_is_an_input_error(tmp_path):
    (tmp_path / "x.safetensors").write_bytes((4).to_bytes(8, "little") + b"oops")
    with pytest.raises(InputError, match="no whole safetensors file"):
        read_header(tmp_path / "x.safetensors")


def test_on_a_cluster_in_order_every_check_passes(made, slurm):
    findings = [*preflight(made("slurm"))]
    assert [finding for finding in findings if finding.status == ERROR] == []
    assert told(findings, "account", OK) == "lab"
    assert told(findings, "partition", OK) == "gpu: up, 1 of 2 nodes"
    assert told(findings, "gpu", OK) == "gpu: 8 a100, 2 t4 a node"
    assert "sbatch takes -A lab -p gpu -t 240 --mem 24000 --gpus=1 --cpus-per-task=8" in told(findings, "request", OK)
    assert "on n1" in told(findings, "isolation", OK)
    assert told(findings, "folders", OK).startswith("n1 reads and writes")


@pytest.mark.parametrize(
    ("command", "script", "name", "status", "says"),
    [
        ("sacctmgr", "echo physics", "account", ERROR, "lab is none of yours (physics)"),
        ("sacctmgr", "exit 0", "account", WARNING, "knows no account of yours"),
        ("sacctmgr", "echo 'sacctmgr: error: down' >&2; exit 1", "account", WARNING, "does not answer (down)"),
        ("scontrol", "echo Partition gpu not found; exit 1", "partition", ERROR, "gpu: Partition gpu not found"),
        ("scontrol", "echo MaxTime=UNLIMITED State=DOWN", "partition", ERROR, "gpu is DOWN"),
        ("scontrol", "echo MaxTime=03:00:00 State=UP", "time", ERROR, "gpu allows 180 min, "),
        ("sinfo", "echo 'n1|down|gpu:a100:1'", "partition", WARNING, "none of its 1 nodes is up"),
        ("sinfo", "echo 'n1|idle|(null)'", "gpu", ERROR, "gpu declares no GPUs"),
        ("sbatch", "echo 'allocation failure: Invalid qos' >&2; exit 1", "request", ERROR, "Invalid qos"),
        ("sbatch", "echo 'Requested nodes are busy' >&2; exit 1", "request", WARNING, "busy; jobs would wait"),
        ("sbatch", f"{FULL}; exit 1", "request", WARNING, "as many jobs of yours as it may; these wait"),
        ("srun", f"{FULL}; exit 1", "node", WARNING, "no word from a node: AssocMaxSubmitJobLimit: Job violates"),
        ("sacctmgr", ACCOUNTING, "limits", WARNING, "account lab allows 8 jobs in the queue (MaxSubmit), the profile"),
        ("sacctmgr", ACCOUNTING, "limits", WARNING, "QOS normal allows 2 jobs in the queue (MaxSubmitPU), the profile"),
        ("sacctmgr", ACCOUNTING, "limits", ERROR, "QOS normal allows 60 min (MaxWall), evaluate asks for 240 min and"),
        (
            "srun",
            "echo 'srun: error: Invalid account' >&2; exit 1",
            "node",
            ERROR,
            "no word from a node: Invalid account",
        ),
    ],
)
def test_what_slurm_objects_to_is_named(made, slurm, command, script, name, status, says):
    slurm(command, script)
    assert says in told(preflight(made("slurm")), name, status)


@pytest.mark.parametrize(("state", "status"), [("drain", WARNING), ("idle", ERROR)])
def test_a_request_that_no_node_can_take_now_waits_where_all_are_down(made, slurm, state, status):
    """sbatch --test-only says the same of a request that no node could ever take; sbatch itself queues the one."""
    slurm("sinfo", f"echo 'n1|{state}|gpu:a100:1'")
    slurm("sbatch", "echo 'allocation failure: Requested node configuration is not available' >&2; exit 1")
    assert "is not available" in told(preflight(made("slurm")), "request", status)


def test_a_missing_model_of_gpu_is_an_error(made, slurm):
    assert "gpu has no h100, but a100, t4" in told(preflight(made("slurm", {"gpu_model": "h100"})), "gpu", ERROR)


def test_a_last_attempt_beyond_the_limit_is_a_warning(made, slurm):
    run = made("slurm", retried={"runtime": 3 * 1440})
    assert "asks for 4320 min at its last attempt" in told(preflight(run), "time", WARNING)


def test_a_queue_that_gives_no_place_is_a_warning_and_the_request_is_taken_back(slurm, tmp_path, made, monkeypatch):
    slurm("srun", f"echo $$ > {tmp_path}/pid; exec sleep 1000")
    answer = node_job.run_on_node(REQUEST, ["true"], wait_s=0.5, run_s=0.5)
    assert "queue gave no place" in answer.why
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
    monkeypatch.setattr(node_job, "run_on_node", lambda *_, **__: answer)
    assert "queue gave no place" in told(preflight(made("slurm")), "node", WARNING)


def test_a_node_with_another_environment_is_an_error(made, slurm):
    other = json.dumps({"python": "3.9.1", "torch": "1.0"})
    slurm("srun", f'{COMMANDS["srun"]} | sed \'s/"versions": {{[^}}]*}}/"versions": {other}/\'')
    assert "n1 has " in told(preflight(made("slurm")), "versions", ERROR)


def test_a_node_that_sees_another_folder_is_an_error(made, slurm):
    slurm("srun", f'{COMMANDS["srun"]} | sed \'s/"sees_head": true/"sees_head": false/\'')
    assert "is not the same on n1" in told(preflight(made("slurm")), "folders", ERROR)


@pytest.mark.parametrize(
    "more",
    [{}, {"gpu_model": "a100"}, {"gpu": 0}, {"qos": "long", "constraint": "ib"}, {"cpus_per_gpu": 6}, {"mem_mb": None},
     {"gpu": 0, "gres": "gpu:a100:2"}, {"mem_mb_per_cpu": 500}, {"cpus_per_task": 3}, {"slurm_extra": "--nice=3"}],
)  # fmt: skip
def test_the_request_is_that_of_the_executor_plugin(more):
    from snakemake_executor_plugin_slurm.submit_string import get_submit_command
    from snakemake_executor_plugin_slurm.utils import set_gres_string

    request = {key: value for key, value in (REQUEST | more).items() if value is not None}

    class Resources(dict):
        __getattr__ = dict.__getitem__

    job = SimpleNamespace(resources=Resources(request), threads=request["threads"])
    place = {"account": "-A lab", "partition": "-p gpu"}
    params = {"run_uuid": "x", "slurm_logfile": "x", "comment_str": "x", "workdir": None} | place
    theirs = (get_submit_command(job, params) + set_gres_string(job)).split()
    about_the_run = ("sbatch", "--parsable", "--job-name", "--output", "x", "--export=ALL", "--comment", "--ntasks=1")
    assert sorted(slurm_facts.sbatch_options(request)) == sorted(word for word in theirs if word not in about_the_run)


@pytest.mark.parametrize(
    ("limit", "expected"),
    [("UNLIMITED", None), ("1-00:00:00", 1440), ("02:30:00", 150), ("30", 30), ("7-12", 10800), ("00:10:00", 10)],
)
def test_times_of_slurm_in_minutes(limit, expected):
    assert slurm_facts.minutes(limit) == expected


def test_gpus_by_the_names_that_sites_give_them():
    assert slurm_facts.gpu_types(("gpu:4", "gpu:a100_80gb:2", "gpu:v100", "lustre:1")) == {
        "": 4,
        "a100_80gb": 2,
        "v100": 1,
    }
    sizes = {"a100": 40, "a100_80gb": 80, "NVIDIA_H100": 80, "v100": 16, "l40s": 48, "l4": 24, "tesla_t4": 16}
    assert {name: slurm_facts.gpu_bytes(name) for name in sizes} == {name: gb * 10**9 for name, gb in sizes.items()}
    assert slurm_facts.gpu_bytes("mystery") is None


def test_without_a_run_it_says_how_to_check_before_one(tmp_path):
    with pytest.raises(InputError) as caught:
        read_run(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path}: no run has been started there, so its settings are unknown; to check before the first run:"
        " snakemake preflight --profile slurm --configfile YOUR.yaml"
    )


def test_inside_a_job_its_variables_are_not_handed_on(monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "100")
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm.conf")
    left = {key for key in slurm_facts.clean() if key.startswith("SLURM_")}
    assert left == {"SLURM_CONF"}


def test_a_slow_answer_is_given_up(slurm):
    slurm("sacctmgr", "exec sleep 100")
    assert "did not answer in 1 s" in slurm_facts.ask("sacctmgr", timeout_s=1).why


def test_limits_of_the_site_are_named_in_one_line_and_those_below_what_is_promised_are_errors(made, monkeypatch):
    run = made()
    given = SiteLimits(
        hard=hard_limits() | {"RLIMIT_CPU": 900, "RLIMIT_NOFILE": 128, "RLIMIT_NPROC": 300},
        groups={"pids.max": "50", "cpu.max": "200000 100000", "memory.max": "8000000000"},
        processors=64,
        affinity=1,
    )
    monkeypatch.setattr(node_probe.site_limits, "inherited", lambda: given)
    findings = [*preflight(run)]
    line = told(findings, "site", OK)
    named = ("RLIMIT_CPU 900 s", "RLIMIT_NPROC 300", "pids.max 50", "memory.max 8000000000", "cpu.max 200000 100000")
    assert all(part in line for part in (*named, "1 of 64 processors")) and "\n" not in line
    assert "RLIMIT_NOFILE allows 128 open files" in told(findings, "site", ERROR)


def test_a_node_judges_a_seed_program_before_a_run_begins(made, slurm, tmp_path, monkeypatch):
    monkeypatch.setenv("NODE_SAYS", str(tmp_path / "says.json"))  # asked anew, and with the trial
    slurm("srun", COMMANDS["srun"].replace('; : > "$shared/head"', ""))
    findings = [*preflight(made("slurm"))]
    assert re.fullmatch(r"n1 trained a seed program at level \w+ on cpu in [\d.]+ s", told(findings, "judge", OK))


def test_a_node_that_can_judge_nothing_lets_no_run_begin(made):
    gpu = Gpu("H100", 80 * GB, "Default")
    broken = TrialResult(trouble="n1 cannot judge at level landlock: the start ...")
    (finding,) = check_trial(made(), report(gpus=[gpu], trial=broken))
    assert finding.status == ERROR and "the start ...); python scripts/try_isolation.py there says" in finding.what


def test_a_trial_that_breaks_tells_its_last_line(tmp_path):
    request = TrialRequest("cpu", "none", "refuse", defaults(Evaluation), always=False)
    no_device: Any = 7
    write_json(tmp_path / "head", asdict(replace(request, device=no_device, always=True)))
    assert re.match(r"\w+Error: ", node_probe.try_judging(tmp_path / "head", gpu=False).trouble)
    write_json(tmp_path / "head", asdict(request))
    assert node_probe.try_judging(tmp_path / "head", gpu=True) is None


def test_how_a_gpu_may_be_shared_is_said(made, monkeypatch, tmp_path):
    script = tmp_path / "nvidia-smi"
    script.write_text("#!/bin/sh\necho 'NVIDIA H100 80GB HBM3, 81559, Exclusive_Process'\n")
    script.chmod(0o755)
    (tmp_path / "mps").mkdir()
    (tmp_path / "mps" / "control").touch()
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(tmp_path / "mps"))
    node = report(gpus=node_probe.find_gpus(), shares_gpu=node_probe.shares_gpu())
    assert node.gpus == [Gpu("NVIDIA H100 80GB HBM3", 81559 * 2**20, "Exclusive_Process")]
    findings = [*check_gpu(made(loading={"quantization": "none"}), node)]
    found = "NVIDIA H100 80GB HBM3 (86 GB) on n1, compute mode Exclusive_Process, MPS runs"
    assert told(findings, "device", OK) == found
    (quiet,) = check_gpu(made(), report(gpus=[Gpu("H100", 80 * GB, "Default")], shares_gpu=False))
    assert quiet.what == "H100 (80 GB) on n1, compute mode Default, no MPS"
    warnings = told(findings, "device", WARNING)
    assert "Exclusive_Process lets one process at a time" in warnings and "MPS serves n1" in warnings


def test_a_package_that_pythonpath_brings_is_named(made, tmp_path, monkeypatch):
    (tmp_path / "peft").mkdir()
    (tmp_path / "peft" / "__init__.py").touch()
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'none'}:{tmp_path}")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "peft", raising=False)
    lines = [finding.what for finding in check_packages(made())]
    assert len(lines) == 1
    assert lines[0].startswith(f"peft is taken from {tmp_path}/peft, which PYTHONPATH names")


def test_jobs_and_files_are_counted_before_they_are_made(made):
    run = made("slurm")
    (line,) = check_plan(run)
    # Cycle 0: programs, scores, corpus, adapter. Two cycles: prompts, two shards twice, verdicts, adapter, summary.
    assert line.what.startswith("22 jobs left, about ")
    assert "; 12 of them at SLURM, which hold their places for 0 to 0 h in all" in line.what


def test_jobs_too_short_for_a_submission_of_their_own_are_named(made, tmp_path):
    run = made("slurm")
    for stage, seconds in (("generate-0", 45), ("evaluate-0", 400)):
        path = tmp_path / "logs" / "main" / "cycle-1" / f"{stage}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"s\th:m:s\n{seconds}\t0:00:45\n")
    assert told(check_plan(run), "plan", WARNING).startswith("generate took 45 s a job so far; with fewer cycle.shards")


def test_what_a_partition_config_chooses_is_what_is_asked_for(root, slurm, config, tmp_path):
    config["chains"] = {"seed": {"dataset": "digits"}, "drawn": {"dataset": "digits", "cycles": 1}}
    config["chains"]["drawn"]["source"] = "families"
    (tmp_path / "settings.yaml").write_text(json.dumps(config))
    limits = {"small": {"max_runtime": 60}, "large": {"max_runtime": 10**5, "max_gpu": 4}}
    (tmp_path / "partitions.yaml").write_text(json.dumps({"partitions": limits}))
    slurm("squeue", "exit 0")
    options = ["--executor", "slurm", "--jobs", "7", "--slurm-partition-config", "partitions.yaml"]
    options += ["--slurm-init-seconds-before-status-checks", "1", "--configfile"]
    target = ["results/drawn/cycle-1/generated/0.jsonl", "--snakefile", str(root / "Snakefile")]
    command = [sys.executable, "-m", "snakemake", *target, *options, "settings.yaml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    asked = read_json(tmp_path / "results" / "requests.json", "rules", "jobs")
    assert asked["jobs"] == 7
    assert {request["slurm_partition"] for request in asked["rules"].values()} == {"large"}
