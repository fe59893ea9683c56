"""Decides what a runtime feature may count as. Descriptors state it, anchors prove it, nothing else is believed.

A descriptor (TOML, `descriptor-1.schema.json`) maps features of one runtime at one version onto claim modes. Every
statement in it has an anchor that a machine verifies: lines of source by hash, a trace by a gate, a probe by running
it. What is not verified is unmet, and a label is never better than its weakest obligation (contract.md section 8).
"""
