"""What a model is loaded with: its device, its format, its tokenizer's padding, and what a broken folder is told."""

import json
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from sections import LOADING, defaults
from transformers import AutoModelForCausalLM, AutoTokenizer

from archloop.errors import InputError, kind_and_line
from archloop.machine import choose_device, versions_with_kernel
from archloop.model.adapters import attach_adapter, save_adapter
from archloop.model.loading import (
    load_adapter,
    load_model,
    load_tokenizer,
    save_model,
    spare_bitsandbytes,
    token_counter,
)
from archloop.model.prepared import Weights, check_model
from archloop.settings.sections import Finetuning, Loading


@pytest.fixture
def gpus(monkeypatch):
    """A function that lets torch see so many GPUs."""

    def seen(count: int) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)

    return seen


@pytest.mark.parametrize(
    ("wanted", "count", "device"),
    [("cpu", 2, "cpu"), ("auto", 0, "cpu"), ("auto", 1, "cuda"), ("cuda", 1, "cuda"), ("cuda:1", 2, "cuda:1")],
)
def test_a_device_is_the_one_that_is_asked_for_or_a_gpu_where_there_is_one(gpus, wanted, count, device):
    gpus(count)
    assert choose_device(wanted) == device


@pytest.mark.parametrize(
    ("wanted", "count", "says"),
    [
        ("cuda", 0, "execution.device: cuda, but torch sees no GPU here"),
        ("cuda:0", 0, "execution.device: cuda:0, but torch sees no GPU here"),
        ("cuda:2", 2, "execution.device: cuda:2, but there are 2 GPUs, counted from 0"),
    ],
)
def test_a_gpu_that_is_not_there_is_named(gpus, wanted, count, says):
    gpus(count)
    with pytest.raises(InputError, match=says):
        choose_device(wanted)


@pytest.fixture
def folder(tiny_model, tmp_path) -> Path:
    """A copy of the tiny model that a test may change."""
    return shutil.copytree(tiny_model, tmp_path / "model")


def change(path: Path, **values: object) -> None:
    """Change keys of a JSON file of a model, None removes one, and what the manifest says of its size."""
    changed = json.loads(path.read_text()) | values
    path.write_text(json.dumps({key: value for key, value in changed.items() if value is not None}))
    manifest = json.loads((path.parent / "manifest.json").read_text())
    manifest["files"][path.name]["bytes"] = path.stat().st_size
    (path.parent / "manifest.json").write_text(json.dumps(manifest))


def test_a_tokenizer_pads_on_the_left_with_its_pad_token(folder):
    tokenizer = load_tokenizer(folder)
    assert tokenizer.padding_side == "left" and tokenizer.pad_token_id is not None
    batch = tokenizer(["import torch", "import torch\nimport torch.nn as nn"], padding=True)
    assert batch["input_ids"][0][0] == tokenizer.pad_token_id and batch["attention_mask"][0][0] == 0
    assert batch["attention_mask"][0][-1] == 1


def test_a_tokenizer_without_a_pad_token_pads_with_its_last_one_and_without_that_is_refused(folder):
    path = folder / "tokenizer_config.json"
    change(path, pad_token=None)
    tokenizer = load_tokenizer(folder)
    assert tokenizer.pad_token == tokenizer.eos_token is not None
    change(path, pad_token="<other>")
    other = load_tokenizer(folder)
    assert other.pad_token == "<other>" != other.eos_token
    change(path, eos_token=None)
    with pytest.raises(InputError, match="its tokenizer names no eos_token, so no answer could end"):
        load_tokenizer(folder)


