"""What the edge must answer to a line of a command file, in the plainest way there is: imports of the standard library only."""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

LIMIT = 2**53 - 1
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}")
SHORT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,49}")
EMAIL = re.compile(r"[a-z0-9.+-]+@[a-z0-9-]+(\.[a-z0-9-]+)+", re.IGNORECASE)
PHONE = re.compile(r"\+[0-9 ]{8,20}")
MEMBERS = frozenset({"User", "VIP", "PRO"})
ANYBODY = frozenset({"*"})
Data = dict[str, Any]


class Form(NamedTuple):
    """A command: its fields, and who may give it; the owner's is the field that names the caller."""

    required: set[str]
    optional: frozenset[str] | set[str] = frozenset()
    roles: frozenset[str] | set[str] = MEMBERS
    owner: str | None = "user_id"


TERMS = {"name", "price", "value", "currency", "quantity", "budget"}
FORMS = {
    "points.award_points": Form({"user_id", "amount"}, {"rule", "source", "expires_at"}, set()),
    "points.spend_points": Form({"user_id", "amount"}, {"reference"}),
    "points.hold_points": Form({"user_id", "hold_id", "amount"}),
    "points.capture_hold": Form({"user_id", "hold_id"}),
    "points.release_hold": Form({"user_id", "hold_id"}),
    "points.transfer_points": Form({"user_id", "transfer_id", "to", "amount"}, {"note"}),
    "identity.register_user": Form({"user_id"}, {"email", "phone", "display_name", "referral_code"}, ANYBODY, None),
    "identity.update_profile": Form({"user_id"}, {"display_name", "bio", "time_zone", "language"}),
    "promotions.create_campaign": Form(
        {"campaign_id", "partner_id", *TERMS},
        {"per_user", "sale_from", "sale_to", "valid_from", "valid_to", "valid_days"},
        {"Partner"},
        "partner_id",
    ),
    "promotions.activate_campaign": Form({"campaign_id", "partner_id"}, set(), {"Partner"}, "partner_id"),
    "promotions.purchase_voucher": Form({"campaign_id", "voucher_id", "user_id"}),
    "promotions.redeem_voucher": Form({"campaign_id", "partner_id", "code"}, set(), {"Partner"}, "partner_id"),
}


def answer(line: dict[str, Any]) -> int:
    """The HTTP status of a line without waiting: 202, or why it is turned away; 401 goes before 403 before 422."""
    form, who, data = FORMS[line["command"]], line["as"], line["data"]
    if form.roles != ANYBODY and who is None:
        return 401
    if form.roles != ANYBODY and who["role"] != "Admin":
        if who["role"] not in form.roles:
            return 403
        if form.owner and data.get(form.owner) != who["user"]:
            return 403
    return 202 if well_formed(line["command"], data) else 422


def well_formed(command: str, data: Data) -> bool:
    """Whether the body is one of this command."""
    form = FORMS[command]
    if not form.required <= data.keys() <= form.required | form.optional:
        return False
    if not all(_field_is_right(name, value, name in form.optional) for name, value in data.items()):
        return False
    return all(law(data) for law in LAWS.get(command, ()))


LAWS: dict[str, tuple[Callable[[Data], bool], ...]] = {
    "points.award_points": (lambda data: (data.get("rule") is None) == (data.get("source") is None),),
    "points.transfer_points": (lambda data: data["to"] != data["user_id"],),
    "identity.register_user": (lambda data: bool(data.get("email") or data.get("phone")),),
    "identity.update_profile": (lambda data: len(data) > 1,),
    "promotions.create_campaign": (
        lambda data: ("valid_to" in data) != ("valid_days" in data),
        lambda data: data["budget"] >= data["value"],
    ),
}
PATTERNS = {"email": EMAIL, "phone": PHONE, "campaign_id": SHORT, "voucher_id": SHORT}
TEXTS = {"note", "bio", "display_name", "name", "referral_code"}
RIGHT = {"expires_at", "sale_from", "sale_to", "valid_from", "valid_to", "time_zone", "language", "currency"}
"""Of these the generator makes right ones only."""
NUMBERS = {"amount", "value", "quantity", "budget", "per_user", "valid_days"}


def _field_is_right(name: str, value: Any, optional: bool) -> bool:
    if value is None:
        return optional
    if name in NUMBERS or name == "price":
        return type(value) is int and (name != "price") <= value <= LIMIT
    if name in TEXTS:
        return isinstance(value, str) and len(value) <= 1000 and "\0" not in value
    if name in RIGHT:
        return True
    return isinstance(value, str) and PATTERNS.get(name, NAME).fullmatch(value) is not None
