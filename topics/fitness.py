"""Fitness: workouts. A stand-in: only what others listen to; its own rules are not built yet."""

from typing import Annotated

from pydantic import Field

from streams.contract import Event, Moment, Name, Topic

FITNESS = Topic("fitness", key="user_id")

Minutes = Annotated[int, Field(strict=True, ge=1, le=10_080)]
"""At most a week."""

Metres = Annotated[int, Field(strict=True, ge=0, le=10_000_000)]


class WorkoutRecorded(Event, topic=FITNESS):
    """The user trained, from `at` for so many minutes; once per workout. One that a device tells late is of a time before others that are known."""

    user_id: Name
    workout_id: Name
    kind: Name
    minutes: Minutes
    distance_m: Metres | None = None
    at: Moment
