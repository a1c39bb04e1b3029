"""The wire: the only rung that knows pynetdicom. It stays the AE, the messages and the vocabulary; admission and
negotiation, the assembly of messages, the query and retrieve service classes and the sending side are ours.

The seams of pynetdicom 3.0.4 that this rung leans on are pinned by tests/unit/net/test_seams.py.
"""
