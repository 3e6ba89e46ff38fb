"""Meetups: what people do together. A stand-in: only what others listen to; its own rules are not built yet."""

from typing import Annotated

from pydantic import Field

from streams.contract import Event, Moment, Name, Topic

MEETUPS = Topic("meetups", key="meetup_id")


class ParticipantCheckedIn(Event, topic=MEETUPS):
    """The user came to the author's meetup, at this time; once for each user who joined it."""

    meetup_id: Name
    user_id: Name
    author_id: Name
    city: Name
    at: Moment


class MeetupCompleted(Event, topic=MEETUPS):
    """The meetup is over; so many came."""

    meetup_id: Name
    author_id: Name
    participants: Annotated[int, Field(strict=True, ge=0)]
