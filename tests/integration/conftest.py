"""The models that whole runs use: a tiny one made here, and SmolLM2 where its package is installed."""

from pathlib import Path

import pytest
import torch

from residentkv.contract.errors import ConfigError
from residentkv.serving.model_loading import LoadedModel, find_default_model, load_model
from tests.unit.serving.tiny_llama import save_tiny_llama


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    # Test workers share the cores; threads that wait for each other there cost more than they bring.
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_llama(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return load_model(str(save_tiny_llama(tmp_path_factory.mktemp("tiny-llama"))), device="cpu")


@pytest.fixture(scope="session")
def smollm2_file() -> Path:
    try:
        return find_default_model()
    except ConfigError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def smollm2(smollm2_file: Path) -> LoadedModel:
    return load_model(str(smollm2_file), device="cpu")
