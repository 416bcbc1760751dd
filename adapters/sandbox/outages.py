"""While a company is down: which commands it does not receive, and until when."""

from datetime import datetime
from typing import Final

from adapters.sandbox.faults import Fault

_COMPANY: Final = ""


class Outages:
    """Outages of the whole company, or for single legs."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}

    def __bool__(self) -> bool:
        return bool(self._until)

    def begin(self, leg_id: str, fault: Fault, now: datetime) -> float:
        """Go down for `fault.ms`; returns until when, in seconds since 1970."""
        until = now.timestamp() + fault.ms / 1000
        self._until[_COMPANY if fault.scope == "company" else leg_id] = until
        return until

    def until(self, leg_id: str, now: datetime) -> float | None:
        """Until when commands about a leg are not received, in seconds since 1970.

        None when they are received.
        """
        moment = now.timestamp()
        self._until = {name: until for name, until in self._until.items() if until > moment}
        ends = [self._until[name] for name in (_COMPANY, leg_id) if name in self._until]
        return max(ends, default=None)

    def company(self, now: datetime) -> bool:
        """Whether the whole company is down."""
        return self._until.get(_COMPANY, 0.0) > now.timestamp()