def test_tokens_are_counted_without_filling_up_and_a_broken_file_is_named(folder):
    from tokenizers import Tokenizer

    path = folder / "tokenizer.json"
    text = "import torch\n\n\nclass Net(torch.nn.Module):\n"
    expected = len(load_tokenizer(folder)(text)["input_ids"])
    filling = Tokenizer.from_file(str(path))
    filling.enable_padding(length=50)
    filling.enable_truncation(1)
    filling.save(str(path))
    change(path)
    assert token_counter(folder)(text) == expected > 1
    path.write_text("{}")
    change(path)
    with pytest.raises(InputError, match="its tokenizer cannot be read"):
        token_counter(folder)
    (folder / "config.json").unlink()
    for read in (token_counter, load_tokenizer):
        with pytest.raises(InputError, match=r"config\.json: missing"):
            read(folder)


def test_a_tokenizer_of_another_kind_counts_by_transformers(folder, monkeypatch):
    import archloop.model.loading as loading

    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "tokenizer.json").rename(folder / "vocab.json")
    manifest["files"]["vocab.json"] = manifest["files"].pop("tokenizer.json")
    (folder / "manifest.json").write_text(json.dumps(manifest))
    monkeypatch.setattr(loading, "load_tokenizer", lambda _: lambda text: {"input_ids": text.split()})
    assert token_counter(folder)("a b c") == 3


QUIET = """
import json, logging, os, sys, warnings
from archloop.model.loading import quiet_transformers
quiet_transformers(*json.loads(sys.argv[1]))
from transformers.utils import logging as told
names = ("HF_HUB_OFFLINE", "HF_HUB_DISABLE_PROGRESS_BARS", "TOKENIZERS_PARALLELISM")
found = [os.environ.get(name) for name in names]
found += [told.is_progress_bar_enabled(), told.get_verbosity(), logging.getLogger("bitsandbytes").level]
found.append(any(each[0] == "ignore" and each[2] is FutureWarning for each in warnings.filters))
print(json.dumps(found))
"""


@pytest.mark.parametrize("load", [load_tokenizer, lambda folder: load_model(folder, LOADING, "cpu")], ids=["a", "b"])
def test_whoever_loads_a_tokenizer_or_a_model_looks_nothing_up(tiny_model, asked, monkeypatch, load):
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    load(tiny_model)
    assert os.environ["HF_HUB_OFFLINE"] == "1"


def test_no_large_library_is_imported_before_something_is_loaded(root):
    code = "import sys, archloop.model.loading; print({'torch', 'transformers', 'peft'} & {*sys.modules})"
    environment = {"PYTHONPATH": str(root / "scripts")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.stdout == "set()\n", done.stderr


@pytest.mark.parametrize(("given", "offline"), [([], "1"), ([True], "1"), ([False], None)])
def test_a_job_looks_nothing_up_on_a_network_and_is_quiet(root, given, offline):
    environment = {key: value for key, value in os.environ.items() if key != "HF_HUB_OFFLINE"}
    command = [sys.executable, "-c", QUIET, json.dumps(given)]
    environment["PYTHONPATH"] = str(root / "scripts")
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert json.loads(done.stdout or done.stderr) == [offline, "1", "false", False, 40, 40, True]


@pytest.mark.parametrize(("quantization", "spared"), [("none", True), ("nf4", False)])
def test_bitsandbytes_is_spared_where_nothing_is_quantized(monkeypatch, quantization, spared):
    monkeypatch.setitem(sys.modules, "bitsandbytes", json)
    spare_bitsandbytes(quantization)
    assert sys.modules["bitsandbytes"] is (None if spared else json)


def test_versions_are_those_of_python_the_kernel_and_the_packages():
    found = versions_with_kernel(("torch", "numpy"))
    assert list(found) == ["python", "torch", "numpy", "kernel"]
    assert found["python"] == platform.python_version() and found["kernel"] == os.uname().release
    assert found["torch"].split("+")[0] == torch.__version__.split("+")[0]


def test_weights_are_counted_by_their_format(folder):
    path = folder / "model.safetensors"
    tensors = load_file(path)
    name = min(tensors)
    tensors[name] = tensors[name].bfloat16()
    save_file(tensors, path, metadata={"format": "pt"})
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][path.name]["bytes"] = path.stat().st_size
    (folder / "manifest.json").write_text(json.dumps(manifest))
    half, whole = tensors[name].numel(), sum(tensor.numel() for tensor in tensors.values())
    prepared = check_model(folder)
    assert prepared.weights == Weights(path.stat().st_size, whole, {"BF16": half, "F32": whole - half})
    assert {name: asdict(file) for name, file in prepared.files.items()} == manifest["files"]
    described = (prepared.reference, prepared.revision, prepared.chat_tokens)
    assert described == (manifest["reference"], manifest["revision"], manifest["chat_tokens"])


