"""Core kinds: what one machine really has. Faces lower to them, the agent makes the machine agree.

    specs.py, references.py               what a face may wish, and what must be there before what
    world.py                              the daemon's side of it all
    agent_link.py ◄── lines ──► agent_server.py, service.py      the way between daemon and agent
    machine.py                            what the agent keeps of the machine
    reconcilers.py                        which file brings which kind about, through the ports, and takes it away again:

      networks.py  appliances.py          networks, groups, sandboxes, interfaces, passages
      images.py  volumes.py               images; volumes and snapshots
      containers.py  applications.py      machines that boot; programs as `docker run` starts them (application_health.py)
      answers.py  gates.py                metadata and names; services of the API inside networks
      balancers.py                        load balancing: targets.py, health.py; access_log*.py; flow_sums.py, request_sums.py
      flow_logs.py                        flow logs: flow_windows.py

    programs.py  dialing.py  streaming.py  root_reads.py         what somebody outside does in a machine: programs, ports, consoles, files
    looks.py  look_ring.py  periods.py  published.py             what is counted, and how far it is published as metrics
    disk_guard.py                         holds the machines still while the host's disk is full
    image_requests.py, snapshot_reads.py, issuing.py             what the daemon asks the agent for: images, blocks, certificates
    stream_client.py, log_tails.py, neighbours.py                what only the daemon has: its end of streams, live tails, S3, IAM …

Names are unique on the machine: `[a-z0-9-]{1,40}` (AWS ids are).
"""
