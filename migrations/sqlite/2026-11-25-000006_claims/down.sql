DROP INDEX push_lines_open_agreement;
