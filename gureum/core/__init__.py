"""Core kinds: what one machine really has. Faces lower to them, the agent makes the machine agree.

specs.py says what a face may wish. machine.py is what the agent keeps of it; containers.py, networks.py and answers.py bring each kind about
through the ports and take it away again. service.py, agent_server.py and agent_link.py are the way between agent and daemon; world.py is
the daemon's side of it all.
Names are unique on the machine: `[a-z0-9-]{1,40}` (AWS ids are).
"""
