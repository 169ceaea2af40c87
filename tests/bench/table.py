"""How a measurement is told: the figure, its ratio to the baseline, and the budget."""

from __future__ import annotations


def title(text: str) -> None:
    """What the lines below are about."""
    print(f"\n{text}", flush=True)


def rate(what: str, per_second: float, base: float | None = None, budget: float | None = None) -> None:
    """A number of things per second, as a ratio to the baseline's."""
    ratio = f"{per_second / base:8.3f} ×" if base else " " * 10
    print(f"  {what:<66} {per_second:>9,.0f}/s {ratio} {_verdict(per_second / base, budget, '×', least=True) if base else ''}")


def amount(what: str, value: float, unit: str, budget: float | None = None) -> None:
    """A time or a size of which less is better."""
    print(f"  {what:<66} {value:>9,.1f} {unit:<10} {_verdict(value, budget, unit, least=False)}", flush=True)


def _verdict(value: float, budget: float | None, unit: str, *, least: bool) -> str:
    if budget is None:
        return ""
    met = value >= budget if least else value <= budget
    return f"budget {'≥' if least else '≤'} {budget:g} {unit}: {'met' if met else 'NOT MET'}"
