"""Settings that every test shares: Hypothesis profiles, and skipping what this machine can not run."""

import pytest
from hypothesis import HealthCheck, Phase, settings

# ci: the same examples every time, so a red run is red for everybody. long: fresh examples from --hypothesis-seed.
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.register_profile(
    "long",
    deadline=None,
    max_examples=2000,
    stateful_step_count=200,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
# planted: a bug on purpose need only be found; nobody reads the shortest way to it.
settings.register_profile("planted", deadline=None, derandomize=True, phases=[Phase.generate])
settings.load_profile("ci")


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu"):
        torch = pytest.importorskip("torch")
        if not torch.cuda.is_available():
            pytest.skip("no CUDA device")
