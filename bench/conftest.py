"""Options of `pytest bench`; `python -m bench` passes them."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--smoke", action="store_true", help="few runs of each case, for a check of every change")
