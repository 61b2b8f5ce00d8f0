//! What must not change unseen: the routes, and what the pure core may know.

mod flow_pages;
mod readme;
mod specifications;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use chancery::oauth::endpoint::Endpoint;

fn sources(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    assert!(found.len() > 3, "{folder} has hardly a file");
    found
}

/// The words of a source file that are identifiers.
fn words(text: &str) -> BTreeSet<&str> {
    text.split(|letter: char| !letter.is_alphanumeric() && letter != '_').collect()
}

/// Layers: the core takes facts and gives decisions (design 2).
#[test]
fn the_pure_core_names_no_input_or_output() {
    for folder in ["src/oauth", "src/oidc"] {
        for path in sources(folder) {
            let text = std::fs::read_to_string(&path).unwrap();
            let found = words(&text);
            for word in ["sqlx", "axum", "tokio", "hyper", "reqwest", "SystemTime", "Instant", "SystemClock", "SystemEntropy"] {
                assert!(!found.contains(word), "{} names {word}", path.display());
            }
            for layer in ["crate::storage", "crate::service", "crate::http", "crate::app", "crate::cli", "crate::jobs"] {
                assert!(!text.contains(layer), "{} names {layer}, a higher layer", path.display());
            }
        }
    }
}

/// Only storage names the database drivers, and only its one file the pools.
#[test]
fn only_storage_names_the_drivers() {
    for folder in ["src/service", "src/http", "src/jobs", "src/cli", "src/config", "src/jose", "src/seal"] {
        for path in sources(folder) {
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(!words(&text).contains("sqlx"), "{} names sqlx", path.display());
        }
    }
}

/// Every endpoint with its path: a new one shows up here, and wants a row in the tables of `flows`.
#[test]
fn the_endpoints_are_these() {
    let mut lines: Vec<String> = Endpoint::ALL.iter().map(|endpoint| format!("{} {}", endpoint.path(), endpoint.name())).collect();
    lines.sort();
    insta::assert_snapshot!(lines.join("\n"));
}

/// Both databases have the same migrations, by number and name.
#[test]
fn both_databases_have_the_same_migrations() {
    let names = |folder: &str| -> BTreeSet<String> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(folder);
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    };
    assert!(!names("sqlite").is_empty());
    assert_eq!(names("sqlite"), names("postgres"));
}

/// The lock files of the tests in other languages name what the manifests name, exactly pinned.
#[test]
fn the_other_languages_are_pinned() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let manifest: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(tests.join("clients/package.json")).unwrap()).unwrap();
    for (name, version) in manifest["dependencies"].as_object().unwrap() {
        assert!(version.as_str().unwrap().starts_with(|letter: char| letter.is_ascii_digit()), "{name} {version}");
    }
    for line in std::fs::read_to_string(tests.join("python/requirements.txt")).unwrap().lines() {
        assert!(line.starts_with('#') || line.contains("=="), "{line}");
    }
}

/// security.md R-70: every operation of the admin API with the right that it needs. A new one shows up here, and wants a row in
/// `flows/admin/rows.rs`.
#[test]
fn the_admin_operations_are_these() {
    let lines: Vec<String> = chancery::http::admin::table::operations()
        .map(|operation| format!("{} {} {} {}", operation.right.scope(), operation.verb.as_str(), operation.path, operation.id))
        .collect();
    insta::assert_snapshot!(lines.join("\n"));
}

/// What the operator's guide tells people to watch is there to be watched, and what it links to exists.
#[test]
fn the_operators_guide_names_what_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let guide = std::fs::read_to_string(root.join("docs/operators-guide.md")).unwrap();
    let source: String = sources("src").iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    for metric in guide.split('`').filter(|word| word.starts_with("chancery_")) {
        assert!(source.contains(&format!("\"{metric}\"")), "there is no metric {metric}");
    }
    for link in guide.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
        let (page, heading) = link.split_once('#').unwrap_or((link, ""));
        let page = std::fs::read_to_string(root.join("docs").join(page)).unwrap_or_else(|_| panic!("{link} does not exist"));
        let has =
            |line: &str| line.starts_with('#') && line.trim_start_matches(['#', ' ']).to_lowercase().replace(' ', "-") == heading;
        assert!(heading.is_empty() || page.lines().any(has), "{link} has no such heading");
    }
}
