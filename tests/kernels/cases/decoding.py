"""paged_decode against attention in float64, one head at a time."""

import pytest
import torch
import triton
from residentkv.kernels.paged_decode import DecodeOptions, paged_decode
from residentkv.kernels.reshape_and_cache import FP8Scales

from residentkv.contract.errors import ContractError
from tests.kernels import reference

FP8 = (torch.float8_e4m3fn, torch.float8_e5m2)
BLOCK_SIZE = 16
# Of the result's own rounding, and of weights rounded to the compute dtype before the second product. Triton's
# interpreter truncates float32 to bfloat16, hence one more bit there; the device gets no such grace.
INTERPRETED = triton.knobs.runtime.interpret
TOLERANCE = {torch.float32: 2e-5, torch.float16: 2e-3, torch.bfloat16: 3.2e-2 if INTERPRETED else 1.6e-2}


class Case:
    """Requests of the given contexts, their blocks scattered; what no query may see is NaN."""

    def __init__(self, contexts, device, *, heads=(2, 1), head_dim=16, dtype=torch.float32, stored=None, layout="NHD"):
        generator = torch.Generator().manual_seed(11)
        num_heads, num_kv_heads = heads
        stored = stored or dtype
        counts = [-(-length // BLOCK_SIZE) for length in contexts]
        num_blocks = sum(counts) + 1
        order = (torch.randperm(num_blocks - 1, generator=generator) + 1).tolist()
        shape = (num_blocks, BLOCK_SIZE, num_kv_heads, head_dim)
        keys, values = (torch.randn(shape, generator=generator) for _ in range(2))
        table = torch.full((len(contexts), max(*counts, 1)), -1, dtype=torch.int32)
        seen = torch.zeros(num_blocks, BLOCK_SIZE, dtype=torch.bool)
        for row, (length, count) in enumerate(zip(contexts, counts, strict=True)):
            blocks, order = order[:count], order[count:]
            table[row, :count] = torch.tensor(blocks)
            for position in range(length):
                seen[blocks[position // BLOCK_SIZE], position % BLOCK_SIZE] = True
        keys[~seen] = values[~seen] = torch.nan
        self.keys, self.values = (placed(blocks, stored, layout, device) for blocks in (keys, values))
        self.query = torch.randn(len(contexts), num_heads, head_dim, generator=generator).to(dtype).to(device)
        self.table, self.contexts = table.to(device), torch.tensor(contexts, dtype=torch.int32, device=device)

    def arguments(self) -> tuple[torch.Tensor, ...]:
        return self.query, self.keys, self.values, self.table, self.contexts

    def check(self, options: DecodeOptions) -> None:
        found = paged_decode(*self.arguments(), options)
        assert found.dtype == self.query.dtype
        assert found.is_contiguous()
        wanted = reference.paged_decode(*self.arguments(), options)
        tolerance = TOLERANCE[self.query.dtype]
        torch.testing.assert_close(found.cpu().double(), wanted, rtol=tolerance, atol=tolerance)


def placed(blocks: torch.Tensor, stored: torch.dtype, layout: str, device: torch.device) -> torch.Tensor:
    blocks = blocks.to(stored).to(device)
    return (
        blocks
        if layout == "NHD"
        else blocks.view(torch.uint8 if stored in FP8 else stored)
        .transpose(1, 2)
        .contiguous()
        .view(stored)
        .transpose(1, 2)
    )


# No context; one token; a block short of and past a tile; several tiles.
CONTEXTS = [0, 1, 31, 33, 70]


@pytest.mark.parametrize("layout", ["NHD", "HND"])
@pytest.mark.parametrize("split", [32, 64, None])
@pytest.mark.parametrize("window", [None, 1, 20, 33])
def test_contexts_splits_and_windows(window: int | None, split: int | None, layout: str, device: torch.device) -> None:
    Case(CONTEXTS, device, layout=layout).check(DecodeOptions(0.3, window, tokens_per_split=split))


# Multi-head, grouped-query with a group that is no power of two, multi-query; dimensions no powers of two.
@pytest.mark.parametrize(("heads", "head_dim"), [((2, 2), 8), ((6, 2), 64), ((20, 1), 80)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_heads_and_dtypes(heads: tuple[int, int], head_dim: int, dtype: torch.dtype, device: torch.device) -> None:
    Case([40, 17], device, heads=heads, head_dim=head_dim, dtype=dtype).check(
        DecodeOptions(head_dim**-0.5, tokens_per_split=32)
    )


@pytest.mark.parametrize("layout", ["NHD", "HND"])
@pytest.mark.parametrize("stored", FP8)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_fp8_storage(stored: torch.dtype, dtype: torch.dtype, layout: str, device: torch.device) -> None:
    case = Case([40, 17], device, heads=(6, 2), dtype=dtype, stored=stored, layout=layout)
    case.check(DecodeOptions(0.25, scales=FP8Scales(0.5, 3.0), tokens_per_split=32))


def test_large_scores_do_not_overflow(device: torch.device) -> None:
    Case([70], device).check(DecodeOptions(500.0, tokens_per_split=32))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # numpy, of the ruined request
def test_a_request_whose_kv_is_nan_harms_nobody_else(device: torch.device) -> None:
    case = Case([33, 40], device)
    options = DecodeOptions(0.3, tokens_per_split=32)
    healthy = paged_decode(*case.arguments(), options)
    for blocks in (case.keys, case.values):
        blocks[case.table[0].long()] = torch.nan
    ruined = paged_decode(*case.arguments(), options)
    assert ruined[0].isnan().all()
    assert torch.equal(ruined[1], healthy[1])


def test_no_request(device: torch.device) -> None:
    case = Case([3], device)
    query, keys, values, table, contexts = case.arguments()
    assert paged_decode(query[:0], keys, values, table[:0], contexts[:0], DecodeOptions(1.0)).shape == (0, 2, 16)


def test_bad_arguments_are_refused_with_their_numbers(device: torch.device) -> None:
    query, keys, values, table, contexts = Case([33, 40], device, heads=(4, 2)).arguments()
    good = {"query": query, "key_blocks": keys, "value_blocks": values, "block_table": table, "context_lens": contexts}
    for changes, message in (
        ({"query": query[:, :3]}, "num_heads=3 is not a multiple of num_kv_heads=2"),
        ({"query": query[:, :, :8]}, r"any, any, 16\]; got \[2, 4, 8\]"),
        ({"query": query.half()}, "torch.float16"),
        ({"query": query.transpose(1, 2).contiguous().transpose(1, 2)}, "query has stride 4"),
        ({"value_blocks": values[1:]}, "value_blocks must have shape"),
        ({"value_blocks": values.transpose(1, 2).contiguous().transpose(1, 2)}, "strides"),
        ({"block_table": table.long()}, "torch.int64"),
        ({"block_table": table[:1]}, r"block_table must have shape \[2, any\]"),
        ({"block_table": table.T.contiguous().T}, "block_table has stride 2"),
        ({"context_lens": contexts.long()}, "torch.int64"),
        ({"context_lens": contexts.to("meta")}, "context_lens lives on meta"),
        ({"options": DecodeOptions(1.0, window=0)}, "window=0"),
        ({"options": DecodeOptions(1.0, tokens_per_split=33)}, "tokens_per_split=33"),
    ):
        with pytest.raises(ContractError, match=message):
            paged_decode(**{"options": DecodeOptions(1.0), **good, **changes})
