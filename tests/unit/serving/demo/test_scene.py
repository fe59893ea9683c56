"""A scene is ok if every check passed, and says which did not."""

from residentkv.serving.demo.scene import Scene


def test_a_scene_is_ok_only_if_all_its_checks_passed() -> None:
    assert Scene("s", {"a": True, "b": True}, {"n": 1}).as_json() == {"name": "s", "ok": True, "facts": {"n": 1}}
    assert Scene("s", {"a": True, "b": False}, {"n": 1}).as_json() == {
        "name": "s",
        "ok": False,
        "facts": {"n": 1, "failed_checks": ["b"]},
    }
