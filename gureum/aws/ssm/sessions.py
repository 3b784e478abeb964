"""Sessions: StartSession, ResumeSession, TerminateSession, DescribeSessions. What happens on their data channels is in live_sessions.py."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

from gureum.aws.call import Call
from gureum.aws.errors import AwsError
from gureum.aws.marks import Result, operation
from gureum.aws.ssm.builtin_documents import PREFERENCES
from gureum.aws.ssm.document_content import fill_within, invalid, values_of
from gureum.aws.ssm.document_kinds import Document, Found, find
from gureum.aws.ssm.machines import need_online
from gureum.aws.ssm.output_files import checked_bucket, need_s3
from gureum.aws.ssm.paging import page
from gureum.aws.ssm.session_kinds import (
    ACTIVE,
    TOKEN_LIFE_S,
    Preferences,
    Session,
    SessionSpec,
    changed,
    new_token,
)
from gureum.base.ids import new_id

LIMIT_ACTIVE = 200
"""Sessions of an account and region that are open at once."""
LIMIT_HISTORY, HISTORY_S = 500, 30 * 86400.0
SWEPT_AT_ONCE = 20
_NUMBER = re.compile(r"[0-9]{1,5}")
_USER = re.compile(r"[a-z_][a-z0-9_.-]{0,31}")


@operation("StartSession")
async def start_session(call: Call) -> Result:
    """AWS: ssm StartSession. TargetNotConnected, InvalidDocument, InvalidParameters."""
    params = call.params
    need_online(call, params["Target"])
    if len([one for one in call.all(Session) if one.status.state in ACTIVE]) >= LIMIT_ACTIVE:
        raise AwsError("ThrottlingException", f"There are {LIMIT_ACTIVE} active sessions already.")
    token, hashed = new_token()
    name = params.get("DocumentName") or PREFERENCES
    spec = SessionSpec(
        target=params["Target"],
        document=name.rpartition("/")[2] if name.startswith("arn:") else name,
        owner=call.principal.arn,
        started=call.now,
        reason=params.get("Reason", ""),
        preferences=_preferences(call, name),
        token_hash=hashed,
        token_until=call.now + TOKEN_LIFE_S,
        **_work(call, name),
    )
    session = Session(meta=call.meta(new_id("root-")), spec=spec)
    transaction = call.transaction()
    transaction.create(session)
    for old in _history_to_forget(call):
        transaction.delete(old)
    await call.commit(transaction)
    return _opened(call, session.meta.name, token)


def _opened(call: Call, name: str, token: str) -> Result:
    bind = call.settings.bind
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(bind, f"[{bind}]" if ":" in bind else bind)
    url = f"ws://{host}:{call.settings.aws_port}/v1/data-channel/{name}?role=publish_subscribe"
    return {"SessionId": name, "TokenValue": token, "StreamUrl": url}


def _preferences(call: Call, name: str) -> Preferences:
    """Of the session's own document when it has inputs, else those of the account and region (its document SSM-SessionManagerRunShell)."""
    for document in (name, PREFERENCES):
        if document == PREFERENCES and call.get(Document, PREFERENCES) is None:
            continue
        inputs = _latest(call, document).content.get("inputs")
        if isinstance(inputs, dict):
            preferences = read_preferences(inputs)
            if preferences.log_bucket is not None:
                need_s3(call)
            return preferences
    return Preferences()


def _latest(call: Call, name: str) -> Found:
    """AWS: StartSession takes the newest version of a document, whichever is the default ("Update Session Manager preferences (command line)" says no
    more than UpdateDocument; aws/session-manager-plugin, issue 112). Of another account's, the one that is shared."""
    own = call.get(Document, name) is not None
    return find(call, name, "$LATEST" if own else "")


def read_preferences(inputs: dict[str, Any]) -> Preferences:
    """AWS: "Session document schema", inputs. InvalidDocumentContent; NotImplemented for encryption by KMS."""
    if inputs.get("kmsKeyId"):
        raise AwsError("NotImplemented", "Encryption of sessions by KMS is not implemented by gureum.", status=501)
    bucket, prefix = str(inputs.get("s3BucketName") or ""), str(inputs.get("s3KeyPrefix") or "")
    profile = inputs.get("shellProfile")
    run_as = str(inputs.get("runAsDefaultUser") or "") if _truth(inputs.get("runAsEnabled")) else ""
    if run_as and _USER.fullmatch(run_as) is None:
        raise invalid("runAsDefaultUser is no name of a user.")
    streaming = inputs.get("cloudWatchStreamingEnabled")
    return Preferences(
        idle_minutes=_minutes(inputs.get("idleSessionTimeout"), 1, 60) or 20,
        longest_minutes=_minutes(inputs.get("maxSessionDuration"), 1, 1440),
        run_as=run_as,
        shell_profile=str(profile.get("linux") or "") if isinstance(profile, dict) else "",
        log_group=str(inputs.get("cloudWatchLogGroupName") or ""),
        log_streaming=streaming is None or _truth(streaming),
        log_bucket=checked_bucket(bucket, prefix, "InvalidDocumentContent") if bucket else None,
    )


def _truth(value: Any) -> bool:
    return value is True or str(value).lower() == "true"


def _minutes(value: Any, least: int, most: int) -> int:
    if value in (None, ""):
        return 0
    if not _NUMBER.fullmatch(str(value)) or not least <= int(str(value)) <= most:
        raise invalid(f"A time of sessions must be {least} to {most} minutes.")
    return int(str(value))


