"""What is known of each story, by its id."""

from agents.stories.rules import Story

from streams.decision import ROOT
from streams.table import Table

TABLE = Table("stories", {ROOT: Story})
