"""A language model is prepared into a folder of its own, and what is broken is named in one line."""

import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from sections import LOADING, defaults
from transformers import AutoModelForCausalLM, AutoTokenizer

from archloop.errors import InputError
from archloop.files import read_json, sha256_file, write_json
from archloop.model.adapters import attach_adapter, export_merged, save_adapter
from archloop.model.chat_template import chat_tokens
from archloop.model.loading import load_adapter, load_model, load_tokenizer, token_counter
from archloop.model.memory import loaded_bytes, read_header, weight_shapes
from archloop.model.prepare_model import prepare_model
from archloop.model.prepared import check_model
from archloop.settings.sections import Finetuning, Loading, Model


def from_source(reference: str) -> Model:
    return Model(name="tiny", reference=reference, revision=None, sha256=None)


def test_a_folder_becomes_a_prepared_model_and_is_prepared_again(tiny_model, tmp_path):
    for _ in range(2):
        prepare_model(from_source(f"folder:{tiny_model}"), tmp_path / "model")
    assert "model.safetensors" in json.loads((tmp_path / "model" / "manifest.json").read_text())["files"]


def test_what_a_cut_download_leaves_is_cleared(tiny_model, tmp_path):
    (tmp_path / "model" / ".cache" / "huggingface").mkdir(parents=True)
    (tmp_path / "model" / "half.safetensors").write_bytes(b"")
    prepare_model(from_source(f"folder:{tiny_model}"), tmp_path / "model")
    assert not (tmp_path / "model" / "half.safetensors").exists()
    assert not (tmp_path / "model" / ".cache").exists()


def test_a_folder_that_holds_anything_else_is_left_alone(tiny_model, tmp_path):
    (tmp_path / "notes.md").write_text("mine")
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(InputError, match=r"notes\.md: no part of a model"):
        prepare_model(from_source(f"folder:{tiny_model}"), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.md", "tokenizer.json"]


@pytest.mark.parametrize("reference", ["folder:{}", "gguf:{}/model.gguf"])
def test_a_model_inside_the_folder_that_it_is_prepared_into_is_kept(tmp_path, reference):
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    with pytest.raises(InputError, match="where the prepared model goes"):
        prepare_model(from_source(reference.format(tmp_path)), tmp_path)
    assert (tmp_path / "model.gguf").is_file()


def test_a_tokenizer_without_its_manifest_is_named(tmp_path):
    with pytest.raises(InputError, match=r"manifest\.json: no such file"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("damage", ["gone", "cut weights", "cut config"])
def test_a_broken_adapter_is_named(tiny_model, tmp_path, damage):
    adapter = tmp_path / "adapter_model.safetensors"
    if damage != "gone":
        adapter.write_bytes(b"x" * 20)
        settings = {"peft_type": "LORA", "r": 2, "target_modules": ["q_proj"]}
        (tmp_path / "adapter_config.json").write_text(json.dumps(settings)[: 10 if damage == "cut config" else None])
    with pytest.raises(InputError, match=r"adapter_model\.safetensors"):
        load_adapter(load_model(tiny_model, LOADING, "cpu"), adapter)


def prepared(tiny_model, folder) -> Path:
    """A copy of the tiny model that a test may damage."""
    folder.mkdir()
    for path in tiny_model.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def rewritten(path: Path, data: bytes) -> None:
    """Replace a file and what the manifest says of its size, as if it had been prepared so."""
    path.write_bytes(data)
    manifest = json.loads((path.parent / "manifest.json").read_text())
    manifest["files"][path.name]["bytes"] = len(data)
    (path.parent / "manifest.json").write_text(json.dumps(manifest))


def in_parts(folder: Path, index: str | None) -> None:
    """Take the weights away, by the manifest, too, and leave an index of parts that are not there."""
    (folder / "model.safetensors").unlink()
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["files"]["model.safetensors"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    if index:
        (folder / "model.safetensors.index.json").write_text(index)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda folder: (folder / "config.json").unlink(), r"config\.json: missing; delete"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"12"), "2 bytes where the manifest says"),
        (lambda folder: rewritten(folder / "model.safetensors", b"x" * 99), "no whole safetensors file"),
        (lambda folder: rewritten(folder / "config.json", b"{"), r"config\.json: not whole JSON"),
        (lambda folder: in_parts(folder, '{"weight_map": {"a": "b.part"}}'), r"b\.part: no such file"),
        (lambda folder: in_parts(folder, None), r"no model\.safetensors and no index"),
    ],
)
def test_what_a_prepared_model_lacks_is_named_before_a_job_is_queued(tiny_model, tmp_path, damage, says):
    folder = prepared(tiny_model, tmp_path / "model")
    damage(folder)
    with pytest.raises(InputError, match=says):
        check_model(folder)


