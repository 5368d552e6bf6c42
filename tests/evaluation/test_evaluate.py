"""The judge: typed outcomes, scores made outside, records kept by key, the same on every level of isolation."""

import concurrent.futures
import json
import multiprocessing
import os
import subprocess
import sys
import time
from dataclasses import asdict, replace

import psutil
import pytest
import torch
from linear_net import net

from archloop.errors import InputError
from archloop.evaluation.evaluate import JobResources, PendingTimeouts, evaluate
from archloop.evaluation.judge import Judge
from archloop.evaluation.records import FIELDS
from archloop.evaluation.server_process import read_all
from archloop.families.programs import family_programs
from archloop.novelty.graph_fingerprint import fingerprint
from archloop.sandbox import isolation
from archloop.sandbox.orders import Order

# What a shard says of a candidate, beside its id and key.
RECORD = {"outcome", "detail", "parameters", "multiply_adds", "accuracy", "accuracy_sd", "test_accuracy", "epochs"}
RECORD |= {"balanced_accuracy", "losses", "graph", "log"}
RUN = JobResources("cpu", workers=1)
HONEST = family_programs("plain")[0].program


@pytest.fixture(scope="module")
def judge(digits):
    with Judge(digits, "cpu", "namespaces") as opened:
        yield opened


@pytest.mark.parametrize(
    ("program", "outcome", "says"),
    [
        (None, "unparseable", "no program"),
        ("class Net(:", "unparseable", "SyntaxError"),
        ("import socket\n" + net(init="socket.socket()"), "unsafe", "imports socket"),
        ("x = 1\n", "contract", "no class Net"),
        (net(init="self.x = nn.Conv3D(1, 2)"), "construct", "Conv3D"),
        (net(init="raise SystemExit(0)"), "construct", "SystemExit"),
        (net(forward="x = x[:, :, :5]"), "forward", "RuntimeError"),
        (net(forward="return x"), "forward", "returns (16, 1, 32, 32)"),
        (net(forward="return [self.head(x.flatten(1))]"), "forward", "returns a list"),
        (net(init="self.big = nn.Linear(1000000, 1000000)"), "over_budget", "parameters"),
        (
            net(init="self.parameters = lambda: iter(())\n        self.x = nn.Linear(3000, 3000)"),
            "over_budget",
            "9,013,250",
        ),
        (net(forward="x = x * float('inf')"), "diverged", "finite"),
        (net(forward="x = x if self.training else x * float('nan')"), "diverged", "answers"),
        (net(forward="torch.ones(10**12) if not x.is_meta else 0"), "out_of_memory", "alloc"),
        (net(init="torch.ones(10**12, device='cpu')"), "out_of_memory", "alloc"),
        (net(forward="torch.ones(10**12, device='cpu')"), "out_of_memory", "alloc"),
        (net(init="self.x = nn.Linear(10, 10 if device.type == 'meta' else 10**5)"), "over_budget", "1,110,250 param"),
        (net(forward="assert x.is_meta, 'late'"), "crashed", "late"),
        (net(init="self.head.weight = nn.Parameter(torch.empty(10, 1024))"), "diverged", "finite"),
    ],
)
def test_a_program_ends_at_its_own_outcome(judge, settings, program, outcome, says):
    record = judge.judge(program, settings, 1)
    assert (record["outcome"], record["accuracy"]) == (outcome, None), record
    assert says in record["detail"]


