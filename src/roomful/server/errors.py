"""Errors of the server API, with the code that Twirp gives them."""

from __future__ import annotations


class ControlError(Exception):
    """A request that the control plane refuses. `code` is Twirp's name for the kind of error."""

    code = "internal"

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class NotFound(ControlError):
    code = "not_found"


class InvalidArgument(ControlError):
    code = "invalid_argument"


class FailedPrecondition(ControlError):
    code = "failed_precondition"


class ResourceExhausted(ControlError):
    code = "resource_exhausted"


class Unavailable(ControlError):
    code = "unavailable"
