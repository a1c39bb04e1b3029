"""The audit trail says who, from where, how it ended, and what of; and each entry is chained to the one before.

What was written before has no digest: the chain begins with the first entry after this step (store/chain.py), and the
number of the last one before it is remembered.
"""

SQL = """
ALTER TABLE events ADD COLUMN who TEXT NOT NULL DEFAULT '';
ALTER TABLE events ADD COLUMN address TEXT NOT NULL DEFAULT '';
ALTER TABLE events ADD COLUMN outcome INTEGER NOT NULL DEFAULT 0;
ALTER TABLE events ADD COLUMN patient_id TEXT NOT NULL DEFAULT '';
ALTER TABLE events ADD COLUMN issuer_of_patient_id TEXT NOT NULL DEFAULT '';
ALTER TABLE events ADD COLUMN classes TEXT NOT NULL DEFAULT '';
ALTER TABLE events ADD COLUMN query TEXT NOT NULL DEFAULT '';
ALTER TABLE events ADD COLUMN digest TEXT NOT NULL DEFAULT '';
INSERT INTO marks SELECT 'entries before the chain', seq FROM sqlite_sequence WHERE name = 'events';
CREATE INDEX events_study ON events (study_instance_uid) WHERE study_instance_uid != '';
CREATE INDEX events_patient ON events (patient_id) WHERE patient_id != '';
"""
