"""How a domain takes part in the erasure of a user, by its contract alone.

What is personal is sealed for its subject, so a domain that keeps nothing but sealed values and ids has nothing to do: it declares nothing. One that
has more to do, or has something open first, declares an event with which it answers whoever asked::

    class ErasureAnswered(ErasureAnswer, Event, topic=ORDERS):
        \"\"\"What became of the erasure of a user here.\"\"\"

It gives `reason` while it has to wait ("an order is open"), and is asked again until it answers without one. An answer may come twice.
"""

from pydantic import BaseModel

from streams.contract import Event, Name, Reason, Topic


class ErasureAnswer(BaseModel):
    """A domain has done its part in the erasure of the user, or says why not yet."""

    user_id: Name
    erasure_id: Name
    reason: Reason | None = None


def answer_of(topic: Topic) -> type[Event] | None:
    """The event with which a domain answers, None for one that has nothing to do."""
    return next((event for event in topic.events.values() if ErasureAnswer in event.__mro__), None)
