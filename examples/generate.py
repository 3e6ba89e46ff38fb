"""Writes a command file: mostly good commands, some that the rules refuse and some that the edge turns away.

    python -m examples.generate --seed 1 --count 5000 > commands.jsonl

People register, buy vouchers with points and show them at the till (`examples.journeys`); with `--points` they do nothing but move
points. The same seed and count give the same file. Its lines are meant to be sent in order, at least those of one user or campaign.
"""

import argparse
import json
import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

MAX_POINTS = 2**53 - 1
RICH = "rich"  # a user whose balance is the largest there is, so nothing more can be given to him

Line = dict[str, Any]
Data = dict[str, Any]


@dataclass
class User:
    """What the generator believes of a user when all its commands are taken in order."""

    id: str
    role: str = "User"
    available: int = 0
    opened: list[tuple[str, int]] = field(default_factory=list)
    """Holds that have not ended, with their amounts."""
    ended: list[str] = field(default_factory=list)
    transfers: list[str] = field(default_factory=list)
    rewards: list[tuple[str, str]] = field(default_factory=list)


class Generator:
    """An endless, seeded stream of command lines."""

    def __init__(self, seed: int, users: int = 200) -> None:
        """Users are u1, u2, ... in mixed roles."""
        self._random = random.Random(seed)
        roles = ("User", "User", "VIP", "PRO")
        self._users = [User(f"u{n}", self._random.choice(roles)) for n in range(1, users + 1)]
        self._names = 0
        self._kinds = [*GOOD * 12, *REFUSED * 4, *TURNED_AWAY * 2]

    def __iter__(self) -> Iterator[Line]:
        """The lines, without end."""
        yield self.line("award_points", ADMIN, {"user_id": RICH, "amount": MAX_POINTS})
        while True:
            made = self._random.choice(self._kinds)(self, self._random.choice(self._users))
            if made is not None:
                yield made

    def line(self, command: str, who: dict[str, str] | None, data: Data) -> Line:
        """One line under a fresh id; a command without its domain is one of points."""
        identifier = UUID(int=self._random.getrandbits(128), version=4)
        full = command if "." in command else f"points.{command}"
        return {"command": full, "id": str(identifier), "as": who, "data": data}

    def name(self, kind: str) -> str:
        """An id that was not used before."""
        self._names += 1
        return f"{kind}-{self._names}"

    def amount(self, most: int = 100) -> int:
        """An amount from 1 to `most`."""
        return self._random.randint(1, most)

    def chance(self, share: float) -> bool:
        """True in this share of the cases."""
        return self._random.random() < share

    def pick(self, things: list[Any]) -> Any:
        """One of them."""
        return self._random.choice(things)

    def other(self, user: User) -> User:
        """Somebody else."""
        return next(o for o in iter(lambda: self._random.choice(self._users), None) if o is not user)


ADMIN = {"user": "root", "role": "Admin"}
Maker = Callable[[Any, User], Line | None]
"""Makes a line about a user; None when the user has nothing to make it of."""


def by(user: User) -> dict[str, str]:
    """The user as issuer."""
    return {"user": user.id, "role": user.role}


# -- good ones


def award(g: Generator, user: User) -> Line:
    amount = g.amount(1000)
    user.available += amount
    return g.line("award_points", ADMIN, {"user_id": user.id, "amount": amount})


def reward(g: Generator, user: User) -> Line:
    rule, source, amount = g.pick(["first_quest", "daily", "review"]), g.name("event"), g.amount()
    user.available += amount
    user.rewards.append((rule, source))
    return g.line("award_points", ADMIN, {"user_id": user.id, "amount": amount, "rule": rule, "source": source})


def spend(g: Generator, user: User) -> Line | None:
    if not user.available:
        return None
    amount = g.pick([user.available, g.amount(user.available), g.amount(user.available)])
    user.available -= amount
    reference = {"reference": g.name("order")} if g.chance(0.5) else {}
    return g.line("spend_points", by(user), {"user_id": user.id, "amount": amount, **reference})


def hold(g: Generator, user: User) -> Line | None:
    if not user.available:
        return None
    name, amount = g.name("hold"), g.amount(user.available)
    user.available -= amount
    user.opened.append((name, amount))
    return g.line("hold_points", by(user), {"user_id": user.id, "hold_id": name, "amount": amount})


def capture(g: Generator, user: User) -> Line | None:
    if not user.opened:
        return None
    name, _ = user.opened.pop(0)
    user.ended.append(name)
    return g.line("capture_hold", by(user), {"user_id": user.id, "hold_id": name})


def release(g: Generator, user: User) -> Line | None:
    if not user.opened:
        return None
    name, amount = user.opened.pop()
    user.ended.append(name)
    user.available += amount
    return g.line("release_hold", by(user), {"user_id": user.id, "hold_id": name})


def transfer(g: Generator, user: User) -> Line | None:
    if not user.available:
        return None
    to, name, amount = g.other(user), g.name("transfer"), g.amount(user.available)
    user.available -= amount
    to.available += amount
    user.transfers.append(name)
    note = {"note": f"For you, {to.id} \N{PARTY POPPER}"} if g.chance(0.3) else {}
    data = {"user_id": user.id, "transfer_id": name, "to": to.id, "amount": amount, **note}
    return g.line("transfer_points", by(user), data)


# -- accepted by the edge, refused by the rules


def overspend(g: Generator, user: User) -> Line:
    amount = user.available + g.pick([1, g.amount(10**9)])
    return g.line("spend_points", by(user), {"user_id": user.id, "amount": amount})


def overhold(g: Generator, user: User) -> Line:
    data = {"user_id": user.id, "hold_id": g.name("hold"), "amount": MAX_POINTS - g.amount()}
    return g.line("hold_points", by(user), data)


