"""The first schema: index, referrals, transfers, partners, audit, generations.

Times are integer microseconds since the epoch, UTC. Text is '' where a value is unknown, so that matching never
meets NULL; an integer that is not known yet is NULL. AUTOINCREMENT, because an id that was shown is never reused.
"""

SQL = """
CREATE TABLE studies (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    study_instance_uid TEXT NOT NULL UNIQUE,
    site TEXT NOT NULL,
    patient_id TEXT NOT NULL,
    issuer_of_patient_id TEXT NOT NULL,
    patient_name TEXT NOT NULL,
    patient_name_alphabetic TEXT NOT NULL,
    patient_name_ideographic TEXT NOT NULL,
    patient_name_phonetic TEXT NOT NULL,
    patient_birth_date TEXT NOT NULL,
    patient_sex TEXT NOT NULL,
    study_date TEXT NOT NULL,
    study_time TEXT NOT NULL,
    accession_number TEXT NOT NULL,
    study_id TEXT NOT NULL,
    study_description TEXT NOT NULL,
    referring_physician_name TEXT NOT NULL,
    received_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    quarantine TEXT NOT NULL DEFAULT '',
    remark TEXT NOT NULL DEFAULT ''
);
CREATE INDEX studies_patient ON studies (patient_id, issuer_of_patient_id);
CREATE INDEX studies_alphabetic ON studies (patient_name_alphabetic);
CREATE INDEX studies_date ON studies (study_date);
CREATE INDEX studies_accession ON studies (accession_number);
CREATE INDEX studies_site ON studies (site);

CREATE TABLE series (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    study INTEGER NOT NULL REFERENCES studies (id),
    series_instance_uid TEXT NOT NULL,
    modality TEXT NOT NULL,
    series_number TEXT NOT NULL,
    series_description TEXT NOT NULL,
    body_part_examined TEXT NOT NULL,
    series_date TEXT NOT NULL,
    series_time TEXT NOT NULL,
    institution_name TEXT NOT NULL,
    station_name TEXT NOT NULL,
    manufacturer TEXT NOT NULL,
    manufacturer_model_name TEXT NOT NULL,
    protocol_name TEXT NOT NULL,
    UNIQUE (study, series_instance_uid)
);
CREATE INDEX series_uid ON series (series_instance_uid);
CREATE INDEX series_modality ON series (modality, study);

CREATE TABLE instances (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    series INTEGER REFERENCES series (id),
    sop_instance_uid TEXT NOT NULL,
    version INTEGER NOT NULL,
    kind TEXT NOT NULL,
    current INTEGER NOT NULL,
    sop_class_uid TEXT NOT NULL,
    transfer_syntax_uid TEXT NOT NULL,
    instance_number TEXT NOT NULL,
    rows TEXT NOT NULL,
    columns TEXT NOT NULL,
    number_of_frames TEXT NOT NULL,
    content_date TEXT NOT NULL,
    content_time TEXT NOT NULL,
    acquisition_date_time TEXT NOT NULL,
    file TEXT NOT NULL UNIQUE,
    sha256 TEXT NOT NULL,
    size INTEGER NOT NULL,
    partner TEXT NOT NULL,
    site TEXT NOT NULL,
    calling_ae_title TEXT NOT NULL,
    called_ae_title TEXT NOT NULL,
    received_at INTEGER NOT NULL,
    duplicates INTEGER NOT NULL DEFAULT 0,
    notes TEXT NOT NULL,
    UNIQUE (sop_instance_uid, version)
);
CREATE INDEX instances_series ON instances (series, current);

CREATE TABLE referrals (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    study INTEGER NOT NULL REFERENCES studies (id),
    partner TEXT NOT NULL,
    route TEXT NOT NULL,
    wait INTEGER NOT NULL,
    progress TEXT NOT NULL,
    gate TEXT NOT NULL,
    reason TEXT NOT NULL,
    generation INTEGER NOT NULL,
    opened_at INTEGER NOT NULL,
    last_instance_at INTEGER NOT NULL,
    completed_at INTEGER,
    sent_at INTEGER,
    confirmed_at INTEGER,
    proof TEXT NOT NULL DEFAULT '',
    UNIQUE (study, partner)
);
CREATE INDEX referrals_partner ON referrals (partner, gate, progress);
CREATE INDEX referrals_progress ON referrals (progress, last_instance_at);

CREATE TABLE transfers (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    referral INTEGER NOT NULL REFERENCES referrals (id),
    instance INTEGER NOT NULL REFERENCES instances (id),
    partner TEXT NOT NULL,
    state TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    queued_at INTEGER NOT NULL,
    due_at INTEGER NOT NULL,
    claimed_by TEXT NOT NULL DEFAULT '',
    claimed_at INTEGER,
    finished_at INTEGER,
    last_status INTEGER,
    reason TEXT NOT NULL DEFAULT '',
    UNIQUE (instance, partner)
);
CREATE INDEX transfers_referral ON transfers (referral, state, due_at);
CREATE INDEX transfers_partner ON transfers (partner, state, due_at);
CREATE INDEX transfers_claimed ON transfers (claimed_by) WHERE claimed_by != '';

CREATE TABLE partners (
    name TEXT PRIMARY KEY,
    paused_until INTEGER NOT NULL DEFAULT 0,
    failures INTEGER NOT NULL DEFAULT 0,
    reason TEXT NOT NULL DEFAULT '',
    failing_since INTEGER NOT NULL DEFAULT 0,
    succeeded_at INTEGER,
    short_studies INTEGER NOT NULL DEFAULT 0,
    short_study INTEGER NOT NULL DEFAULT 0
);

CREATE TABLE refusals (
    calling_ae_title TEXT NOT NULL,
    called_ae_title TEXT NOT NULL,
    address TEXT NOT NULL,
    why TEXT NOT NULL,
    times INTEGER NOT NULL,
    first_at INTEGER NOT NULL,
    last_at INTEGER NOT NULL,
    PRIMARY KEY (calling_ae_title, called_ae_title, address, why)
);

CREATE TABLE events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    kind TEXT NOT NULL,
    partner TEXT NOT NULL,
    study_instance_uid TEXT NOT NULL,
    sop_instance_uid TEXT NOT NULL,
    referral INTEGER,
    generation INTEGER NOT NULL,
    text TEXT NOT NULL
);
CREATE INDEX events_at ON events (at);
CREATE INDEX events_referral ON events (referral) WHERE referral IS NOT NULL;

CREATE TABLE generations (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    digest TEXT NOT NULL,
    text TEXT NOT NULL,
    faults TEXT NOT NULL,
    accepted INTEGER NOT NULL
);

CREATE TABLE recoveries (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    adopted INTEGER NOT NULL,
    parts INTEGER NOT NULL,
    missing INTEGER NOT NULL
);
"""
