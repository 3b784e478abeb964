"""The supervisor: starts the agent and the daemon, restarts what dies, keeps their sockets meanwhile.

    gureum up ──► supervisor ──► agent     DNS, metadata, the machine      (`python -m gureum.agent`)
                             └─► daemon    APIs, store, controllers        (`python -m gureum.daemon`)

It imports little: it is the process that must never be in need of anything.
It knows nothing of what its children do; it is told by them that they are `ready` (see base/supervised.py) and asked by
others over `<run>/supervisor.sock` (control.py; SOCK_SEQPACKET, a JSON object per datagram):

    {"op": "put", "owner", "name"} + a socket, {"op": "get", "owner"}, {"op": "remove", "owner", "name"}   base/fd_store.py
    {"op": "status"}                          one answer
    {"op": "wait"}                            answers when all are ready
    {"op": "restart", "processes": [...]}     new processes (from the code that is installed now); answers when they are ready
    {"op": "down"}                            stops all and tears the machine down; answers when done
    While one waits, {"progress": "..."} comes; the last word is {"ok": true, ...} or {"error": "..."}.

Invariants
- One supervisor per home: it holds a lock in the run folder for its whole life.
- A child lives no longer than its supervisor: the pipe GUREUM_LIFE_FD ends with it, and the next supervisor ends what still runs.
- SIGTERM to a child means: stop serving, leave the machine as it is. Only `down` tears the machine down, by asking the
  agent (`{"op": "down"}` on `<run>/agent.sock`), or, when there is none to ask, by `python -m gureum.agent --teardown`.
"""
