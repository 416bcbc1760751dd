"""The exceptions that the orchestrator raises. Refused requests are return values instead.

UprpError
├── Conflict            a row is not at the revision that was read: read and decide again
├── Fenced              the stored positions moved: another coordinator owns the partition
├── Unavailable         the database or the broker cannot be reached: wait and try again
└── Stop                the process must end; its exit code says why
    ├── SchemaTooOld
    ├── TooManyDeadLetters
    ├── NoProgress
    ├── BrokerRefuses
    └── PublishedMismatch
"""

from __future__ import annotations

from typing import ClassVar


class UprpError(Exception):
    """The base class of all of them."""


class Conflict(UprpError):
    """A compare-and-set found another revision; the batch is loaded and decided again."""


class Fenced(UprpError):
    """Another coordinator moved the stored positions; the batch of this one is dropped."""


class Unavailable(UprpError):
    """The database or the broker cannot be reached now; the operation may be repeated."""


class Stop(UprpError):
    """The coordinator must end, with an exit code that says why."""

    exit_code: ClassVar[int] = 1


class SchemaTooOld(Stop):
    """The database lacks migrations; run `uprp db migrate`."""

    exit_code = 4


class TooManyDeadLetters(Stop):
    """Most of a batch cannot be read: the fault is systemic, so no record becomes a dead letter."""

    exit_code = 5


class NoProgress(Stop):
    """Records wait and no batch was committed for too long; a restart should help."""

    exit_code = 6


class BrokerRefuses(Stop):
    """The broker's topics are not as needed, or its offsets contradict the stored positions."""

    exit_code = 7


class PublishedMismatch(Stop):
    """Records published before the database was restored contradict the catalogue of now."""

    exit_code = 8
