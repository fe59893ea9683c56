"""KVStorage against a dictionary from (layer, slot) to tensors, for every format, and every refusal it documents."""

import numpy as np
import pytest
import torch

from residentkv.contract.errors import ContractError
from residentkv.runtime.kv_storage import KVLayout, KVStorage, KVStorageOptions

NUM_LAYERS, NUM_HEADS, HEAD_DIM, BLOCK_SIZE, USABLE = 3, 2, 8, 4, 6
FP8 = (torch.float8_e4m3fn, torch.float8_e5m2)
PLAIN = (torch.float32, torch.float16, torch.bfloat16)


def make_storage(**changes: object) -> KVStorage:
    options = {
        "num_layers": NUM_LAYERS,
        "num_kv_heads": NUM_HEADS,
        "head_dim": HEAD_DIM,
        "block_size": BLOCK_SIZE,
        "usable_blocks": USABLE,
        **changes,
    }
    if options.get("dtype") in FP8:
        options.setdefault("compute_dtype", torch.float32)
    return KVStorage(KVStorageOptions(**options), device="cpu")


def random_tokens(seed: int, num_tokens: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(num_tokens, NUM_HEADS, HEAD_DIM, generator=generator).to(dtype)


def slots_of(*numbers: int) -> torch.Tensor:
    return torch.tensor(numbers, dtype=torch.int64)


def all_slots(storage: KVStorage) -> torch.Tensor:
    return torch.arange(storage.options.num_blocks * storage.options.block_size)


def contents(storage: KVStorage) -> torch.Tensor:
    """Everything the storage holds, as bytes, for comparisons that tolerate nothing."""
    layers = range(storage.options.num_layers)
    blocks = [get(layer) for layer in layers for get in (storage.key_blocks, storage.value_blocks)]
    return torch.stack([block.contiguous().view(torch.uint8) for block in blocks])


@pytest.mark.parametrize("layout", KVLayout)
@pytest.mark.parametrize("dtype", PLAIN)
@pytest.mark.parametrize("null_block", [True, False])
def test_random_writes_and_gathers_agree_with_a_dictionary(
    layout: KVLayout, dtype: torch.dtype, null_block: bool
) -> None:
    storage = make_storage(layout=layout, dtype=dtype, null_block=null_block)
    first_slot = BLOCK_SIZE if null_block else 0
    model: dict[tuple[int, int], tuple[torch.Tensor, torch.Tensor]] = {}
    rng = np.random.default_rng(7)
    for step in range(20):
        layer, count = int(rng.integers(NUM_LAYERS)), int(rng.integers(1, 9))
        slots = rng.choice(np.arange(first_slot, storage.options.num_blocks * BLOCK_SIZE), count, replace=False)
        keys, values = random_tokens(2 * step, count, dtype), random_tokens(2 * step + 1, count, dtype)
        storage.write(layer, keys, values, torch.from_numpy(slots))
        model |= {(layer, int(slot)): (keys[i], values[i]) for i, slot in enumerate(slots)}

    zeros = torch.zeros(NUM_HEADS, HEAD_DIM, dtype=dtype)
    for layer in range(NUM_LAYERS):
        found = storage.gather(layer, all_slots(storage))
        assert found.keys.is_contiguous()
        assert found.values.is_contiguous()
        for slot in range(first_slot, storage.options.num_blocks * BLOCK_SIZE):
            keys, values = model.get((layer, slot), (zeros, zeros))
            assert torch.equal(found.keys[slot], keys), (layer, slot)
            assert torch.equal(found.values[slot], values), (layer, slot)


@pytest.mark.parametrize(("layout", "token_place"), [(KVLayout.NHD, (3, 2)), (KVLayout.HND, (3, slice(None), 2))])
def test_a_slot_lies_where_kernels_expect_it(layout: KVLayout, token_place: tuple[object, ...]) -> None:
    storage = make_storage(layout=layout)
    keys, values = random_tokens(0, 1), random_tokens(1, 1)
    storage.write(1, keys, values, slots_of(3 * BLOCK_SIZE + 2))
    assert torch.equal(storage.key_blocks(1)[token_place], keys[0])
    assert torch.equal(storage.value_blocks(1)[token_place], values[0])
    shape = (BLOCK_SIZE, NUM_HEADS, HEAD_DIM) if layout is KVLayout.NHD else (NUM_HEADS, BLOCK_SIZE, HEAD_DIM)
    assert storage.key_blocks(1).shape == (USABLE + 1, *shape)
    assert storage.key_blocks(1).is_contiguous()
    assert storage.value_blocks(1).is_contiguous()


def test_gather_returns_copies_in_the_order_asked_for_with_repeats() -> None:
    storage = make_storage()
    keys, values = random_tokens(0, 3), random_tokens(1, 3)
    storage.write(0, keys, values, slots_of(5, 9, 13))
    found = storage.gather(0, slots_of(13, 5, 13))
    assert torch.equal(found.keys, keys[[2, 0, 2]])
    found.keys.zero_()
    assert torch.equal(storage.gather(0, slots_of(13)).keys, keys[[2]])


@pytest.mark.parametrize("layout", KVLayout)
@pytest.mark.parametrize("dtype", FP8)
def test_fp8_rounds_once_and_scales(layout: KVLayout, dtype: torch.dtype) -> None:
    key_scales, value_scales = (0.5, 1.0, 2.0), (0.25, 3.0, 1.0)
    storage = make_storage(layout=layout, dtype=dtype, key_scales=key_scales, value_scales=value_scales)
    keys, values, slots = random_tokens(0, 5), random_tokens(1, 5), slots_of(4, 11, 17, 8, 27)
    for layer in range(NUM_LAYERS):
        storage.write(layer, keys, values, slots)
        found = storage.gather(layer, slots)
        assert torch.equal(found.keys, (keys / key_scales[layer]).to(dtype).float() * key_scales[layer])
        assert torch.equal(found.values, (values / value_scales[layer]).to(dtype).float() * value_scales[layer])
    mantissa_bits = 3 if dtype is torch.float8_e4m3fn else 2
    large = keys.abs() > 0.1
    assert ((found.keys - keys).abs() / keys.abs())[large].max() <= 2.0 ** -(mantissa_bits + 1)


@pytest.mark.parametrize("dtype", FP8)
def test_fp8_saturates_instead_of_overflowing(dtype: torch.dtype) -> None:
    storage = make_storage(dtype=dtype)
    huge = torch.full((1, NUM_HEADS, HEAD_DIM), 1e6)
    storage.write(0, huge, -huge, slots_of(4))
    found = storage.gather(0, slots_of(4))
    limit = torch.finfo(dtype).max
    assert (found.keys == limit).all()
    assert (found.values == -limit).all()


def test_fp8_computes_in_the_dtype_that_was_asked_for() -> None:
    storage = make_storage(dtype=torch.float8_e4m3fn, compute_dtype=torch.bfloat16)
    tokens = random_tokens(0, 2, torch.bfloat16)
    storage.write(0, tokens, tokens, slots_of(4, 5))
    assert storage.gather(0, slots_of(4, 5)).keys.dtype is torch.bfloat16
    with pytest.raises(ContractError, match="computes in torch.bfloat16"):
        storage.write(0, tokens.float(), tokens.float(), slots_of(4, 5))


@pytest.mark.parametrize("layout", KVLayout)
@pytest.mark.parametrize("null_block", [True, False])
def test_padding_reaches_no_block_that_a_request_can_hold(layout: KVLayout, null_block: bool) -> None:
    storage = make_storage(layout=layout, null_block=null_block)
    everything, first_usable = all_slots(storage), BLOCK_SIZE if null_block else 0
    storage.write(0, random_tokens(0, len(everything)), random_tokens(1, len(everything)), everything)
    before = storage.gather(0, everything)
    padding = [-1, -1, 0, BLOCK_SIZE - 1] if null_block else [-1, -1]
    slots = slots_of(*padding, 9)
    storage.write(0, random_tokens(2, len(slots)), random_tokens(3, len(slots)), slots)
    after = storage.gather(0, everything)
    changed = (before.keys != after.keys).flatten(1).any(1) | (before.values != after.values).flatten(1).any(1)
    assert changed.nonzero().flatten().tolist()[-1] == 9
    assert not changed[first_usable:9].any()
    assert torch.equal(after.keys[9], random_tokens(2, len(slots))[-1])


@pytest.mark.parametrize("layout", KVLayout)
@pytest.mark.parametrize("dtype", PLAIN + FP8)
def test_copies_are_bit_exact_in_every_layer_and_touch_nothing_else(layout: KVLayout, dtype: torch.dtype) -> None:
    storage = make_storage(layout=layout, dtype=dtype)
    compute, everything = storage.options.resolved_compute_dtype, all_slots(storage)
    for layer in range(NUM_LAYERS):
        tokens = random_tokens(layer, len(everything), compute)
        storage.write(layer, tokens, -tokens, everything)
    before = contents(storage)
    # 2 -> 3 -> 5 in one call: sources are read before any target is written.
    storage.copy_blocks(np.array([[2, 3], [3, 5], [1, 6]], dtype=np.int32))
    expected = before.clone()
    expected[:, [3, 5, 6]] = before[:, [2, 3, 1]]
    assert torch.equal(contents(storage), expected)


def test_copying_nothing_changes_nothing() -> None:
    storage = make_storage()
    before = contents(storage)
    storage.copy_blocks(np.empty((0, 2), dtype=np.int32))
    assert torch.equal(contents(storage), before)


def test_size_is_what_the_options_say() -> None:
    storage = make_storage(dtype=torch.float16)
    assert storage.num_bytes == NUM_LAYERS * 2 * (USABLE + 1) * BLOCK_SIZE * NUM_HEADS * HEAD_DIM * 2
    assert make_storage(null_block=False).options.num_blocks == USABLE


def test_formats_have_different_names() -> None:
    names = {make_storage(dtype=dtype, layout=layout).options.kv_format for dtype in PLAIN + FP8 for layout in KVLayout}
    assert len(names) == 10
    assert "float8_e4m3fn-HND" in names


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_layers": 0}, "num_layers=0"),
        ({"usable_blocks": -1}, "usable_blocks=-1"),
        ({"dtype": torch.int8}, "torch.int8"),
        ({"dtype": torch.float8_e5m2, "compute_dtype": None}, "needs compute_dtype"),
        ({"dtype": torch.float8_e5m2, "compute_dtype": torch.float8_e5m2}, "needs compute_dtype"),
        ({"dtype": torch.float16, "compute_dtype": torch.float32}, "only fp8"),
        ({"key_scales": (1.0,) * NUM_LAYERS}, "not scaled"),
        ({"dtype": torch.float8_e5m2, "value_scales": (1.0,)}, "1 entries"),
        ({"dtype": torch.float8_e5m2, "key_scales": (1.0, 0.0, 1.0)}, "positive and finite"),
        ({"dtype": torch.float8_e5m2, "key_scales": (1.0, float("nan"), 1.0)}, "positive and finite"),
        ({"dtype": torch.float8_e5m2, "key_scales": (1.0, float("inf"), 1.0)}, "positive and finite"),
    ],
)
def test_bad_options_are_refused_with_their_value(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ContractError, match=message):
        make_storage(**changes)


