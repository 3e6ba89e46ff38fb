"""The month once more, as simple as can be: one thing after the other, in dicts. It imports nothing of the platform, only Python's own library."""
