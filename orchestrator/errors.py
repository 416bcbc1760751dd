"""What can go wrong in the shell. Refusals are values; these are not.

UprpError
├── Conflict            a row is not at the revision that was read: read again, decide again
├── Fenced              the positions moved: another coordinator owns the partition
├── Unavailable         the database or the broker is away: wait and repeat
└── Stop                the process must not go on; its exit code says why
    ├── TooManyDeadLetters
    ├── SchemaTooOld
    ├── NoProgress
    ├── BrokerRefuses
    └── SaidOtherwise
"""

from __future__ import annotations

from typing import ClassVar


class UprpError(Exception):
    """The root of what the shell raises on purpose."""


class Conflict(UprpError):
    """A compare-and-set found another revision; the batch is read and decided again."""


class Fenced(UprpError):
    """The stored positions are not where this coordinator left them; its batch is dropped."""


class Unavailable(UprpError):
    """The database or the broker cannot be reached now; what failed may be repeated."""


class Stop(UprpError):
    """The coordinator must stop and say why."""

    exit_code: ClassVar[int] = 1


class SchemaTooOld(Stop):
    """The database lacks migrations; run `uprp db migrate`."""

    exit_code = 4


class TooManyDeadLetters(Stop):
    """Most of a batch cannot be read: the fault is systemic, so nothing is set aside."""

    exit_code = 5


class NoProgress(Stop):
    """Records wait and nothing was committed for too long; a restart is the cure."""

    exit_code = 6


class BrokerRefuses(Stop):
    """The broker's topics or offsets are not what the stored positions need."""

    exit_code = 7


class PublishedMismatch(Stop):
    """What was said before the database was lost is not what the catalogue says now."""

    exit_code = 8