END = (USABLE + 1) * BLOCK_SIZE


@pytest.mark.parametrize(
    ("keys", "slots", "message"),
    [
        (random_tokens(0, 2), slots_of(4), r"got \[2, 2, 8\]"),
        (random_tokens(0, 1)[0], slots_of(4), r"got \[2, 8\]"),
        (random_tokens(0, 1).transpose(1, 2), slots_of(4), r"got \[1, 8, 2\]"),
        (random_tokens(0, 1, torch.float16), slots_of(4), "torch.float16"),
        (torch.empty(1, HEAD_DIM, NUM_HEADS).transpose(1, 2), slots_of(4), "stride 2"),
        (torch.empty(1, NUM_HEADS, HEAD_DIM, device="meta"), slots_of(4), "lives on meta"),
        (random_tokens(0, 1), slots_of(4).int(), "int64"),
        (random_tokens(0, 1), slots_of(4)[None], "int64"),
        (random_tokens(0, 1), slots_of(4).to("meta"), "slots live on meta"),
        (random_tokens(0, 1), slots_of(END), rf"\[{END}, {END}\] outside \[-1, {END}\)"),
        (random_tokens(0, 1), slots_of(-2), "-2"),
    ],
)
def test_bad_writes_are_refused_and_change_nothing(keys: torch.Tensor, slots: torch.Tensor, message: str) -> None:
    storage = make_storage()
    good = random_tokens(1, 1)
    for pair in ((keys, good), (good, keys)):
        with pytest.raises(ContractError, match=message):
            storage.write(0, *pair, slots)
    assert not contents(storage).any()


