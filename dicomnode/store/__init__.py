"""What survives a restart: the files and the SQLite index, and nothing else. The only rung that knows peewee."""
