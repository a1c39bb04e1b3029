"""Referrals in advance: what is expected before anything of it has come, and which study turned out to be it.

`patient_key` is the patient ID as it is compared. `look_at` is when the PACS of its site is asked for it next (NULL:
there is nothing to ask for), `looks` how often it was in vain, `looked` what came of it the last time. A study knows
its referral (`expected`), and by what it was found (`matched`).
"""

SQL = """
CREATE TABLE expected (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    number TEXT NOT NULL,
    issuer TEXT NOT NULL,
    patient_id TEXT NOT NULL,
    issuer_of_patient_id TEXT NOT NULL,
    patient_name TEXT NOT NULL,
    patient_birth_date TEXT NOT NULL,
    patient_sex TEXT NOT NULL,
    accession_number TEXT NOT NULL,
    site TEXT NOT NULL,
    destination TEXT NOT NULL,
    recipient TEXT NOT NULL,
    urgent INTEGER NOT NULL,
    procedure TEXT NOT NULL,
    procedure_code TEXT NOT NULL,
    consent TEXT NOT NULL,
    source TEXT NOT NULL,
    received_at INTEGER NOT NULL,
    instances INTEGER,
    patient_key TEXT NOT NULL,
    cancelled TEXT NOT NULL DEFAULT '',
    look_at INTEGER,
    looks INTEGER NOT NULL DEFAULT 0,
    looked TEXT NOT NULL DEFAULT '',
    study_instance_uid TEXT NOT NULL DEFAULT '',
    UNIQUE (number, issuer)
);
CREATE INDEX expected_patient ON expected (patient_key);
CREATE INDEX expected_accession ON expected (accession_number) WHERE accession_number != '';
CREATE INDEX expected_look ON expected (site, look_at) WHERE look_at IS NOT NULL;
CREATE INDEX expected_study ON expected (study_instance_uid) WHERE study_instance_uid != '';
ALTER TABLE studies ADD COLUMN expected INTEGER;
ALTER TABLE studies ADD COLUMN matched TEXT NOT NULL DEFAULT '';
CREATE INDEX studies_expected ON studies (expected) WHERE expected IS NOT NULL;
"""
