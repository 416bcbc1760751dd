"""A checker that cannot fail proves nothing: each planted bug turns its checkers red.

That the same checkers find nothing in the code as it is, `tests/engine` shows.
"""

from collections.abc import Callable, Iterator
from typing import Final

import pytest

from tests.engine.checkers import CHECKERS
from tests.mutants.planted import MUTANTS, Mutant

LAYERS: Final = tuple(CHECKERS)
_SEEN: Final[dict[str, dict[str, bool]]] = {}


def catches(checker: Callable[[], object]) -> str | None:
    """Why the checker is red, whatever it is that goes wrong; None when it is green."""
    try:
        checker()
    except Exception as why:  # noqa: BLE001  # An assertion of the checker, or of the code.
        return f"{type(why).__name__}: {(str(why).splitlines() or [''])[0][:90]}"
    return None


@pytest.fixture(scope="module", autouse=True)
def table() -> Iterator[None]:
    """What caught what, printed at the end."""
    yield
    print()
    print(f"{'':<42}{''.join(f'{layer:<15}' for layer in LAYERS)}")
    for name, layers in _SEEN.items():
        marks = (
            ("caught" if layers[layer] else "no") if layer in layers else "-" for layer in LAYERS
        )
        print(f"{name:<42}{''.join(f'{mark:<15}' for mark in marks)}")
    print(f"{len(_SEEN)} planted bugs, {sum(any(seen.values()) for seen in _SEEN.values())} caught")


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_a_planted_bug_is_caught(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant.plant(monkeypatch)
    whys = {name: catches(CHECKERS[name]) for name in mutant.caught_by}
    _SEEN[mutant.name] = {name: why is not None for name, why in whys.items()}
    assert all(whys.values()), f"not caught: {whys}"


@pytest.mark.nightly
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_which_layers_catch_it(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every layer against every bug: the table, whole."""
    mutant.plant(monkeypatch)
    seen = {name: bool(catches(check)) for name, check in CHECKERS.items()}
    _SEEN[mutant.name] = seen
    wanted = (*mutant.caught_by, *mutant.at_night)
    assert [name for name in wanted if not seen[name]] == []
