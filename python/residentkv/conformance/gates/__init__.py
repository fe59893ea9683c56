"""Trace gates: what a trace proves about a claim, judged from the trace alone (contract.md section 7).

    offload.judge(path, claim_id=None)               the offload life cycle, in the format of contract.md section 6
    connector.judge(path, claim_id=None, others=())  a serving engine's own offload events

Both fail closed: what the trace does not show is missing. `UnreadableTrace` says that a file is no trace at all.
"""

from residentkv.conformance.gates.trace_lines import UnreadableTrace

__all__ = ["UnreadableTrace"]
