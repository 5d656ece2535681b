"""Charts for the report: plain SVG text, sized by its view box and coloured by the page's style sheet; it prints and turns dark with it."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from karat.material.metrics.scores import Score

BAR_WIDTH, BAR_HEIGHT, BAR_EDGE = 320, 34, 12
CURVE_WIDTH, CURVE_HEIGHT = 440, 220
LEFT, RIGHT, TOP, BOTTOM = 44, 74, 10, 26
SMALLEST = 1e-290
"""Spans below it are drawn as none: what divides them would no longer be a number."""


@dataclass(frozen=True)
class Curve:
    """Lines over a common horizontal axis, for example losses over steps; `chosen` marks one place on it."""

    title: str
    lines: Mapping[str, Sequence[tuple[float, float]]]
    across: str = "step"
    meaning: str = ""
    chosen: float | None = None


def figure(value: float) -> str:
    """Give a number with three significant digits, thousands apart, a true minus sign."""
    if not math.isfinite(value):
        return "–"
    if value == 0 or abs(value) < 5e-5:
        text = "0"
    elif abs(value) >= 1000:
        text = f"{value:,.0f}"
    else:
        digits = max(0, 2 - math.floor(math.log10(abs(value))))
        text = f"{value:.{min(digits, 4)}f}"
    return text.replace("-", "\N{MINUS SIGN}")


def score_bar(score: Score) -> str:
    """Draw a score: a dot with its interval, the floor as a band, the baselines as ticks or, too far off, as arrows."""
    low, high = _reach(score)
    span = (high - low) or 1.0

    def place(value: float) -> float:
        share = min(1.0, max(0.0, (value - low) / span))
        return round(BAR_EDGE + share * (BAR_WIDTH - 2 * BAR_EDGE), 1)

    middle = BAR_HEIGHT / 2
    parts = [f'<line class="axis" x1="0" x2="{BAR_WIDTH}" y1="{middle}" y2="{middle}"/>']
    if score.floor:
        start, end = place(score.floor.low), place(score.floor.high)
        parts.append(f'<rect class="floor" x="{start}" y="5" width="{max(3.0, end - start):.1f}" height="{BAR_HEIGHT - 10}" rx="2"/>')
    for name, value in score.baselines.items():
        parts.append(_baseline(name, value, (low, high), place(value)))
    start, end = place(score.low), place(score.high)
    parts.append(f'<line class="interval" x1="{start}" x2="{end}" y1="{middle}" y2="{middle}"/>')
    parts.append(f'<circle class="value" cx="{place(score.value)}" cy="{middle}" r="5"/>')
    label = f"{score.title} {figure(score.value)}, interval {figure(score.low)} to {figure(score.high)}"
    if score.floor:
        label += f", real values {figure(score.floor.low)} to {figure(score.floor.high)}"
    return f'<svg class="bar" viewBox="0 0 {BAR_WIDTH} {BAR_HEIGHT}" role="img" aria-label="{escape(label)}">{"".join(parts)}</svg>'


def line_chart(curve: Curve) -> str:
    """Draw a curve with few grid lines and its names at the lines' ends."""
    lines = {name: [point for point in points if all(map(math.isfinite, point))] for name, points in curve.lines.items()}
    lines = {name: points for name, points in lines.items() if points}
    if not lines:
        return ""
    xs = [x for points in lines.values() for x, _ in points]
    ys = [y for points in lines.values() for _, y in points]
    # Early losses tower over all the rest; the axis follows the later nine tenths and lets the line leave at the top.
    top = max(_late_high(points) for points in lines.values())
    ticks_y, ticks_x = _ticks(min(ys), max(top, min(ys)), 4), _ticks(min(xs), max(xs), 5)
    low, high = ticks_y[0], ticks_y[-1]
    left, right = min(xs), max(max(xs), min(xs) + 1e-9)

    def at(x: float, y: float) -> tuple[float, float]:
        across = LEFT + (x - left) / (right - left) * (CURVE_WIDTH - LEFT - RIGHT)
        down = TOP + (high - min(y, high + (high - low) * 0.02)) / ((high - low) or 1) * (CURVE_HEIGHT - TOP - BOTTOM)
        return round(across, 1), round(down, 1)

    parts = []
    for tick in ticks_y:
        y = at(left, tick)[1]
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{CURVE_WIDTH - RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 8}" y="{y + 4}" text-anchor="end">{_tick(tick)}</text>')
    for tick in ticks_x:
        if left <= tick <= right:
            parts.append(f'<text class="tick" x="{at(tick, low)[0]}" y="{CURVE_HEIGHT - 6}" text-anchor="middle">{_tick(tick)}</text>')
    if curve.chosen is not None and left <= curve.chosen <= right:
        x = at(curve.chosen, low)[0]
        parts.append(f'<line class="chosen" x1="{x}" x2="{x}" y1="{TOP}" y2="{CURVE_HEIGHT - BOTTOM}"/>')
        parts.append(f'<text class="tick" x="{x - 5}" y="{TOP + 10}" text-anchor="end">chosen</text>')
    ends = _apart([at(*points[-1])[1] for points in lines.values()], 15)
    for number, (name, points) in enumerate(lines.items()):
        path = " ".join(f"{x},{y}" for x, y in (at(*point) for point in points))
        parts.append(f'<polyline class="line line-{number % 4}" points="{path}"/>')
        x = at(*points[-1])[0]
        parts.append(f'<text class="name name-{number % 4}" x="{x + 8}" y="{ends[number] + 4}">{escape(name)}</text>')
    label = escape(f"{curve.title} over {curve.across}")
    return f'<svg class="curve" viewBox="0 0 {CURVE_WIDTH} {CURVE_HEIGHT}" role="img" aria-label="{label}">{"".join(parts)}</svg>'


