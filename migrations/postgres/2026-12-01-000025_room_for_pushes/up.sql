-- Room for the next version of a billing line on its page. A push changes no indexed column of it, so that it then adds no
-- index entries. It holds for new pages.
ALTER TABLE billing_lines SET (fillfactor = 70);
