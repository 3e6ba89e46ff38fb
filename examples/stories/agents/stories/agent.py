"""Stories: commands lead to events by the rules, and events to rows; bans hide what their users wrote."""

from agents.stories import rules, sink
from agents.stories.table import TABLE
from topics.stories import STORIES

from streams.agent import Decider, Projection
from topics.governance import GOVERNANCE

DECIDER = Decider(STORIES, TABLE, rules.decide, rules.evolve, project=sink.project)

BANNED = Projection("banned", GOVERNANCE, STORIES, sink.hide)
