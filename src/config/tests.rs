//! Attacks on the configuration as a whole; each section's own rules are tested beside them.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use super::*;

fn from_env(pairs: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    let env = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Config::load(Sources { file: None, env, flags: Vec::new() })
}

struct Written {
    dir: tempfile::TempDir,
}

impl Written {
    fn new(text: &str) -> Self {
        let written = Self { dir: tempfile::tempdir().unwrap() };
        written.put("chancery.toml", text, 0o600);
        written
    }

    fn put(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::File::create(&path).unwrap().write_all(text.as_bytes()).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    fn sources(&self) -> Sources {
        Sources { file: Some(self.dir.path().join("chancery.toml")), env: BTreeMap::new(), flags: Vec::new() }
    }
}

fn from_file(text: &str) -> Result<Config, ConfigErrors> {
    Config::load(Written::new(text).sources())
}

fn complaint(result: Result<Config, ConfigErrors>) -> String {
    result.expect_err("this configuration must be refused").to_string()
}

#[test]
fn nothing_configured_serves_localhost_from_sqlite() {
    let config = from_env(&[]).unwrap();
    assert_eq!(config.issuer.as_str(), "http://localhost:8080");
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.server.management_listen.to_string(), "127.0.0.1:9080");
    assert_eq!(config.database.url.expose(), "sqlite://./chancery-data/chancery.db");
    assert_eq!(config.lifetimes.access_token, Duration::from_secs(600));
    assert_eq!(config.lifetimes.session, Duration::from_secs(7 * 86_400));
    config.check_serving().unwrap();
}

#[test]
fn a_test_configuration_loads() {
    let config = Config::for_tests("http://127.0.0.1:4711", "sqlite:///tmp/x.db").unwrap();
    assert_eq!(config.issuer.origin(), "http://127.0.0.1:4711");
    config.check_serving().unwrap();
}

#[test]
fn an_unknown_key_is_refused_with_file_line_and_the_nearest_key() {
    let text = complaint(from_file("[server]\nissuer = \"https://id.example.com\"\n\n[lifetimes]\nacces_token = 60\n"));
    assert!(
        text.contains("chancery.toml:5: unknown key \"acces_token\" in [lifetimes] (did you mean \"access_token\"?)"),
        "{text}"
    );
}

#[test]
fn a_key_in_the_wrong_section_or_in_none_is_told_where_it_belongs() {
    let text = complaint(from_file("[log]\nissuer = \"https://id.example.com\"\n"));
    assert!(text.contains(":2:") && text.contains("it belongs to [server]"), "{text}");
    let text = complaint(from_file("\nissuer = \"https://id.example.com\"\n"));
    assert!(text.contains(":2:") && text.contains("[server] issuer"), "{text}");
}

#[test]
fn an_unknown_section_is_refused_even_when_it_is_empty() {
    let text = complaint(from_file("[server]\n[lifetime]\n"));
    assert!(text.contains(":2: unknown section [lifetime] (did you mean [lifetimes]?)"), "{text}");
}

#[test]
fn toml_that_does_not_parse_is_refused_with_its_line_and_never_with_its_text() {
    let text = complaint(from_file("[keys]\nmaster_key = \"hunter2\n"));
    assert!(text.contains(":2:") && !text.contains("hunter2"), "{text}");
    let text = complaint(from_file("[log]\nformat = \"json\"\nformat = \"text\"\n"));
    assert!(text.contains(":3:") && text.contains("duplicate"), "{text}");
}

#[test]
fn all_that_is_wrong_is_said_at_once() {
    let ConfigErrors(errors) = from_file("[lifetimes]\ncode = \"soon\"\nsession = 1.5\n[log]\nformat = \"xml\"\n").unwrap_err();
    assert_eq!(errors.len(), 3, "{errors:?}");
}

#[test]
fn wrong_types_are_refused() {
    for text in [
        "[server]\nlisten = 8080\n",
        "[server]\nissuer = true\n",
        "[server]\nissuer = [\"https://id.example.com\"]\n",
        "[proxies]\ntrusted = true\n",
        "[proxies]\ntrusted = [1]\n",
        "[lifetimes]\ncode = 1.5\n",
        "[lifetimes]\ncode = -1\n",
        "[lifetimes.code]\nseconds = 1\n",
        "[[server]]\nissuer = \"https://id.example.com\"\n",
        "[limits]\nconnections = 99999999999999999999\n",
        "[keys]\nmaster_key = 1\n",
    ] {
        assert!(from_file(text).is_err(), "{text}");
    }
}

