//! a migration of a database with ten million rows must not hold up writers, or must say so.
//!
//! PostgreSQL's scripts are read for statements that rewrite or scan a table that grows under a lock. Such a statement is refused here
//! unless a comment above it begins with `-- blocks writes:` and tells the operator why and for how long.

/// Tables that stay small: a scan of these takes no time.
const SMALL: &[&str] =
    &["meta", "data_keys", "signing_keys", "clients", "client_secrets", "resources", "resource_scopes", "changes"];

const FLAG: &str = "-- blocks writes:";

/// The statements of a script that would hold up writers and are not flagged.
fn blocking(script: &str) -> Vec<String> {
    let mut created: Vec<String> = SMALL.iter().map(|table| (*table).to_owned()).collect();
    let mut found = Vec::new();
    for statement in statements(script) {
        let flagged = statement.lines().any(|line| line.trim_start().starts_with(FLAG));
        let code: Vec<&str> = statement.lines().map(|line| line.split("--").next().unwrap_or_default()).collect();
        let code = code.join(" ").replace('(', " ( ").replace(')', " ) ").to_lowercase();
        let words: Vec<&str> = code.split_whitespace().collect();
        let after = |word: &str| words.iter().skip_while(|other| **other != word).nth(1).copied().unwrap_or_default().to_owned();
        let harmless = match words.as_slice() {
            [] => true,
            ["create", "table", "if", "not", "exists", name, ..] | ["create", "table", name, ..] => {
                created.push((*name).to_owned());
                true
            }
            ["create", "index" | "unique", ..] => created.contains(&after("on")),
            ["create" | "drop", "function" | "trigger", ..]
            | ["create", "or", "replace", "function", ..]
            | ["drop", "index", ..] => true,
            ["insert", "into", table, ..] => created.contains(&(*table).to_owned()),
            ["alter", "table", table, "add", "column", column @ ..] => {
                // A constant default is kept in the catalogue; a constraint makes PostgreSQL look at every row.
                let checks = ["check", "references", "unique", "primary"].iter().any(|word| column.contains(word));
                let bare_not_null = column.contains(&"not") && !column.contains(&"default");
                created.contains(&(*table).to_owned()) || !(checks || bare_not_null || column.contains(&"add"))
            }
            // For what is written from now on: no row is looked at.
            ["alter", "table", _, "add", "constraint", .., "not", "valid"] => true,
            ["alter" | "update" | "delete", rest @ ..] => rest.iter().any(|word| created.iter().any(|table| table == word)),
            _ => false,
        };
        if !harmless && !flagged {
            found.push(statement.trim().to_owned());
        }
    }
    found
}

/// At the semicolons that end statements: not those in comments, nor those between two `$$`.
fn statements(script: &str) -> Vec<String> {
    let mut statements = vec![String::new()];
    let mut in_body = false;
    for line in script.lines() {
        let (code, comment) = line.find("--").map_or((line, ""), |at| line.split_at(at));
        in_body ^= code.matches("$$").count() % 2 == 1;
        let mut pieces = if in_body { vec![code] } else { code.split(';').collect() };
        let rest = pieces.pop().unwrap_or_default();
        for piece in pieces {
            statements.last_mut().unwrap().push_str(piece);
            statements.push(String::new());
        }
        let last = statements.last_mut().unwrap();
        for part in [rest, comment, "\n"] {
            last.push_str(part);
        }
    }
    statements
}

#[test]
fn no_migration_holds_up_writers_unless_it_says_so() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations/postgres");
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let script = std::fs::read_to_string(&path).unwrap();
        found.extend(blocking(&script).into_iter().map(|statement| format!("{}: {statement}", path.display())));
    }
    assert!(found.is_empty(), "these need a `{FLAG}` comment, or another form:\n{}", found.join("\n"));
}

#[test]
fn what_holds_up_writers_is_found() {
    for harmless in [
        "CREATE TABLE t (a BIGINT); CREATE INDEX t_a ON t (a);",
        "ALTER TABLE grants ADD COLUMN a TEXT;",
        "ALTER TABLE grants ADD COLUMN a BIGINT NOT NULL DEFAULT 0;",
        "ALTER TABLE clients ADD COLUMN a TEXT CHECK (octet_length(a) < 9);",
        "ALTER TABLE grants ADD CONSTRAINT a CHECK (octet_length(a) < 9) NOT VALID;",
        "-- blocks writes: the index takes a second for each million grants\nCREATE INDEX g ON grants (sub);",
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$\nBEGIN UPDATE grants SET a = 1; RETURN NULL; END\n$$;",
    ] {
        assert_eq!(blocking(harmless), Vec::<String>::new(), "{harmless}");
    }
    for holding_up in [
        "CREATE INDEX g ON grants (sub);",
        "CREATE UNIQUE INDEX g ON grants (sub);",
        "ALTER TABLE grants ADD COLUMN a BIGINT NOT NULL;",
        "ALTER TABLE grants ADD COLUMN a TEXT CHECK (octet_length(a) < 9);",
        "ALTER TABLE grants ADD CONSTRAINT a CHECK (octet_length(a) < 9);",
        "ALTER TABLE grants ADD COLUMN a BYTEA REFERENCES users (id);",
        "ALTER TABLE grants ALTER COLUMN sub TYPE BYTEA;",
        "UPDATE grants SET a = 1;",
        "VACUUM FULL grants;",
    ] {
        assert_eq!(blocking(holding_up).len(), 1, "{holding_up}");
    }
}
