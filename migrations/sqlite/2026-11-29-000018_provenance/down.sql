ALTER TABLE connections DROP COLUMN provenance_field;
