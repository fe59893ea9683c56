"""A small trace of the same shape as the public ones: few long shared prefixes, many continuations, bursts."""

import json
import random
from pathlib import Path


def write_trace(path: Path, num_requests: int = 60, seed: int = 0) -> Path:
    """Conversations of growing prompts over four system prompts; `hash_ids` of 512 tokens."""
    rng = random.Random(seed)
    next_id, now_ms = 100, 0
    chats: list[list[int]] = []
    lines = []
    for _ in range(num_requests):
        now_ms += rng.choice([0, 5, 50, 400])
        if chats and rng.random() < 0.6:
            ids = rng.choice(chats)
        else:
            ids = [rng.randrange(4)]
            chats.append(ids)
        for _ in range(rng.randrange(1, 4)):
            ids.append(next_id)
            next_id += 1
        length = len(ids) * 512 - rng.randrange(512)
        lines.append(
            {"timestamp": now_ms, "input_length": length, "output_length": rng.randrange(1, 40), "hash_ids": list(ids)}
        )
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path
