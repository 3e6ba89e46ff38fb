"""Names and texts in Postgres: a schema and a role per domain, both with the namespace before them."""


def schema_of(namespace: str, domain: str) -> str:
    """The schema of a domain, and the role that owns it."""
    return f"{namespace}{domain}"


def quoted(name: str) -> str:
    """An identifier as SQL."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A string as SQL, for the few statements that take no parameters."""
    return "'" + text.replace("'", "''") + "'"


def storable(text: str | None) -> str | None:
    """What anybody wrote, with what Postgres cannot store spelled out."""
    return text and text.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()
