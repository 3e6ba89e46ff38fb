"""`caravan replay`: a domain's views and documents built once more from the events, beside live traffic, compared, and exchanged with the live ones."""

from caravan.replay.run import Replay as Replay