def test_tokens_are_counted_as_transformers_counts_them_though_the_file_asks_to_cut(tiny_model, tmp_path):
    from tokenizers import Tokenizer

    folder = shutil.copytree(tiny_model, tmp_path / "model")
    cutting = Tokenizer.from_file(str(folder / "tokenizer.json"))
    cutting.enable_truncation(3)
    cutting.save(str(folder / "tokenizer.json"))
    manifest = read_json(folder / "manifest.json")
    path = folder / "tokenizer.json"
    manifest["files"][path.name] = {"bytes": path.stat().st_size, "sha256": sha256_file(path)}
    write_json(folder / "manifest.json", manifest)
    text = "import torch\n\n\nclass Net(torch.nn.Module):\n    pass\n"
    assert token_counter(folder)(text) == len(load_tokenizer(folder)(text)["input_ids"]) > 3


def test_a_model_without_a_tokenizer_is_refused_when_it_is_prepared(tiny_model, tmp_path):
    folder = prepared(tiny_model, tmp_path / "source")
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(InputError, match="its tokenizer cannot be read"):
        prepare_model(from_source(f"folder:{folder}"), tmp_path / "model")
    assert not (tmp_path / "model" / "manifest.json").exists()
    (folder / "tokenizer.json").unlink()
    with pytest.raises(InputError, match="no tokenizer"):
        prepare_model(from_source(f"folder:{folder}"), tmp_path / "model")


def test_the_size_of_a_model_is_known_without_torch(smollm2):
    code = (
        "import sys; from pathlib import Path; from archloop.model.prepared import check_model;"
        f"weights = check_model(Path({str(smollm2)!r})).weights;"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules;"
        "print(weights.parameters, weights.bytes, weights.dtypes)"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2] / "scripts")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    size = (smollm2 / "model.safetensors").stat().st_size
    assert done.stdout == f"134515008 {size} {{'F32': 134515008}}\n", done.stderr


@pytest.mark.parametrize(
    ("loading", "tolerance"),
    [
        (Loading("float32", "none"), 0.001),
        (Loading("bfloat16", "none"), 0.001),
        (Loading("bfloat16", "nf4"), 0.02),
    ],
    ids=["float32", "bfloat16", "nf4"],
)
def test_the_memory_that_weights_take_is_foretold(smollm2, loading, tolerance):
    expected = loaded_bytes(weight_shapes(smollm2), loading, gpu=False)
    assert load_model(smollm2, loading, "cpu").get_memory_footprint() == pytest.approx(expected, rel=tolerance)


ADAPTER = defaults(
    Finetuning, lora_rank=4, lora_alpha=64, lora_dropout=0.0, targets=["q_proj", "down_proj"], layers=None
)


@pytest.fixture
def adapter(tiny_model, tmp_path) -> Path:
    """An adapter of random weights, as large as to change what the model says."""
    model = attach_adapter(load_model(tiny_model, LOADING, "cpu"), None, ADAPTER)
    torch.manual_seed(3)
    for weight in model.parameters():
        if weight.requires_grad:
            torch.nn.init.normal_(weight, std=0.3)
    save_adapter(model, tmp_path / "adapter", tiny_model, {"base": {"files": {}}})
    return tmp_path / "adapter" / "adapter_model.safetensors"


