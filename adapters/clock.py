"""The machine's clock."""

from __future__ import annotations

import time


class SystemClock:
    """Wall time for what is written, monotonic time for what is measured."""

    def now(self) -> int:
        """Milliseconds since 1970."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Seconds that only grow, also while the process is suspended."""
        return time.monotonic()