@pytest.mark.parametrize("layer", [-1, NUM_LAYERS])
def test_layers_outside_the_storage_are_refused(layer: int) -> None:
    storage, tokens = make_storage(), random_tokens(0, 1)
    for call in (
        lambda: storage.write(layer, tokens, tokens, slots_of(4)),
        lambda: storage.gather(layer, slots_of(4)),
        lambda: storage.key_blocks(layer),
        lambda: storage.value_blocks(layer),
    ):
        with pytest.raises(ContractError, match=f"layer={layer}"):
            call()


@pytest.mark.parametrize("slot", [-1, END])
def test_gather_refuses_padding_and_slots_outside(slot: int) -> None:
    with pytest.raises(ContractError, match="outside"):
        make_storage().gather(0, slots_of(slot))


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (np.array([[1, 2]]), "int64"),
        (np.array([1, 2], dtype=np.int32), r"\[2\]"),
        (np.array([[1, 2, 3]], dtype=np.int32), r"\[1, 3\]"),
        (np.array([[1, USABLE + 1]], dtype=np.int32), "outside"),
        (np.array([[-1, 2]], dtype=np.int32), "outside"),
        (np.array([[1, 0]], dtype=np.int32), "null block"),
        (np.array([[1, 3], [2, 3]], dtype=np.int32), "named twice"),
    ],
)
def test_bad_copies_are_refused_and_change_nothing(pairs: np.ndarray, message: str) -> None:
    storage, everything = make_storage(), torch.arange(END)
    storage.write(0, random_tokens(0, END), random_tokens(1, END), everything)
    before = contents(storage)
    with pytest.raises(ContractError, match=message):
        storage.copy_blocks(pairs)
    assert torch.equal(contents(storage), before)