def test_a_merged_model_says_in_plain_transformers_what_base_and_adapter_say(tiny_model, tmp_path, adapter):
    export_merged(tiny_model, adapter, tmp_path / "merged", "auto")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "merged")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    base = load_model(tiny_model, LOADING, "cpu")
    ids = torch.tensor([chat_tokens(tokenizer, "Design a net.")])
    plain = base.generate(ids, do_sample=False, max_new_tokens=16)
    ours = load_adapter(base, adapter).generate(input_ids=ids, do_sample=False, max_new_tokens=16)
    assert ours.tolist() == merged.generate(ids, do_sample=False, max_new_tokens=16).tolist() != plain.tolist()


def test_a_merged_model_is_written_once_and_in_the_format_asked_for(tiny_model, tmp_path, adapter):
    export_merged(tiny_model, adapter, tmp_path / "merged", "bfloat16")
    weights = tmp_path / "merged" / "model.safetensors"
    assert {tensor.dtype for tensor in read_header(weights).tensors.values()} == {"BF16"}
    assert weights.stat().st_mode == (tmp_path / "merged" / "config.json").stat().st_mode
    with pytest.raises(InputError, match="not empty"):
        export_merged(tiny_model, adapter, tmp_path / "merged", "bfloat16")


def test_an_adapter_is_merged_with_the_model_that_it_was_trained_on_alone(tiny_model, tmp_path, adapter, monkeypatch):
    base = {"reference": "folder:other", "files": {"model.safetensors": "0" * 64}}
    (adapter.parent / "training.json").write_text(json.dumps({"base": base}))
    with pytest.raises(InputError, match=r"trained on folder:other, whose model\.safetensors is another"):
        export_merged(tiny_model, adapter, tmp_path / "merged", "auto")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="the current folder"):
        export_merged(tiny_model, adapter, Path(), "auto")


@pytest.mark.parametrize("damage", ["lacks", "has", "not all .* finite", "rename it"])
def test_an_adapter_that_is_not_whole_is_refused(tiny_model, adapter, damage):
    tensors = load_file(adapter)
    name = min(tensors)
    if damage == "rename it":
        adapter = adapter.rename(adapter.with_name("other.safetensors"))
    elif damage == "lacks":
        del tensors[name]
    elif damage == "has":
        tensors["base_model.model.lora_A.foreign"] = tensors[name].clone()
    else:
        tensors[name][0, 0] = float("nan")
    save_file(tensors, adapter)
    with pytest.raises(InputError, match=damage):
        load_adapter(load_model(tiny_model, LOADING, "cpu"), adapter)


def _without_a_layer(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    save_file({name: each for name, each in tensors.items() if ".layers.1." not in name}, folder / "model.safetensors")


def _configured(**values: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | values))

    return change


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (_without_a_layer, "its weights are .* numbers, where config.json describes"),
        (_configured(intermediate_size=4096), "its weights are .* numbers, where config.json describes"),
        (_configured(model_type="unheard"), "config.json describes no causal language model"),
        (_configured(model_type="clip"), "config.json describes no causal language model"),
        (
            _configured(vocab_size=900),
            "its tokenizer's vocabulary's last token is 1023 .*, its weights know those below 900",
        ),
        (lambda folder: (folder / "chat_template.jinja").write_text("{% if %}"), "its chat template fails"),
    ],
    ids=["missing weights", "wider", "unknown type", "no language model", "few tokens", "template"],
)
def test_parts_that_do_not_fit_together_are_found_before_any_job(tiny_model, tmp_path, damage, says):
    source = shutil.copytree(tiny_model, tmp_path / "source")
    damage(source)
    with pytest.raises(InputError, match=f"^model.reference: folder:{source}: .*{says}"):
        prepare_model(from_source(f"folder:{source}"), tmp_path / "model")
    assert not (tmp_path / "model" / "manifest.json").exists()


