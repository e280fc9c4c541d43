"""Columns computed from others, `flops/(6*params)` or `model+"-"+lr`: parsed, and never run as code."""

import ast
import operator
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

_LONGEST = 500  # characters; deeper nesting than these hold is no arithmetic over columns
_QUOTED = re.compile(r"`([^`]+)`")
_OPERATORS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}
_FUNCTIONS: dict[str, Callable[[Any], Any]] = {"log": np.log, "exp": np.exp, "sqrt": np.sqrt}


class NotArithmetic(ValueError):  # noqa: N818
    """Why a text is no arithmetic over columns; a part of a sentence."""


@dataclass(frozen=True)
class Expression:
    """Arithmetic over columns."""

    text: str
    """As it was written."""
    columns: tuple[str, ...]
    """The columns it names, in order."""
    _tree: ast.expr
    _placed: dict[str, str]

    def numbers(self, values: dict[str, np.ndarray]) -> np.ndarray:
        """Of columns of float64 [n], float64 [n]; what has no number (a logarithm of -1) is NaN or infinite."""
        with np.errstate(all="ignore"):
            return np.asarray(self._number(self._tree, values), dtype=float)

    def texts(self, values: dict[str, list[str]], count: int) -> list[str]:
        """Of columns of `count` texts, the texts put together with +."""
        return ["".join(parts) for parts in zip(*self._texts(self._tree, values, count), strict=True)]

    def _number(self, node: ast.expr, values: dict[str, np.ndarray]) -> Any:
        match node:
            case ast.BinOp():
                left, right = self._number(node.left, values), self._number(node.right, values)
                return _OPERATORS[type(node.op)](left, right)
            case ast.UnaryOp():
                return -self._number(node.operand, values)
            case ast.Call(func=ast.Name(id=name)):
                return _FUNCTIONS[name](self._number(node.args[0], values))
            case ast.Constant(value=str()):
                raise NotArithmetic("a text cannot be part of a number")
            case ast.Constant(value=value):
                return np.float64(value)  # pyright: ignore[reportArgumentType]
        return values[_name(node, self._placed)]

    def _texts(self, node: ast.expr, values: dict[str, list[str]], count: int) -> Iterator[list[str]]:
        match node:
            case ast.BinOp(op=ast.Add()):
                yield from self._texts(node.left, values, count)
                yield from self._texts(node.right, values, count)
            case ast.Constant(value=value):
                yield [str(value)] * count
            case ast.Name() | ast.Attribute():
                yield values[_name(node, self._placed)]
            case _:
                raise NotArithmetic("texts can be put together with + alone")


def parsed(text: str) -> Expression:
    """The expression in a text: numbers, "texts", columns, + - * / ** ( ), log, exp and sqrt.

    A column whose name is no word, such as val/loss, is written between backticks. Raises NotArithmetic for anything
    else.
    """
    placed: dict[str, str] = {}

    def place(quoted: re.Match[str]) -> str:
        placed[name := f"_column_{len(placed)}"] = quoted[1]
        return name

    if len(text) > _LONGEST:
        raise NotArithmetic(f"it is longer than {_LONGEST} characters")
    try:
        tree = ast.parse(_QUOTED.sub(place, text), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise NotArithmetic("it is not written as arithmetic") from None
    columns = tuple(dict.fromkeys(_columns(tree, placed)))
    return Expression(text, columns, tree, placed)


def _columns(node: ast.expr, placed: dict[str, str]) -> Iterator[str]:
    """The columns that a tree names. Raises NotArithmetic at anything that is no arithmetic."""
    match node:
        case ast.BinOp() if type(node.op) in _OPERATORS:
            yield from _columns(node.left, placed)
            yield from _columns(node.right, placed)
        case ast.UnaryOp(op=ast.USub()):
            yield from _columns(node.operand, placed)
        case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]) if name in _FUNCTIONS:
            yield from _columns(argument, placed)
        case ast.Constant(value=bool()):
            raise NotArithmetic(f"it has {node.value!r}")
        case ast.Constant(value=int() | float() | str()):
            pass
        case ast.Name() | ast.Attribute():
            yield _name(node, placed)
        case _:
            raise NotArithmetic(f"`{ast.unparse(node)[:60]}` is neither a column nor + - * / **, log, exp or sqrt")


def _name(node: ast.expr, placed: dict[str, str]) -> str:
    """A column's name, with dots as W&B writes them: config.lr."""
    if isinstance(node, ast.Attribute):
        return f"{_name(node.value, placed)}.{node.attr}"
    if isinstance(node, ast.Name):
        return placed.get(node.id, node.id)
    raise NotArithmetic(f"`{ast.unparse(node)[:60]}` is no column")
