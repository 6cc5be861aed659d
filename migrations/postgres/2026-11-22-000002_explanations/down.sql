DROP TABLE line_changes;
DROP TABLE cw_generations;
