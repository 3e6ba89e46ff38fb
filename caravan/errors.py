"""What can go wrong around the processes: every error is one line that says what to do about it."""


class Problem(Exception):
    """Something the user can mend; the command prints its one line and exits with `status`."""

    status = 1


class AlreadyRunning(Problem):
    """Another supervisor holds this data folder."""


class BadData(Problem):
    """The data folder cannot be used as it is: of a newer version, damaged, or half of it gone."""


class DiskFull(Problem):
    """Too little space for what is about to be written."""


class NoNetwork(Problem):
    """A download, needed on the first start only, did not come through."""


class NotRunning(Problem):
    """The command needs an instance, and none runs on this data folder."""


class PortBusy(Problem):
    """Another program listens on a port that we need."""


class StartFailed(Problem):
    """A process ended, or did not answer in time, while it was being started."""


class BadInput(Problem):
    """What the user asked for cannot be; exits with 2, as usage errors do."""

    status = 2
