"""Five minutes with the edge in Python. CARAVAN_URL says where it is; ADMIN, ANN and BOB are tokens of an Admin and of two users.

export CARAVAN_URL=http://127.0.0.1:8000 ADMIN=$(caravan token --user ada --role Admin)
ANN=$(caravan token --user ann --role User) BOB=$(caravan token --user bob --role User) python -m examples.tour
"""

import asyncio
import os
from collections.abc import Mapping

from agents.points.view import balance, statement
from api.client import Client, EdgeError, Paging
from topics.points import AwardPoints, SpendPoints, TransferPoints


async def tour(given: Mapping[str, str]) -> None:
    """Go round."""
    async with Client(given["CARAVAN_URL"], token=given["ADMIN"]) as ada:
        ann, bob = ada.by(given["ANN"]), ada.by(given["BOB"])

        # Accepted once Kafka has it; a view asked with its token, or by the client that sent it, includes it.
        award = await ada.issue(AwardPoints(user_id="ann", amount=150))
        print(award.status)
        print(await ann.view(balance, user_id="ann").after(award.token))

        # Waited for; sent again under its key it would be the same command.
        lunch = TransferPoints(user_id="ann", transfer_id="lunch-1", to="bob", amount=30, note="for lunch")
        sent = await ann.issue(lunch, wait=20, key="lunch-1")
        print(sent.status, [event.type for event in sent.events])

        # A business no is an outcome; what the edge refuses is an exception.
        spent = await bob.issue(SpendPoints(user_id="bob", amount=999), wait=20)
        print(spent.status, spent.code, spent.details)
        try:
            await bob.view(balance, user_id="ann")
        except EdgeError as error:
            print(error.status, error.code)

        async for entry in bob.items(statement, "bob", Paging(limit=100)):
            print(entry.kind, entry.amount, entry.note)

        async with ann.live(balance, user_id="ann") as states:
            async for state in states:
                print(state)
                if state is None or state.active < 120:
                    break
                await ann.issue(SpendPoints(user_id="ann", amount=10))


if __name__ == "__main__":
    asyncio.run(tour(os.environ))
