"""The documents that AWS has and gureum too, with the parameters that clients give them. AWS: "AWS-RunShellScript" and its relatives."""

from __future__ import annotations

from typing import Any

PREFERENCES = "SSM-SessionManagerRunShell"
_TIMEOUT = {
    "type": "String",
    "description": "(Optional) The time in seconds for a command to complete before it is considered to have failed.",
    "default": "3600",
    "allowedPattern": "([1-9][0-9]{0,4})|(1[0-6][0-9]{4})|(17[0-1][0-9]{3})|(172[0-7][0-9]{2})|(172800)",
}
_PORT = "^([1-9]|[1-9][0-9]{1,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])$"
_LOCAL_PORT = "^([0-9]|[1-9][0-9]{1,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])$"
_HOST = "^[^,$^&\\(\\)!;'\"<>`{}\\[\\]\\|#=]{3,}$"


def _port_document(description: str, port_type: str, **more: Any) -> dict[str, Any]:
    local = {"localPortNumber": "{{ localPortNumber }}"} if port_type == "LocalPortForwarding" else {}
    declared: dict[str, Any] = {
        "portNumber": {
            "type": "String",
            "description": "(Optional) Port number of the server on the instance",
            "allowedPattern": _PORT,
            "default": "22" if not local else "80",
        }
    }
    if local:
        declared["localPortNumber"] = {
            "type": "String",
            "description": "(Optional) Port number on local machine to forward traffic to. An open port is chosen at run-time if not provided",
            "allowedPattern": _LOCAL_PORT,
            "default": "0",
        }
    properties = {"portNumber": "{{ portNumber }}", "type": port_type, **local}
    if more:
        properties["host"] = "{{ host }}"
    return {
        "schemaVersion": "1.0",
        "description": description,
        "sessionType": "Port",
        "parameters": declared | more,
        "properties": properties,
    }


def _command_session(description: str, session_type: str) -> dict[str, Any]:
    return {
        "schemaVersion": "1.0",
        "description": description,
        "sessionType": session_type,
        "parameters": {"command": {"type": "String", "description": "The command to run on the instance"}},
        "properties": {"linux": {"commands": "{{ command }}", "runAsElevated": False}},
    }


BUILTINS: dict[str, tuple[str, dict[str, Any]]] = {
    "AWS-RunShellScript": (
        "Command",
        {
            "schemaVersion": "1.2",
            "description": "Run a shell script or specify the commands to run.",
            "parameters": {
                "commands": {
                    "type": "StringList",
                    "description": "(Required) Specify a shell script or a command to run.",
                    "minItems": 1,
                    "displayType": "textarea",
                },
                "workingDirectory": {
                    "type": "String",
                    "default": "",
                    "description": "(Optional) The path to the working directory on your instance.",
                    "maxChars": 4096,
                },
                "executionTimeout": _TIMEOUT,
            },
            "runtimeConfig": {
                "aws:runShellScript": {
                    "properties": [
                        {
                            "id": "0.aws:runShellScript",
                            "runCommand": "{{ commands }}",
                            "workingDirectory": "{{ workingDirectory }}",
                            "timeoutSeconds": "{{ executionTimeout }}",
                        }
                    ]
                }
            },
        },
    ),
    "AWS-StartInteractiveCommand": (
        "Session",
        _command_session("Document to run single interactive command on an instance", "InteractiveCommands"),
    ),
    "AWS-StartNonInteractiveCommand": (
        "Session",
        _command_session("Document to run single non-interactive command on an instance", "NonInteractiveCommands"),
    ),
    "AWS-StartPortForwardingSession": (
        "Session",
        _port_document("Document to start port forwarding session over Session Manager", "LocalPortForwarding"),
    ),
    "AWS-StartPortForwardingSessionToRemoteHost": (
        "Session",
        _port_document(
            "Document to start port forwarding session over Session Manager to remote host",
            "LocalPortForwarding",
            host={
                "type": "String",
                "description": "(Optional) Hostname or IP address of the destination server",
                "allowedPattern": _HOST,
                "default": "localhost",
            },
        ),
    ),
    "AWS-StartSSHSession": (
        "Session",
        _port_document("Document to start SSH session over Session Manager", "StandardStreamForwarding"),
    ),
}
