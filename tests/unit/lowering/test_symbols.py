import pytest

from residentkv.lowering.sources import UnverifiedError
from residentkv.lowering.symbols import defines_symbol, require_symbol

PYTHON = '''\
LIMIT: int = 3


class Cache:
    """Never evicts."""

    # Claimed blocks stay.
    size = 1

    @property
    def free(self):
        """All of it."""
        # nothing held
        return self.size


if LIMIT:
    def late():
        return 1
'''
CPP = """\
// evict() never takes a claimed block
int Cache::evict(int n)
{
    /* evict_all is
       another matter */
    log("evict_later");
    return n;
}
"""


@pytest.mark.parametrize(
    ("first", "last", "symbol"),
    [
        (1, 1, "LIMIT"),
        (4, 14, "Cache"),
        (8, 8, "Cache.size"),
        (10, 14, "Cache.free"),
        (14, 14, "Cache.free"),
        (18, 19, "late"),
    ],
)
def test_code_of_a_python_symbol(first: int, last: int, symbol: str):
    require_symbol("a.py", PYTHON, first, last, symbol)


@pytest.mark.parametrize(
    ("first", "last", "symbol", "message"),
    [
        (7, 7, "Cache", "comments, not code"),
        (5, 5, "Cache", "comments, not code"),
        (12, 13, "Cache.free", "comments, not code"),
        (10, 14, "Cache.used", "is not defined"),
        (1, 14, "Cache", "is at lines 4-14"),
        (10, 15, "Cache.free", "is at lines 10-14"),
        (10, 14, "free", "is not defined"),
    ],
)
def test_not_the_code_of_a_python_symbol(first: int, last: int, symbol: str, message: str):
    with pytest.raises(UnverifiedError, match=message):
        require_symbol("a.py", PYTHON, first, last, symbol)


@pytest.mark.parametrize("suffix", ["cpp", "h", "rs", "cu"])
def test_code_of_other_languages(suffix: str):
    require_symbol(f"a.{suffix}", CPP, 2, 2, "Cache::evict")
    require_symbol(f"a.{suffix}", CPP, 2, 8, "Cache.evict")


@pytest.mark.parametrize(
    ("first", "last", "symbol", "message"),
    [
        (1, 1, "evict", "comments, not code"),
        (4, 5, "evict_all", "comments, not code"),
        (6, 6, "evict_later", "is not in the code"),
        (2, 8, "evict_all", "is not in the code"),
        (2, 2, "evic", "is not in the code"),
    ],
)
def test_not_the_code_of_other_languages(first: int, last: int, symbol: str, message: str):
    with pytest.raises(UnverifiedError, match=message):
        require_symbol("a.cpp", CPP, first, last, symbol)


@pytest.mark.parametrize("file", ["README.md", "notes.txt", "Makefile", "a.json"])
def test_prose_is_no_source(file: str):
    with pytest.raises(UnverifiedError, match="prose proves nothing"):
        require_symbol(file, "evict\n", 1, 1, "evict")


@pytest.mark.parametrize("text", ["def f(:\n", "\x00", "(" * 10_000])
def test_what_python_can_not_read_is_no_source(text: str):
    with pytest.raises(UnverifiedError, match="not Python"):
        require_symbol("a.py", text, 1, 1, "f")


def test_a_symbol_is_found_wherever_it_is():
    assert defines_symbol("a.py", PYTHON, "Cache.free")
    assert not defines_symbol("a.py", PYTHON, "Cache.used")
    assert not defines_symbol("a.py", "def f(:", "f")
    assert defines_symbol("a.cpp", CPP, "Cache::evict")
    assert not defines_symbol("a.cpp", CPP, "evict_all")
