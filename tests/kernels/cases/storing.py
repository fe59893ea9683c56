"""reshape_and_cache: every byte compared; fp8 codes of every kind of float."""

import pytest
import torch
from residentkv.kernels.reshape_and_cache import FP8Scales, reshape_and_cache

from residentkv.contract.errors import ContractError
from tests.kernels import reference

FP8 = (torch.float8_e4m3fn, torch.float8_e5m2)
PLAIN = (torch.float32, torch.float16, torch.bfloat16)
BLOCKS, BLOCK_SIZE = 5, 4


def empty_blocks(num_heads: int, head_dim: int, dtype: torch.dtype, layout: str, device: torch.device) -> torch.Tensor:
    """Blocks in the logical order, of NHD or HND storage, filled with bytes that must survive where nothing is
    stored."""
    inner = (BLOCK_SIZE, num_heads) if layout == "NHD" else (num_heads, BLOCK_SIZE)
    blocks = torch.full((BLOCKS, *inner, head_dim * dtype.itemsize), 0x2A, dtype=torch.uint8, device=device).view(dtype)
    return blocks if layout == "NHD" else blocks.transpose(1, 2)


def bytes_of(blocks: torch.Tensor) -> torch.Tensor:
    return blocks.contiguous().view(torch.uint8)


def check(tokens: tuple[torch.Tensor, torch.Tensor], slots: list[int], dtype, layout: str, scales: FP8Scales) -> None:
    device = tokens[0].device
    where = torch.tensor(slots, dtype=torch.int64, device=device)
    found, wanted = ([empty_blocks(*tokens[0].shape[1:], dtype, layout, device) for _ in range(2)] for _ in range(2))
    reshape_and_cache(*tokens, *found, where, scales)
    reference.reshape_and_cache(*tokens, *wanted, where, scales)
    for have, want in zip(found, wanted, strict=True):
        assert torch.equal(bytes_of(have), bytes_of(want))


def random_tokens(num_tokens: int, num_heads: int, head_dim: int, dtype, device) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    shape = (num_tokens, num_heads, head_dim)
    return tuple((torch.randn(shape, generator=generator) * 3).to(dtype).to(device) for _ in range(2))


@pytest.mark.parametrize("layout", ["NHD", "HND"])
@pytest.mark.parametrize("dtype", PLAIN + FP8)
# One head of one element; dimensions that are no powers of two; several programs a token.
@pytest.mark.parametrize(("num_heads", "head_dim"), [(1, 1), (3, 80), (18, 128)])
def test_tokens_land_in_their_slots(num_heads: int, head_dim: int, dtype, layout: str, device: torch.device) -> None:
    tokens = random_tokens(4, num_heads, head_dim, torch.float16 if dtype in FP8 else dtype, device)
    check(tokens, [7, -1, 19, 2], dtype, layout, FP8Scales(0.5, 3.0) if dtype in FP8 else FP8Scales())


@pytest.mark.parametrize("dtype", FP8)
@pytest.mark.parametrize("compute", PLAIN)
def test_fp8_takes_every_compute_dtype(compute, dtype, device: torch.device) -> None:
    check(random_tokens(3, 2, 16, compute, device), [1, 2, 8], dtype, "NHD", FP8Scales(0.7, 1.3))


@pytest.mark.filterwarnings("ignore:invalid value encountered in divide:RuntimeWarning")  # numpy, of the NaN among them
@pytest.mark.parametrize("dtype", FP8)
def test_fp8_codes_of_every_half(dtype, device: torch.device) -> None:
    """All 65,536 float16 values: subnormals, ties, overflow, infinities and NaN."""
    halves = torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(torch.float16)
    halves = halves.view(4, 128, 128).to(device)
    check((halves, -halves), [3, 9, 4, 18], dtype, "NHD", FP8Scales())


@pytest.mark.parametrize("dtype", FP8)
def test_fp8_ties_between_float32_neighbours(dtype, device: torch.device) -> None:
    """Each code's middle to the next, and the floats directly beside the middle."""
    codes = torch.arange(128, dtype=torch.uint8).view(dtype).float()
    codes = codes[codes.isfinite()]
    middles = (codes[1:] + codes[:-1]) / 2
    beside = [torch.nextafter(middles, torch.full_like(middles, limit)) for limit in (0.0, 1e9)]
    values = torch.cat([middles, *beside, torch.tensor([448.0, 464.0, 57344.0, 61440.0, 3e38, 1e-30])])
    values = torch.nn.functional.pad(values, (0, 512 - len(values))).view(1, 4, 128).to(device)
    check((values, -values), [6], dtype, "HND", FP8Scales())


def test_strided_tokens_and_none_at_all(device: torch.device) -> None:
    keys, values = random_tokens(6, 4, 32, torch.float16, device)
    check((keys[::2, 1:3, :16], values[::2, 1:3, :16]), [1, 17, 6], torch.float16, "NHD", FP8Scales())
    check((keys[:0], values[:0]), [], torch.float16, "NHD", FP8Scales())


@pytest.mark.parametrize("slot", [BLOCKS * BLOCK_SIZE, 2**40, -2])
def test_a_slot_outside_stores_nothing(slot: int, device: torch.device) -> None:
    guarded = torch.zeros(3, BLOCKS, BLOCK_SIZE, 2, 8, device=device)
    tokens = random_tokens(1, 2, 8, torch.float32, device)
    where = torch.tensor([slot], device=device)
    reshape_and_cache(*tokens, guarded[0], guarded[1], where, FP8Scales())
    assert not guarded.any()


def test_bad_arguments_are_refused_with_their_numbers(device: torch.device) -> None:
    keys, values = random_tokens(2, 2, 8, torch.float16, device)
    blocks = [empty_blocks(2, 8, torch.float16, "NHD", device) for _ in range(2)]
    slots = torch.tensor([1, 2], device=device)
    good = {"keys": keys, "values": values, "key_blocks": blocks[0], "value_blocks": blocks[1], "slots": slots}
    for changes, message in (
        ({"keys": keys[:1]}, r"values must have shape \[1, 2, 8\]"),
        ({"keys": keys.float()}, "torch.float32"),
        ({"values": values.to("meta")}, "values lives on meta"),
        ({"keys": keys[:, :, ::2]}, r"got \[2, 2, 4\]"),
        ({"keys": keys.transpose(1, 2).contiguous().transpose(1, 2)}, "keys has stride 2"),
        ({"slots": slots.int()}, "torch.int32"),
        ({"slots": slots[:1]}, r"slots must have shape \[2\]"),
        ({"slots": torch.arange(4, device=device)[::2]}, "slots has stride 2"),
        ({"key_blocks": blocks[0].int()}, "torch.int32"),
        ({"value_blocks": blocks[1][:3]}, "value_blocks"),
        ({"value_blocks": empty_blocks(2, 8, torch.float16, "HND", device)}, "strides"),
        ({"scales": FP8Scales(0.0, 1.0)}, "positive and finite"),
    ):
        with pytest.raises(ContractError, match=message):
            reshape_and_cache(**{"scales": FP8Scales(), **good, **changes})
