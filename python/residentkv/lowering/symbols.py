"""Whether lines of a source file are code of a symbol, and not a comment about it.

Python is parsed. In C++, CUDA and Rust, comments and strings are blanked and the symbol's last name must be left.
"""

import ast
import io
import re
import tokenize
from typing import Final

from residentkv.lowering.sources import UnverifiedError

_CURLY: Final = frozenset({".cpp", ".cc", ".cu", ".cuh", ".h", ".hpp", ".rs"})
_COMMENT_OR_STRING: Final = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"', re.DOTALL)
_NO_CODE: Final = frozenset(
    {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
)


def require_symbol(file: str, text: str, first: int, last: int, symbol: str) -> None:
    """Raise UnverifiedError unless lines [first, last] belong to `symbol` and hold code. O(file)."""
    suffix = "." + file.rpartition(".")[2]
    if suffix == ".py":
        _require_python(text, first, last, symbol)
    elif suffix in _CURLY:
        _require_curly(text, first, last, symbol)
    else:
        raise UnverifiedError(f"{file} is no source file: prose proves nothing")


def defines_symbol(file: str, text: str, symbol: str) -> bool:
    """Whether the file has `symbol`, wherever. O(file)."""
    try:
        if file.endswith(".py"):
            return any(name == symbol for name, _ in _definitions(ast.parse(text), ""))
        _require_curly(text, 1, text.count("\n") + 1, symbol)
    except (SyntaxError, ValueError, RecursionError, UnverifiedError):
        return False
    return True


def _require_python(text: str, first: int, last: int, symbol: str) -> None:
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError) as error:
        raise UnverifiedError(f"not Python: {error}") from None
    spans = [span for name, span in _definitions(tree, "") if name == symbol]
    if not spans:
        raise UnverifiedError(f"{symbol} is not defined in the file")
    if not any(begin <= first and last <= end for begin, end in spans):
        told = ", ".join(f"{begin}-{end}" for begin, end in spans)
        raise UnverifiedError(f"{symbol} is at lines {told}, not at {first}-{last}")
    if not any(first <= line <= last for line in _python_code_lines(text, tree)):
        raise UnverifiedError(f"lines {first}-{last} hold comments, not code")


def _definitions(node: ast.AST, prefix: str) -> list[tuple[str, tuple[int, int]]]:
    found = []
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name = prefix + child.name
            begin = min([child.lineno, *(decorator.lineno for decorator in child.decorator_list)])
            found.append((name, (begin, child.end_lineno or begin)))
            found += _definitions(child, f"{name}.")
        elif isinstance(child, ast.Assign | ast.AnnAssign):
            targets = child.targets if isinstance(child, ast.Assign) else [child.target]
            found += [
                (prefix + target.id, (child.lineno, child.end_lineno or child.lineno))
                for target in targets
                if isinstance(target, ast.Name)
            ]
        elif isinstance(child, ast.If | ast.Try | ast.With):
            found += _definitions(child, prefix)
    return found


def _python_code_lines(text: str, tree: ast.AST) -> set[int]:
    prose: set[int] = set()  # docstrings, and strings that stand where a statement could
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            prose.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    code: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in _NO_CODE:
            code.update(range(token.start[0], token.end[0] + 1))
    return code - prose


def _require_curly(text: str, first: int, last: int, symbol: str) -> None:
    blanked = _COMMENT_OR_STRING.sub(lambda match: re.sub(r"[^\n]", " ", match.group()), text)
    lines = "\n".join(blanked.split("\n")[first - 1 : last])
    if not lines.strip():
        raise UnverifiedError(f"lines {first}-{last} hold comments, not code")
    name = re.split(r"\.|::", symbol)[-1]
    if not re.search(rf"(?<![A-Za-z0-9_]){re.escape(name)}(?![A-Za-z0-9_])", lines):
        raise UnverifiedError(f"{symbol} is not in the code of lines {first}-{last}")
