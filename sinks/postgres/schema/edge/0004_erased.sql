-- A subject whose key was destroyed keeps its row without a key, so that none is made for it again; `erased_by` says because of which call.
ALTER TABLE subject_keys ALTER COLUMN key DROP NOT NULL, ADD COLUMN erased_at timestamptz, ADD COLUMN erased_by text;
ALTER TABLE subject_keys ADD CONSTRAINT key_or_erased CHECK ((key IS NULL) = (erased_at IS NOT NULL));
CREATE INDEX subject_keys_erased ON subject_keys (erased_by) WHERE key IS NULL;
CREATE OR REPLACE VIEW readable_keys AS SELECT subject, key FROM subject_keys WHERE strpos(subject, '/') = 0 AND key IS NOT NULL;
