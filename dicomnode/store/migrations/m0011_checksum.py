"""A checksum that costs an eighth of the digest, for those who look at each file that is sent (net/digests.py).

What was received before has none, and is looked at by its digest.
"""

SQL = """
ALTER TABLE instances ADD COLUMN crc32 INTEGER;
"""