def test_an_honest_program_is_trained_and_its_record_is_whole(judge, settings):
    record = judge.judge(HONEST, settings, 1)
    assert record["outcome"] == "trained"
    assert 0 < record["accuracy"] < 1 and 0 < record["test_accuracy"] < 1
    namespace = {}
    exec(HONEST, namespace)
    network = namespace["Net"]((16, 1, 32, 32), (10,), {"lr": 0.01, "momentum": 0.9, "dropout": 0.2}, "cpu")
    assert record["parameters"] == sum(weight.numel() for weight in network.parameters())
    assert record["multiply_adds"] > 10**6
    assert record["graph"] == fingerprint(network.to("meta"), (16, 1, 32, 32)) and record["graph"]["nodes"]
    assert len(record["losses"]) == 10
    assert record["epochs"][0]["accuracy"] == record["accuracy"] and 0 < record["epochs"][0]["train_accuracy"] < 1
    assert {"check", "build", "train", "predict"} <= set(record["seconds"])
    assert (record["protocol"], record["seed"]) == (asdict(replace(settings, precision="float32")), 1)
    assert record["isolation"] == "namespaces" and record["peak_mb"] > 50 and record["versions"]["torch"]


def test_multiply_adds_are_those_of_the_layers(judge, settings):
    assert judge.judge(net(), settings, 1)["multiply_adds"] == 32 * 32 * 10


def test_a_program_that_looks_at_values_is_tried_with_real_numbers(judge, settings):
    looking = judge.judge(net(init="self.rates = [v.item() for v in torch.linspace(0, 1, 4)]"), settings, 1)
    plain = judge.judge(net(), settings, 1)
    assert looking["outcome"] == "trained"
    assert (looking["graph"], looking["multiply_adds"]) == (plain["graph"], plain["multiply_adds"])
    tied = "self.one = nn.Linear(8, 8)\n        self.two = nn.Linear(8, 8)\n        self.two.weight = self.one.weight"
    forward = "x = torch.cat([self.two(self.one(x[..., :8])), x[..., 8:]], -1)"
    graphs = [
        judge.judge(net(f"{start}{tied}", forward), settings, 1)["graph"]
        for start in ("", "torch.ones(1).item()\n        ")
    ]
    assert graphs[0] == graphs[1] is not None
    looking = judge.judge(net(forward="x = x + 1 if x.sum() > 0 else x"), settings, 1)
    assert looking["outcome"] == "trained" and looking["graph"] is None and looking["multiply_adds"] == 10240


def test_lazy_layers_are_counted_and_trained(judge, settings):
    record = judge.judge(net(init="self.head = nn.LazyLinear(out_shape[0])"), settings, 1)
    assert (record["outcome"], record["parameters"]) == ("trained", 10250)


@pytest.mark.parametrize("level", ["landlock", "none"])
def test_the_level_of_isolation_changes_no_score(judge, digits, settings, level):
    with Judge(digits, "cpu", level) as other:
        there, here = other.judge(HONEST, settings, 1), judge.judge(HONEST, settings, 1)
    assert (there.pop("isolation"), here.pop("isolation")) == (level, "namespaces")
    for measured in ("seconds", "cpu_s", "peak_mb", "limits"):
        assert there.pop(measured) and here.pop(measured)
    assert there == here and here["accuracy"] and here["graph"] and here["losses"]


def test_another_seed_gives_another_accuracy_and_the_same_one_the_same(judge, settings):
    accuracies = [judge.judge(HONEST, settings, seed)["test_accuracy"] for seed in (1, 2, 1)]
    assert accuracies[0] == accuracies[2] != accuracies[1]


def test_repeats_give_the_mean_over_seeds_and_its_noise(judge, settings):
    record = judge.judge(HONEST, replace(settings, repeats=3, epochs=2), 1)
    final = [epoch["accuracy"] for epoch in record["epochs"][1::2]]
    assert len(record["epochs"]) == 6 and len(set(final)) > 1
    assert record["accuracy"] == pytest.approx(sum(final) / 3)
    assert record["accuracy_sd"] == pytest.approx(torch.tensor(final).std().item(), abs=1e-6)


def test_nothing_passes_from_one_repeat_to_the_next(judge, settings, root):
    program = (root / "tests/hostile/programs/stay_in_a_global.py").read_text()
    record = judge.judge(program, replace(settings, repeats=2, epochs=2), 1)
    assert record["outcome"] == "trained" and "BREACH" not in record["log"]


