"""Mutated conversations against the wire: its message assembly in this process, and a running node over sockets."""
