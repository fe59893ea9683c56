"""Workloads do what they say, and notice when they did not."""

import numpy as np
import pytest

from bench.shapes import REQUEST_BLOCKS
from bench.workloads.base import Workload, WorkNotDoneError
from bench.workloads.conflicts import Refusal, Relaxation, WhatIf
from bench.workloads.decode import DecodeInFullPool, DecodeWithFlashInferArrays
from bench.workloads.imports import Import
from bench.workloads.pool_sizes import CreatePool, Evict, FirstUse
from bench.workloads.requests import AdmitNewBlocks, HitPrefix

SMALL = {
    "admit": lambda: AdmitNewBlocks(1_000),
    "hit": lambda: HitPrefix(1_000),
    "decode": lambda: DecodeInFullPool(8_000),
    "decode_flashinfer": lambda: DecodeWithFlashInferArrays(8_000),
    "create": lambda: CreatePool(1_000),
    "first_use": lambda: FirstUse(1_000),
    "evict_long": lambda: Evict(2_000, REQUEST_BLOCKS),
    "evict_short": lambda: Evict(2_000, 1),
    "what_if": lambda: WhatIf(5),
    "refuse": lambda: Refusal(5),
    "relax": lambda: Relaxation(5),
}


def run(workload: Workload, times: int) -> None:
    for _ in range(times):
        workload.prepare()
        workload.run()


@pytest.mark.parametrize("name", SMALL)
def test_a_few_runs_verify(name: str):
    workload = SMALL[name]()
    run(workload, 3)
    workload.verify()


@pytest.mark.parametrize("name", ["admit", "hit", "decode", "evict_long"])
def test_a_run_that_did_nothing_is_noticed(name: str):
    workload = SMALL[name]()
    run(workload, 2)
    workload.prepare()
    with pytest.raises(WorkNotDoneError, match="evicted|taken"):
        workload.verify()


def test_flashinfer_arrays_are_compared_with_the_block_table(monkeypatch: pytest.MonkeyPatch):
    workload = DecodeWithFlashInferArrays(8_000)
    run(workload, 1)
    monkeypatch.setattr(np, "cumsum", lambda pages: pages)
    with pytest.raises(WorkNotDoneError, match="kv_indptr"):
        workload.verify()


def test_an_import_of_torch_is_noticed():
    with pytest.raises(WorkNotDoneError, match="torch"):
        Import("import sys; sys.modules['torch'] = sys").verify()
