"""Every saga that can run, by name and version; old versions stay while rows use them."""

from typing import Final

from orchestrator.engine.definition import Definition
from orchestrator.sagas.redemption.definition import REDEMPTION

SAGAS: Final[dict[tuple[str, int], Definition]] = {
    (saga.name, saga.version): saga for saga in (REDEMPTION,)
}
