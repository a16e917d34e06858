"""
Prometheus' query language, as far as the alert rules use it, over the tree of a real parser.

Values are those of Prometheus 3 (a range is open at its beginning). What is not here raises
`NotImplementedError`, so a rule that uses more is not tested by accident with less.
`tests/contract/test_alert_rules.py` holds it against promtool where that is to be had.
"""

from __future__ import annotations

import math
import operator
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import timedelta
from itertools import pairwise
from typing import Any

import promql_parser as promql

LOOKBACK_S = 300.0
STALE = None
"""A series ends here: what Prometheus writes when a series is not there any more."""

Labels = frozenset[tuple[str, str]]
Vector = dict[Labels, float]
Value = Vector | float
Sample = tuple[float, float | None]
Series = dict[Labels, list[Sample]]

ARITHMETIC: Mapping[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": lambda left, right: left / right if right else divided_by_zero(left),
}
COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
    "!=": operator.ne,
}
AGGREGATES: Mapping[str, Callable[[list[float]], float]] = {
    "sum": sum,
    "max": max,
    "min": min,
    "avg": lambda values: sum(values) / len(values),
    "count": lambda values: float(len(values)),
}
OVER_TIME = {f"{name}_over_time": function for name, function in AGGREGATES.items()}


def divided_by_zero(value: float) -> float:
    return math.nan if value == 0 or math.isnan(value) else math.copysign(math.inf, value)


def labels_of(pairs: Mapping[str, str]) -> Labels:
    """An empty label is none."""
    return frozenset((name, value) for name, value in pairs.items() if value)


def without_name(labels: Labels) -> Labels:
    return frozenset(pair for pair in labels if pair[0] != "__name__")


def parsed(text: str) -> Any:
    """Raises ValueError if Prometheus would not take it."""
    return promql.parse(text)


def selectors(tree: Any) -> list[Any]:
    """Every selector of a query, those within ranges too."""
    visited: list[Any] = []

    def visit(node: Any) -> bool:
        if isinstance(node, promql.MatrixSelector):
            visited.append(node.vector_selector)
        elif isinstance(node, promql.VectorSelector):
            visited.append(node)
        return True

    promql.walk(tree, pre_visit=visit)
    return visited


def metric_names(query: str) -> set[str]:
    """The samples that a query names."""
    return {selector.name for selector in selectors(parsed(query))}


def label_names(tree: Any) -> set[str]:
    """The labels by which a query groups, matches or joins."""
    names: set[str] = set()

    def visit(node: Any) -> bool:
        if isinstance(node, promql.AggregateExpr) and node.modifier is not None:
            names.update(node.modifier.labels)
        elif isinstance(node, promql.BinaryExpr) and node.modifier is not None:
            names.update(node.modifier.matching.labels if node.modifier.matching else ())
            names.update(node.modifier.group_labels or ())
        return True

    promql.walk(tree, pre_visit=visit)
    return names


class Query:
    """One query over recorded series, at one moment."""

    def __init__(self, series: Series, at_s: float) -> None:
        self.series = series
        self.at_s = at_s

    def value(self, tree: Any) -> Value:
        match tree:
            case promql.NumberLiteral():
                return float(tree.val)
            case promql.ParenExpr():
                return self.value(tree.expr)
            case promql.VectorSelector():
                return self.instant(tree)
            case promql.Call():
                return self.call(tree)
            case promql.AggregateExpr():
                return self.aggregate(tree)
            case promql.BinaryExpr():
                return self.binary(tree)
        raise NotImplementedError(f"{type(tree).__name__}: {tree}")

    def vector(self, tree: Any) -> Vector:
        value = self.value(tree)
        assert isinstance(value, dict), f"no vector: {tree}"
        return value

    def matching(self, selector: Any) -> Iterator[tuple[Labels, list[Sample], float]]:
        """The series that a selector names, and the moment at which it looks."""
        if selector.at is not None or selector.matchers.or_matchers:
            raise NotImplementedError(str(selector))
        tests = [matcher_of(matcher) for matcher in selector.matchers.matchers]
        at_s = self.at_s - seconds(selector.offset)
        for labels, samples in self.series.items():
            pairs = dict(labels)
            if selector.name in (None, pairs["__name__"]) and all(test(pairs) for test in tests):
                yield labels, samples, at_s

    def instant(self, selector: Any) -> Vector:
        values: Vector = {}
        for labels, samples, at_s in self.matching(selector):
            recent = between(samples, at_s - LOOKBACK_S, at_s)
            if recent and recent[-1][1] is not None:
                values[labels] = recent[-1][1]
        return values

    def call(self, tree: Any) -> Vector:
        name = tree.func.name
        if name in ("rate", "increase", "delta"):
            return self.ranges(tree.args[0], lambda *range_: extrapolated(name, *range_))
        if name in OVER_TIME:
            return self.ranges(
                tree.args[0], lambda samples, *_: OVER_TIME[name]([value for _, value in samples])
            )
        raise NotImplementedError(name)

    def ranges(
        self,
        tree: Any,
        function: Callable[[list[tuple[float, float]], float, float], float | None],
    ) -> Vector:
        values: Vector = {}
        range_s = seconds(tree.range)
        for labels, samples, at_s in self.matching(tree.vector_selector):
            within = [
                (when_s, value)
                for when_s, value in between(samples, at_s - range_s, at_s)
                if value is not None
            ]
            value = function(within, at_s - range_s, at_s) if within else None
            if value is not None:
                values[without_name(labels)] = value
        return values

    def aggregate(self, tree: Any) -> Vector:
        function = AGGREGATES.get(str(tree.op))
        if function is None or tree.param is not None:
            raise NotImplementedError(str(tree))
        groups: dict[Labels, list[float]] = {}
        for labels, value in self.vector(tree.expr).items():
            groups.setdefault(group_of(labels, tree.modifier), []).append(value)
        return {labels: function(values) for labels, values in groups.items()}

    def binary(self, tree: Any) -> Value:
        name, left, right = str(tree.op), self.value(tree.lhs), self.value(tree.rhs)
        if name in ("and", "or", "unless"):
            assert isinstance(left, dict)
            assert isinstance(right, dict)
            return together(name, left, right, tree.modifier)
        if tree.modifier is not None and (tree.modifier.return_bool or tree.modifier.group_labels):
            raise NotImplementedError(str(tree))
        return computed(name, left, right, tree.modifier)


