"""Compares what all domains show at the end of a run with the models, and looks at what goes from one domain to another."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from tests.acceptance.checker import different, unlawful
from tests.acceptance.left import Left
from tests.acceptance.market import Market
from tests.acceptance.registry import Registry

SIGN_UP = 100  # points
SOURCE = "event-"  # how the sources of rewards begin that somebody gave by hand
PAID = {"valid", "redeemed", "expired"}
PURCHASES = {  # how a purchase ended -> movements of its hold, and commands about it
    "sold": (["captured", "held"], ["capture_hold", "hold_points"]),
    "free": ([], []),
    "poor": ([], ["hold_points"]),
    "late": (["held", "released"], ["hold_points", "release_hold"]),
    "later": ([], ["hold_points", "release_hold"]),  # too late, and there would not have been enough
}


def wrongs(left: Left) -> list[str]:
    """Everything that is wrong, in words; empty when the run was right."""
    return [
        *left.wrong,
        *unlawful(left.points()),
        *different(left.points()),
        *_market(left),
        *_registry(left),
        *_once(left),
        *_welcomed(left),
        *_paid(left),
        *_limits(left),
        *_overdue(left),
        *_pending(left),
    ]


def _differ(what: str, expected: Mapping[Any, Any], found: Mapping[Any, Any]) -> Iterator[str]:
    for name in sorted(expected.keys() | found.keys(), key=str):
        if expected.get(name) != found.get(name):
            yield f"{what} {name}: {found.get(name)}, not {expected.get(name)}"


def _market(left: Left) -> Iterator[str]:
    """Every result, campaign and voucher is as the plain rules have it."""
    codes = {
        (e["aggregate_id"], e["payload"]["voucher_id"]): e["payload"]["code"] for e in left.of("voucher_purchased")
    }
    if len(set(codes.values())) < len(codes):
        yield "two vouchers have one code"
    market = Market(codes)
    for step in left.steps["promotions"]:
        market.play(step)
    yield from _differ("result of", market.results, left.results["promotions"])
    campaigns, vouchers = {}, {}
    for name, campaign in market.campaigns.items():
        issued = campaign.count(*PAID)
        counts = [campaign.count(status) for status in ("started", "failed", "redeemed", "expired")]
        campaigns[name] = (campaign.status, issued, *counts)
        for voucher_id, v in campaign.vouchers.items():
            code = codes.get((name, voucher_id))
            times = v.started_at, v.valid_from, v.valid_to, v.redeemed_at
            vouchers[name, voucher_id] = (v.user, v.status, v.reason, code, *times)
    columns = ("status", "issued", "reserved", "failed", "redeemed", "expired")
    shown = {row["campaign_id"]: tuple(row[c] for c in columns) for row in left.rows["promotions.campaign"]}
    yield from _differ("campaign", campaigns, shown)
    about = ("user_id", "status", "reason", "code", "started_at", "valid_from", "valid_to", "redeemed_at")
    shown_vouchers = {
        (row["campaign_id"], row["voucher_id"]): tuple(row[c] for c in about) for row in left.rows["promotions.voucher"]
    }
    yield from _differ("voucher", vouchers, shown_vouchers)


def _registry(left: Left) -> Iterator[str]:
    """Every result, profile and login is as the plain rules have it; a user is registered once."""
    registry = Registry()
    for step in left.steps["identity"]:
        registry.play(step)
    yield from _differ("result of", registry.results, left.results["identity"])
    users = {name: (u.time_zone, u.language) for name, u in registry.users.items() if u.status == "registered"}
    shown = {row["user_id"]: (row["time_zone"], row["language"]) for row in left.rows["identity.profile"]}
    yield from _differ("profile of", users, shown)
    logins = {login: owner or None for login, (owner, _) in registry.logins.items()}
    held = {row["login"]: row["user_id"] for row in left.rows["identity.login"]}
    yield from _differ("login", {k: v for k, v in logins.items() if v}, {k: v for k, v in held.items() if v})
    yield from (
        f"{login} is held by {owner}, who is no user" for login, owner in held.items() if owner and owner not in users
    )
    registered = Counter(event["aggregate_id"] for event in left.of("user_registered"))
    yield from _differ("registrations of", dict.fromkeys(users, 1), registered)


def _once(left: Left) -> Iterator[str]:
    """What an event made a policy do, it did once."""
    seen: defaultdict[tuple[str, str, str], set[str]] = defaultdict(set)
    for domain, steps in left.steps.items():
        for step in steps:
            if step.cause:
                seen[domain, step.type, step.cause].add(step.id)
    yield from (f"{cause} led to {len(ids)} times {kind}" for (_, kind, cause), ids in seen.items() if len(ids) > 1)
    for kind in ("voucher_redeemed", "voucher_expired", "voucher_purchased", "voucher_purchase_failed"):
        times = Counter((event["aggregate_id"], event["payload"]["voucher_id"]) for event in left.of(kind))
        yield from (f"{kind} {n} times for {name}" for name, n in times.items() if n > 1)


def _welcomed(left: Left) -> Iterator[str]:
    """Each user who registered got points for that once, and nobody else did."""
    given = Counter(
        (row["user_id"], row["reference"], row["amount"])
        for row in left.rows["points.ledger"]
        if row["kind"] == "awarded" and row["reference"] and not row["reference"].startswith(SOURCE)
    )
    due = {(event["aggregate_id"], event["event_id"], SIGN_UP): 1 for event in left.of("user_registered")}
    yield from _differ("sign-up points", due, given)


def _paid(left: Left) -> Iterator[str]:
    """A voucher is sold if and only if its price was taken; otherwise nothing was kept, and nothing else was asked for."""
    moves, asked = defaultdict[Any, list[str]](list), defaultdict[Any, list[str]](list)
    for row in left.rows["points.ledger"]:
        if str(row["reference"]).startswith("voucher:"):
            moves[row["user_id"], row["reference"]].append(row["kind"])
    for step in left.steps["points"]:
        if str(step.data.get("hold_id")).startswith("voucher:"):
            asked[step.data["user_id"], step.data["hold_id"]].append(step.type)
    for row in left.rows["promotions.voucher"]:
        hold = row["user_id"], f"voucher:{row['campaign_id']}:{row['voucher_id']}"
        expected = PURCHASES[_end_of(row)]
        found = sorted(moves.pop(hold, [])), sorted(asked.pop(hold, []))
        if found != expected and not (_end_of(row) == "late" and found == PURCHASES["later"]):
            yield f"{hold} is {row['status']} ({row['reason']}) and its points were {found}"
    yield from (f"points were {found} for {hold}, which is no voucher" for hold, found in (moves | asked).items())


def _end_of(row: Mapping[str, Any]) -> str:
    if row["status"] in PAID:
        return "sold" if row["price"] else "free"
    return "poor" if row["reason"] == "insufficient" else "late"


def _limits(left: Left) -> Iterator[str]:
    """No campaign sold more than it had, to all or to one."""
    per_user = {
        step.data["campaign_id"]: step.data.get("per_user", 1)
        for step in left.steps["promotions"]
        if step.type == "create_campaign" and left.results["promotions"].get(step.id) == ("accepted", None)
    }
    sold = [row for row in left.rows["promotions.voucher"] if row["status"] != "failed"]
    count = Counter(row["campaign_id"] for row in sold)
    for row in left.rows["promotions.campaign"]:
        name = row["campaign_id"]
        if count[name] > row["quantity"] or count[name] * row["value"] > row["budget"]:
            yield f"{name} sold {count[name]}"
    for (name, user), number in Counter((row["campaign_id"], row["user_id"]) for row in sold).items():
        if number > per_user.get(name, 0):
            yield f"{user} has {number} of {name}"


def _overdue(left: Left) -> Iterator[str]:
    """Whatever had its time has gone."""
    for row in left.rows["promotions.voucher"]:
        if row["status"] == "valid" and row["valid_to"] <= left.at:
            yield f"{row['voucher_id']} is valid until {row['valid_to']} and it is {left.at}"
    for row in left.rows["points.expiring"]:
        if row["amount"] and row["expires_at"] <= left.at:
            yield f"{row['amount']} of {row['user_id']} expire at {row['expires_at']} and it is {left.at}"


def _pending(left: Left) -> Iterator[str]:
    for domain, results in left.results.items():
        yield from (f"{name} of {domain} is pending" for name, (status, _) in results.items() if status == "pending")
