"""Dead letters: the original record, byte for byte, with the reason (`contract.md` 4)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import Final

from schemas.envelope import rfc3339


class Disposition(StrEnum):
    """Why a record was set aside."""

    POISON = "poison"  # It cannot be read.
    REFUSED = "refused"  # It can be read, and must not be acted upon.
    EXHAUSTED = "exhausted"  # It failed as often as is allowed.


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """One record that the platform set aside, and why."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    group: str  # The consumer group that set it aside.
    error_class: str  # A reason code.
    field: str  # The header or field that is wrong.
    message: str  # How it is wrong.
    disposition: Disposition
    failed_at: datetime
    saga_id: str | None = None  # The saga that it is about, if that is known.

    @property
    def id(self) -> str:
        """The position of the record, so that it is one dead letter however often it is read."""
        return f"{self.topic}/{self.partition}/{self.offset}"

    @property
    def fingerprint(self) -> str:
        """A hash that failures of the same sort share: it leaves out ids, numbers and quotes."""
        shape = _PARTICULARS.sub("*", self.message)
        return sha256(f"{self.error_class}|{self.field}|{shape}".encode()).hexdigest()[:16]

    def wire_headers(self) -> list[tuple[str, bytes | None]]:
        """The original headers, with the platform's own in place of those of an earlier failure."""
        kept: list[tuple[str, bytes | None]] = [
            pair for pair in self.headers if not _OURS.match(pair[0])
        ]
        return kept + [(name, text.encode("utf-8", "replace")) for name, text in self._ours()]

    def _ours(self) -> list[tuple[str, str]]:
        found = [
            ("__dlq.errors.topic", self.topic),
            ("__dlq.errors.partition", str(self.partition)),
            ("__dlq.errors.offset", str(self.offset)),
            ("__dlq.errors.group", self.group),
            ("__dlq.errors.message", f"{self.field}: {self.message}"),
            ("x-dlq-id", self.id),
            ("x-dlq-fingerprint", self.fingerprint),
            ("x-dlq-error-class", self.error_class),
            ("x-dlq-disposition", self.disposition.value),
            ("x-dlq-first-failed-at", self._earlier(_FIRST_FAILED) or rfc3339(self.failed_at)),
            ("x-replay-count", self._earlier(_REPLAYS) or "0"),
        ]
        if self.saga_id is not None:
            found.append(("x-saga-id", self.saga_id))
        return found

    def _earlier(self, header: re.Pattern[str]) -> str | None:
        """The content of a header from an earlier failure, if it is well formed; else None.

        It is checked, since partners can write such headers too.
        """
        for name, content in reversed(self.headers):
            line = f"{name}: {(content or b'').decode('ascii', 'replace')}"
            if found := header.fullmatch(line):
                return found[1]
        return None


_OURS: Final = re.compile(r"__dlq\.errors\.|x-dlq-|x-replay-count$|x-saga-id$", re.IGNORECASE)
_FIRST_FAILED: Final = re.compile(r"x-dlq-first-failed-at: ([0-9T:.-]{19,32}Z)")
_REPLAYS: Final = re.compile(r"x-replay-count: ([0-9]{1,6})")
_PARTICULARS: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|\d+|'[^']*'|\"[^\"]*\"")
