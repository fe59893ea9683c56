"""What each kernel computes, in plain torch, slowly. Same arguments as the launchers; device-independent."""

import torch


def copy_blocks(blocks: torch.Tensor, pairs: torch.Tensor) -> None:
    for source, target in pairs.tolist():
        blocks[:, target] = blocks[:, source]


def gather_blocks(blocks: torch.Tensor, slots: torch.Tensor, pairs: torch.Tensor) -> None:
    for block, slot in pairs.tolist():
        slots[slot] = blocks[:, block].flatten()


def scatter_blocks(blocks: torch.Tensor, slots: torch.Tensor, pairs: torch.Tensor) -> None:
    for block, slot in pairs.tolist():
        blocks[:, block] = slots[slot].view(blocks.shape[0], blocks.shape[2])


def reshape_and_cache(keys, values, key_blocks, value_blocks, slots, scales) -> None:
    block_size = key_blocks.shape[1]
    for token, slot in enumerate(slots.tolist()):
        if slot >= 0:
            for tokens, blocks, scale in ((keys, key_blocks, scales.keys), (values, value_blocks, scales.values)):
                blocks[slot // block_size, slot % block_size] = encoded(tokens[token], blocks.dtype, scale)


def encoded(tokens: torch.Tensor, dtype: torch.dtype, scale: float) -> torch.Tensor:
    if dtype.itemsize > 1:
        return tokens
    limit = torch.finfo(dtype).max
    return (tokens.float() / torch.tensor(scale, device=tokens.device)).clamp(-limit, limit).to(dtype)


def paged_decode(query, key_blocks, value_blocks, block_table, context_lens, options) -> torch.Tensor:
    """Float64, one request and one head at a time."""
    output = torch.zeros(query.shape, dtype=torch.float64)
    block_size, group = key_blocks.shape[1], query.shape[1] // key_blocks.shape[2]
    for request, length in enumerate(context_lens.tolist()):
        if length == 0:
            continue
        table = block_table[request, : -(-length // block_size)].long()
        first = 0 if options.window is None else max(0, length - options.window)
        for head in range(query.shape[1]):
            keys, values = (
                (blocks[table, :, head // group].float().double() * scale).flatten(0, 1)[first:length]
                for blocks, scale in ((key_blocks, options.scales.keys), (value_blocks, options.scales.values))
            )
            weights = (keys @ query[request, head].double() * options.factor).softmax(0)
            output[request, head] = (weights @ values).cpu()
    return output
