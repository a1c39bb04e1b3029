"""Processes: a supervisor that owns the socket and the lock, and the workers that it spawns, watches and drains."""
