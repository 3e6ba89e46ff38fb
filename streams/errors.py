"""Errors of the core. Each says what is wrong and, where there is one, the mend."""


class CaravanError(Exception):
    """The base of every error that a user may see; its text is one line."""


class ContractError(CaravanError):
    """A declaration of a command, event, view or agent is wrong; raised at import or start."""


class SettingsError(CaravanError):
    """A setting is missing or unreadable; the text names it and the mend."""
