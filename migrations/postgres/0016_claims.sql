-- Claims that a client asked for by name (OpenID Connect Core section 5.5): what a grant delivers where, and what a person agreed to.
ALTER TABLE grants ADD COLUMN claims TEXT;
ALTER TABLE consents ADD COLUMN claims TEXT NOT NULL DEFAULT '[]';
-- NOT VALID: for what is written from now on. Looking through a large table would hold up those who sign in.
ALTER TABLE grants ADD CONSTRAINT grants_claims_check CHECK (octet_length(claims) <= 65536) NOT VALID;
ALTER TABLE consents ADD CONSTRAINT consents_claims_check CHECK (octet_length(claims) <= 65536) NOT VALID;
