"""The litmus tests of contract.md section 7 that an online runtime can be put to."""

from typing import Final

from residentkv.conformance.litmus.base import Litmus
from residentkv.conformance.litmus.ending import L4, L5
from residentkv.conformance.litmus.hard_claim import C1, L3
from residentkv.conformance.litmus.materialization import L6
from residentkv.conformance.litmus.no_admit import L2
from residentkv.conformance.litmus.no_claim import L1
from residentkv.conformance.litmus.observer import L7

ALL: Final[tuple[Litmus, ...]] = (L1, L2, L3, L4, L5, L6, L7, C1)
