"""Back-off doubles up to its maximum; the loops retry what is unavailable and nothing else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from orchestrator.errors import Fenced, Unavailable
from orchestrator.pacing import Backoff, periodically, retry


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr("orchestrator.pacing.asyncio.sleep", sleep)
    return waits


class Script:
    """An attempt that raises one exception after the other, and then returns its number."""

    def __init__(self, *errors: Exception | None) -> None:
        self._errors: Iterator[Exception | None] = iter(errors)
        self.calls = 0

    async def __call__(self) -> int:
        self.calls += 1
        if (error := next(self._errors, None)) is not None:
            raise error
        return self.calls


async def test_each_wait_is_twice_the_one_before_up_to_the_maximum(slept: list[float]) -> None:
    backoff = Backoff(0.25, 1.5)
    for _ in range(5):
        await backoff.wait()
    assert slept == [0.25, 0.5, 1.0, 1.5, 1.5]


async def test_a_retry_returns_the_first_result_and_reports_every_failure(
    slept: list[float],
) -> None:
    errors = [Unavailable("first"), Unavailable("second")]
    reported: list[Unavailable] = []
    assert await retry(Script(*errors), Backoff(1, 8), reported.append) == 3
    assert reported == errors
    assert slept == [1, 2]


async def test_a_retry_goes_on_with_a_back_off_that_was_used_before(slept: list[float]) -> None:
    backoff = Backoff(1, 8)
    for _ in range(2):
        await retry(Script(Unavailable("away")), backoff, lambda _: None)
    assert slept == [1, 2]


async def test_a_retry_ends_with_any_other_error_or_when_its_callback_raises(
    slept: list[float],
) -> None:
    def give_up(error: Unavailable) -> None:
        raise error

    with pytest.raises(Fenced):
        await retry(Script(Fenced("moved")), Backoff(1, 8), lambda _: None)
    with pytest.raises(Unavailable):
        await retry(Script(Unavailable("away")), Backoff(1, 8), give_up)
    assert slept == []


async def test_a_periodic_loop_sleeps_after_each_run_and_retries_what_is_unavailable(
    slept: list[float],
) -> None:
    away = Unavailable("away")
    reported: list[Unavailable] = []
    script = Script(None, away, None, Fenced("moved"))
    with pytest.raises(Fenced):
        await periodically(script, 3, on_unavailable=reported.append)
    assert (script.calls, reported, slept) == (4, [away], [3, 3, 3])


async def test_a_periodic_loop_may_wait_first_and_may_end_with_what_is_unavailable(
    slept: list[float],
) -> None:
    script = Script(None, Unavailable("away"))
    with pytest.raises(Unavailable):
        await periodically(script, 3, wait_first=True)
    assert (script.calls, slept) == (2, [3, 3])
