"""What happens in one decision, event by event."""

from datetime import datetime
from typing import Any

from agents.points.rules.documents import Account, Documents
from agents.points.rules.folding import evolve
from streams.decision import ROOT


class Course:
    """The events of a decision, each of which at once changes what the next one is decided on."""

    def __init__(self, user_id: str, state: Documents, now: datetime) -> None:
        """Nothing has happened."""
        self.user_id, self.now = user_id, now
        self.state: dict[str, Any] = dict(state)
        self.events: list[Any] = []

    @property
    def account(self) -> Account:
        """The account as it is by now."""
        account: Account = self.state[ROOT]
        return account

    def tell(self, event: Any) -> None:
        """Let this happen."""
        self.events.append(event)
        self.state.update(evolve(self.state, event))
