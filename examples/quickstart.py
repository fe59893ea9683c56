"""Claim a system prompt, serve a chat over it, and see a request refused that does not fit beside the claim."""

from residentkv import BlockManager, CacheIdentity, ClaimSpec, LeadingPrefix, PoolOptions

identity = CacheIdentity("demo", "my-model", "my-tokenizer", "tenant-a", block_size=16, kv_format="fp16")
system_prompt = list(range(60 * 16))  # 60 blocks of token ids

with BlockManager(PoolOptions(usable_blocks=80), identity=identity) as manager:
    manager.claims.submit(ClaimSpec("system-prompt", "tenant-a", identity, system_prompt, LeadingPrefix(60)))
    chat = manager.admit("chat-1", [*system_prompt, 7, 8], max_new_tokens=32)
    step = manager.plan_step([chat.row], [len(system_prompt) + 2])  # step.block_table, step.slot_mapping: for the model
    manager.commit_step(step.step_id)  # the model has written its KV
    print(manager.claims.state("system-prompt").value)  # materialized
    print(
        manager.admit("chat-2", [*system_prompt, 9], max_new_tokens=32).num_cached_tokens
    )  # 960: only the suffix is new
    long = manager.admit("long", range(5000, 5000 + 70 * 16))
    print(type(long).__name__, long.record.blocking_claim_ids, long.record.capacity_shortfall_blocks)
