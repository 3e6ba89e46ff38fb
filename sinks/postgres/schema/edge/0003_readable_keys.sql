-- What analysts may be granted to read: the keys of people, without the platform's own secret, whose name has a slash.
CREATE VIEW readable_keys AS SELECT subject, key FROM subject_keys WHERE strpos(subject, '/') = 0;
