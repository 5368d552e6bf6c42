"""A judge: what its server is given and what not, what it is ordered for a program, and what repeats are made of."""

import json
import os
import platform
import shutil
import site
import socket
import stat
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from linear_net import net
from safetensors import SafetensorError
from safetensors.numpy import load_file

from archloop import python_command
from archloop.data.dataset_file import read_metadata, read_split
from archloop.errors import InputError
from archloop.evaluation import judge as judge_module
from archloop.evaluation.judge import Judge, OrderResult
from archloop.evaluation.score import MAXIMUM_HEADER, PREAMBLE_BYTES
from archloop.evaluation.server_process import read_all
from archloop.random_seeds import derive
from archloop.sandbox import isolation
from archloop.sandbox.bounds import Bounds
from archloop.sandbox.orders import CardShare, Order, SupervisorReport
from archloop.sandbox.readable_files import readable_paths

HONEST = net()


@pytest.fixture(scope="module")
def site_of_a_cluster():
    """Environment variables as a cluster sets them, for the servers of this file."""
    given = {"PYTHONPATH": "/packages:relative:/more", "CUDA_HOME": "/cuda", "CUDA_VISIBLE_DEVICES": "3", "SECRET": "x"}
    given |= {"LD_LIBRARY_PATH": "/libraries"}
    with pytest.MonkeyPatch.context() as changed:
        for name, value in given.items():
            changed.setenv(name, value)
        yield


@pytest.fixture(scope="module")
def judge(digits, site_of_a_cluster):
    with Judge(digits, "cpu", "namespaces") as opened:
        yield opened


def environment_of(judge: Judge) -> dict[str, str]:
    lines = Path(f"/proc/{judge.server.process.pid}/environ").read_bytes().decode().split("\0")
    return dict(line.partition("=")[::2] for line in lines if line)


def test_a_server_has_this_environment_and_nothing_of_the_users(judge):
    environment = environment_of(judge)
    caches = ("XDG_CACHE_HOME", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR", "CUDA_CACHE_PATH")
    ones = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "PYTHONDONTWRITEBYTECODE")
    assert environment == {
        "PATH": os.defpath,
        "PYTHONPATH": "/packages:/more",
        "PYTHONUSERBASE": site.getuserbase(),
        "PYTHONHASHSEED": "0",
        "USER": "archloop",
        "LOGNAME": "archloop",
        "HOME": f"{judge.folder}/home",
        "LANG": "C.UTF-8",
        "TMPDIR": str(judge.folder),
        "MALLOC_ARENA_MAX": "2",
        "GOMP_SPINCOUNT": "1000",
        "KMP_BLOCKTIME": "1",
        "LD_LIBRARY_PATH": "/libraries",
        "CUDA_HOME": "/cuda",
        "CUDA_VISIBLE_DEVICES": "3",
    } | dict.fromkeys(caches, f"{judge.folder}/home/cache") | dict.fromkeys(ones, "1")


# On a GPU torch makes its folder at import, whoever the user is and whatever he may write.
CACHING = "import os; os.makedirs(os.environ['TORCHINDUCTOR_CACHE_DIR']); "


@pytest.mark.parametrize("level", ["namespaces", "bubblewrap", "landlock"])
def test_a_library_that_keeps_a_cache_makes_it_in_the_judges_own_folder(monkeypatch, digits, settings, level):
    if isolation.obstacle(level):
        pytest.skip(f"{level}: {isolation.obstacle(level)}")
    monkeypatch.setattr(judge_module, "SERVER", CACHING + judge_module.SERVER)
    with Judge(digits, "cpu", level) as judge:
        record = judge.judge(HONEST, settings, 1)
        is_made = (judge.folder / "home" / "cache").is_dir()
    # Inside bubblewrap the folder is one of its own root, which ends with it.
    assert record["outcome"] == "trained" and (is_made or level == "bubblewrap")


