"""One tiny model for all serving tests."""

from pathlib import Path

import pytest
import torch

from residentkv.serving.model_loading import LoadedModel, load_model
from tests.unit.serving.tiny_llama import save_tiny_llama


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    # Test workers share the cores; threads that wait for each other there cost more than they bring.
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_llama_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_llama(tmp_path_factory.mktemp("tiny-llama"))


@pytest.fixture
def tiny_llama(tiny_llama_folder: Path) -> LoadedModel:
    return load_model(str(tiny_llama_folder), device="cpu")
