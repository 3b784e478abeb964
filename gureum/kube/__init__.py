"""The Kubernetes face: the API of one or more clusters, and their controllers.

server.py ─► clusters.py, cluster.py            HTTP; the way of a request as one list of steps (face.py starts all of it)
requests.py  errors.py                          a request as handlers get it; the API's errors
access/                                         who asks, and whether he may
kinds/  schemas.py  selectors.py, label_parser.py            what can be stored: table of kinds, rules, shapes
verbs/  patches/  protobuf/  admission/         read, watch, write, delete; and what they stand on
objects.py                                      bytes in the store
forms.py  tables/  yaml_answers.py              how objects are answered
discovery.py  openapi/  health.py               what the API says of itself
controllers/  scheduling/                       what brings the cluster about; where a pod goes (pure)
pki.py  kubeconfig.py  resealing.py  bootstrap.py  management.py         keys, first objects, clusters as a whole
times.py                                        times as Kubernetes writes them
"""
