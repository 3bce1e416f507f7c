"""What a trial is, and which there are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Protocol

from tests.chaos.database import CrashingPostgres
from tests.trials.bot_api_down import BotApiDown
from tests.trials.figures import Findings
from tests.trials.outages import Outages
from tests.trials.patience import Patience
from tests.trials.poison import Poison
from tests.trials.rolling import Rolling
from tests.trials.side_by_side import SideBySide
from tests.trials.slow_clients import SlowClients


class Trial(Protocol):
    """A dataclass whose fields are its sizes, with those of the yardstick as their defaults."""

    __dataclass_fields__: ClassVar[dict[str, Any]]
    name: ClassVar[str]
    about: ClassVar[str]

    async def carry_out(self, database: CrashingPostgres, logs: Path) -> Findings:
        """Make it, and tell what was measured and found; the database is its own."""


TRIALS: Sequence[Trial] = (Poison(), Outages(), SideBySide(), SlowClients(), BotApiDown(), Patience(), Rolling())
