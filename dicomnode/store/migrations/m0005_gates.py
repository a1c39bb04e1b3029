"""Further facts by which a referral is stopped, each kept by itself; what they mean is in store/gates.py.

`studies.identity`: why one person has to look whose study it is. Of a referral: `unreferred`, why no referral in
advance allows it; `unconsented`, why no consent does; `withdrawn`, why it is stopped for ever; `recall`, whether what
was sent is being called back, or is.
"""

SQL = """
ALTER TABLE studies ADD COLUMN identity TEXT NOT NULL DEFAULT '';
DROP INDEX studies_doubt;
CREATE INDEX studies_doubt ON studies (id) WHERE quarantine != '' OR correction != '' OR identity != '' OR remark != '';
ALTER TABLE referrals ADD COLUMN unreferred TEXT NOT NULL DEFAULT '';
ALTER TABLE referrals ADD COLUMN unconsented TEXT NOT NULL DEFAULT '';
ALTER TABLE referrals ADD COLUMN withdrawn TEXT NOT NULL DEFAULT '';
ALTER TABLE referrals ADD COLUMN recall TEXT NOT NULL DEFAULT '';
"""
