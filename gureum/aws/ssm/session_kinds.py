"""The stored shape of sessions.

    Connecting ─► Connected ◄─► Disconnected          Status of DescribeSessions; the newest that was seen
         └────────────┴──────────────┴─► Terminating ─► Terminated | Failed

A token opens the data channel once, within a minute; only its hash is stored. StartSession and ResumeSession hand out tokens.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Literal

import msgspec

from gureum.aws.ssm.output_files import Bucket
from gureum.engine.resource import Resource, kind

State = Literal["Connecting", "Connected", "Disconnected", "Terminating", "Terminated", "Failed"]
ACTIVE: tuple[State, ...] = ("Connecting", "Connected", "Disconnected", "Terminating")
SessionType = Literal["Standard_Stream", "InteractiveCommands", "NonInteractiveCommands", "Port"]
TOKEN_LIFE_S = 60.0


class Preferences(msgspec.Struct, frozen=True):
    """What the session's document says of all sessions. Minutes; 0: no limit of its own. `run_as` "": ssm-user."""

    idle_minutes: int = 20
    longest_minutes: int = 0
    run_as: str = ""
    shell_profile: str = ""
    log_group: str = ""
    log_streaming: bool = True
    log_bucket: Bucket | None = None


class SessionSpec(msgspec.Struct, frozen=True):
    """`command`: of the two kinds of commands. `host`, `port`, `port_type`: of Port. `token_hash` "": no token is out. `parameters`: as given."""

    target: str
    document: str
    owner: str
    started: float
    type: SessionType = "Standard_Stream"
    reason: str = ""
    command: str = ""
    elevated: bool = False
    host: str = ""
    port: int = 0
    local_port: int = 0
    port_type: str = ""
    preferences: Preferences = Preferences()
    token_hash: str = ""
    token_until: float = 0.0
    ending: bool = False


class SessionStatus(msgspec.Struct, frozen=True):
    """`program`: whether something runs, or ran, in the machine for it."""

    state: State = "Connecting"
    ended: float = 0.0
    details: str = ""
    program: bool = False


@kind("ssm.Session", indexes={"target": lambda one: one.spec.target if one.status.state in ACTIVE else ()})
class Session(Resource, frozen=True):
    """The name is the session id, of which there is one in all accounts and regions."""

    spec: SessionSpec
    status: SessionStatus = SessionStatus()


def new_token() -> tuple[str, str]:
    """A token and its hash."""
    token = secrets.token_urlsafe(48)
    return token, hash_of(token)


def hash_of(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()


def opens(session: Session, token: str, now: float) -> bool:
    """Whether this token may open the session's channel now."""
    spec = session.spec
    if not spec.token_hash or now > spec.token_until or session.status.state not in ACTIVE or spec.ending:
        return False
    return hmac.compare_digest(spec.token_hash, hash_of(token))


def changed(session: Session, *, status: SessionStatus | None = None, **spec: object) -> Session:
    return msgspec.structs.replace(
        session, spec=msgspec.structs.replace(session.spec, **spec), status=status or session.status
    )


def program_id(session: str) -> str:
    """By which the agent knows what a session runs."""
    return f"ssm-session/{session}"
