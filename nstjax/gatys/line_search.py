"""A line search for quasi-Newton steps that holds the objective in its program once.

The conditions and the choice of points are those of `optax.scale_by_zoom_linesearch`: algorithms
3.5 and 3.6 of Nocedal and Wright, 'Numerical Optimization', with the approximate decrease of Hager
and Zhang, 'Algorithm 851: CG_DESCENT', 2006. Optax' search compiles the objective's gradient in
each of its two phases, and keeps the gradient of the best point beside that of the last. Here one
loop evaluates in either phase, and the best point is kept as three numbers.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

MOST_EVALUATIONS = 20  # and once more if the best point is not the last
_DECREASE, _CURVATURE = 1e-4, 0.9  # of Wolfe's conditions
_FLAT = 1e-6  # a change of the value, relative to it, that rounding may hide
_SHORTEST = 1e-5  # an interval in which no better point is sought
_LONGER = 2.0


class Point(NamedTuple):
    """What is known about a point on the line."""

    step: Float[Array, ""]
    value: Float[Array, ""]
    slope: Float[Array, ""]


class Search(NamedTuple):
    """Where a search is.

    Attributes:
        evaluations: so far.
        start: the point at 0.
        last: the point that was evaluated last.
        best: the best that decreases the value enough; the start while there is none.
        low: the better end of the interval in which a point is sought.
        high: its other end.
        reference: one more point, for the cubic.
        zooming: whether there is an interval yet.
        returning: whether all that is left is to evaluate the best point again.
        done: whether the last point is the one that is taken.
    """

    evaluations: Int[Array, ""]
    start: Point
    last: Point
    best: Point
    low: Point
    high: Point
    reference: Point
    zooming: Bool[Array, ""]
    returning: Bool[Array, ""]
    done: Bool[Array, ""]


def begin(value: Float[Array, ""], slope: Float[Array, ""]) -> Search:
    """Begins a search.

    Args:
        value: of the objective at 0.
        slope: there, along the direction.

    Returns:
        The search before its first evaluation.
    """
    start, no = Point(jnp.zeros_like(value), value, slope), jnp.bool_(False)
    points = dict.fromkeys(("start", "last", "best", "low", "high", "reference"), start)
    return Search(jnp.int32(0), **points, zooming=no, returning=no, done=no)


def next_step(search: Search) -> Float[Array, ""]:
    """Returns where to evaluate next: the first time at 1."""
    longer = jnp.where(search.evaluations == 0, 1.0, _LONGER * search.last.step)
    step = jnp.where(search.zooming, _inside(search), longer)
    return jnp.where(search.returning, search.best.step, step)


def advance(search: Search, value: Float[Array, ""], slope: Float[Array, ""]) -> Search:
    """Goes on with the value and the slope at `next_step`.

    Args:
        search: before the evaluation.
        value: of the objective.
        slope: along the direction.

    Returns:
        The search after it.
    """
    point = Point(next_step(search), value, slope)
    decreases = _decreases(search.start, point)
    done = search.returning | (decreases & _is_flat_enough(search.start, point))
    # Without an interval the first point that decreases the value is kept up to the next.
    better = decreases & (~search.zooming | (value < search.best.value))
    best = _where(better, point, search.best)

    since = _where(search.zooming, search.low, search.last)
    beyond = ~decreases | ((value >= since.value) & (search.zooming | (search.evaluations > 0)))
    ends = _where(search.zooming, _narrowed(search, point, beyond), _found(search, point, beyond))
    low, high, reference = ends
    found = search.zooming | beyond | (slope >= 0)

    hopeless = search.zooming & (jnp.abs(search.high.step - search.low.step) <= _SHORTEST)
    over = (search.evaluations + 1 >= MOST_EVALUATIONS) | (hopeless & (best.step > 0))
    # If no point decreased the value enough, the last is taken, provided that it has a value.
    back = (best.step > 0) | ~_has_value(point)
    here = ~back | (best.step == point.step)
    return Search(
        evaluations=search.evaluations + 1,
        start=search.start,
        last=point,
        best=best,
        low=low,
        high=high,
        reference=reference,
        zooming=found,
        returning=over & ~here,
        done=done | (over & here),
    )


def _decreases(start: Point, point: Point) -> Bool[Array, ""]:
    """Whether the value falls enough, or so little that only the slope can tell."""
    enough = point.value <= start.value + _DECREASE * point.step * start.slope
    hidden = point.value <= start.value + _FLAT * jnp.abs(start.value)
    falls = enough | (hidden & (point.slope <= (2 * _DECREASE - 1) * start.slope))
    return falls & _has_value(point)


def _has_value(point: Point) -> Bool[Array, ""]:
    return jnp.isfinite(point.value) & jnp.isfinite(point.slope)


def _is_flat_enough(start: Point, point: Point) -> Bool[Array, ""]:
    return jnp.abs(point.slope) <= _CURVATURE * jnp.abs(start.slope)


def _found(search: Search, point: Point, beyond: Bool[Array, ""]) -> tuple[Point, Point, Point]:
    """The interval that a point closes, and its first reference: algorithm 3.5."""
    rises = (point.slope >= 0) & ~beyond
    low, high = _where(rises, (point, search.last), (search.last, point))
    return low, high, low


def _narrowed(search: Search, point: Point, beyond: Bool[Array, ""]) -> tuple[Point, Point, Point]:
    """The interval with a point of it as one of its ends, and a reference: algorithm 3.6."""
    low, high = search.low, search.high
    turns = ~beyond & (point.slope * (high.step - low.step) >= 0)
    reference = _where(beyond | turns, high, low)
    high = _where(beyond, point, _where(turns, low, high))
    return _where(beyond, low, point), high, reference


def _inside(search: Search) -> Float[Array, ""]:
    """Where a cubic, else a parabola, has its minimum, if well inside the interval; or halfway."""
    low, high = search.low, search.high
    left, right = jnp.minimum(low.step, high.step), jnp.maximum(low.step, high.step)
    step = (low.step + high.step) / 2
    for found, margin in ((_parabola(low, high), 0.1), (_cubic(search), 0.2)):
        margin = margin * (right - left)
        step = jnp.where((found > left + margin) & (found < right - margin), found, step)
    return step


def _parabola(low: Point, high: Point) -> Float[Array, ""]:
    across = high.step - low.step
    bend = (high.value - low.value - low.slope * across) / across**2
    return low.step - low.slope / (2 * bend)


def _cubic(search: Search) -> Float[Array, ""]:
    """The minimum of the cubic through three points with the slope of the first; NaN for none."""
    low, high, other = search.low, search.high, search.reference
    b, c = high.step - low.step, other.step - low.step
    rest_b = high.value - low.value - low.slope * b
    rest_c = other.value - low.value - low.slope * c
    divisor = (b * c) ** 2 * (b - c)
    cube = (c**2 * rest_b - b**2 * rest_c) / divisor
    square = (b**3 * rest_c - c**3 * rest_b) / divisor
    root = jnp.sqrt(square**2 - 3 * cube * low.slope)
    return low.step + (root - square) / (3 * cube)


def _where(condition: Bool[Array, ""], this: Any, that: Any) -> Any:
    return jax.tree.map(partial(jnp.where, condition), this, that)