def test_what_is_wrong_with_a_folder_comes_with_what_to_do(folder, monkeypatch):
    (folder / "adapter_config.json").touch()
    with pytest.raises(InputError, match=r"an adapter was put beside the model; move it elsewhere"):
        check_model(folder)
    (folder / "adapter_config.json").unlink()
    with monkeypatch.context() as changed:
        changed.setattr(os, "access", lambda path, mode: Path(path).name != "config.json")
        with pytest.raises(InputError, match=r"config\.json: not to be read by this user; change its mode"):
            check_model(folder)
    (folder / "config.json").unlink()
    with pytest.raises(InputError, match=r"config\.json: missing; take another"):
        check_model(folder, "take another")
    with pytest.raises(InputError, match=r"config\.json: missing; delete .*manifest\.json and run again to have"):
        check_model(folder)


def test_only_a_file_that_is_linked_to_is_read_again(folder, tmp_path):
    """A copy is the model's own; who changes it changes the model, and its size is looked at."""
    path = folder / "config.json"
    text = path.read_text()
    path.write_text(text.replace(" ", "\t"))
    os.utime(path, (2**31, 2**31))
    check_model(folder)
    path.rename(tmp_path / "linked.json")
    path.symlink_to(tmp_path / "linked.json")
    with pytest.raises(InputError, match=r"config\.json: changed since the model was prepared; delete"):
        check_model(folder)
    path.write_text(text)
    os.utime(path, (2**31 - 9, 2**31 - 9))
    check_model(folder)


@pytest.mark.parametrize(("dtype", "loaded"), [("auto", torch.float32), ("bfloat16", torch.bfloat16)])
def test_a_model_is_loaded_for_answers_in_the_format_asked_for(tiny_model, dtype, loaded):
    model = load_model(tiny_model, replace(LOADING, dtype=dtype), "cpu")
    assert {weight.dtype for weight in model.parameters()} == {loaded}
    assert not model.training and not any(weight.requires_grad for weight in model.parameters())


@pytest.fixture
def asked(monkeypatch) -> list[dict]:
    """What transformers is asked for when a model is loaded, which is then a single layer."""
    given = []

    def from_pretrained(folder, **arguments):
        given.append(arguments | {"folder": folder})
        return torch.nn.Linear(1, 1), {"missing_keys": []}

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", from_pretrained)
    return given


@pytest.mark.parametrize(
    ("device", "bfloat16", "dtype", "map_"),
    [
        ("cpu", True, torch.float32, None),
        ("cuda", True, torch.bfloat16, {"": "cuda"}),
        ("cuda:1", False, torch.float32, {"": "cuda:1"}),
    ],
)
def test_weights_go_straight_to_a_gpu_in_what_it_has_in_hardware(
    tiny_model, asked, monkeypatch, device, bfloat16, dtype, map_
):
    kept = []
    monkeypatch.setattr("archloop.model.loading.keep_freed_memory", lambda: kept.append(True))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *_, **__: bfloat16)
    load_model(tiny_model, replace(LOADING, dtype="auto"), device)
    assert kept == [True] * (device == "cpu")
    placed = {"device_map": map_} if map_ else {}
    assert asked == [
        {"folder": tiny_model, "dtype": dtype, "local_files_only": True, "output_loading_info": True} | placed
    ]


