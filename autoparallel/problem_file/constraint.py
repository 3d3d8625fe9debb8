"""Conditions on a layout that a user writes: ``tp <= 8``, ``ep in [8, 16]``, ``group ep inside a node``.

They are parsed by a grammar (``constraint.lark``), never run as code.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, reduce
from importlib import resources
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from lark import Lark, Token, Tree

NAMES = (
    "tp", "sp", "cp", "dp", "pp", "ep", "etp", "edp", "replicas", "batch", "microbatch",
    "gpus_per_stage", "gpus_per_instance", "gpus", "redundant_experts",
)  # fmt: skip
MAY_BE_ZERO = ("redundant_experts",)
GROUPS = ("tp", "cp", "dp", "pp", "ep", "etp", "edp")
LONGEST_TEXT = 200
LARGEST_NUMBER = 10**9

_OPERATORS: Mapping[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq, "!=": operator.ne, "<=": operator.le, ">=": operator.ge,
    "<": operator.lt, ">": operator.gt, "+": operator.add, "-": operator.sub,
    "*": operator.mul, "//": operator.floordiv, "%": operator.mod,
}  # fmt: skip
_NUMBERS = ("number", "name", "added", "multiplied")


class ConstraintError(ValueError):
    """A condition that cannot be read; ``column`` counts from 1."""

    def __init__(self, message: str, column: int) -> None:
        self.column = column
        super().__init__(message)


class Constraint(NamedTuple):
    """A condition, ready to be looked at.

    Attributes
    ----------
    text : str
        As it was written.
    names : frozenset of str
        What of :data:`NAMES` it mentions.
    groups : frozenset of str
        Groups of :data:`GROUPS` that it asks to lie inside a node.
    """

    text: str
    names: frozenset[str]
    groups: frozenset[str]
    tree: Tree[Token]

    @property
    def numbers(self) -> frozenset[int]:
        """What of numbers it mentions."""
        tokens = (token for node in self.tree.iter_subtrees() for token in _tokens(node))
        return frozenset(int(token) for token in tokens if token.type == "NUMBER")

    def holds(self, values: Mapping[str, Any]) -> Any:
        """Whether it holds, elementwise for arrays.

        Parameters
        ----------
        values : mapping of str to int or array
            Every name, and under ``nodes of KIND`` the nodes that a group of each kind lies on.
        """
        return _value(self.tree, values)


@cache
def parse(text: str) -> Constraint:
    """Read a condition.

    Raises
    ------
    ConstraintError
        It is none; says at which column, and what could stand there.
    """
    from lark.exceptions import UnexpectedInput

    if len(text) > LONGEST_TEXT:
        raise ConstraintError(f"is longer than {LONGEST_TEXT} characters", LONGEST_TEXT + 1)
    try:
        tree = _grammar().parse(text)
    except UnexpectedInput as error:
        raise ConstraintError(_unexpected(text, error), _column(text, error)) from None
    names, groups = _checked(tree)
    return Constraint(text, frozenset(names), frozenset(groups), tree)


@cache
def _grammar() -> Lark:
    from lark import Lark

    text = (resources.files(__package__) / "constraint.lark").read_text(encoding="utf-8")
    return Lark(text, parser="lalr", propagate_positions=True)


def _column(text: str, error: Any) -> int:
    token = getattr(error, "token", None)
    if token is not None and token.type == "$END":
        return len(text) + 1
    return int(error.column)


def _unexpected(text: str, error: Any) -> str:
    at = _column(text, error) - 1
    if not text[at:].strip():
        return "ends too early"
    word = text[at:].split(maxsplit=1)[0]
    if word.startswith("=") and not word.startswith("=="):
        return 'does not know "="; write "=="'
    if word.startswith("/"):
        return 'does not know "/"; whole numbers divide by "//"'
    return f'does not expect "{word[:20]}" here'


def _checked(tree: Tree[Token]) -> tuple[set[str], set[str]]:
    """Names and groups, after everything that the grammar leaves open was looked at."""
    if tree.data in _NUMBERS:
        raise ConstraintError(f'is a number, not a condition: compare it, as in "{_text(tree)} <= 8"', 1)
    names: set[str] = set()
    groups: set[str] = set()
    for node in tree.iter_subtrees():
        for child in _operands(node):
            _check_kind(node, child)
        if node.data == "name":
            names.add(_known(node.children[0], NAMES, "degree"))
        elif node.data == "inside":
            groups.add(_known(node.children[0], GROUPS, "group"))
        elif node.data == "multiplied":
            _check_divisors(node)
        for token in _tokens(node):
            if token.type == "NUMBER" and int(token) > LARGEST_NUMBER:
                raise ConstraintError(f"has a number beyond {LARGEST_NUMBER:,}", token.column or 1)
    return names, groups


def _operands(node: Tree[Token]) -> Iterator[Tree[Token]]:
    for child in node.children:
        if not isinstance(child, str):
            yield child


def _tokens(node: Tree[Token]) -> Iterator[Token]:
    for child in node.children:
        if isinstance(child, str):
            yield child


def _check_kind(node: Tree[Token], child: Tree[Token]) -> None:
    of_conditions = node.data in ("any_of", "all_of", "opposite")
    is_number = child.data in _NUMBERS
    column = child.meta.column
    if of_conditions and is_number:
        raise ConstraintError(f'"{_text(child)}" is a number, not a condition', column)
    if not of_conditions and not is_number:
        raise ConstraintError(f'"{_text(child)}" is a condition, not a number', column)


def _check_divisors(node: Tree[Token]) -> None:
    for sign, divisor in zip(node.children[1::2], node.children[2::2], strict=True):
        if str(sign) == "*" or isinstance(divisor, str):
            continue
        if divisor.data == "name" and str(divisor.children[0]) in MAY_BE_ZERO:
            raise ConstraintError(f"divides by {divisor.children[0]}, which may be 0", divisor.meta.column)
        safe = divisor.data == "name" or (divisor.data == "number" and int(str(divisor.children[0])) > 0)
        if not safe:
            raise ConstraintError("divides by more than one name or positive number", divisor.meta.column)


def _known(token: Any, known: Sequence[str], what: str) -> str:
    if str(token) not in known:
        raise ConstraintError(
            f'does not know the {what} "{str(token)[:20]}"; it knows {", ".join(known)}', token.column
        )
    return str(token)


def _text(tree: Tree[Token]) -> str:
    return " ".join(str(token) for token in tree.scan_values(lambda value: isinstance(value, str))) or str(
        tree.data
    )


def _value(tree: Tree[Token], values: Mapping[str, Any]) -> Any:
    """A number or a truth value of a part of the condition."""
    return _MEANINGS[tree.data](tree, values)


def _operand_values(tree: Tree[Token], values: Mapping[str, Any]) -> list[Any]:
    return [_value(child, values) for child in _operands(tree)]


def _compared(tree: Tree[Token], values: Mapping[str, Any]) -> Any:
    operands = _operand_values(tree, values)
    triples = zip(_tokens(tree), operands[:-1], operands[1:], strict=True)
    return reduce(operator.and_, (_OPERATORS[sign](left, right) for sign, left, right in triples))


def _among(tree: Tree[Token], values: Mapping[str, Any]) -> Any:
    (operand,) = _operand_values(tree, values)
    return reduce(operator.or_, (operand == int(number) for number in _tokens(tree)))


def _calculated(tree: Tree[Token], values: Mapping[str, Any]) -> Any:
    total, *others = _operand_values(tree, values)
    for sign, operand in zip(_tokens(tree), others, strict=True):
        total = _OPERATORS[sign](total, operand)
    return total


_MEANINGS: Mapping[str, Callable[[Tree[Token], Mapping[str, Any]], Any]] = {
    "number": lambda tree, _: int(str(tree.children[0])),
    "name": lambda tree, values: values[str(tree.children[0])],
    "inside": lambda tree, values: values[f"nodes of {tree.children[0]}"] == 1,
    "opposite": lambda tree, values: _operand_values(tree, values)[0] ^ True,
    "any_of": lambda tree, values: reduce(operator.or_, _operand_values(tree, values)),
    "all_of": lambda tree, values: reduce(operator.and_, _operand_values(tree, values)),
    "among": _among,
    "not_among": lambda tree, values: _among(tree, values) ^ True,
    "compared": _compared,
    "added": _calculated,
    "multiplied": _calculated,
}
