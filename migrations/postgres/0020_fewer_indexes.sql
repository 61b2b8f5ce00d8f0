-- With an index on its end, the end of a grant was written anew into all six indexes of its table. The sweep finds ended grants without it.
DROP INDEX grants_ended;
-- No statement looks for the interactions of a browser.
DROP INDEX interactions_browser;
