"""What is known of subjects, of users and of the program: each concern has documents of its own under the key."""

from agents.governance.rules import CONCERNS
from streams.decision import ROOT, State
from streams.table import Table


class Nothing(State, frozen=True):
    """Nothing stands at the key itself."""


GOVERNED = Table(
    "governance",
    {ROOT: Nothing, **{word: document for concern in CONCERNS for word, document in concern.documents.items()}},
)