def test_a_program_finds_the_protocol_in_its_hyperparameters(judge, settings):
    given = {
        "lr": 0.03,
        "momentum": 0.8,
        "dropout": 0.1,
        "batch": 20,
        "epoch": 1,
        "epoch_max": 1,
        "transform": "norm_32",
    }
    program = net(init=f"assert prm == {given}, prm")
    changed = {"learning_rate": 0.03, "momentum": 0.8, "dropout": 0.1, "batch_size": 20, "epochs": 1}
    record = judge.judge(program, replace(settings, **changed), 1)
    assert record["outcome"] == "trained", record["detail"]


def test_paper256_sees_images_of_256_pixels(judge, settings):
    program = net(init="assert in_shape[2:] == (256, 256)", forward="assert x.shape[2] == 256; x = x[:, :, ::32, ::32]")
    program = program.replace("in_shape[1] * in_shape[2] * in_shape[3]", "64")
    assert judge.judge(program, replace(settings, protocol="resize256_flip"), 1)["outcome"] == "trained"


def test_a_candidate_may_train_itself_by_the_contract_of_lemur(judge, settings):
    methods = """
    def train_setup(self, prm):
        self.optimizer = torch.optim.SGD(self.parameters(), lr=prm["lr"])

    def learn(self, train_data):
        for inputs, labels in train_data:
            self.optimizer.zero_grad()
            nn.functional.cross_entropy(self(inputs), labels).backward()
            self.optimizer.step()
"""
    record = judge.judge(net() + methods, replace(settings, training="candidate"), 1)
    assert record["outcome"] == "trained" and record["accuracy"] > 0.3
    assert record["epochs"][0]["loss"] is None
    assert judge.judge(net(), replace(settings, training="candidate"), 1)["outcome"] == "contract"


def test_time_that_runs_out_is_a_timeout_and_the_next_one_is_judged(judge, settings):
    record = judge.judge(net(forward="while not x.is_meta: pass"), replace(settings, timeout_s=3), 1)
    assert (record["outcome"], record["detail"]) == ("timeout", "still at work after 3 s")
    assert judge.judge(HONEST, settings, 1)["outcome"] == "trained"


def test_what_a_candidate_prints_is_text_of_bounded_length(judge, settings):
    record = judge.judge(net(init="print('\\x1b[2J<b>' + 'y' * 10**6)"), settings, 1)
    assert record["log"].startswith("\\x1b[2J<b>yyy") and len(record["log"]) < 70_000
    assert record["outcome"] == "trained"


def test_the_server_that_died_is_started_again(judge, settings):
    judge.judge(HONEST, settings, 1)
    died = judge.server
    died.process.kill()
    died.process.wait()
    assert judge.judge(HONEST, settings, 1)["outcome"] == "trained"
    assert judge.server is not died and died.messages.closed and died.channel.fileno() == -1


def test_candidates_end_with_the_judges_server_and_whoever_waits_for_it_is_told(digits, settings):
    endless = net(forward="while not x.is_meta: pass")
    with Judge(digits, "cpu", "auto") as new_judge, concurrent.futures.ThreadPoolExecutor(1) as pool:
        verdict = pool.submit(new_judge.judge, endless, settings, 1)
        # The supervisor and its candidate.
        soon(lambda: verdict.done() or (new_judge.server and len(family(new_judge)) == 2))
        children = family(new_judge)
        new_judge.server.process.kill()
        with pytest.raises(RuntimeError, match=r"the judge's own process ended \(status -9\)"):
            verdict.result(timeout=60)
        _, alive = psutil.wait_procs(children, timeout=60)
    assert len(children) == 2 and not alive


def family(judge: Judge) -> list[psutil.Process]:
    return psutil.Process(judge.server.process.pid).children(recursive=True)


