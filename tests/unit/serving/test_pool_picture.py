"""The picture shows every block once, and its legend adds up."""

import re

import numpy as np

from residentkv.serving.pool_picture import draw_pool

FREE, CACHED, ACTIVE, RESIDENT_IDLE, RESIDENT_ACTIVE, NULL = range(6)


def test_each_state_and_holder_has_its_glyph() -> None:
    states = np.array(
        [NULL, RESIDENT_IDLE, RESIDENT_ACTIVE, ACTIVE, ACTIVE, ACTIVE, CACHED, FREE, FREE, ACTIVE], dtype=np.uint8
    )
    picture = draw_pool(states, {"chat-1": [2, 3, 4], "chat-2": [2, 4, 5]}, width=5).plain
    assert picture.splitlines() == [
        "  #@A+B",
        "  -..?",
        "  # claimed, held by no request: 1   @ claimed and in use: 1   A chat-1: 1   + shared by requests: 1   "
        "B chat-2: 1   - cached, may be evicted: 1   . free: 2   ? other requests: 1",
    ]


def test_without_a_null_block_the_first_block_is_drawn() -> None:
    assert draw_pool(np.array([FREE, CACHED], dtype=np.uint8), {}).plain.splitlines()[0] == "  .-"


def test_the_legend_adds_up_whatever_the_states() -> None:
    rng = np.random.default_rng(1)
    states = rng.integers(0, 5, 200).astype(np.uint8)
    holders = {f"r{number}": np.flatnonzero(states == ACTIVE)[number::30].tolist() for number in range(30)}
    *rows, legend = draw_pool(states, holders, width=48).plain.splitlines()
    assert [len(row) for row in rows] == [50] * 4 + [10]
    assert sum(int(count) for count in re.findall(r": (\d+)", legend)) == 200
    assert "?" in legend  # there are more holders than letters
