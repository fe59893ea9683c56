"""Source anchors that do not hold: the mapping may be right, the evidence is none."""

from typing import Any, Final

from residentkv.lowering.bad.case import CACHE, Case, evidence, lines, row
from residentkv.lowering.vocabulary import Label

_PIN: Final = lines("def pin", "return len(there)", "PrefixCache.pin")
_LOCK: Final = lines("def inc_lock_ref", "refs += 1", "PrefixCache.inc_lock_ref")


def _case(name: str, reason: str, anchor: dict[str, Any], *more: dict[str, Any], **changes: Any) -> Case:
    piece = evidence("victim_exclusion", "lacks", "pin_call", anchor, *more)
    return Case(name, Label.UNKNOWN, reason, row("hard_protected", "pin_call", piece), **changes)


def cases() -> list[Case]:
    """Every way that an anchor fails to hold."""
    first, last = _PIN["lines"]
    comment = lines("# A claimed block is protected", "# A claimed block is protected", "PrefixCache")
    docstring = lines('"""Claimed blocks are never victims."""', '"""Claimed', "PrefixCache")
    prose = lines("Claimed prefixes", "Claimed prefixes", "PrefixCache", file="tempting_kv/README.md")
    contradicting = {**_PIN, "sha256": "0" * 64}
    return [
        _case("right-place-wrong-hash", "have SHA-256", contradicting),
        _case("right-hash-wrong-symbol", "is at lines", {**_PIN, "symbol": "PrefixCache.evict"}),
        _case("right-hash-unknown-symbol", "is not defined", {**_PIN, "symbol": "PrefixCache.accept_claim"}),
        _case("lines-moved-by-one", "is at lines", _shifted(first + 1, last + 1)),
        _case("lines-beyond-the-end", "lines, not", {**_PIN, "lines": [first, 100_000]}),
        _case("anchor-to-a-comment", "comments, not code", comment),
        _case("anchor-to-a-docstring", "comments, not code", docstring),
        _case("anchor-to-prose", "prose proves nothing", prose),
        _case("anchor-to-a-missing-file", "is not in the source", {**_PIN, "file": "tempting_kv/claims.py"}),
        _case("anchor-to-metadata", "prose proves nothing", _metadata()),
        _case("source-of-another-version", "found version 1.0", _PIN, declared_version="2.0"),
        _case("source-that-is-not-here", "does not hold", _PIN, package="no-such-package"),
        _case("one-right-anchor-beside-a-wrong-one", "is not defined", _LOCK, {**_PIN, "symbol": "PrefixCache.claim"}),
        _contradiction(),
        _for_a_meets(contradicting),
    ]


def _shifted(first: int, last: int) -> dict[str, Any]:
    """The lines below the symbol's, with their right hash."""
    from residentkv.lowering.bad.case import source_folder
    from residentkv.lowering.verification import lines_sha256

    content = (source_folder() / CACHE).read_bytes()
    return {**_PIN, "lines": [first, last], "sha256": lines_sha256(content, first, last)}


def _metadata() -> dict[str, Any]:
    return lines("Version: 1.0", "Version: 1.0", "Version", file="tempting_kv-1.0.dist-info/METADATA")


def _contradiction() -> Case:
    """Two anchors that say two things about one place."""
    good = evidence("victim_exclusion", "lacks", "pin_call", _PIN)
    bad = evidence("claim_scoped_outcome", "lacks", "pin_call", {**_PIN, "sha256": "1" * 64})
    return Case(
        "two-anchors-contradict-each-other", Label.UNKNOWN, "contradict", row("hard_protected", "pin_call", good, bad)
    )


def _for_a_meets(contradicting: dict[str, Any]) -> Case:
    """A wrong hash below a positive statement, beside a right negative one."""
    good = evidence("accepted_claim_identity", "lacks", "pin_call", _LOCK)
    bad = evidence("victim_exclusion", "meets", "pin_call", contradicting)
    return Case(
        "positive-evidence-with-a-wrong-hash",
        Label.APPROXIMATION,
        "evidence not verified",
        row("hard_protected", "pin_call", good, bad),
    )