def soon(condition, seconds: float = 120) -> None:
    """Wait until a condition holds; fail when it does not within some seconds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_shards_keep_the_order_of_their_candidates_whatever_the_number_of_workers(digits, settings, tmp_path):
    programs = [HONEST, None, net(), "class Net", net(init="self.x = 1")]
    rows = [{"id": f"c{at}", "program": program} for at, program in enumerate(programs)]
    one, _ = evaluate(rows, digits, settings, 1, tmp_path / "one", RUN)
    two, _ = evaluate(rows, digits, settings, 1, tmp_path / "two", replace(RUN, workers=2))
    assert one == two and [record["id"] for record in one] == ["c0", "c1", "c2", "c3", "c4"]


def in_no_time(monkeypatch) -> list[str]:
    """Let every program be trained in no time, without a server; return which were, in order."""
    trained = []

    def train_once(self, program, *_):
        trained.append(program)
        return dict.fromkeys(FIELDS) | {"outcome": "trained", "accuracy": 0.5, "isolation": "namespaces"}

    monkeypatch.setattr(Judge, "train_once", train_once)
    return trained


def test_a_program_is_judged_once_for_a_protocol_and_a_seed(digits, settings, tmp_path, monkeypatch):
    rows = [{"id": name, "program": net()} for name in ("a", "b")]
    first, run = evaluate(rows, digits, settings, 1, tmp_path, RUN)
    assert run["reused"] == 1 and first[0]["key"] == first[1]["key"]
    assert (run["device"], run["cpu"]) == ("cpu", torch.backends.cpu.get_cpu_capability())
    assert set(first[0]) == {"id", "key", *RECORD} and first[0]["graph"]["method"] == "trace"
    again, run = evaluate(rows, digits, settings, 1, tmp_path, RUN)
    assert again == first and run["reused"] == 2
    in_no_time(monkeypatch)
    for changed, seed in ((replace(settings, learning_rate=0.02), 1), (settings, 2)):
        _, run = evaluate(rows, digits, changed, seed, tmp_path, RUN)
        assert run["reused"] == 1


def test_a_torn_record_of_the_store_is_made_again(digits, settings, tmp_path, monkeypatch):
    trained, rows = in_no_time(monkeypatch), [{"id": "a", "program": net()}]
    first, _ = evaluate(rows, digits, settings, 1, tmp_path, RUN)
    for kept in tmp_path.glob("*.jsonl.gz"):
        kept.write_bytes(kept.read_bytes()[:50])
    again, run = evaluate(rows, digits, settings, 1, tmp_path, RUN)
    assert again == first and run["reused"] == 0 and len(trained) == 2


def test_an_isolation_that_does_not_work_here_is_refused_with_what_to_do(monkeypatch):
    monkeypatch.setattr(isolation, "obstacle", lambda level, gpu: "not on this machine")
    with pytest.raises(InputError) as caught:
        isolation.choose_level("auto")
    assert "namespaces: not on this machine" in str(caught.value) and "isolation: none" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["", "Landlock", "nothing"])
def test_an_unknown_isolation_is_refused(name):
    with pytest.raises(InputError, match="none of auto"):
        isolation.choose_level(name)


def test_the_strongest_level_that_works_is_taken(monkeypatch):
    monkeypatch.setattr(isolation, "obstacle", lambda level, gpu: None if level == "landlock" else "no")
    assert isolation.choose_level("auto") == "landlock"
    with pytest.raises(InputError, match=r"namespaces does not work on .* \(namespaces: no; bubblewrap: no\)"):
        isolation.choose_level("namespaces")


def test_none_says_so_loudly(digits, caplog):
    Judge(digits, "cpu", "none")
    assert "with your rights" in caplog.text


@pytest.mark.parametrize(("level", "missing"), [("landlock", "scratch"), ("namespaces", "base")])
def test_a_sandbox_that_cannot_be_built_is_no_outcome_of_a_candidate(judge, settings, monkeypatch, level, missing):
    monkeypatch.setattr(judge, "level", level)
    real = Order.to_json
    monkeypatch.setattr(Order, "to_json", lambda order: real(replace(order, **{missing: "/nowhere"})))
    with pytest.raises(
        InputError, match=f"cannot judge at level {level}: the sandbox failed .*No such file or directory"
    ):
        judge.judge(HONEST, settings, 1)


OPENING = """
import os, sys
from archloop.sandbox import isolation, landlock
from archloop.sandbox.bounds import bounds
from archloop.sandbox.orders import Order
landlock.abi = lambda: 1
target, scratch, readable, grants = sys.argv[1:]
order = Order(
    level="landlock", bounds=bounds(90, 4000, 1), readable=[readable], hidden=[], grants=grants, base="/",
    scratch=scratch, device="cpu", gpu=False, device_files=[], log_unlisted=False,
)
isolation.confine(order)
for path in (target, readable + "/file"):
    for flags in (os.O_RDONLY, os.O_ACCMODE):
        try:
            os.open(path, flags | os.O_TRUNC)
        except OSError:
            pass
