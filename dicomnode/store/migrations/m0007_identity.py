"""Whose study it is: patients that its instances name besides its own, and what persons have said of that.

A row of `study_patients` is of an instance whose patient is not, or was not, what its study's row says. In `allowed`
is what a person has let go, by the digest of what was wrong then; in `proposals`, what one person wants of a study in
doubt and another has to want too. Of a study, `vetted` is the generation by whose rules it was last judged, and
`compared` whether its instances were looked at for other patients: those from before this step were not.
"""

SQL = """
CREATE TABLE study_patients (
    instance INTEGER PRIMARY KEY REFERENCES instances (id),
    study INTEGER NOT NULL REFERENCES studies (id),
    patient_id TEXT NOT NULL,
    issuer_of_patient_id TEXT NOT NULL,
    patient_name TEXT NOT NULL,
    patient_birth_date TEXT NOT NULL,
    patient_sex TEXT NOT NULL
);
CREATE INDEX study_patients_study ON study_patients (study);
CREATE TABLE allowed (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    study INTEGER NOT NULL REFERENCES studies (id),
    digest TEXT NOT NULL,
    who TEXT NOT NULL,
    reason TEXT NOT NULL,
    at INTEGER NOT NULL,
    UNIQUE (study, digest)
);
CREATE TABLE proposals (
    study INTEGER PRIMARY KEY REFERENCES studies (id),
    what TEXT NOT NULL,
    digest TEXT NOT NULL,
    who TEXT NOT NULL,
    reason TEXT NOT NULL,
    at INTEGER NOT NULL
);
ALTER TABLE studies ADD COLUMN vetted INTEGER NOT NULL DEFAULT 0;
ALTER TABLE studies ADD COLUMN compared INTEGER NOT NULL DEFAULT 1;
UPDATE studies SET compared = 0;
CREATE INDEX studies_uncompared ON studies (id) WHERE NOT compared;
"""