def _reach(score: Score) -> tuple[float, float]:
    """Give the ends of a bar's axis: the interval, the floor, and each baseline that does not squeeze those two into nothing."""
    near = [score.low, score.high, *((score.floor.low, score.floor.high) if score.floor else ())]
    low, high = min(near), max(near)
    for value in sorted(score.baselines.values(), key=lambda value: max(low - value, value - high)):
        wider_low, wider_high = min(low, value), max(high, value)
        if (wider_high - wider_low) <= 6 * max(max(near) - min(near), 1e-9):
            low, high = wider_low, wider_high
    pad = 0.08 * ((high - low) or abs(high) or 1.0)
    return low - pad, high + pad


def _baseline(name: str, value: float, reach: tuple[float, float], x: float) -> str:
    title = f"<title>{escape(name)} {figure(value)}</title>"
    middle = BAR_HEIGHT / 2
    if value < reach[0]:
        return f'<path class="far" d="M8 {middle - 4} L2 {middle} L8 {middle + 4}">{title}</path>'
    if value > reach[1]:
        return f'<path class="far" d="M{BAR_WIDTH - 8} {middle - 4} L{BAR_WIDTH - 2} {middle} L{BAR_WIDTH - 8} {middle + 4}">{title}</path>'
    return f'<line class="baseline" x1="{x}" x2="{x}" y1="9" y2="{BAR_HEIGHT - 9}">{title}</line>'


def _late_high(points: Sequence[tuple[float, float]]) -> float:
    late = points[len(points) // 10 :] if len(points) >= 20 else points
    return max(y for _, y in late)


def _ticks(low: float, high: float, wanted: int) -> list[float]:
    """Give round numbers from at or below `low` to at or above `high`."""
    span = next(size for size in (high - low, abs(high), 1.0) if size > SMALLEST)
    rough = span / wanted
    unit = 10 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in (1, 2, 2.5, 5, 10) if unit * factor >= rough * 0.999)
    first = math.floor(low / step + 1e-9)
    last = math.ceil(high / step - 1e-9)
    return [number * step for number in range(first, max(last, first + 1) + 1)]


def _tick(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.6g}".replace("-", "\N{MINUS SIGN}")


def _apart(places: Sequence[float], gap: float) -> list[float]:
    """Move labels apart from top to bottom so that none covers another."""
    moved = list(places)
    order = sorted(range(len(places)), key=lambda index: places[index])
    for before, after in itertools.pairwise(order):
        moved[after] = max(moved[after], moved[before] + gap)
    return moved
