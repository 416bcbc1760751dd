"""Every kind of saga that can run, by name and version.

To register a kind, add it to the tuple. An old version stays as long as rows refer to it.
"""

from typing import Final

from orchestrator.engine.codec import Kinds
from orchestrator.sagas.balance.kind import BALANCE
from orchestrator.sagas.redemption.kind import REDEMPTION

__all__ = ["KINDS", "Kinds"]

KINDS: Final[Kinds] = {(kind.name, kind.version): kind for kind in (REDEMPTION, BALANCE)}
