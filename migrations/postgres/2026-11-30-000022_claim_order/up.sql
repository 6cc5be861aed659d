-- contraction: unused since 0.1.0, which reads due lines in the order of push_lines_next, and leases by push_lines_held. Each
-- state of a line was written to these two as well.
DROP INDEX push_lines_waiting;
DROP INDEX push_lines_leased;
-- Room for the next version of a row on each new page, so that changed totals need no new index entries.
ALTER TABLE usage_totals SET (fillfactor = 70);
