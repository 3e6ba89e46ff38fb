"""The rules of privacy: consents, exports of what is held of a user, and erasure."""

from agents.governance.rules.concern import Concern

PRIVACY = Concern()
