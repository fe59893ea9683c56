"""Who may call the native core: one thread at a time, in the process that made it, until it is closed."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from residentkv.contract.errors import ContractError, InvariantError
from tests.support.native import Native


class TestGate:
    def test_two_threads_at_once(self):
        native = Native(1 << 15)
        native.cache(np.arange(1 << 17, dtype=np.int32))  # so that a full check takes a while
        together = threading.Barrier(4)

        def outcome() -> str:
            try:
                native.core.check_invariants()
            except ContractError as error:
                return str(error)
            return ""

        def check() -> list[str]:
            together.wait()
            return [outcome() for _ in range(50)]

        with ThreadPoolExecutor(4) as pool:
            texts = [text for future in [pool.submit(check) for _ in range(4)] for text in future.result()]
        overlaps = [text for text in texts if text]
        assert overlaps
        assert all("two threads" in text for text in overlaps)
        native.core.check_invariants()

    def test_a_forked_child_may_not_use_it(self):
        native = Native(4)
        child = os.fork()
        if child == 0:
            try:
                native.core.counts()
            except ContractError:
                os._exit(7)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        native.core.check_invariants()

    def test_somebody_else_found_it_broken(self):
        native = Native(4)
        native.core.poison("the caller's books contradict themselves")
        native.core.poison("and again")
        assert native.core.poisoned == "the caller's books contradict themselves"
        with pytest.raises(InvariantError, match="contradict themselves"):
            native.core.check_invariants()
        assert native.core.counts().free == 4

    def test_closed(self):
        native = Native(4)
        native.core.close()
        with pytest.raises(ContractError, match="closed"):
            native.core.counts()