def test_four_bits_are_asked_for_as_the_method_has_them(tiny_model, asked):
    pytest.importorskip("bitsandbytes")
    load_model(tiny_model, Loading("bfloat16", "nf4"), "cpu")
    found = asked[0]["quantization_config"]
    assert asked[0]["device_map"] == {"": "cpu"} and found.load_in_4bit and found.bnb_4bit_use_double_quant
    assert (found.bnb_4bit_quant_type, found.bnb_4bit_compute_dtype) == ("nf4", torch.bfloat16)


def test_four_bits_need_bitsandbytes(tiny_model, asked, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match="nf4 needs the package bitsandbytes; install it or set it to none"):
        load_model(tiny_model, Loading("bfloat16", "nf4"), "cpu")


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (torch.OutOfMemoryError("full"), "^loading: the GPU's memory is full; set loading.quantization: nf4"),
        (KeyError("layers"), r"the model cannot be loaded \(KeyError: 'layers'\)$"),
    ],
)
def test_a_model_that_does_not_load_is_one_line(tiny_model, monkeypatch, error, says):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", fail)
    with pytest.raises(InputError, match=says):
        load_model(tiny_model, LOADING, "cpu")


def test_whoever_may_read_one_file_of_a_written_model_may_read_all(tiny_model, tmp_path):
    before = os.umask(0o022)
    try:
        save_model(load_model(tiny_model, LOADING, "cpu"), load_tokenizer(tiny_model), tmp_path / "new")
    finally:
        os.umask(before)
    assert (tmp_path / "new" / "tokenizer.json").is_file()
    assert (tmp_path / "new" / "model.safetensors").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize(("dropout", "rate", "trainable"), [(None, 0.0, False), (0.3, 0.3, True), (0.0, 0.0, True)])
def test_an_adapter_is_loaded_for_answers_or_to_go_on_training_it(tiny_model, tmp_path, dropout, rate, trainable):
    shape = {"lora_rank": 2, "lora_alpha": 4, "lora_dropout": 0.5, "targets": ["q_proj"], "layers": None}
    made = attach_adapter(load_model(tiny_model, LOADING, "cpu"), None, defaults(Finetuning, **shape))
    save_adapter(made, tmp_path / "adapter", tiny_model, {"base": {"files": {}}})
    path = tmp_path / "adapter" / "adapter_model.safetensors"
    model = load_adapter(load_model(tiny_model, LOADING, "cpu"), path, dropout)
    lora = {name: weight for name, weight in model.named_parameters() if "lora_" in name}
    assert lora and {weight.requires_grad for weight in lora.values()} == {trainable}
    assert model.peft_config["default"].lora_dropout == rate


def test_an_adapter_whose_description_is_cut_is_named(tiny_model, tmp_path):
    save_file({"a.lora_A.weight": torch.ones(1)}, tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text('{"peft_ty')
    with pytest.raises(InputError, match=r"adapter_model\.safetensors: no whole adapter of this model \("):
        load_adapter(load_model(tiny_model, LOADING, "cpu"), tmp_path / "adapter_model.safetensors")


def test_a_tokenizer_is_looked_for_in_its_folder_alone(folder, monkeypatch):
    asked = []

    def from_pretrained(*given, **named):
        asked.append((given, named))
        raise OSError("no\nfile")

    monkeypatch.setattr(AutoTokenizer, "from_pretrained", from_pretrained)
    with pytest.raises(InputError, match=r"its tokenizer cannot be read \(OSError: no file\)$"):
        load_tokenizer(folder)
    assert asked == [((folder,), {"local_files_only": True, "padding_side": "left"})]


def test_an_error_is_one_line_of_bounded_length():
    assert kind_and_line(ValueError("a\n  b\tc")) == "ValueError: a b c"
    assert kind_and_line(ValueError("x" * 500)) == "ValueError: " + "x" * 288