#[test]
fn out_of_range_values_are_refused() {
    for pair in [
        ("CHANCERY_LIFETIMES__CODE", "11m"),
        ("CHANCERY_LIFETIMES__CODE", "0"),
        ("CHANCERY_LIFETIMES__DECISION", "8d"),
        ("CHANCERY_LIFETIMES__SESSION", "1h"),
        ("CHANCERY_LIFETIMES__REFRESH", "1h"),
        ("CHANCERY_PASSWORDS__ITERATIONS", "0"),
        ("CHANCERY_PASSWORDS__MINIMUM_LENGTH", "129"),
        ("CHANCERY_PASSWORDS__PARALLELISM", "64000"),
        ("CHANCERY_LIMITS__CONNECTIONS", "0"),
        ("CHANCERY_SERVER__LISTEN", "localhost:8080"),
        ("CHANCERY_SERVER__MANAGEMENT_LISTEN", "127.0.0.1:8080"),
        ("CHANCERY_LOG__FILTER", "info,=x=y"),
        ("CHANCERY_PROXIES__TRUSTED", "10.0.0.0/33"),
        ("CHANCERY_OUTBOUND__ALLOW", "http://internal"),
        ("CHANCERY_REGISTRATION__REDIRECT_SCHEMES", "javascript"),
        ("CHANCERY_REGISTRATION__REDIRECT_SCHEMES", "vscode:"),
        ("CHANCERY_PAGES__SUPPORT", "javascript:alert(1)"),
        ("CHANCERY_SECURITY_TXT__EXPIRES", "tomorrow"),
        ("CHANCERY_SECURITY_TXT__CONTACT", "mailto:security@example.com"),
        ("CHANCERY_DATABASE__URL", "mysql://localhost/x"),
        ("CHANCERY_ISSUER", "http://id.example.com"),
        ("CHANCERY_ISSUER", "https://id.example.com/?a=b"),
        ("CHANCERY_ISSUER", "https://id.example.com/#a"),
    ] {
        assert!(from_env(&[pair]).is_err(), "{pair:?}");
    }
}

#[test]
fn flags_win_over_the_environment_and_the_environment_over_the_file() {
    let written = Written::new("[server]\nlisten = \"127.0.0.1:1\"\n[log]\nformat = \"json\"\nfilter = \"warn\"\n");
    let mut sources = written.sources();
    sources.env.insert("CHANCERY_LISTEN".into(), "127.0.0.1:2".into());
    sources.env.insert("CHANCERY_LOG__FILTER".into(), "debug".into());
    sources.flags.push(("server.listen", "127.0.0.1:3".into()));
    let config = Config::load(sources).unwrap();
    assert_eq!(config.server.listen.port(), 3);
    assert_eq!(config.log.filter, "debug");
    assert_eq!(config.log.format, LogFormat::Json);
}

#[test]
fn an_alias_and_its_key_both_set_is_an_error() {
    let text =
        complaint(from_env(&[("CHANCERY_ISSUER", "https://a.example.com"), ("CHANCERY_SERVER__ISSUER", "https://a.example.com")]));
    assert!(text.contains("CHANCERY_ISSUER") && text.contains("CHANCERY_SERVER__ISSUER"), "{text}");
    let both_files = [("CHANCERY_MASTER_KEY_FILE", "/a"), ("CHANCERY_KEYS__MASTER_KEY_FILE", "/a")];
    assert!(from_env(&both_files).is_err());
}

