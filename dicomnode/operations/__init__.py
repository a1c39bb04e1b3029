"""One story a file, readable from top to bottom. What a story needs from the network, it is given (ports.py)."""