def test_weights_that_are_missing_are_never_made_up(tiny_model, tmp_path):
    prepare_model(from_source(f"folder:{shutil.copytree(tiny_model, tmp_path / 'source')}"), tmp_path / "model")
    _without_a_layer(tmp_path / "source")
    rewritten(tmp_path / "model" / "model.safetensors", (tmp_path / "source" / "model.safetensors").read_bytes())
    with pytest.raises(InputError, match="weights of the model are missing"):
        load_model(tmp_path / "model", LOADING, "cpu")


def test_a_linked_file_that_changed_is_found(tiny_model, tmp_path):
    source = shutil.copytree(tiny_model, tmp_path / "source")
    prepare_model(from_source(f"folder:{source}"), tmp_path / "model")
    (source / "model.safetensors").touch()
    check_model(tmp_path / "model")
    weights = bytearray((source / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (source / "model.safetensors").write_bytes(weights)
    with pytest.raises(InputError, match=r"model\.safetensors: changed since the model was prepared"):
        check_model(tmp_path / "model")


COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub(tiny_model):
    """A hub with one model, `owner/tiny`, at one commit, that speaks the part of the protocol that a download needs."""
    files = {path.name: path.read_bytes() for path in tiny_model.iterdir() if path.name != "manifest.json"}
    files |= {"original/params.json": b"{}", "pytorch_model.bin": b"no"}
    asked = []

    class Hub(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            path = self.path.partition("?")[0]
            if path.startswith("/api/models/owner/tiny"):
                siblings = [{"rfilename": name, "size": len(data)} for name, data in files.items()]
                tree = [{"type": "file", "path": n, "size": len(d), "oid": "0" * 40} for n, d in files.items()]
                about = {"id": "owner/tiny", "sha": COMMIT, "siblings": siblings}
                return self.answer(json.dumps(tree if "/tree/" in path else about).encode())
            place, _, name = path.partition(f"/resolve/{COMMIT}/")
            if place != "/owner/tiny" or name not in files:
                return self.answer(b"{}", 404)
            return self.answer(files[name])

        do_HEAD = do_GET

        def answer(self, data, status=200):
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{len(data):040x}"')
            if status == 404:
                self.send_header("X-Error-Code", "RepoNotFound")
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(data)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


def from_hub(endpoint: str, folder: Path, name: str) -> subprocess.CompletedProcess:
    script = Path(__file__).parents[2] / "scripts" / "prepare_model.py"
    settings = ["--name", "tiny", "--reference", f"hub:{name}", "--revision", "main"]
    environment = {key: value for key, value in os.environ.items() if key != "HF_HUB_OFFLINE"}
    environment |= {"HF_ENDPOINT": endpoint, "HF_HOME": str(folder.parent / "home"), "HF_HUB_ETAG_TIMEOUT": "5"}
    command = [sys.executable, str(script), *settings, "--output", str(folder / "manifest.json")]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def test_a_hub_model_is_downloaded_at_the_commit_that_its_revision_stands_for(hub, tmp_path):
    endpoint, asked = hub
    done = from_hub(endpoint, tmp_path / "model", "owner/tiny")
    assert done.returncode == 0, done.stderr
    prepared = check_model(tmp_path / "model")
    assert (prepared.reference, prepared.revision) == ("hub:owner/tiny", COMMIT)
    # neither another format of the weights nor what lies in folders
    assert not {"pytorch_model.bin", "original", "params.json"} & {path.name for path in (tmp_path / "model").iterdir()}
    asked.clear()
    load_tokenizer(tmp_path / "model")
    load_model(tmp_path / "model", LOADING, "cpu")
    assert asked == []


def test_a_model_that_the_hub_does_not_have_is_one_line(hub, tmp_path):
    done = from_hub(hub[0], tmp_path / "model", "owner/other")
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert "model.reference: owner/other could not be downloaded" in line
    assert line.endswith(
        "a gated model needs its licence accepted on its page, and on this node `hf auth login` or the"
        " variable HF_TOKEN"
    )
