"""Proof of arrival, commitments, versions that a person chose, what was evicted or is damaged, and how attempts went.

An attempt is a row for each batch, not for each instance: what came of an instance stays in its transfer.
"""

SQL = """
ALTER TABLE instances ADD COLUMN committed_at INTEGER;
ALTER TABLE instances ADD COLUMN evicted_at INTEGER;
ALTER TABLE instances ADD COLUMN damage TEXT NOT NULL DEFAULT '';
CREATE INDEX instances_damage ON instances (damage) WHERE damage != '';
DROP INDEX instances_series;
CREATE INDEX instances_series ON instances (series, current, evicted_at);

ALTER TABLE referrals ADD COLUMN evicted_at INTEGER;
ALTER TABLE referrals ADD COLUMN promised INTEGER NOT NULL DEFAULT 0;
CREATE INDEX referrals_confirmed ON referrals (confirmed_at) WHERE progress = 'confirmed' AND evicted_at IS NULL;
CREATE INDEX referrals_free ON referrals (confirmed_at)
    WHERE progress = 'confirmed' AND evicted_at IS NULL AND NOT promised;
CREATE TABLE discarded (file TEXT PRIMARY KEY) WITHOUT ROWID;

ALTER TABLE events ADD COLUMN alarm INTEGER NOT NULL DEFAULT 0;
CREATE INDEX events_alarm ON events (at) WHERE alarm;

ALTER TABLE studies ADD COLUMN correction TEXT NOT NULL DEFAULT '';
ALTER TABLE instances ADD COLUMN undecided INTEGER NOT NULL DEFAULT 0;
CREATE INDEX instances_undecided ON instances (sop_instance_uid) WHERE undecided;
CREATE INDEX studies_doubt ON studies (id) WHERE quarantine != '' OR correction != '' OR remark != '';
UPDATE instances SET undecided = 1 WHERE kind IN ('correction', 'conflict') AND series IN (
    SELECT s.id FROM series s JOIN studies t ON t.id = s.study WHERE t.quarantine != '');

ALTER TABLE referrals ADD COLUMN hold TEXT NOT NULL DEFAULT '';
ALTER TABLE referrals ADD COLUMN stranded INTEGER NOT NULL DEFAULT 0;
CREATE INDEX referrals_stranded ON referrals (partner) WHERE stranded;
UPDATE referrals SET stranded = 1
    WHERE gate = 'held' AND reason = 'no partner ' || partner || ' in the configuration';
UPDATE referrals SET hold = reason WHERE gate = 'held' AND NOT stranded;

ALTER TABLE referrals ADD COLUMN urgent INTEGER NOT NULL DEFAULT 0;
ALTER TABLE referrals ADD COLUMN begun_at INTEGER;
ALTER TABLE referrals ADD COLUMN asked TEXT NOT NULL DEFAULT '';
ALTER TABLE referrals ADD COLUMN ask_at INTEGER;
ALTER TABLE referrals ADD COLUMN asks INTEGER NOT NULL DEFAULT 0;
ALTER TABLE referrals ADD COLUMN lacking INTEGER;
ALTER TABLE referrals ADD COLUMN look_at INTEGER;
ALTER TABLE referrals ADD COLUMN looks INTEGER NOT NULL DEFAULT 0;
ALTER TABLE referrals ADD COLUMN resent INTEGER NOT NULL DEFAULT 0;
ALTER TABLE referrals ADD COLUMN again_at INTEGER NOT NULL DEFAULT 0;
ALTER TABLE referrals ADD COLUMN unproven TEXT NOT NULL DEFAULT '';
ALTER TABLE referrals ADD COLUMN failing_since INTEGER;
CREATE INDEX referrals_failing ON referrals (partner) WHERE failing_since IS NOT NULL;
CREATE INDEX referrals_ready ON referrals (partner, opened_at - urgent * 86400000000) WHERE gate = 'open'
    AND (progress IN ('complete', 'sending') OR (progress = 'receiving' AND wait = 0));
CREATE INDEX referrals_look ON referrals (partner, look_at) WHERE look_at IS NOT NULL;
CREATE INDEX referrals_ask ON referrals (asked, ask_at) WHERE ask_at IS NOT NULL;

ALTER TABLE transfers ADD COLUMN confirmed_at INTEGER;
ALTER TABLE transfers ADD COLUMN refused INTEGER NOT NULL DEFAULT 0;
ALTER TABLE transfers ADD COLUMN failing_since INTEGER;
ALTER TABLE transfers ADD COLUMN hold TEXT NOT NULL DEFAULT '';

ALTER TABLE partners ADD COLUMN proof TEXT NOT NULL DEFAULT '';
ALTER TABLE partners ADD COLUMN hold TEXT NOT NULL DEFAULT '';
ALTER TABLE partners ADD COLUMN configured TEXT NOT NULL DEFAULT '';
ALTER TABLE partners ADD COLUMN climbed_at INTEGER NOT NULL DEFAULT 0;

CREATE TABLE attempts (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    referral INTEGER NOT NULL REFERENCES referrals (id),
    began_at INTEGER NOT NULL,
    ended_at INTEGER NOT NULL,
    connected INTEGER,
    offered INTEGER NOT NULL,
    delivered INTEGER NOT NULL,
    status INTEGER,
    reason TEXT NOT NULL
);
CREATE INDEX attempts_referral ON attempts (referral);

CREATE TABLE commitments (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    transaction_uid TEXT NOT NULL,
    partner TEXT NOT NULL,
    referral INTEGER REFERENCES referrals (id),
    state TEXT NOT NULL,
    asked_at INTEGER NOT NULL,
    due_at INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    ended_at INTEGER,
    reason TEXT NOT NULL DEFAULT '',
    UNIQUE (transaction_uid, partner)
);
CREATE INDEX commitments_state ON commitments (partner, state, due_at);
CREATE INDEX commitments_referral ON commitments (referral) WHERE referral IS NOT NULL;

CREATE TABLE commitment_instances (
    commitment INTEGER NOT NULL REFERENCES commitments (id),
    sop_class_uid TEXT NOT NULL,
    sop_instance_uid TEXT NOT NULL,
    failure INTEGER,
    PRIMARY KEY (commitment, sop_instance_uid)
) WITHOUT ROWID;

CREATE TABLE marks (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
);
"""