def test_a_server_works_in_the_folder_of_its_data_which_is_its_own(judge):
    process = Path(f"/proc/{judge.server.process.pid}")
    assert ((process / "cwd").readlink(), (process / "fd" / "0").readlink()) == (judge.data, Path(os.devnull))
    assert stat.S_IMODE(judge.data.stat().st_mode) == 0o700


def test_no_label_that_scores_is_given_to_the_server(judge, digits):
    given = load_file(judge.data / "data.safetensors")
    assert set(given) == {"train_images", "train_labels", "validation_images", "test_images"}
    for split in ("train", "validation", "test"):
        assert (given[f"{split}_images"] == read_split(digits, split)[0]).all()
    assert (given["train_labels"] == read_split(digits, "train")[1]).all()
    metadata = read_metadata(digits)
    assert json.loads((judge.data / "metadata.json").read_text()) == {
        name: getattr(metadata, name) for name in ("mean", "std", "classes")
    }


def test_versions_name_what_a_score_hangs_on(judge):
    assert set(judge.versions) == {"python", "kernel", "torch", "torchvision", "numpy", "cpu"}
    assert judge.cpu == torch.backends.cpu.get_cpu_capability()
    assert judge.versions["cpu"] == f"{platform.machine()} {judge.cpu}"
    assert judge.device_name == "cpu" and judge.level == "namespaces"


def ordered(judge, settings, monkeypatch, **given) -> tuple[dict, Order]:
    """Return (the record of an honest program, the order for it)."""
    orders, real = [], socket.send_fds
    monkeypatch.setattr(socket, "send_fds", lambda s, buffers, fds: orders.extend(buffers) or real(s, buffers, fds))
    record = judge.train_once(HONEST, replace(judge.settled(settings), repeats=1), 1, "cpu", **given)
    return record, Order.from_json(orders[0])


def test_a_supervisor_is_ordered_the_bounds_of_the_settings_and_a_folder_that_is_gone_afterwards(
    judge, settings, monkeypatch
):
    record, order = ordered(judge, replace(settings, timeout_s=50, threads=2, memory_mb=3000), monkeypatch)
    folder = Path(order.scratch).parent
    assert record["outcome"] == "trained" and 10 < record["peak_mb"] < 10**5 and 0 < record["cpu_s"] < 110
    assert folder.parent == judge.folder and not folder.exists()
    assert order == Order(
        level="namespaces",
        bounds=Bounds(timeout_s=50, cpu_s=110, memory_mb=3000, threads=2),
        readable=readable_paths(),
        hidden=judge.hidden,
        grants=str(judge.data / "grants.json"),
        base=str(folder / "root"),
        scratch=str(folder / "scratch"),
        device="cpu",
        gpu=False,
        device_files=[],
        log_unlisted=False,
        card=None,
    )
    assert json.loads(Path(order.grants).read_text()) == [judge.readable, []]


def test_a_share_of_a_card_and_the_choice_to_log_are_ordered_too(judge, settings, monkeypatch):
    share = CardShare("f00", 9)
    monkeypatch.setattr(judge, "shares", {"cpu": share, "cuda:1": CardShare("f01", 8)})
    monkeypatch.setattr(judge, "log_unlisted", True)
    seen, real = [], Order.to_json
    monkeypatch.setattr(Order, "to_json", lambda order: seen.append(order) or real(replace(order, card=None)))
    assert judge.train_once(HONEST, judge.settled(settings), 1, "cpu")["outcome"] == "trained"
    assert (seen[0].card, seen[0].log_unlisted) == (share, True)


def test_of_each_split_the_first_images_alone_may_be_used(judge, settings, monkeypatch):
    asked, real = [], Judge.ask
    monkeypatch.setattr(Judge, "ask", lambda self, *given: asked.append(given) or real(self, *given))
    record = judge.train_once(HONEST, replace(judge.settled(settings), epochs=2), 3, "cpu", 16)
    _, request, predictions = asked[0]
    request = json.loads(request)
    assert predictions == 2 * 16 + 16 and len(bytes.fromhex(request.pop("nonce"))) == 16
    assert request == {
        "program": HONEST,
        "settings": asdict(replace(judge.settled(settings), epochs=2)),
        "seed": 3,
        "device": "cpu",
        "images": 16,
    }
    assert (record["outcome"], record["accuracy"] * 16 % 1, len(record["epochs"])) == ("trained", 0, 2)


