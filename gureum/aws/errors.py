"""The one exception with which an operation refuses a call; the protocol in which the call came gives it its form on
the wire."""

from __future__ import annotations

from typing import Any


class AwsError(Exception):
    """`code`: the name clients see (`InvalidVpcID.NotFound`, `ResourceNotFoundException`); for a modelled error either
    its shape's name or its wire code. `status`: HTTP status; None takes the model's own, else 400. `fields`: further
    members of the modelled error shape. `sender`: whether the caller is at fault; None takes it from the status."""

    def __init__(
        self,
        code: str,
        message: str,
        *,
        status: int | None = None,
        fields: dict[str, Any] | None = None,
        sender: bool | None = None,
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status
        self.fields = fields or {}
        self.sender = sender
