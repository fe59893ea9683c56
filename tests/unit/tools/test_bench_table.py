import pytest

from tools.bench_table import BEGIN, END, with_table

CASES = {
    "admit_64": {"p50_us": 6.5512, "reach_us": 7.0, "accepted_miss": None},
    "first_use": {"p50_us": 1234.0, "reach_us": None, "accepted_miss": "page faults"},
}


def test_table_replaces_what_was_between_the_markers():
    text = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    assert with_table(text, CASES, "caption").splitlines() == [
        "before",
        BEGIN,
        "## Measured",
        "",
        "caption",
        "",
        "| case | median, us | goal, us | |",
        "|---|---:|---:|---|",
        "| admit_64 | 6.55 | 7 |  |",
        "| first_use | 1,234 |  | page faults |",
        END,
        "after",
    ]


@pytest.mark.parametrize("text", ["no markers", f"{BEGIN}{END}{BEGIN}{END}", f"{END}{BEGIN}"])
def test_markers_must_be_there_once(text: str):
    with pytest.raises(ValueError, match="expected the markers"):
        with_table(text, CASES, "caption")
