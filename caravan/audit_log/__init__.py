"""`caravan audit-log`: whether the log of all commands is whole, and what is told in it."""
