"""Privacy: consents, exports of what is held of a user, and erasure."""
