"""What a refused caller showed: SHA-256 of the public key of its certificate, '' where it spoke in clear."""

SQL = """
ALTER TABLE refusals ADD COLUMN spki TEXT NOT NULL DEFAULT '';
"""
