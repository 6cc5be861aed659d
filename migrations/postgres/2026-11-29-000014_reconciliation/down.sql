DROP TABLE reconciliation_snapshots;
