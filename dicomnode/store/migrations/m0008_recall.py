"""What patients have said of their consent, what was withdrawn and called back, and what sources have rejected.

`consents`: one row for each word, given or withdrawn; the patient's key stands in it, because a withdrawal is about all
of the patient's studies at the site. `recalls`: one row for each withdrawal of a referral, and for each rejection note;
`recall_instances`: what it calls back. `rejections`: the notes that sources sent, by the studies that they name. Of a
referral, `sent_as` is the patient ID with its issuer that its copies were given, as JSON: of "" where they kept theirs,
empty where they were given several; NULL: nobody knows.
"""

SQL = """
CREATE TABLE consents (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    referral INTEGER NOT NULL,
    patient TEXT NOT NULL,
    issuer TEXT NOT NULL,
    site TEXT NOT NULL,
    given INTEGER NOT NULL,
    text TEXT NOT NULL,
    who TEXT NOT NULL
);
CREATE INDEX consents_patient ON consents (patient, issuer, site);
CREATE INDEX consents_referral ON consents (referral);

CREATE TABLE recalls (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    referral INTEGER NOT NULL REFERENCES referrals (id),
    partner TEXT NOT NULL,
    at INTEGER NOT NULL,
    who TEXT NOT NULL,
    reason TEXT NOT NULL,
    code TEXT NOT NULL,
    means TEXT NOT NULL,
    state TEXT NOT NULL,
    due_at INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    refused INTEGER NOT NULL DEFAULT 0,
    failing_since INTEGER,
    last_status INTEGER,
    why TEXT NOT NULL DEFAULT '',
    told_at INTEGER,
    series_instance_uid TEXT NOT NULL DEFAULT '',
    sop_instance_uid TEXT NOT NULL DEFAULT '',
    acknowledged TEXT NOT NULL DEFAULT '',
    acknowledged_by TEXT NOT NULL DEFAULT '',
    acknowledged_at INTEGER
);
CREATE INDEX recalls_referral ON recalls (referral);
CREATE INDEX recalls_waiting ON recalls (partner, due_at) WHERE state = 'waiting';
CREATE TABLE recall_instances (
    recall INTEGER NOT NULL REFERENCES recalls (id),
    instance INTEGER NOT NULL REFERENCES instances (id),
    PRIMARY KEY (recall, instance)
) WITHOUT ROWID;
CREATE INDEX recall_instances_instance ON recall_instances (instance);

CREATE TABLE rejections (
    instance INTEGER NOT NULL REFERENCES instances (id),
    study_instance_uid TEXT NOT NULL,
    text TEXT NOT NULL,
    PRIMARY KEY (instance, study_instance_uid)
) WITHOUT ROWID;
CREATE INDEX rejections_study ON rejections (study_instance_uid);
ALTER TABLE referrals ADD COLUMN sent_as TEXT;
"""