print("done", len(open(readable + "/file").read()))
"""


def test_landlock_of_the_first_kernels_lets_no_file_be_emptied(tmp_path, root):
    for name in ("scratch", "readable"):
        (tmp_path / name).mkdir()
    for path in (tmp_path / "target", tmp_path / "readable" / "file"):
        path.write_text("kept")
    (tmp_path / "grants").write_text(json.dumps([[str(tmp_path / "readable")], []]))
    places = [str(tmp_path / name) for name in ("target", "scratch", "readable", "grants")]
    command = [sys.executable, "-c", OPENING, *places]
    done = subprocess.run(command, capture_output=True, text=True, env={"PYTHONPATH": str(root / "scripts")})
    assert done.stdout == "done 4\n", done.stderr
    assert (tmp_path / "target").read_text() == "kept"


def test_what_a_killed_judge_leaves_is_deleted_by_the_next(digits, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    left, other = tmp_path / "archloop-left", tmp_path / "archloop-other"
    for folder in (left, other):
        folder.mkdir()
    (left / "lock").touch()
    with Judge(digits, "cpu", "none") as first:
        assert not left.exists() and other.exists()
        with Judge(digits, "cpu", "none"):
            assert first.data.exists()
    assert list(tmp_path.iterdir()) == [other]


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a folder to another user")
def test_what_is_not_a_judges_own_is_left_alone(digits, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for name in ("home", "archloop-others"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "lock").touch()
    os.chown(tmp_path / "archloop-others", 65534, 65534)
    (tmp_path / "archloop-link").symlink_to("home")
    before = sorted(tmp_path.rglob("*"))
    with Judge(digits, "cpu", "none"):
        pass
    assert sorted(tmp_path.rglob("*")) == before


def test_more_workers_than_processors_are_said_in_one_line(digits, settings, tmp_path, caplog):
    rows = [{"id": "a", "program": None}]
    _, run = evaluate(rows, digits, replace(settings, threads=2), 1, tmp_path, replace(RUN, workers=3, cores=1))
    messages = [record.getMessage() for record in caplog.records if "workers" in record.getMessage()]
    assert run["workers"] == 3
    assert messages == [
        "3 workers of 2 threads (execution.workers, evaluation.threads) are more than the job's 1 processors"
    ]


def test_workers_are_as_many_as_the_job_has_processors(digits, settings, tmp_path):
    rows = [{"id": "a", "program": None}]
    run = replace(RUN, workers="auto", cores=1)
    assert evaluate(rows, digits, settings, 1, tmp_path, run)[1]["workers"] == 1


def judge_noisily(*arguments) -> None:
    """Evaluate in a process of its own with a judge whose scores are noise, and say what came out."""
    import random

    *arguments, seed, answers = arguments
    noise = random.Random(seed)

    def noisy(self, program, settings, seed, **_):
        time.sleep(noise.random() / 20)
        return dict.fromkeys(FIELDS) | {"outcome": "trained", "accuracy": noise.random()}

    Judge.judge = noisy
    answers.put([record["accuracy"] for record in evaluate(*arguments)[0]])


def test_what_is_written_beyond_a_limit_is_read_and_dropped():
    pipes = {name: os.pipe() for name in ("result", "log")}
    for name, (_, end) in pipes.items():
        os.write(end, name.encode() * 1000)
        os.close(end)
    parts = read_all({name: pipe[0] for name, pipe in pipes.items()}, {"result": 7, "log": 9000}, time.monotonic() + 60)
    assert parts == {"result": b"resultr", "log": b"log" * 1000}


def test_whoever_writes_nothing_is_waited_for_until_the_deadline():
    read, write = os.pipe()
    os.write(write, b"half")
    assert read_all({"result": read}, {"result": 9}, time.monotonic() + 0.05) == {"result": b"half"}
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(read)
    os.close(write)


def test_timeouts_are_kept_in_a_jobs_own_file_until_the_machine_fails(tmp_path):
    path = tmp_path / "pending.json"
    with PendingTimeouts(path) as pending:
        for outcome in ("timeout", "out_of_memory"):
            assert pending.put(outcome, {"outcome": outcome}) == {"outcome": outcome}
    kept = PendingTimeouts(path)
    assert kept.get("timeout") == {"outcome": "timeout"} and kept.get("out_of_memory") is None
    with pytest.raises(KeyboardInterrupt), PendingTimeouts(path):
        raise KeyboardInterrupt
    assert path.exists()
    with pytest.raises(InputError), PendingTimeouts(path):
        raise InputError("the machine fails")
    assert not path.exists()
    path.write_text("{torn")
    assert PendingTimeouts(path).records == {} == PendingTimeouts(None).records
    assert PendingTimeouts(None).put("key", {"outcome": "timeout"}) == {"outcome": "timeout"}


def test_jobs_that_judge_a_program_at_once_give_it_one_score(digits, settings, tmp_path):
    fork = multiprocessing.get_context("fork")
    rows, answers = [{"id": str(at), "program": f"x = {at}"} for at in range(12)], fork.Queue()
    arguments = (rows, digits, settings, 1, tmp_path / "store", replace(RUN, workers=2))
    jobs = [fork.Process(target=judge_noisily, args=(*arguments, seed, answers)) for seed in range(3)]
    for job in jobs:
        job.start()
    scores = [answers.get(timeout=120) for _ in jobs]
    for job in jobs:
        job.join()
    assert scores[0] == scores[1] == scores[2] and len(set(scores[0])) == 12


def test_a_job_that_was_cut_need_not_wait_for_a_timeout_twice_and_another_job_tries_again(
    digits, settings, tmp_path, monkeypatch
):
    judged = []

    def too_slow(self, program, settings, seed, **_):
        judged.append(program)
        if program == "cut":
            raise KeyboardInterrupt
        return dict.fromkeys(FIELDS) | {"outcome": "timeout" if program == "slow" else "out_of_memory"}

    monkeypatch.setattr(Judge, "judge", too_slow)
    rows = [{"id": name, "program": name} for name in ("slow", "big", "cut")]
    job = (digits, settings, 1, tmp_path / "store")
    with pytest.raises(KeyboardInterrupt):
        evaluate(rows, *job, replace(RUN, pending=tmp_path / "pending"))
    records, _ = evaluate(rows[:2], *job, replace(RUN, pending=tmp_path / "pending"))
    assert [record["outcome"] for record in records] == ["timeout", "out_of_memory"]
    assert judged == ["slow", "big", "cut", "big"]
    evaluate(rows[:1], *job, replace(RUN, pending=tmp_path / "other"))
    assert judged[4:] == ["slow"]
