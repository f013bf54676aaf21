"""Errors that a user can do something about, each with its exit status."""


class ReportError(Exception):
    """One sentence that names what is at fault and what to do."""

    status = 1


class InputError(ReportError):
    """The summary is missing, is something else, or is damaged."""

    status = 3


class OutputError(ReportError):
    """The report cannot be written."""

    status = 4
