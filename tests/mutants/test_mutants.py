"""A checker that cannot fail proves nothing: each planted bug turns its checkers red.

That the same checkers find nothing in the code as it is, `tests/saga` shows.
"""

import pytest

from tests.mutants.planted import MUTANTS, Mutant
from tests.saga.checkers import CHECKERS


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name.replace(" ", "-"))
def test_a_planted_bug_is_caught(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    mutant.plant(monkeypatch)
    for name in mutant.caught_by:
        # Whatever it is that goes wrong: an assertion of the checker, or one of the code's own.
        with pytest.raises(Exception) as caught:
            CHECKERS[name]()
        why = str(caught.value).splitlines()[0][:90]
        print(f"{mutant.name:<42} {name:<14} {type(caught.value).__name__}: {why}")
