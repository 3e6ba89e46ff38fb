"""A client of the edge for Python, with the platform's contracts and views as its types. Needs neither FastAPI nor Faust::

    async with Client("http://127.0.0.1:8000", token=TOKEN) as client:
        outcome = await client.issue(OpenInvoice(customer_id="c1", amount=150), wait=5)
        invoices = await client.view(open_invoices, customer_id="c1")    # includes it
        async for line in client.items(lines, "c1", Paging(limit=100)):
            ...
        async for invoices in client.live(open_invoices, customer_id="c1"):
            ...

A command is sent again under its Idempotency-Key until the edge answers, and has its effect once.
"""

from api.client.client import Client, Items, Query
from api.client.errors import EdgeError, FieldError, Refused, Unreachable
from api.client.live import Live
from api.client.outcome import EventRef, Outcome
from api.client.reads import Named
from streams.view import Page, Paging

__all__ = [
    "Client",
    "EdgeError",
    "EventRef",
    "FieldError",
    "Items",
    "Live",
    "Named",
    "Outcome",
    "Page",
    "Paging",
    "Query",
    "Refused",
    "Unreachable",
]