def _work(call: Call, name: str) -> dict[str, Any]:
    """What the session's document asks for, with the call's parameters."""
    given = call.params.get("Parameters") or {}
    if name == PREFERENCES and call.get(Document, PREFERENCES) is None:
        if given:
            raise AwsError("InvalidParameters", f"Parameter {next(iter(given))} is not defined in the document.")
        return {}
    found = _latest(call, name)
    if found.type != "Session":
        raise AwsError("InvalidDocument", f"Document type {found.type} is not supported by StartSession.")
    properties = fill_within(found.content.get("properties") or {}, values_of(found.content, given))
    type_ = found.content["sessionType"]
    if type_ == "Port":
        return {"type": type_, **_port(found, properties)}
    if type_ in ("InteractiveCommands", "NonInteractiveCommands"):
        linux = properties.get("linux") if isinstance(properties, dict) else None
        if not isinstance(linux, dict) or not linux.get("commands"):
            raise invalid(f"The document {found.name} has no commands for Linux.")
        return {"type": type_, "command": str(linux["commands"]), "elevated": _truth(linux.get("runAsElevated"))}
    return {}


def _port(found: Found, properties: Any) -> dict[str, Any]:
    port = str(properties.get("portNumber", "")) if isinstance(properties, dict) else ""
    if not _NUMBER.fullmatch(port) or not 0 < int(port) < 65536:
        raise invalid(f"The document {found.name} has no port number.")
    local = str(properties.get("localPortNumber") or "0")
    return {
        "host": str(properties.get("host") or "localhost"),
        "port": int(port),
        "local_port": int(local) if _NUMBER.fullmatch(local) else 0,
        "port_type": str(properties.get("type") or ""),
    }


def _history_to_forget(call: Call) -> list[Session]:
    """AWS keeps sessions for 30 days; of so many that it is a burden here, the oldest go earlier."""
    ended = sorted(
        (one for one in call.all(Session) if one.status.state not in ACTIVE), key=lambda one: one.status.ended
    )
    surplus = len(ended) - LIMIT_HISTORY
    old = [one for at, one in enumerate(ended) if at < surplus or one.status.ended < call.now - HISTORY_S]
    return old[:SWEPT_AT_ONCE]


@operation("ResumeSession")
async def resume_session(call: Call) -> Result:
    """AWS: ssm ResumeSession: a new token for a session that still lives. DoesNotExistException."""
    session = call.get(Session, call.params["SessionId"])
    if session is None:
        raise AwsError("DoesNotExistException", f"Session {call.params['SessionId']} does not exist.")
    if session.status.state not in ACTIVE or session.spec.ending:
        # The client takes a session without a token for one that has ended.
        return {"SessionId": session.meta.name}
    token, hashed = new_token()
    transaction = call.transaction()
    transaction.update(changed(session, token_hash=hashed, token_until=call.now + TOKEN_LIFE_S))
    await call.commit(transaction)
    return _opened(call, session.meta.name, token)


@operation("TerminateSession")
async def terminate_session(call: Call) -> Result:
    """AWS: ssm TerminateSession. Of one that is gone it is success."""
    session = call.get(Session, call.params["SessionId"])
    if session is not None and session.status.state in ACTIVE and not session.spec.ending:
        transaction = call.transaction()
        transaction.update(changed(session, ending=True, token_hash=""))
        await call.commit(transaction)
    return {"SessionId": call.params["SessionId"]}


@operation("DescribeSessions")
def describe_sessions(call: Call) -> Result:
    """AWS: ssm DescribeSessions. Newest first."""
    params = call.params
    active = params["State"] == "Active"
    found = [one for one in call.all(Session) if (one.status.state in ACTIVE) is active]
    for one in params.get("Filters") or ():
        found = [session for session in found if _passes(session, one["key"], one["value"])]
    shown, token = page(params, found, _newest_first, least=1, most=200, default=50)
    result: Result = {"Sessions": [show_session(one) for one in shown]}
    return result | ({"NextToken": token} if token else {})


def _newest_first(session: Session) -> str:
    return f"{10**11 - session.spec.started:020.6f}{session.meta.name}"


def _passes(session: Session, key: str, value: str) -> bool:
    if key in ("InvokedAfter", "InvokedBefore"):
        moment = moment_of(value)
        return session.spec.started >= moment if key == "InvokedAfter" else session.spec.started < moment
    looks = {
        "Target": session.spec.target,
        "Owner": session.spec.owner,
        "Status": state_of(session),
        "SessionId": session.meta.name,
        "AccessType": "Standard",
    }
    return looks[key] == value


def moment_of(text: str) -> float:
    """AWS: "2018-08-29T00:00:00Z"."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError as error:
        raise AwsError("InvalidFilterValue", f"The filter value {text} is no time.") from error


def state_of(session: Session) -> str:
    return "Terminating" if session.spec.ending and session.status.state in ACTIVE else session.status.state


def show_session(session: Session) -> dict[str, Any]:
    """API form. AWS: ssm Session."""
    spec, status = session.spec, session.status
    shown: dict[str, Any] = {
        "SessionId": session.meta.name,
        "Target": spec.target,
        "Status": state_of(session),
        "StartDate": spec.started,
        "DocumentName": spec.document,
        "Owner": spec.owner,
        "OutputUrl": {"S3OutputUrl": "", "CloudWatchOutputUrl": ""},
        "AccessType": "Standard",
    }
    if spec.preferences.longest_minutes:
        shown["MaxSessionDuration"] = str(spec.preferences.longest_minutes)
    optional = {"Reason": spec.reason, "EndDate": status.ended, "Details": status.details}
    return shown | {key: value for key, value in optional.items() if value}
