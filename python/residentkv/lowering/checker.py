"""Gives a row its label: the best one that verified evidence supports, and never a better one.

Note [What counts]. *Rationale*: a name proves nothing, and neither does reading code: a line of source shows that a
mechanism exists, not what comes out under pressure. *Approach*: an obligation is met only by executed evidence (a gate
that carries it, on a trace or probe of this runtime, version and mode) whose every anchor holds. Source anchors show
which mechanism a row is about, at which depth, and what is lacking. The depth of an obligation is the least of what the
row, the evidence and the run say; a row is as deep as its shallowest obligation. *Limitations*: that a mechanism is of
the kind a row says is a reader's judgement; it can cost a row its label and can not raise one beyond `approximation`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from residentkv.lowering.descriptor import Anchor, Descriptor, Evidence, Row, SourceAnchor, TraceAnchor
from residentkv.lowering.gates import GATES, WELL_FORMED
from residentkv.lowering.relation import not_carrying, not_useful
from residentkv.lowering.verification import Checked, Verifier
from residentkv.lowering.vocabulary import BUNDLES, Depth, Label, Obligation, Role, Stance


@dataclass(frozen=True, slots=True)
class Met:
    """An obligation with executed evidence, as deep as the shallowest piece of it."""

    depth: Depth
    role: Role


@dataclass(frozen=True, slots=True)
class Unmet:
    """An obligation without, and why."""

    reason: str


@dataclass(slots=True)
class RowVerdict:
    """What a row may count as.

    Parameters
    ----------
    reasons : why it is not better; empty for a native row.
    obligations : state of every obligation of the bundle, in its order.
    checked : every anchor, in the order of the descriptor.
    """

    row: Row
    label: Label = Label.UNKNOWN
    reasons: tuple[str, ...] = ()
    obligations: dict[Obligation, Met | Unmet] = field(default_factory=dict)
    checked: tuple[tuple[Evidence, tuple[Checked, ...]], ...] = ()

    @property
    def is_overstated(self) -> bool:
        """Whether the row declares more than it may count as."""
        return self.row.declared.credit > self.label.credit

    @property
    def unmet(self) -> dict[Obligation, str]:
        """Obligations that are not met, with the reason."""
        return {name: state.reason for name, state in self.obligations.items() if isinstance(state, Unmet)}


@dataclass(frozen=True, slots=True)
class DescriptorVerdict:
    """Every row of one descriptor, judged."""

    descriptor: Descriptor
    rows: tuple[RowVerdict, ...]


def check_descriptors(
    descriptors: Sequence[Descriptor], sources: Mapping[str, Path], pythons: Mapping[str, Path]
) -> list[DescriptorVerdict]:
    """Verify and judge. Probes that rows name are run, each once.

    Parameters
    ----------
    sources, pythons : as `Verifier` takes them.
    """
    verifier = Verifier(sources, pythons)
    try:
        return [check_descriptor(descriptor, verifier) for descriptor in descriptors]
    finally:
        verifier.close()


def check_row(row: Row, descriptor: Descriptor, sources: Mapping[str, Path], pythons: Mapping[str, Path]) -> RowVerdict:
    """Verify and judge one row of a descriptor."""
    verifier = Verifier(sources, pythons)
    try:
        return _check_row(row, descriptor, verifier, _disputed(descriptor))
    finally:
        verifier.close()


def check_descriptor(descriptor: Descriptor, verifier: Verifier) -> DescriptorVerdict:
    """Judge every row of one descriptor."""
    disputed = _disputed(descriptor)
    rows = tuple(_check_row(row, descriptor, verifier, disputed) for row in descriptor.rows)
    return DescriptorVerdict(descriptor, rows)


def _check_row(row: Row, descriptor: Descriptor, verifier: Verifier, disputed: Mapping[object, str]) -> RowVerdict:
    if row.unavailable is not None:
        unmet: dict[Obligation, Met | Unmet] = {name: Unmet("no evidence") for name in BUNDLES[row.mode]}
        return RowVerdict(row, Label.UNKNOWN, (row.unavailable,), unmet)
    checked = tuple(
        (evidence, tuple(verifier.check(anchor, row, descriptor) for anchor in evidence.anchors))
        for evidence in row.evidence
    )
    obligations = {name: _obligation(name, row, checked) for name in BUNDLES[row.mode]}
    label, reasons = _label(row, checked, obligations, disputed)
    return RowVerdict(row, label, tuple(dict.fromkeys(reasons)), obligations, checked)


CheckedEvidence = tuple[Evidence, tuple[Checked, ...]]


def _label(
    row: Row,
    checked: Sequence[CheckedEvidence],
    obligations: Mapping[Obligation, Met | Unmet],
    disputed: Mapping[object, str],
) -> tuple[Label, list[str]]:
    contradictions = [*_contradictions(checked), *_disputes(row, disputed)]
    if contradictions:
        return Label.UNKNOWN, contradictions
    if not any(evidence.by is row.mechanism and _all_hold(anchors) for evidence, anchors in checked):
        return Label.UNKNOWN, [f"no verified evidence shows {row.mechanism.value}", *_why_not_verified(checked)]
    mistakes = [
        mistake
        for mistake in (
            not_useful(row.mechanism, row.mode),
            *(not_carrying(item.by, item.obligation) for item, _ in checked if item.stance is Stance.MEETS),
        )
        if mistake is not None
    ]
    if mistakes:
        return Label.REJECTED, mistakes
    met = [state for state in obligations.values() if isinstance(state, Met)]
    failed_controls = [
        f"control not verified: {result.reason}"
        for evidence, anchors in checked
        if evidence.stance is Stance.CONTROL
        for result in anchors
        if not result.holds
    ]
    if len(met) < len(obligations) or failed_controls:
        missing = [f"{name.value}: {state.reason}" for name, state in obligations.items() if isinstance(state, Unmet)]
        return Label.APPROXIMATION, [*missing, *failed_controls]
    depth = min((state.depth for state in met), key=lambda depth: depth.rank)
    if depth is Depth.NATIVE:
        return Label.NATIVE, []
    if all(state.role is Role.ENFORCES for state in met):
        return Label.ADAPTER_POLICY, [f"the outcome is enforced at depth {depth.value}, not by the backend as released"]
    return Label.ADAPTER_OBSERVATIONAL, ["it is observed what the backend decides; nothing is enforced"]


def _obligation(name: Obligation, row: Row, checked: Sequence[CheckedEvidence]) -> Met | Unmet:
    """Met if every piece of evidence about it says so, as its weakest piece says; else unmet with the first reason."""
    states = [_state(evidence, anchors, row) for evidence, anchors in checked if evidence.obligation is name]
    met = [state for state in states if isinstance(state, Met)]
    unmet = [state for state in states if isinstance(state, Unmet)]
    if unmet or not met:
        return unmet[0] if unmet else Unmet("no evidence")
    role = Role.ENFORCES if all(state.role is Role.ENFORCES for state in met) else Role.OBSERVES
    return Met(min((state.depth for state in met), key=lambda depth: depth.rank), role)


def _state(evidence: Evidence, anchors: Sequence[Checked], row: Row) -> Met | Unmet | None:
    """What one piece of evidence makes of its obligation; None if it says nothing about it."""
    if evidence.stance is Stance.CONTROL:
        return None
    reason = next((result.reason for result in anchors if not result.holds), None)
    if reason is not None:
        return Unmet(f"evidence not verified: {reason}")
    if evidence.stance is Stance.LACKS:
        return Unmet(f"lacking: {evidence.says}")
    mistake = not_carrying(evidence.by, evidence.obligation)
    if mistake is not None:
        return Unmet(mistake)
    runs = [result.executed for result in anchors if result.executed is not None]
    if not runs:
        return Unmet("read in the source, not executed: code is not an outcome")
    for run in runs:
        gate = GATES[run.gate]
        if row.mode not in gate.modes:
            told = ", ".join(sorted(mode.value for mode in gate.modes))
            return Unmet(f"gate {run.gate} is about {told}: evidence of one mode is none for another")
        if not run.verdict.passed:
            return Unmet(f"gate {run.gate} fails: {', '.join(run.verdict.failing)}")
    if not any(evidence.obligation in GATES[run.gate].carries for run in runs):
        return Unmet(f"gate {runs[0].gate} does not carry {evidence.obligation.value}")
    has_backend_lines = any(result.from_backend for result in anchors)
    depths = [row.depth, evidence.depth]
    for run in runs:
        # A trace can call itself native; only lines of the backend, or a probe we know, make it so.
        is_believed = run.depth_is_certain or has_backend_lines or run.depth.rank <= Depth.ADAPTER.rank
        depths.append(run.depth if is_believed else Depth.ADAPTER)
    depth = min(depths, key=lambda depth: depth.rank)
    if depth is Depth.NONE:
        return Unmet("nobody's code does it: depth is none")
    role = Role.ENFORCES if all(run.role is Role.ENFORCES for run in runs) else Role.OBSERVES
    return Met(depth, role)


def _contradictions(checked: Sequence[CheckedEvidence]) -> list[str]:
    """Obligations that verified evidence both meets and lacks, and lacks that their own gate does not show."""
    found = []
    for name in dict.fromkeys(evidence.obligation for evidence, _ in checked):
        stances = {
            evidence.stance for evidence, anchors in checked if evidence.obligation is name and _all_hold(anchors)
        }
        if {Stance.MEETS, Stance.LACKS} <= stances:
            found.append(f"{name.value}: verified evidence says that it is met and that it is lacking")
    for evidence, anchors in checked:
        for result in anchors:
            run = result.executed
            if evidence.stance is not Stance.LACKS or run is None:
                continue
            carried = GATES[run.gate].carries.get(evidence.obligation, frozenset())
            if run.verdict.passed or WELL_FORMED in run.verdict.failing:
                found.append(f"{evidence.obligation.value}: gate {run.gate} does not show that it is lacking")
            elif not carried.intersection(run.verdict.failing):
                found.append(f"{evidence.obligation.value}: gate {run.gate} fails by something else")
    return found


def _disputed(descriptor: Descriptor) -> dict[object, str]:
    """Things that anchors of the descriptor say two different things about, with how to tell it."""
    said: dict[object, object] = {}
    disputed: dict[object, str] = {}
    for row in descriptor.rows:
        for anchor in _anchors(row):
            subject, statement = _statement(anchor)
            if said.setdefault(subject, statement) != statement:
                disputed[subject] = f"two anchors contradict each other about {anchor}"
    return disputed


def _disputes(row: Row, disputed: Mapping[object, str]) -> Iterable[str]:
    for anchor in _anchors(row):
        subject, _ = _statement(anchor)
        if subject in disputed:
            yield disputed[subject]


def _statement(anchor: Anchor) -> tuple[object, object]:
    """What an anchor is about, and what it says of it. Traces are about their bytes and, read by a gate, a verdict."""
    if isinstance(anchor, SourceAnchor):
        return (anchor.source, anchor.file, anchor.first, anchor.last), anchor.sha256
    if isinstance(anchor, TraceAnchor):
        return (anchor.file, anchor.gate, anchor.claim), (anchor.sha256, anchor.passes)
    return (anchor.probe, anchor.case, anchor.gate), anchor.passes


def _anchors(row: Row) -> Iterable[Anchor]:
    return (anchor for evidence in row.evidence for anchor in evidence.anchors)


def _all_hold(anchors: Sequence[Checked]) -> bool:
    return all(result.holds for result in anchors)


def _why_not_verified(checked: Sequence[CheckedEvidence]) -> list[str]:
    return [f"{result.anchor}: {result.reason}" for _, anchors in checked for result in anchors if not result.holds]
