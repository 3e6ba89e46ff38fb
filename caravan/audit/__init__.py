"""The auditor: proves from topics and Postgres alone that the platform's promises hold, also while traffic goes on."""

from caravan.audit.finding import Finding
from caravan.audit.look import Auditor, audit

__all__ = ["Auditor", "Finding", "audit"]
