"""Errors of the Engine API: a status and `{"message": …}`. Texts are Docker's own, since clients show and some parse them."""

from __future__ import annotations


class DockerError(Exception):
    """`status`: 304 carries no text."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def bad_parameter(message: str) -> DockerError:
    return DockerError(400, message)


def not_found(message: str) -> DockerError:
    return DockerError(404, message)


def conflict(message: str) -> DockerError:
    return DockerError(409, message)


def server_error(message: str) -> DockerError:
    return DockerError(500, message)


def not_built(what: str) -> DockerError:
    """A part that gureum has not."""
    return DockerError(501, f"NotImplemented: {what}")
