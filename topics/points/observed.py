"""The events of other domains that a rule of points may be about, and what of them its condition and formula see."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from streams.condition import sample
from streams.contract import Event
from streams.personal import personal_fields
from topics.commerce import OrderPaid
from topics.fitness import WorkoutRecorded
from topics.identity import UserRegistered
from topics.meetups import ParticipantCheckedIn
from topics.promotions import VoucherPurchased, VoucherRedeemed
from topics.quests import QuestCompleted

HASHES = {"email_login", "phone_login", "device", "network"}  # of what somebody is known by: no business of a rule


def name_of(event: type[Event]) -> str:
    """As rules call it: `commerce.order_paid`."""
    return f"{event.topic.domain}.{event.wire_name}"


OBSERVED: Mapping[str, type[Event]] = MappingProxyType(
    {
        name_of(event): event
        for event in (
            UserRegistered,
            VoucherPurchased,
            VoucherRedeemed,
            QuestCompleted,
            ParticipantCheckedIn,
            OrderPaid,
            WorkoutRecorded,
        )
    }
)
"""By their names. Each has a `user_id`, whose points they are about."""


def seen(event: Event) -> dict[str, Any]:
    """The payload as JSON, without what is personal."""
    return event.model_dump(mode="json", exclude=_personal(type(event)))


def samples(event: type[Event]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Two payloads to try a rule on: with every field given, and with null wherever that may be."""
    personal = _personal(event)
    full = {name: value for name, value in sample(event).items() if name not in personal}
    optional = {name for name, field in event.model_fields.items() if not field.is_required() and field.default is None}
    return full, {name: None if name in optional else value for name, value in full.items()}


def _personal(event: type[Event]) -> set[str]:
    return {*personal_fields(event), *(HASHES & event.model_fields.keys())}