def between(samples: list[Sample], after_s: float, until_s: float) -> list[Sample]:
    def when(sample: Sample) -> float:
        return sample[0]

    first = bisect_right(samples, after_s, key=when)
    return samples[first : bisect_right(samples, until_s, first, key=when)]


def computed(name: str, left: Value, right: Value, modifier: Any) -> Value:
    """Arithmetic, or a comparison that keeps what is true of the left side."""
    if isinstance(left, float):
        if isinstance(right, float):
            return ARITHMETIC[name](left, right)
        pairs = [(labels, left, value, value) for labels, value in right.items()]
    elif isinstance(right, float):
        pairs = [(labels, value, right, value) for labels, value in left.items()]
    else:
        others = {key_of(labels, modifier): value for labels, value in right.items()}
        assert len(others) == len(right), "many to one"
        pairs = [
            (labels, value, others[key_of(labels, modifier)], value)
            for labels, value in left.items()
            if key_of(labels, modifier) in others
        ]

    if name in COMPARISONS:
        return {kept: value for kept, one, two, value in pairs if COMPARISONS[name](one, two)}
    return {without_name(kept): ARITHMETIC[name](one, two) for kept, one, two, _ in pairs}


def together(name: str, left: Vector, right: Vector, modifier: Any) -> Vector:
    there = {key_of(labels, modifier) for labels in right}
    if name == "or":
        mine = {key_of(labels, modifier) for labels in left}
        added = {
            labels: value for labels, value in right.items() if key_of(labels, modifier) not in mine
        }
        return {**left, **added}
    return {
        labels: value
        for labels, value in left.items()
        if (key_of(labels, modifier) in there) == (name == "and")
    }


def key_of(labels: Labels, modifier: Any) -> Labels:
    """By what two series are the same for an operator."""
    bare = without_name(labels)
    matching = None if modifier is None else modifier.matching
    if matching is None:
        return bare
    is_on = matching.type == promql.LabelModifierType.Include
    return frozenset(pair for pair in bare if (pair[0] in matching.labels) == is_on)


def group_of(labels: Labels, modifier: Any) -> Labels:
    if modifier is None:
        return frozenset()
    is_by = modifier.type == promql.AggModifierType.By
    return frozenset(pair for pair in without_name(labels) if (pair[0] in modifier.labels) == is_by)


def extrapolated(
    name: str, samples: list[tuple[float, float]], begin_s: float, end_s: float
) -> float | None:
    """`rate`, `increase` and `delta`, as Prometheus stretches them to the ends of the range."""
    if len(samples) < 2:
        return None
    (first_s, first), (last_s, last) = samples[0], samples[-1]
    change = last - first
    if name != "delta":
        change += sum(before for (_, before), (_, after) in pairwise(samples) if after < before)

    sampled_s = last_s - first_s
    average_s = sampled_s / (len(samples) - 1)
    to_begin_s, to_end_s = first_s - begin_s, end_s - last_s
    to_begin_s = average_s / 2 if to_begin_s >= average_s * 1.1 else to_begin_s
    to_end_s = average_s / 2 if to_end_s >= average_s * 1.1 else to_end_s
    if name != "delta" and change > 0 and first >= 0:
        to_begin_s = min(to_begin_s, sampled_s * first / change)

    whole = change * (sampled_s + to_begin_s + to_end_s) / sampled_s
    return whole / (end_s - begin_s) if name == "rate" else whole


def matcher_of(matcher: Any) -> Callable[[Mapping[str, str]], bool]:
    name, value = matcher.name, matcher.value
    match matcher.op:
        case promql.MatchOp.Equal:
            return lambda labels: labels.get(name, "") == value
        case promql.MatchOp.NotEqual:
            return lambda labels: labels.get(name, "") != value
        case promql.MatchOp.Re:
            return lambda labels: re.fullmatch(value, labels.get(name, "")) is not None
        case _:
            return lambda labels: re.fullmatch(value, labels.get(name, "")) is None


def seconds(duration: timedelta | None) -> float:
    return 0.0 if duration is None else duration.total_seconds()


def duration_s(text: str) -> float:
    return promql.parse_duration(text).total_seconds()


def notated(values: str, interval_s: float) -> list[Sample]:
    """Samples in promtool's notation: `1 2`, `0+5x10`, `3x4`, `_`, `_x3`, `stale`."""
    points = [value for word in values.split() for value in points_of(word)]
    return [
        (number * interval_s, value)
        for number, value in enumerate(points)
        if value is None or not math.isnan(value)
    ]


def points_of(word: str) -> Iterable[float | None]:
    """NaN stands for a sample that is not there."""
    if word == "stale":
        return [STALE]
    gap = re.fullmatch(r"_(?:x(\d+))?", word)
    if gap:
        return [math.nan] * int(gap[1] or 1)
    number = r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?"
    row = re.fullmatch(rf"({number})(?:([+-]{number[2:]}))?(?:x(\d+))?", word)
    assert row, f"not promtool's notation: {word}"
    return [float(row[1]) + float(row[2] or 0) * step for step in range(int(row[3] or 0) + 1)]
