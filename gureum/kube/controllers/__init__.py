"""What makes the cluster come about as its objects wish: one file per controller, on one loop. all.py lists them.

A controller reads what is committed, straight from the store, so it needs no expectations of what a cache may not show yet. Nothing limits how fast
it may write.
"""
