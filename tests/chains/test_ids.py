"""One event may concern several domains: what each makes of it is a command of its own."""

from datetime import UTC, datetime

from streams.acting import issued
from streams.agent import Policy, agents_of
from streams.discover import domains
from streams.envelope import decode_event
from tests.standins import StandIns
from topics.commerce import OrderPaid

AT = datetime(2026, 1, 1, tzinfo=UTC)
PAID = OrderPaid(order_id="o1", user_id="u1", total=2500, currency="EUR", venue_id="v1", payment="p1")


def test_policies_of_one_name_in_several_domains_give_commands_with_ids_of_their_own() -> None:
    cause = decode_event(StandIns().record(PAID, AT).value)
    policies = [
        one for domain in domains() for one in agents_of(domain) if isinstance(one, Policy) and OrderPaid in one.on
    ]
    made = [one for policy in policies for one in issued(policy, cause, PAID)]

    assert len({policy.name for policy in policies}) < len(policies) <= len(made)
    assert len({one.command.wire_name for one in made}) < len(made), "commands of one name are among them"
    assert len({one.command_id for one in made}) == len(made)