#[test]
fn an_unknown_variable_is_refused_only_with_a_double_underscore() {
    from_env(&[
        ("CHANCERY_SERVICE_HOST", "10.0.0.1"),
        ("CHANCERY_PORT", "tcp://10.0.0.1:80"),
        ("CHANCERY_PORT_80_TCP_ADDR", "10.0.0.1"),
        ("CHANCERY_DATABSE_URL", "x"),
    ])
    .unwrap();
    let text = complaint(from_env(&[("CHANCERY_LIFETIMES__ACESS_TOKEN", "60")]));
    assert!(text.contains("did you mean CHANCERY_LIFETIMES__ACCESS_TOKEN?"), "{text}");
    assert!(from_env(&[("CHANCERY_SERVER__", "x")]).is_err());
    assert!(from_env(&[("CHANCERY_chancery__issuer", "x")]).is_err());
}

#[test]
fn a_variable_that_looks_like_a_misspelt_one_is_told_and_what_others_set_is_not() {
    let told = |name: &str| from_env(&[(name, "x")]).unwrap().misspelt.iter().map(ToString::to_string).collect::<Vec<_>>();
    for (written, meant) in [
        ("CHANCERY_DATABSE_URL", "CHANCERY_DATABASE_URL"),
        ("CHANCERY_ISUER", "CHANCERY_ISSUER"),
        ("CHANCERY_MASTER_KEYFILE", "CHANCERY_MASTER_KEY_FILE"),
        ("CHANCERY_LOGFORMAT", "CHANCERY_LOG_FORMAT"),
        ("CHANCERY_LIFETIMES_ACCESS_TOKEN", "CHANCERY_LIFETIMES__ACCESS_TOKEN"),
        ("CHANCERY_REGISTRATION_MODE", "CHANCERY_REGISTRATION__MODE"),
    ] {
        assert_eq!(
            told(written),
            [format!("{written}: no configuration key has this variable: it is ignored (did you mean {meant}?)")]
        );
    }
    // Kubernetes, for services called `chancery` and `chancery-db`; our tests and benches; the file that --config names.
    for theirs in [
        "CHANCERY_SERVICE_HOST",
        "CHANCERY_SERVICE_PORT",
        "CHANCERY_SERVICE_PORT_HTTP",
        "CHANCERY_PORT",
        "CHANCERY_PORT_80_TCP",
        "CHANCERY_PORT_80_TCP_ADDR",
        "CHANCERY_DB_SERVICE_HOST",
        "CHANCERY_DB_PORT",
        "CHANCERY_TEST_BINARY",
        "CHANCERY_BENCH_BINARY",
        "CHANCERY_CONFIG",
    ] {
        assert_eq!(told(theirs), [""; 0], "{theirs}");
    }
}