@pytest.fixture
def trainings(judge, monkeypatch):
    """Let trainings end at the next of some outcomes; the list of what was trained."""
    asked = []

    def train_once(program, settings, seed, device):
        asked.append((program, settings.repeats, seed, device))
        outcome = "timeout" if len(asked) == 3 else "trained"
        measured = {"log": "", "parameters": 5, "seconds": {}, "cpu_s": 1.0, "peak_mb": 9, "epochs": []}
        return measured | {"outcome": outcome} | dict.fromkeys(("accuracy", "balanced_accuracy", "test_accuracy"), 0.5)

    monkeypatch.setattr(judge, "train_once", train_once)
    return asked


def test_repeats_are_trained_with_seeds_of_their_own_until_one_fails(judge, settings, trainings):
    record = judge.judge(HONEST, replace(settings, repeats=4), 7, device="cuda:1")
    seeds = [7, derive(7, "repeat", 1), derive(7, "repeat", 2)]
    assert [(repeats, seed, device) for _, repeats, seed, device in trainings] == [
        (1, seed, "cuda:1") for seed in seeds
    ]
    assert record["outcome"] == "timeout" and record["protocol"]["repeats"] == 4
    assert (record["seed"], record["device"], record["versions"]) == (7, "cpu", judge.versions)


def test_what_a_program_does_not_use_is_not_shown_to_the_sandbox_but_where_nothing_is_checked(
    judge, settings, trainings
):
    program = HONEST + "\nif __name__ == '__main__':\n    print('alone')\n"
    judge.judge(program, replace(settings, repeats=1), 7)
    judge.judge(program, replace(settings, repeats=1), 7, static=False)
    assert "alone" not in trainings[0][0] and trainings[1][0] == program
    assert trainings[0][-1] == "cpu"


def test_a_program_that_is_refused_unread_is_not_trained(judge, settings, trainings):
    record = judge.judge("import socket\n" + net("socket.socket()"), settings, 7)
    assert (record["outcome"], record["epochs"], record["seed"]) == ("unsafe", None, 7) and not trainings
    assert judge.judge(None, settings, 7, static=False)["outcome"] == "unparseable" and not trainings


def test_a_server_that_does_not_start_says_its_last_words(digits, monkeypatch):
    real = python_command.run_code
    monkeypatch.setattr(
        python_command,
        "run_code",
        lambda code, *given: real("import sys; print('one', file=sys.stderr); sys.exit('no torch')"),
    )
    folders = set(Path(os.environ.get("TMPDIR", "/tmp")).glob("archloop-*"))
    with (
        pytest.raises(InputError, match=r"^the judge's own process could not start \(no torch\)"),
        Judge(digits, "cpu", "none"),
    ):
        pass
    assert set(Path(os.environ.get("TMPDIR", "/tmp")).glob("archloop-*")) <= folders


def test_a_supervisor_that_reports_a_fault_of_the_machine_names_it_and_the_level(judge, settings, monkeypatch):
    fault = OrderResult(b"", b"", SupervisorReport(error="the sandbox failed"))
    monkeypatch.setattr(judge, "ask", lambda *given: fault)
    with pytest.raises(
        InputError, match=rf"^{os.uname().nodename} cannot judge at level namespaces: the sandbox failed$"
    ):
        judge.train_once(HONEST, judge.settled(settings), 1, "cpu")


def test_data_below_a_folder_that_candidates_read_is_refused_but_without_a_sandbox(monkeypatch, digits, caplog):
    monkeypatch.setenv("LD_LIBRARY_PATH", str(digits.parent))
    with pytest.raises(InputError, match="which generated programs may read"):
        Judge(digits, "cpu", "namespaces")
    assert not Judge(digits, "cpu", "none").sound
    assert "with your rights" in caplog.text


