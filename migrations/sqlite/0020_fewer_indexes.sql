-- No statement looks for the interactions of a browser. The index on the end of a grant stays: SQLite writes into the indexes alone whose
-- columns change.
DROP INDEX interactions_browser;
