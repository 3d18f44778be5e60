"""A limit on calls a second that lets short bursts pass: a token bucket, as a number and a clock that one hands in.

Unusual: it neither sleeps nor reads a clock. ``reserve`` says how long to wait, and the caller waits in its own way:
``time.sleep`` in a thread, ``asyncio.sleep`` in a coroutine, nothing in a test. One number is kept, the time at which
the bucket will be full again, not a count of tokens that has to be topped up (:func:`waits_loop`, the reference).

Source: the Generic Cell Rate Algorithm in its virtual scheduling form, ITU-T I.371, beside the bucket of tokens.
"""

from collections.abc import Iterable

from kb.arguments import is_number, require_count


class TokenBucket:
    """At most ``burst`` calls at once and ``rate`` a second in the long run. For several threads, call it under a lock.

    Raises:
        ValueError: ``rate`` is no positive number, or ``burst`` no positive integer.
    """

    def __init__(self, rate: float, burst: int) -> None:
        if not is_number(rate) or rate <= 0:
            raise ValueError(f"rate must be a positive number of calls a second, got {rate!r}")
        require_count("burst", burst)
        self._interval = 1 / rate
        self._slack = (burst - 1) * self._interval
        self._full_at = float("-inf")

    def reserve(self, now: float) -> float:
        """Seconds from ``now`` until this call may begin, 0 where at once; its place is taken, so do wait.

        Args:
            now: By any clock that does not go back.

        Raises:
            ValueError: ``now`` is no number.
        """
        if not is_number(now):
            raise ValueError(f"now must be a number of seconds, got {now!r}")
        begins = max(now, self._full_at - self._slack)
        self._full_at = max(now, self._full_at) + self._interval
        return begins - now


def waits_loop(rate: float, burst: int, times: Iterable[float]) -> list[float]:
    """The same waits with tokens that are counted; a negative count is what later calls owe."""
    tokens, last, found = float(burst), None, []
    for now in times:
        tokens = min(burst, tokens + (now - (now if last is None else last)) * rate) - 1
        last = now
        found.append(max(0.0, -tokens / rate))
    return found