def test_the_judges_own_folder_is_none_that_candidates_read(monkeypatch, digits, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    with pytest.raises(InputError, match="which generated programs may read"):
        Judge(digits, "cpu", "landlock")


def test_of_a_result_so_much_is_read_as_its_predictions_take(judge, settings, monkeypatch):
    seen = []

    def read(reading, limits, deadline):
        seen.append(limits)
        return read_all(reading, limits, deadline)

    monkeypatch.setattr("archloop.evaluation.judge.read_all", read)
    judge.train_once(HONEST, replace(judge.settled(settings), epochs=2), 1, "cpu", 16)
    longest = PREAMBLE_BYTES + MAXIMUM_HEADER + 3 * 16
    assert seen == [{"result": longest + 1, "log": 64 * 1024, "report": 64 * 1024}]


def test_what_a_killed_judge_left_is_deleted_and_what_a_judge_at_work_has_is_not(digits, tmp_path, monkeypatch):
    class Stop(Exception):
        pass

    opened = []

    def start(code, data, folder, around):
        opened.append(folder)
        if len(opened) == 1:
            left = shutil.copytree(folder, tmp_path / "archloop-left")  # of the same files, and nobody's
            with pytest.raises(Stop), Judge(digits, "cpu", "none"):
                pass
            assert folder.is_dir() and not left.exists()
        raise Stop

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("archloop.evaluation.judge.start_server", start)
    judge = Judge(digits, "cpu", "none")
    with pytest.raises(Stop), judge:
        pass
    assert judge.folder_lock.closed and len(opened) == 2 and not list(tmp_path.iterdir())


def test_a_judge_with_nothing_to_train_does_not_wait_until_its_server_is_warm(digits):
    with Judge(digits, "cpu", "none") as judge:
        assert judge.cpu and not judge.server.is_ready
        assert judge.ready_server() is judge.server and judge.server.is_ready


def test_a_server_that_ends_while_it_gets_warm_fails_the_job_in_one_line(digits, monkeypatch):
    broken = "from archloop.evaluation import train_candidate\ntrain_candidate.warm_up = lambda: 1 / 0\n"
    monkeypatch.setattr(judge_module, "SERVER", broken + judge_module.SERVER)
    with Judge(digits, "cpu", "none") as judge:
        for _ in range(2):  # and the next that is started
            with pytest.raises(InputError, match=r"own process could not start .*ZeroDivisionError: division by zero"):
                judge.ready_server()


def test_a_server_that_says_nothing_more_fails_the_job_in_one_line_and_is_not_waited_for_again(digits, monkeypatch):
    stuck = "import time\nfrom archloop.evaluation import train_candidate\n"
    stuck += "train_candidate.warm_up = lambda: time.sleep(999)\n"
    monkeypatch.setattr(judge_module, "SERVER", stuck + judge_module.SERVER)
    with Judge(digits, "cpu", "none") as judge:
        monkeypatch.setattr("archloop.evaluation.server_process.START_S", 0.1)
        with pytest.raises(InputError, match=r"could not start \(nothing came from it for 0\.1 s; "):
            judge.ready_server()
        assert judge.server.process.poll() is not None
        monkeypatch.setattr(judge_module, "start_server", lambda *_: pytest.fail("it is started again"))
        with pytest.raises(InputError, match="nothing came from it"):
            judge.ready_server()


def test_a_full_disk_ends_the_judge_in_one_line_and_nothing_is_left(digits, monkeypatch, tmp_path):
    def full(*_):
        raise SafetensorError("No space left on device (os error 28)")

    monkeypatch.setattr(judge_module, "save_file", full)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    said = pytest.raises(InputError, match=r"cannot be written .*No space left on device")
    with said, Judge(digits, "cpu", "none"):
        pass
    assert list(tmp_path.iterdir()) == []
