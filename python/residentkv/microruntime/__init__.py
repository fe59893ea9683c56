"""The contract as an executable reference model in plain Python: decisions, events and state, no memory, no speed.

Read in this order: `node.py` (logical blocks), `pool.py` (physical blocks), `claim.py`, `request.py`, `facts.py` (the
sets of the contract), `decision.py` (what they imply), `ledger.py` (what happens to blocks and claims), `runtime.py`
(the calls). docs/microruntime.md is the guide.
"""
