"""THE table of cases. A case is added here and nowhere else."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from bench.workloads.base import Workload
from bench.workloads.conflicts import Refusal, Relaxation, WhatIf
from bench.workloads.copies import PlanAndSubmit
from bench.workloads.decode import DecodeInFullPool, DecodeWithFlashInferArrays
from bench.workloads.imports import Import, children_seconds
from bench.workloads.pool_sizes import CreatePool, Evict, FirstUse
from bench.workloads.requests import AdmitNewBlocks, HitPrefix


@dataclass(frozen=True)
class Size:
    """Timed runs, and untimed ones before them."""

    runs: int
    warmup: int


@dataclass(frozen=True)
class AcceptedMiss:
    """Why a median may stay above its reach, and the median that was measured when this was written (README.md)."""

    reason: str
    measured_us: float


@dataclass(frozen=True)
class Case:
    """One row.

    Parameters
    ----------
    reach_us : what the median should reach, in microseconds for one unit of the workload; None only reports.
    accepted_miss : None: the median is expected to reach it.
    timer : wall time; processor time for runs so long that the machine interrupts them for others.
    """

    name: str
    reach_us: float | None
    smoke: Size
    full: Size
    workload: Callable[[], Workload]
    accepted_miss: AcceptedMiss | None = None
    timer: Callable[[], float] = time.perf_counter


_10K: Final = 10_000
_1M: Final = 1_000_000
_SHORT: Final = {"smoke": Size(1_000, 100), "full": Size(10_000, 500)}
_MANY: Final = {"smoke": Size(30, 3), "full": Size(200, 10)}
_LONG: Final = {"smoke": Size(5, 1), "full": Size(20, 2), "timer": time.thread_time}
_PROCESSES: Final = {"smoke": Size(5, 1), "full": Size(20, 2), "timer": children_seconds}

# Counts are callgrind's; "Missed reaches" in README.md has the command and the machine.
_DECODE_1M: Final = AcceptedMiss("decode_256, and 16 evictions and 16 insertions in memory that no cache holds", 6.9)

CASES: Final = (
    Case("admit_64_blocks", 7, **_SHORT, workload=partial(AdmitNewBlocks, _10K)),
    Case("hit_64_blocks", 5, **_SHORT, workload=partial(HitPrefix, _10K)),
    Case("decode_256", 4, **_SHORT, workload=partial(DecodeInFullPool, _10K)),
    Case(
        "decode_256_flashinfer",
        10,
        **_SHORT,
        workload=partial(DecodeWithFlashInferArrays, _10K),
    ),
    Case("create_1m", 50_000, **_LONG, workload=partial(CreatePool, _1M)),
    Case("admit_64_blocks_1m", 15, **_SHORT, workload=partial(AdmitNewBlocks, _1M)),
    Case("hit_64_blocks_1m", 10, **_SHORT, workload=partial(HitPrefix, _1M)),
    Case("decode_256_1m", 5, **_SHORT, workload=partial(DecodeInFullPool, _1M), accepted_miss=_DECODE_1M),
    Case("first_use_per_block_1m", None, Size(1, 0), Size(3, 0), partial(FirstUse, _1M), timer=time.thread_time),
    Case("evict_per_block_long_sequences", 0.05, **_MANY, workload=partial(Evict, _10K, 64)),
    Case("evict_per_block_short_sequences", 0.05, **_MANY, workload=partial(Evict, _10K, 1)),
    Case("evict_per_block_long_sequences_1m", 0.12, **_MANY, workload=partial(Evict, _1M, 64)),
    Case("evict_per_block_short_sequences_1m", 0.12, **_MANY, workload=partial(Evict, _1M, 4)),
    Case("what_if_100_claims", 100, **_MANY, workload=partial(WhatIf, 100)),
    Case("what_if_10k_claims", 5_000, **_LONG, workload=partial(WhatIf, _10K)),
    Case("refuse_100_claims", 100, **_MANY, workload=partial(Refusal, 100)),
    Case("refuse_10k_claims", 5_000, **_LONG, workload=partial(Refusal, _10K)),
    Case("relax_100_claims", 100, **_MANY, workload=partial(Relaxation, 100)),
    Case("relax_10k_claims", 5_000, **_LONG, workload=partial(Relaxation, _10K)),
    Case("plan_and_submit_per_block", 1, **_MANY, workload=PlanAndSubmit),
    Case("import_residentkv", 150_000, **_PROCESSES, workload=partial(Import, "import residentkv")),
    Case("import_block_manager", None, **_PROCESSES, workload=partial(Import, "from residentkv import BlockManager")),
    Case("bare_interpreter", None, **_PROCESSES, workload=partial(Import, "pass")),
)

# Of a pool of a million blocks. The tokens of a block are 64 bytes more, which metadata_bytes leaves out.
FACT_LIMITS: Final = {"metadata_bytes_per_block": 64.0}

# Instructions of one operation without claims, callgrind, CPython 3.11, x86-64.
INSTRUCTION_BUDGETS: Final = {"admit": 66_000, "hit": 46_000, "decode": 48_000}
