-- Where a chain was cut: the last record that was removed, and how many were.
ALTER TABLE chains ADD COLUMN cut INTEGER NOT NULL DEFAULT 0;
ALTER TABLE chains ADD COLUMN cut_hash BLOB NOT NULL DEFAULT x'';
ALTER TABLE chains ADD COLUMN removed INTEGER NOT NULL DEFAULT 0;
