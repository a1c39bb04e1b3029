"""Each instance that arrives has less to write: not the time at its study, which nobody asks for, and one index fewer.

The index of referrals had the time of the last instance in it, and only its first column was ever searched.
"""

SQL = """
ALTER TABLE studies DROP COLUMN updated_at;
DROP INDEX referrals_progress;
CREATE INDEX referrals_progress ON referrals (progress);
"""
