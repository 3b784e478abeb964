"""Neighbours: the AWS services that templates and programs need beside those that gureum builds (IAM, S3, SQS …). moto answers them.

    gateway ─► front.py ─► waiting.py, refusals.py ─► one thread: backends.py (moto) ─► journal.py (durable) ─► the answer
                                                                     ▲
                                       at the next start: every call of the journal again, in order

A service is gureum's or moto's, never a mixture. moto is optional (`pip install gureum[neighbours]`) and loaded with the first call, or at the
start when there is a journal. Its state is in memory; the journal makes it last (decision 0070). Only `backends.py`, and what it
uses, see moto: `keepers.py`, and what it installs where moto itself must do otherwise or faster (decision 0159).
"""
