"""What may be done with objects, one file per verb of the API: get and list, watch, create, update and patch, delete; and subresources.

bodies, duplicates and patching read what a client sends; cluster.py decides which verb a request is, and whether it may.
"""