def overtransfer(g: Generator, user: User) -> Line:
    data = {"user_id": user.id, "transfer_id": g.name("transfer"), "to": g.other(user).id, "amount": MAX_POINTS}
    return g.line("transfer_points", by(user), data)


def end_unknown_hold(g: Generator, user: User) -> Line:
    command = g.pick(["capture_hold", "release_hold"])
    return g.line(command, by(user), {"user_id": user.id, "hold_id": g.name("nothing")})


def end_hold_again(g: Generator, user: User) -> Line | None:
    if not user.ended:
        return None
    command = g.pick(["capture_hold", "release_hold"])
    return g.line(command, by(user), {"user_id": user.id, "hold_id": g.pick(user.ended)})


def hold_again(g: Generator, user: User) -> Line | None:
    names = user.ended + [name for name, _ in user.opened]
    if not names:
        return None
    return g.line("hold_points", by(user), {"user_id": user.id, "hold_id": g.pick(names), "amount": 1})


def transfer_again(g: Generator, user: User) -> Line | None:
    if not user.transfers:
        return None
    data = {"user_id": user.id, "transfer_id": g.pick(user.transfers), "to": g.other(user).id, "amount": 1}
    return g.line("transfer_points", by(user), data)


def reward_again(g: Generator, user: User) -> Line | None:
    if not user.rewards:
        return None
    rule, source = g.pick(user.rewards)
    return g.line("award_points", ADMIN, {"user_id": user.id, "amount": 5, "rule": rule, "source": source})


def award_to_the_rich(g: Generator, _: User) -> Line:
    return g.line("award_points", ADMIN, {"user_id": RICH, "amount": g.amount()})


def transfer_to_the_rich(g: Generator, user: User) -> Line | None:
    if not user.available:
        return None
    data = {"user_id": user.id, "transfer_id": g.name("transfer"), "to": RICH, "amount": g.amount(user.available)}
    return g.line("transfer_points", by(user), data)


# -- turned away by the edge, each for one fault


def transfer_to_oneself(g: Generator, user: User) -> Line:
    data = {"user_id": user.id, "transfer_id": g.name("transfer"), "to": user.id, "amount": 1}
    return g.line("transfer_points", by(user), data)


def with_amount(amount: Any) -> Maker:
    """A maker of lines with an amount that is none."""

    def bad_amount(g: Generator, user: User) -> Line:
        if g.chance(0.5):
            return g.line("award_points", ADMIN, {"user_id": user.id, "amount": amount})
        return g.line("spend_points", by(user), {"user_id": user.id, "amount": amount})

    return bad_amount


def unknown_field(g: Generator, user: User) -> Line:
    return g.line("spend_points", by(user), {"user_id": user.id, "amount": 1, "colour": "red"})


def missing_field(g: Generator, user: User) -> Line:
    if g.chance(0.5):
        return g.line("award_points", ADMIN, {"amount": 1})
    return g.line("hold_points", by(user), {"user_id": user.id, "amount": 1})


def strange_name(g: Generator, user: User) -> Line:
    name = g.pick(["", "a/b", "nul\0", " space", "x" * 129, 7, None])
    return g.line("release_hold", by(user), {"user_id": user.id, "hold_id": name})


def rule_without_source(g: Generator, user: User) -> Line:
    return g.line("award_points", ADMIN, {"user_id": user.id, "amount": 1, "rule": "daily"})


def endless_note(g: Generator, user: User) -> Line:
    data = {"user_id": user.id, "transfer_id": g.name("transfer"), "to": g.other(user).id, "amount": 1}
    return g.line("transfer_points", by(user), {**data, "note": "o" * 1001})


def award_oneself(g: Generator, user: User) -> Line:
    who = g.pick([by(user), {"user": "shop", "role": "Partner"}])
    return g.line("award_points", who, {"user_id": user.id, "amount": 1000})


def spend_of_another(g: Generator, user: User) -> Line:
    return g.line("spend_points", by(g.other(user)), {"user_id": user.id, "amount": 1})


def without_token(g: Generator, user: User) -> Line:
    return g.line("spend_points", None, {"user_id": user.id, "amount": 1})


GOOD: list[Maker] = [award, award, reward, spend, spend, hold, hold, capture, release, transfer, transfer]
REFUSED: list[Maker] = [
    overspend,
    overhold,
    overtransfer,
    end_unknown_hold,
    end_hold_again,
    hold_again,
    transfer_again,
    reward_again,
    award_to_the_rich,
    transfer_to_the_rich,
]
TURNED_AWAY: list[Maker] = [
    transfer_to_oneself,
    *map(with_amount, (0, -5, 0.5, 2.0, 2**53, 10**30, "12", True, None)),
    unknown_field,
    missing_field,
    strange_name,
    rule_without_source,
    endless_note,
    award_oneself,
    spend_of_another,
    without_token,
]


def generate(seed: int, count: int, users: int = 200) -> list[Line]:
    """The first `count` lines of a seed, about points alone."""
    return [line for line, _ in zip(Generator(seed, users), range(count), strict=False)]


def main() -> None:
    """Write the lines to standard output."""
    from examples.journeys import Journeys  # it builds on this module

    parser = argparse.ArgumentParser(description="Write a command file.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--users", type=int, default=200)
    parser.add_argument("--points", action="store_true", help="points alone")
    wanted = parser.parse_args()
    if wanted.points:
        lines = generate(wanted.seed, wanted.count, wanted.users)
    else:
        acts = Journeys(wanted.seed, wanted.users).acts(wanted.count)
        lines = [*acts.opening, *acts.bustle, *acts.tills]
    for line in lines:
        sys.stdout.write(json.dumps(line) + "\n")


if __name__ == "__main__":
    main()