def test_block_zero_is_an_ordinary_block_without_a_null_block() -> None:
    storage = make_storage(null_block=False)
    tokens = random_tokens(0, BLOCK_SIZE)
    storage.write(0, tokens, tokens, torch.arange(BLOCK_SIZE))
    storage.copy_blocks(np.array([[0, 4], [4, 0]], dtype=np.int32))
    assert torch.equal(storage.gather(0, torch.arange(4 * BLOCK_SIZE, 5 * BLOCK_SIZE)).keys, tokens)
    assert not storage.key_blocks(0)[0].any()


def test_empty_write_and_gather_do_nothing() -> None:
    storage = make_storage()
    storage.write(0, random_tokens(0, 0), random_tokens(0, 0), slots_of())
    assert storage.gather(0, slots_of()).keys.shape == (0, NUM_HEADS, HEAD_DIM)
    assert not contents(storage).any()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("layout", KVLayout)
@pytest.mark.parametrize("dtype", PLAIN + FP8)
def test_a_cuda_storage_holds_the_same_bytes(layout: KVLayout, dtype: torch.dtype) -> None:
    on_cpu = make_storage(layout=layout, dtype=dtype)
    on_gpu = KVStorage(on_cpu.options, device="cuda")
    keys, values = (random_tokens(seed, 5, on_cpu.options.resolved_compute_dtype) for seed in (0, 1))
    slots = slots_of(4, 11, 17, 8, 27)
    for storage in (on_cpu, on_gpu):
        place = storage.device
        storage.write(2, keys.to(place), values.to(place), slots.to(place))
        storage.copy_blocks(np.array([[2, 3], [4, 5]], dtype=np.int32))
    assert torch.equal(contents(on_gpu).cpu(), contents(on_cpu))
