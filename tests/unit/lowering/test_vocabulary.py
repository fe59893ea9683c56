from residentkv.lowering.vocabulary import BUNDLES, COMMON, Depth, Label, Mode, Obligation


def test_every_mode_has_the_common_obligations_first():
    assert set(BUNDLES) == set(Mode)
    assert all(bundle[: len(COMMON)] == COMMON for bundle in BUNDLES.values())


def test_every_obligation_belongs_to_a_mode():
    assert {obligation for bundle in BUNDLES.values() for obligation in bundle} == set(Obligation)


def test_hard_claims_owe_what_the_contract_says():
    assert [obligation.value for obligation in BUNDLES[Mode.HARD_PROTECTED][len(COMMON) :]] == [
        "victim_exclusion",
        "active_infeasibility_outcome",
        "blocking_claim_attribution",
    ]


def test_credit_falls_from_native_to_nothing():
    order = [Label.NATIVE, Label.ADAPTER_POLICY, Label.ADAPTER_OBSERVATIONAL, Label.APPROXIMATION, Label.REJECTED]
    assert [label.credit for label in order] == [4, 3, 2, 1, 0]
    assert Label.UNKNOWN.credit == 0


def test_depths_are_ordered():
    assert sorted(Depth, key=lambda depth: depth.rank) == [
        Depth.NONE,
        Depth.ADAPTER,
        Depth.BACKEND_PATCH,
        Depth.NATIVE,
    ]
