DROP INDEX billing_lines_addition;
DROP TABLE request_budgets;