#[test]
fn lists_in_variables_are_separated_by_commas() {
    let config =
        from_env(&[("CHANCERY_PROXIES__TRUSTED", "10.0.0.0/8, ::1"), ("CHANCERY_OUTBOUND__ALLOW", "idp.internal,127.0.0.1")]);
    let config = config.unwrap();
    assert_eq!(config.proxies.trusted, ["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()]);
    assert_eq!(config.outbound.allow.first(), Some(&Allowed::Host("idp.internal".into())));
}

#[test]
fn an_empty_value_counts_as_not_set() {
    let config =
        from_env(&[("CHANCERY_MASTER_KEY", ""), ("CHANCERY_ISSUER", ""), ("CHANCERY_SERVER__ISSUER", "https://a.example.com")]);
    let config = config.unwrap();
    assert!(config.keys.master_key.is_none());
    assert_eq!(config.issuer.as_str(), "https://a.example.com");
}

#[test]
fn a_secret_comes_from_a_private_file_without_its_line_break() {
    let written = Written::new("");
    let path = written.put("key", "s3cret\n", 0o400);
    for variable in ["CHANCERY_MASTER_KEY_FILE", "CHANCERY_KEYS__MASTER_KEY_FILE"] {
        let config = from_env(&[(variable, path.to_str().unwrap())]).unwrap();
        assert_eq!(config.keys.master_key.unwrap().expose(), "s3cret");
    }
}

#[test]
fn a_secret_file_that_everybody_may_read_is_refused() {
    let written = Written::new("");
    for mode in [0o644, 0o604, 0o606] {
        let path = written.put("key", "s3cret", mode);
        let text = complaint(from_env(&[("CHANCERY_MASTER_KEY_FILE", path.to_str().unwrap())]));
        assert!(text.contains("every user of this machine") && text.contains("chmod") && !text.contains("s3cret"), "{text}");
    }
}

#[test]
fn a_secret_file_that_is_missing_empty_or_no_text_is_refused() {
    let written = Written::new("");
    assert!(from_env(&[("CHANCERY_MASTER_KEY_FILE", "/nowhere/at/all")]).is_err());
    let path = written.put("empty", "\n", 0o600);
    assert!(from_env(&[("CHANCERY_MASTER_KEY_FILE", path.to_str().unwrap())]).is_err());
    std::fs::write(&path, [0xff, 0xfe]).unwrap();
    assert!(from_env(&[("CHANCERY_MASTER_KEY_FILE", path.to_str().unwrap())]).is_err());
    assert!(from_env(&[("CHANCERY_MASTER_KEY_FILE", written.dir.path().to_str().unwrap())]).is_err());
}

#[test]
fn a_secret_given_directly_and_as_a_file_is_an_error() {
    let written = Written::new("[keys]\nmaster_key = \"s3cret\"\nmaster_key_file = \"/x\"\n");
    let text = complaint(Config::load(written.sources()));
    assert!(text.contains("both") && !text.contains("s3cret"), "{text}");
    let path = written.put("key", "s3cret", 0o400);
    assert!(from_env(&[("CHANCERY_MASTER_KEY", "s3cret"), ("CHANCERY_MASTER_KEY_FILE", path.to_str().unwrap())]).is_err());
}

#[test]
fn a_variable_overrides_a_secret_of_the_file_in_either_form() {
    let written = Written::new("[keys]\nmaster_key_file = \"/nowhere\"\n");
    let mut sources = written.sources();
    sources.env.insert("CHANCERY_MASTER_KEY".into(), "from-env".into());
    assert_eq!(Config::load(sources).unwrap().keys.master_key.unwrap().expose(), "from-env");
}

#[test]
fn a_configuration_file_with_a_secret_in_it_must_not_be_readable_by_everybody() {
    let written = Written::new("");
    written.put("chancery.toml", "[keys]\nmaster_key = \"s3cret\"\n", 0o644);
    let text = complaint(Config::load(written.sources()));
    assert!(text.contains(":2:") && !text.contains("s3cret"), "{text}");
    written.put("chancery.toml", "[server]\nissuer = \"https://id.example.com\"\n", 0o644);
    Config::load(written.sources()).unwrap();
}

#[test]
fn postgres_without_a_master_key_and_half_of_tls_do_not_start() {
    let config = from_env(&[("CHANCERY_DATABASE_URL", "postgres://localhost/chancery")]).unwrap();
    assert!(config.check_serving().unwrap_err().to_string().contains("CHANCERY_MASTER_KEY"));
    for alone in ["CHANCERY_TLS__CERTIFICATE_FILE", "CHANCERY_TLS__PRIVATE_KEY_FILE"] {
        assert!(complaint(from_env(&[(alone, "/x.pem")])).contains("stands without"));
    }
    let tls = [("CHANCERY_TLS__CERTIFICATE_FILE", "/x.pem"), ("CHANCERY_TLS__PRIVATE_KEY_FILE", "/x.key")];
    let config = from_env(&tls).unwrap();
    assert!(config.check_serving().unwrap_err().to_string().contains("speaks TLS"), "the issuer is http");
    let config = from_env(&[&tls[..], &[("CHANCERY_ISSUER", "https://id.example.com")]].concat()).unwrap();
    config.check_serving().unwrap();
}

#[test]
fn neither_debug_nor_an_error_shows_a_secret() {
    let config =
        from_env(&[("CHANCERY_DATABASE_URL", "postgres://u:hunter2@localhost/x"), ("CHANCERY_MASTER_KEY", "hunter2")]).unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
    assert!(!complaint(from_env(&[("CHANCERY_DATABASE_URL", "hunter2")])).contains("hunter2"));
}

#[test]
fn without_an_issuer_the_port_of_the_listener_names_it() {
    let config = from_env(&[("CHANCERY_LISTEN", "0.0.0.0:9999")]).unwrap();
    assert_eq!(config.issuer.as_str(), "http://localhost:9999");
}

#[test]
fn a_pooler_is_something_before_postgres() {
    let postgres =
        [("CHANCERY_DATABASE_URL", "postgres://chancery@pooler/chancery"), ("CHANCERY_DATABASE__TRANSACTION_POOLER", "true")];
    let direct = ("CHANCERY_DATABASE__NOTIFICATIONS_URL", "postgres://chancery@database/chancery");
    let database = from_env(&[postgres[0], postgres[1], direct]).unwrap().database;
    assert!(database.transaction_pooler && database.notifications_url.is_some());
    assert!(
        from_file("[database]\nurl = \"postgres://chancery@pooler/chancery\"\ntransaction_pooler = true\n")
            .unwrap()
            .database
            .transaction_pooler
    );
    for text in [
        "transaction_pooler = true",
        "transaction_pooler = \"yes\"",
        "transaction_pooler = 1",
        "notifications_url = \"postgres://a@b/c\"",
    ] {
        assert!(from_file(&format!("[database]\n{text}\n")).is_err(), "{text}");
    }
}

const REFERENCE: &str = include_str!("../../config/chancery.toml");

#[test]
fn the_reference_parses_to_exactly_the_defaults() {
    let from_reference = from_file(REFERENCE).unwrap();
    let defaults = from_env(&[]).unwrap();
    assert_eq!(format!("{from_reference:#?}"), format!("{defaults:#?}"));
    assert_eq!(from_reference.database.url.expose(), defaults.database.url.expose());
    assert!(from_reference.keys.master_key.is_none());
}

#[test]
fn the_reference_names_every_key_that_is_read_with_its_default() {
    let mut errors = Vec::new();
    let file = file::parse(REFERENCE, "chancery.toml", &mut errors);
    assert_eq!(errors, []);
    let written: Vec<(String, String)> = file.entries.keys().cloned().collect();
    let mut known: Vec<(String, String)> = Config::known().into_iter().map(|known| (known.section.to_owned(), known.key)).collect();
    known.sort();
    assert_eq!(written, known);
    for known in Config::known() {
        let (raw, line) = &file.entries[&(known.section.to_owned(), known.key.clone())];
        let shown = match raw {
            file::Raw::Text(text) => text.clone(),
            file::Raw::Integer(number) => number.to_string(),
            file::Raw::Boolean(yes) => yes.to_string(),
            file::Raw::List(items) => items.join(","),
        };
        assert_eq!(shown, known.default, "line {line}");
    }
}

#[test]
fn every_key_can_be_given_by_its_variable() {
    for known in Config::known() {
        if known.default.is_empty() {
            continue;
        }
        from_env(&[(&known.variable(), &known.default)]).unwrap();
        if let Some(alias) = known.alias() {
            from_env(&[(&alias, &known.default)]).unwrap();
            assert!(from_env(&[(&alias, &known.default), (&known.variable(), &known.default)]).is_err(), "{alias}");
        }
    }
}

#[test]
fn the_reference_names_every_short_variable() {
    for alias in Config::known().iter().filter_map(Known::alias).filter(|alias| !alias.ends_with("_FILE")) {
        assert!(REFERENCE.contains(&format!("# {alias}. ")), "{alias}");
    }
}

/// What `[outbound] allow` says is asked through `allows`, and `[tls]` through `files`.
const ASKED_THROUGH_METHODS: [&str; 3] = ["outbound.allow", "tls.certificate_file", "tls.private_key_file"];

#[test]
fn no_key_is_offered_that_nothing_reads() {
    let mut sources = String::new();
    let mut folders = vec![PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("src/config") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                sources.push_str(&std::fs::read_to_string(path).unwrap());
            }
        }
    }
    let is_read = |key: &str| {
        let field = format!(".{key}");
        sources
            .match_indices(&field)
            .any(|(at, _)| !sources[at + field.len()..].starts_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | '"')))
    };
    let unread: Vec<String> = Config::known()
        .into_iter()
        .filter(|known| known.kind != KnownKind::SecretFile)
        // `security_txt` is read as a whole, by its own `render`.
        .filter(|known| !is_read(if known.section == "security_txt" { "security_txt" } else { &known.key }))
        .map(|known| format!("{}.{}", known.section, known.key))
        .collect();
    assert_eq!(unread, ASKED_THROUGH_METHODS);
}
