"""The AWS face: one folder per service, named as botocore names it, with one file per resource; beside them what all of them need.

gateway.py                                      the way of a request, as one readable list of steps:
  credentials.py  signatures.py  credential_errors.py        who calls
  protocols/  services.py                       which operation, read and checked; the service's folder, loaded on its first call
  call.py  marks.py  errors.py                  what an operation gets, is marked with, and refuses with
filters.py  paging.py  partitions.py            filters, pages and ARNs, as many services have them
topic_messages.py  topic_notices.py             messages to topics and queues; those that must outlive the daemon
usage.py  coverage.py                           what is used of quotas; which operations are built, and how really
websockets.py                                   a client's WebSocket
"""
