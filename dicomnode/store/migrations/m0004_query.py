"""What queries ask for: more attributes, counts that nobody has to count, and an index of what names are made of.

A series knows how many instances are there of it: current, and not evicted. A study knows how many of its series have
any, and their modalities; it has as many instances as its series. Triggers keep that right whichever statement changes
an instance, at the cost of one row for each, and of the study's only with the first or the last of a series.

`studies_date` has in it what a list of a day or a month is narrowed by, so that only those studies are read that are
found. `names` has the tokens of each study's name (store/tokens.py), and nothing else: it is searched, and never read.
"""

_COUNTS = "{0}.current AND {0}.evicted_at IS NULL"
_OLD, _NEW = _COUNTS.format("OLD"), _COUNTS.format("NEW")
_TOLD = """series = (SELECT count(*) FROM series m WHERE m.study = studies.id AND m.instances > 0),
    modalities = coalesce((SELECT group_concat(modality, '\\') FROM (SELECT DISTINCT m.modality FROM series m
        WHERE m.study = studies.id AND m.instances > 0 AND m.modality != '' ORDER BY 1)), '')"""
_COUNT_SERIES = """UPDATE series SET instances = (SELECT count(*) FROM instances i
    WHERE i.series = series.id AND i.current AND i.evicted_at IS NULL)"""
_COUNT_STUDIES = f"UPDATE studies SET {_TOLD}"
_TOKENS = "name_tokens({0}.patient_name_alphabetic, {0}.patient_name_ideographic, {0}.patient_name_phonetic)"

SQL = f"""
ALTER TABLE studies ADD COLUMN name_of_physicians_reading_study TEXT NOT NULL DEFAULT '';
ALTER TABLE studies ADD COLUMN procedure_code_sequence TEXT NOT NULL DEFAULT '';
ALTER TABLE studies ADD COLUMN series INTEGER NOT NULL DEFAULT 0;
ALTER TABLE studies ADD COLUMN modalities TEXT NOT NULL DEFAULT '';
ALTER TABLE series ADD COLUMN performed_procedure_step_start_date TEXT NOT NULL DEFAULT '';
ALTER TABLE series ADD COLUMN performed_procedure_step_start_time TEXT NOT NULL DEFAULT '';
ALTER TABLE series ADD COLUMN operators_name TEXT NOT NULL DEFAULT '';
ALTER TABLE series ADD COLUMN laterality TEXT NOT NULL DEFAULT '';
ALTER TABLE series ADD COLUMN request_attributes_sequence TEXT NOT NULL DEFAULT '';
ALTER TABLE series ADD COLUMN performed_protocol_code_sequence TEXT NOT NULL DEFAULT '';
ALTER TABLE series ADD COLUMN instances INTEGER NOT NULL DEFAULT 0;
ALTER TABLE instances ADD COLUMN timezone_offset_from_utc TEXT NOT NULL DEFAULT '';
ALTER TABLE instances ADD COLUMN image_type TEXT NOT NULL DEFAULT '';

{_COUNT_SERIES};
{_COUNT_STUDIES};

DROP INDEX studies_date;
CREATE INDEX studies_date ON studies (study_date, site, series, modalities,
    patient_name_alphabetic, patient_name_ideographic, patient_name_phonetic);
CREATE INDEX studies_ideographic ON studies (patient_name_ideographic) WHERE patient_name_ideographic != '';
CREATE INDEX studies_phonetic ON studies (patient_name_phonetic) WHERE patient_name_phonetic != '';

CREATE TRIGGER instances_added AFTER INSERT ON instances WHEN {_NEW} BEGIN
    UPDATE series SET instances = instances + 1 WHERE id = NEW.series;
END;
CREATE TRIGGER instances_changed AFTER UPDATE OF current, evicted_at, series ON instances
    WHEN ({_OLD}) != ({_NEW}) OR OLD.series IS NOT NEW.series BEGIN
    UPDATE series SET instances = instances - 1 WHERE id = OLD.series AND {_OLD};
    UPDATE series SET instances = instances + 1 WHERE id = NEW.series AND {_NEW};
END;
CREATE TRIGGER instances_removed AFTER DELETE ON instances WHEN {_OLD} BEGIN
    UPDATE series SET instances = instances - 1 WHERE id = OLD.series;
END;
CREATE TRIGGER series_told AFTER UPDATE OF instances, modality ON series
    WHEN (OLD.instances = 0) != (NEW.instances = 0) OR OLD.modality != NEW.modality BEGIN
    UPDATE studies SET {_TOLD} WHERE id = NEW.study;
END;

CREATE VIRTUAL TABLE names USING fts5(tokens, content = '', detail = none, columnsize = 0, tokenize = 'ascii');
INSERT INTO names (rowid, tokens) SELECT id, {_TOKENS.format("studies")} FROM studies;
CREATE TRIGGER names_added AFTER INSERT ON studies BEGIN
    INSERT INTO names (rowid, tokens) VALUES (NEW.id, {_TOKENS.format("NEW")});
END;
CREATE TRIGGER names_changed
    AFTER UPDATE OF id, patient_name_alphabetic, patient_name_ideographic, patient_name_phonetic ON studies
    WHEN OLD.id != NEW.id OR {_TOKENS.format("OLD")} != {_TOKENS.format("NEW")} BEGIN
    INSERT INTO names (names, rowid, tokens) VALUES ('delete', OLD.id, {_TOKENS.format("OLD")});
    INSERT INTO names (rowid, tokens) VALUES (NEW.id, {_TOKENS.format("NEW")});
END;
CREATE TRIGGER names_removed AFTER DELETE ON studies BEGIN
    INSERT INTO names (names, rowid, tokens) VALUES ('delete', OLD.id, {_TOKENS.format("OLD")});
END;
"""
