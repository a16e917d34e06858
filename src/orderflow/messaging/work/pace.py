"""How long to rest between two transactions."""

from __future__ import annotations

REST_FACTOR = 2.0


def rest_s(bounds: tuple[float, float], took_s: float) -> float:
    """
    Twice as long as the transaction took, within `bounds`: load, which makes it slower, then makes
    batches larger, not more of them. What comes after a longer rest has none to wait for.
    """
    least, most = bounds
    return min(most, max(least, REST_FACTOR * took_s))
