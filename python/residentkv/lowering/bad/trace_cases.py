"""Executed evidence that proves something else: lies in a trace, foreign traces, and depth that nobody has."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from residentkv.conformance.tamper import Tamper, drop, edit, edit_claim_events, emit_nothing, forget_order, move_behind
from residentkv.contract.events import Event
from residentkv.lowering.bad.case import Case, evidence, lines, row, trace, trace_anchor
from residentkv.lowering.vocabulary import BUNDLES, Label, Mode

_REFUSED: Final = "active_request_refused"
_GATES: Final = {
    "held-L3": ("hard_protected", "L3"),
    "held-L4": ("demotable", "L4"),
    "held-L5": ("expiring", "L5"),
    "held-L2": ("write_no_admit", "L2"),
    "observed-L2": ("best_effort", "attributed_harm"),
}


def _code() -> dict[str, Any]:
    """Lines of the backend, which a native row needs beside its trace."""
    return lines("class ResidentClaimManager", "enabled = True", "ResidentClaimManager")


def _whole(run: str, *anchors: Mapping[str, Any], depth: str = "adapter", skip: str = "") -> dict[str, Any]:
    """A row that says that `anchors` meet every obligation of the mode that `run` is of."""
    mode = _GATES[run][0]
    pieces = [
        evidence(obligation.value, "meets", "adapter_arbiter", *anchors, depth=depth)
        for obligation in BUNDLES[Mode(mode)]
        if obligation.value != skip
    ]
    return row(mode, "adapter_arbiter", *pieces, depth=depth)


def _run(name: str, label: Label, reason: str, run: str, tamper: Tamper | None = None, **provenance: Any) -> Case:
    """A whole row on one trace, changed, with the hash that it has."""
    content = trace(run, tamper, **provenance)
    return Case(name, label, reason, _whole(run, trace_anchor(content, _GATES[run][1])), {"run.jsonl": content})


def _lie(name: str, reason: str, run: str, tamper: Tamper, **provenance: Any) -> Case:
    """As `_run`; a row whose every anchor fails shows nothing at all."""
    return _run(name, Label.UNKNOWN, reason, run, tamper, **provenance)


def _first(name: str, changes: Mapping[str, Any]) -> Tamper:
    """Change the first event called `name` only."""

    def tampered(events: Sequence[Event]) -> list[Event]:
        at = next(i for i, event in enumerate(events) if event["event"] == name)
        return [{**event, **changes} if i == at else event for i, event in enumerate(events)]

    return tampered


def _lies() -> list[Case]:
    """The trace itself is not honest, or not whole."""
    protected_victim = edit("allocation_victim_selected", {"is_protected_resident": True})
    return [
        _lie("claims-named-after-the-fact", "well_formed", "held-L3", move_behind("resident_claim_accepted", _REFUSED)),
        _lie("acceptance-left-out", "well_formed", "held-L3", drop("resident_claim_accepted")),
        _lie("events-without-order", "well_formed", "held-L3", forget_order()),
        _lie("token-map-missing", "well_formed", "held-L3", edit_claim_events({"request_token_map_id": None})),
        _lie("cache-identity-missing", "well_formed", "held-L3", edit_claim_events({"cache_identity": None})),
        _lie("object-identity-missing", "well_formed", "held-L3", edit_claim_events({"reusable_object_id": None})),
        _lie("predicate-missing", "well_formed", "held-L3", edit_claim_events({"materialization_predicate": None})),
        _lie(
            "predicate-that-means-nothing",
            "well_formed",
            "held-L3",
            edit_claim_events({"materialization_predicate": "most"}),
        ),
        _lie(
            "one-claim-two-objects",
            "well_formed",
            "held-L3",
            _first("resident_claim_preserved", {"reusable_object_id": "b"}),
        ),
        _lie(
            "predicate-changed-later",
            "well_formed",
            "held-L3",
            _first("resident_claim_preserved", {"predicate_id": "b"}),
        ),
        _lie("refusal-left-out", "active_outcome", "held-L3", drop(_REFUSED)),
        _lie("refusal-without-names", "blocking_claim_ids", "held-L3", edit(_REFUSED, {"blocking_claim_ids": []})),
        _lie(
            "blocking-list-smeared-onto-a-bystander",
            "blocking_claim_ids",
            "held-L3",
            edit(_REFUSED, {"blocking_claim_ids": ["resident", "bystander"]}),
        ),
        _lie(
            "the-wrong-claim-named",
            "blocking_claim_ids",
            "held-L3",
            edit(_REFUSED, {"blocking_claim_ids": ["bystander"]}),
        ),
        _lie(
            "a-claim-nobody-submitted-named",
            "well_formed",
            "held-L3",
            edit(_REFUSED, {"blocking_claim_ids": ["ghost"]}),
        ),
        _lie("shortfall-of-another-case", "numbers", "held-L3", edit(_REFUSED, {"capacity_shortfall_blocks": 1})),
        _lie("preservation-left-out", "preserved_for", "held-L3", drop("resident_claim_preserved")),
        _lie("materialization-left-out", "materialized_claims", "held-L3", drop("resident_claim_materialized")),
        _lie(
            "soft-claim-in-its-place",
            "protection_mode",
            "held-L3",
            edit_claim_events({"protection_mode": "soft_priority"}),
        ),
        _lie(
            "reuse-of-fewer-blocks",
            "blocks_reused_later",
            "held-L3",
            edit("active_request_admitted", {"reused_blocks": 59}),
        ),
        _lie(
            "demotion-after-the-loss",
            "end_precedes_loss",
            "held-L4",
            move_behind("resident_claim_demoted", "allocation_victim_selected"),
        ),
        _lie("demotion-left-out", "demoted_claims", "held-L4", drop("resident_claim_demoted")),
        _lie("losses-not-reported", "losses_reported", "held-L4", drop("resident_claim_block_lost_after_release")),
        _lie("victim-called-protected", "well_formed", "held-L4", protected_victim),
        _lie(
            "expiry-after-the-loss",
            "end_precedes_loss",
            "held-L5",
            move_behind("resident_claim_expired", "allocation_victim_selected"),
        ),
        _lie("expiry-left-out", "expired_claims", "held-L5", drop("resident_claim_expired")),
        _lie("denial-left-out", "future_reuse", "held-L2", drop("future_reuse_denied")),
        _lie("no-victims-told", "resident_victims", "held-L2", drop("allocation_victim_selected")),
        _lie("harm-left-out", "harmed_claims", "observed-L2", drop("resident_claim_harmed")),
        _lie(
            "harm-by-somebody-else", "harmed_by", "observed-L2", edit("resident_claim_harmed", {"request_id": "seed"})
        ),
        _lie("nothing-happened", "no event", "held-L3", emit_nothing()),
    ]


def _foreign() -> list[Case]:
    """An honest trace of something else."""
    honest = trace("held-L3")
    first, _, rest = honest.partition(b"\n")
    other = json.dumps({**json.loads(first), "runtime_version": "0.9"}).encode()
    return [
        _run("trace-of-another-version", Label.UNKNOWN, "runtime_version", "held-L3", runtime_version="0.9"),
        _run("trace-of-another-runtime", Label.UNKNOWN, "of runtime 'vllm'", "held-L3", runtime="vllm"),
        _run("trace-of-another-runtime-mode", Label.UNKNOWN, "runtime_mode", "held-L3", runtime_mode="eager"),
        _run("trace-without-origin", Label.UNKNOWN, "where it comes from", "held-L3", runtime_version=None),
        _run("trace-of-unknown-depth", Label.UNKNOWN, "provenance is unknown", "held-L3", evidence_depth="very_native"),
        _files("trace-of-two-origins", "different runtimes", other + b"\n" + rest),
        _files(
            "trace-that-says-two-things",
            "key",
            first.replace(b'"event_sequence"', b'"usable_blocks": 81, "event_sequence"') + b"\n" + rest,
        ),
        _files("trace-cut-short", "not JSON", honest[: len(honest) // 2]),
        _files("trace-of-binary-noise", "run.jsonl:1", b"\xff\xfe\x00" * 1000),
        _files("trace-that-is-a-list", "an event is a JSON object", b"[]\n"),
        Case(
            "trace-with-a-wrong-hash",
            Label.UNKNOWN,
            "has SHA-256",
            _whole("held-L3", {**trace_anchor(honest, "L3"), "sha256": "0" * 64}),
            {"run.jsonl": honest},
        ),
        Case("trace-that-is-not-there", Label.UNKNOWN, "is missing", _whole("held-L3", trace_anchor(honest, "L3"))),
        Case(
            "probe-of-another-runtime",
            Label.UNKNOWN,
            "drives residentkv",
            _whole("held-L3", {"probe": "native-litmus", "case": "L3", "gate": "L3", "verdict": "pass"}),
        ),
    ]


def _files(name: str, reason: str, content: bytes) -> Case:
    return Case(name, Label.UNKNOWN, reason, _whole("held-L3", trace_anchor(content, "L3")), {"run.jsonl": content})


def _misused() -> list[Case]:
    """Honest evidence for something that it does not show."""
    hard, expiring = trace("held-L3"), trace("held-L5")
    files = {"run.jsonl": hard, "other.jsonl": expiring}
    right, wrong_mode = trace_anchor(hard, "L3"), trace_anchor(expiring, "L5", file="other.jsonl")
    whole = _whole("held-L3", right)
    partial = trace("observed-sweep-native-80")
    return [
        Case("evidence-of-one-mode-used-for-another", Label.APPROXIMATION, "of one mode is none for another",
             _whole("held-L3", wrong_mode), files),
        Case("one-obligation-without-evidence", Label.APPROXIMATION, "victim_exclusion: no evidence",
             _whole("held-L3", right, skip="victim_exclusion"), files),
        Case("met-and-lacking-at-once", Label.UNKNOWN, "met and that it is lacking",
             _with(whole, evidence("victim_exclusion", "lacks", "pin_call", _code())), files),
        Case("control-that-does-not-fail", Label.APPROXIMATION, "control not verified",
             _with(whole, evidence("victim_exclusion", "control", "pin_call",
                                   trace_anchor(expiring, "L5", "expired_claims", file="other.jsonl"))), files),
        Case("failing-gate-said-to-pass", Label.UNKNOWN, "canonical_case fails",
             row("hard_protected", "adapter_arbiter",
                 evidence("victim_exclusion", "meets", "adapter_arbiter", trace_anchor(partial, "canonical_case"))),
             {"run.jsonl": partial}),
        Case("failing-for-another-reason", Label.UNKNOWN, "does not fail by well_formed",
             row("hard_protected", "reference_count",
                 evidence("victim_exclusion", "lacks", "reference_count",
                          trace_anchor(partial, "canonical_case", "well_formed"))),
             {"run.jsonl": partial}),
        Case("gate-that-does-not-carry-it", Label.APPROXIMATION, "does not carry accepted_claim_identity",
             row("hard_protected", "adapter_arbiter",
                 evidence("accepted_claim_identity", "meets", "adapter_arbiter", trace_anchor(hard, "canonical_case"))),
             files),
    ]  # fmt: skip


def _with(whole: Mapping[str, Any], *pieces: Mapping[str, Any]) -> dict[str, Any]:
    return {**whole, "evidence": [*whole["evidence"], *pieces]}


def _depths() -> list[Case]:
    """Depth and role: never better than the weakest part."""
    adapter = trace("held-L3")
    native = trace("held-L3", evidence_depth="native")
    watched = trace("held-L3", evidence_role="observes")
    patched = trace("held-L3", evidence_depth="backend_patch")
    nobody = trace("held-L3", evidence_depth="none")
    code = _code()

    def case(
        name: str, label: Label, reason: str, content: bytes, *more: Mapping[str, Any], depth: str = "native"
    ) -> Case:
        whole = _whole("held-L3", trace_anchor(content, "L3"), *more, depth=depth)
        return Case(name, label, reason, whole, {"run.jsonl": content})

    mixed = _whole("held-L3", trace_anchor(native, "L3"), code, depth="native")
    shallow = [{**piece, "depth": "adapter"} if i == 4 else piece for i, piece in enumerate(mixed["evidence"])]
    return [
        case("depth-raised-by-the-row", Label.ADAPTER_POLICY, "at depth adapter", adapter),
        case("depth-raised-by-lines-of-the-backend", Label.ADAPTER_POLICY, "at depth adapter", adapter, code),
        case("trace-that-calls-itself-native", Label.ADAPTER_POLICY, "at depth adapter", native),
        case("patched-backend-called-native", Label.ADAPTER_POLICY, "at depth backend_patch", patched, code),
        case("observer-called-enforcer", Label.ADAPTER_OBSERVATIONAL, "nothing is enforced", watched, depth="adapter"),
        case("nobodys-code", Label.APPROXIMATION, "depth is none", nobody, depth="adapter"),
        case("row-of-no-depth", Label.APPROXIMATION, "depth is none", adapter, depth="none"),
        Case("depth-raised-by-composition", Label.ADAPTER_POLICY, "at depth adapter", {**mixed, "evidence": shallow},
             {"run.jsonl": native}),
        case("honest-adapter", Label.ADAPTER_POLICY, "at depth adapter", adapter, depth="adapter"),
        case("honest-native", Label.NATIVE, "", native, code),
    ]  # fmt: skip


def cases() -> list[Case]:
    """All of them."""
    return [*_lies(), *_foreign(), *_misused(), *_depths()]
