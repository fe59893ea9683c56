"""KV storage on the device, an engine over it, and what is timed and checked with them. Needs a CUDA device."""

import time
from collections.abc import Callable

import numpy as np
import torch

from bench.gpu.model_shape import ModelShape
from residentkv import _core

_TIMEOUT_S = 60.0


class Bed:
    """`num_blocks` blocks of a model's KV with known contents, as many slots, and an engine that takes one path."""

    def __init__(self, shape: ModelShape, num_blocks: int, calibration: str) -> None:
        self.num_blocks = num_blocks
        self.storage = torch.randint(
            0, 256, (shape.num_layers, num_blocks, shape.run_bytes), dtype=torch.uint8, device="cuda"
        )
        torch.cuda.synchronize()  # written by torch's stream: from here on any stream may read it
        layer_bytes = num_blocks * shape.run_bytes
        base = self.storage.data_ptr()
        planes = [
            (base + layer * layer_bytes, shape.run_bytes, shape.run_bytes, layer) for layer in range(shape.num_layers)
        ]
        self.arena = _core.HostArena(num_bytes=num_blocks * shape.block_bytes)
        backend = _core.cuda_backend(
            planes=planes,
            num_blocks=num_blocks,
            arena=self.arena,
            max_pairs=num_blocks,
            num_staging_blocks=min(num_blocks, 64),
            calibration=calibration,
        )
        self.engine = _core.CopyEngine(
            planes=planes, num_blocks=num_blocks, arena=self.arena, backend=backend, max_tickets=4
        )

    def run(self, ticket: int | None) -> _core.CopyResult:
        """Wait for a ticket and return its result; anything but `done` is an error."""
        if ticket is None or not self.engine.wait(ticket, _TIMEOUT_S):
            raise RuntimeError("the copy did not end in time")
        (result,) = self.engine.poll()
        if result.state != "done":
            raise RuntimeError(f"copy {result.state}: {result.error} {result.error_detail}")
        return result


def round_trip_is_exact(shape: ModelShape, calibration: str) -> bool:
    """Offload some blocks and restore them elsewhere; compare every byte of the storage, untouched ones too."""
    bed = Bed(shape, 32, calibration)
    wanted = bed.storage.clone()
    torch.cuda.synchronize()
    left = np.array([3, 0, 30, 17, 8], np.int32)
    slots = np.array([1, 31, 4, 0, 16], np.int32)
    came = np.array([5, 29, 2, 11, 20], np.int32)
    checksums = bed.run(bed.engine.offload(left, slots)).checksums
    bed.run(bed.engine.restore(came, slots, checksums))
    wanted[:, torch.from_numpy(came).long().cuda()] = bed.storage[:, torch.from_numpy(left).long().cuda()]
    return torch.equal(wanted, bed.storage)


def restore_seconds(shape: ModelShape, num_tokens: int, calibration: str) -> float:
    """From asking for a claim of `num_tokens` to its last verified byte; the median of five."""
    num_blocks = shape.num_blocks(num_tokens)
    bed = Bed(shape, num_blocks, calibration)
    ids = np.arange(num_blocks, dtype=np.int32)
    checksums = bed.run(bed.engine.offload(ids, ids)).checksums
    return median_seconds(lambda: bed.run(bed.engine.restore(ids, ids, checksums)))


def median_seconds(action: Callable[[], object], repeats: int = 5) -> float:
    """Wall clock of `action` with the device idle before and after; one more run before warms up."""
    times = []
    for _ in range(repeats + 1):
        torch.cuda.synchronize()
        start = time.perf_counter()
        action()
        torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return sorted(times[1:])[repeats // 2]


def ceiling_gb_per_s(num_bytes: int = 1 << 30) -> dict[str, float]:
    """One copy of `num_bytes` between page-locked and device memory by torch: what the bus gives."""
    host = torch.empty(num_bytes, dtype=torch.uint8, pin_memory=True)
    device = torch.empty(num_bytes, dtype=torch.uint8, device="cuda")
    return {
        "offload": num_bytes / median_seconds(lambda: host.copy_(device, non_blocking=True)) / 1e9,
        "restore": num_bytes / median_seconds(lambda: device.copy_(host, non_blocking=True)) / 1e9,
    }


def recompute_seconds(shape: ModelShape, num_tokens: int) -> float:
    """The matrix products of a prefill, without attention, norms or logits: less than a real one takes."""
    generator = torch.Generator(device="cuda").manual_seed(0)
    weights = [torch.randn(w, dtype=torch.bfloat16, device="cuda", generator=generator) for w in shape.weights]
    inputs = {w[0]: torch.randn(num_tokens, w[0], dtype=torch.bfloat16, device="cuda") for w in shape.weights}

    def prefill() -> None:
        for _ in range(shape.num_layers):
            for weight in weights:
                torch.mm(inputs[weight.shape[0]], weight)

    return median_seconds(prefill)


def slowdown(shape: ModelShape, calibration: str, num_products: int = 200) -> float:
    """Time of matrix products while blocks are offloaded without a pause, over their time alone."""
    matrix = torch.randn(4096, 4096, dtype=torch.bfloat16, device="cuda")
    bed = Bed(shape, 256, calibration)
    ids = np.arange(256, dtype=np.int32)

    def products() -> None:
        for _ in range(num_products):
            torch.mm(matrix, matrix)

    alone = median_seconds(products)

    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    times = []
    for _ in range(5):
        torch.cuda.synchronize()
        ticket = bed.engine.offload(ids, ids)
        start.record()
        products()
        end.record()
        bed.run(ticket)
        while not end.query():
            bed.run(bed.engine.offload(ids, ids))
        times.append(start.elapsed_time(end) / 1e3)
    return sorted(times)[2] / alone
