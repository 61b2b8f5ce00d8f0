-- Claims that a client asked for by name (OpenID Connect Core section 5.5): what a grant delivers where, and what a person agreed to.
ALTER TABLE grants ADD COLUMN claims TEXT CHECK (octet_length(claims) <= 65536);
ALTER TABLE consents ADD COLUMN claims TEXT NOT NULL DEFAULT '[]' CHECK (octet_length(claims) <= 65536);
