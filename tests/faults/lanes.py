"""Coordinators that die on plan, one after the other, while others work."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, get_args

from orchestrator.settings import Phase
from tests.harness import QUICK, Platform
from tests.nodes import Node

PHASES: Final[tuple[Phase, ...]] = get_args(Phase)
DIES_WITHIN_S: Final = 60.0
SMALL_BATCHES: Final = {"UPRP_COORDINATOR__BATCH_RECORDS_MAX": "25"}


@dataclass(frozen=True, slots=True)
class Death:
    """How a coordinator dies: by itself at a phase, or `pause_s` after it was ready (kill -9)."""

    phase: Phase | None
    after: int = 0
    pause_s: float = 0.0

    @property
    def settings(self) -> dict[str, str]:
        """What the coordinator is told."""
        if self.phase is None:
            return {}
        return {"UPRP_FAULT__PHASE": self.phase, "UPRP_FAULT__AFTER": str(self.after)}


def deaths(seed: int, *, each: int, at_random: int) -> list[Death]:
    """`each` deaths at every phase and some at any time, shuffled; the same for the same seed."""
    dice = random.Random(seed)
    planned = [Death(phase, after=dice.randrange(12)) for phase in PHASES for _ in range(each)]
    planned += [Death(None, pause_s=dice.uniform(0, 1.5)) for _ in range(at_random)]
    dice.shuffle(planned)
    return planned


@dataclass
class Lane:
    """One coordinator after the other: each dies as planned, the last one stays."""

    platform: Platform
    name: str
    plan: Iterator[Death]
    settings: dict[str, str]
    died: Counter[str] = field(default_factory=Counter)
    node: Node | None = None
    _death: Death | None = None
    _began: float = 0.0
    _ready_at: float | None = None

    def turn(self) -> bool:
        """Look after the coordinator; true once the last one is ready."""
        if self.node is None or not self.node.alive:
            self._bury()
            self._next()
        elif self._death is None:
            return self.node.ready()
        elif self._death.phase is None:
            self._kill_in_time()
        late = time.monotonic() - self._began > DIES_WITHIN_S
        assert not late, f"{self.name}: {self._death} did not happen in {DIES_WITHIN_S:.0f} s"
        return False

    def _bury(self) -> None:
        if self.node is not None:
            code = self.node.exit_code
            assert code == -signal.SIGKILL, f"{self.name} ended with {code}, see {self.node.log}"
            assert self._death is not None
            self.died[self._death.phase or "at random"] += 1

    def _next(self) -> None:
        self._death = next(self.plan, None)
        more = self._death.settings if self._death is not None else {}
        self.node = self.platform.start_coordinator(self.name, **self.settings, **more)
        self._began, self._ready_at = time.monotonic(), None

    def _kill_in_time(self) -> None:
        assert self.node is not None
        assert self._death is not None
        if self._ready_at is None:
            if self.node.ready():
                self._ready_at = time.monotonic()
        elif time.monotonic() - self._ready_at > self._death.pause_s:
            self.node.send(signal.SIGKILL)


def lanes(platform: Platform, plan: list[Death]) -> list[Lane]:
    """Two lanes that share a plan: one member of the group is static, the other is not."""
    shared = iter(plan)
    quick = QUICK | SMALL_BATCHES
    static = quick | {"UPRP_KAFKA__INSTANCE_ID": "static"}
    return [Lane(platform, "static", shared, static), Lane(platform, "dynamic", shared, quick)]
