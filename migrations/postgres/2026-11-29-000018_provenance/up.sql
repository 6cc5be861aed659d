-- The custom field of additions in which pushes note their id and date.
ALTER TABLE connections ADD COLUMN provenance_field TEXT COLLATE "C";
