ALTER TABLE billing_lines RESET (fillfactor);
