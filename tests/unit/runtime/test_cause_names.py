from residentkv.runtime.cause_names import CauseNames


def test_equal_texts_share_a_number():
    causes = CauseNames()
    first, second = causes.number("ecc"), causes.number("checksum")
    assert causes.number("ecc") == first != second
    assert (causes[first], causes[second]) == ("ecc", "checksum")


def test_full_means_sixteen_bits_but_the_cores_own_are_used_up():
    causes = CauseNames()
    numbers = [causes.number(f"cause {i}") for i in range((1 << 16) - 1)]
    assert numbers[-1] == (1 << 16) - 2
    assert causes.is_full
    causes.clear()
    assert not causes.is_full
    assert causes.number("new") == 0
