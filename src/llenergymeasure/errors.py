"""Errors that a user can cause or mend; each has one line of cause, one of remedy, and an exit code."""


class LlemError(Exception):
    """Base of every error that the command line prints without a traceback.

    Attributes:
        cause: one line, names the field or file as the user wrote it.
        remedy: one line, what to do; empty only where the cause says it.
    """

    exit_code = 1

    def __init__(self, cause: str, remedy: str = "") -> None:
        super().__init__(f"{cause}\n{remedy}" if remedy else cause)
        self.cause = cause
        self.remedy = remedy

    def __reduce__(self) -> tuple[type["LlemError"], tuple[str, str]]:
        # Worker processes send their errors home.
        return type(self), (self.cause, self.remedy)


class FindingError(LlemError):
    """The check ran and found something."""

    exit_code = 1


class RequestError(LlemError):
    """What was asked for is wrong: a config, an argument, a file."""

    exit_code = 2


class EnvironmentLacksError(LlemError):
    """This machine or environment cannot do what was asked for."""

    exit_code = 3
