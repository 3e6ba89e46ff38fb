"""The audit log is kept of every domain that there is."""

from agents.governance.rules.log import Head, extended
from agents.governance.sink.log import logged
from streams import discover
from streams.agent import Projection
from streams.decision import ROOT
from streams.table import Table
from topics.governance import GOVERNANCE

LINGER = 0.25  # seconds for which entries are gathered

AUDIT_LOGS = tuple(
    Projection(
        f"audit_log.{domain}",
        discover.topic(domain),
        GOVERNANCE,
        logged,
        table=Table(f"audit_log.{domain}", {ROOT: Head}),
        evolve=extended,
        per="partition",
        linger=LINGER,
    )
    for domain in discover.domains()
)
