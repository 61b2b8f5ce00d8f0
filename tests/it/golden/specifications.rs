//! docs/specifications.md names tests; each of them exists, and every table says which test holds a row.

use std::path::Path;

/// Is there a test of this name? `module::test` below tests/it/flows or tests/it, or a path.
fn exists(root: &Path, name: &str) -> bool {
    if name.contains('/') {
        return root.join(name).exists();
    }
    let Some((modules, test)) = name.rsplit_once("::") else { return false };
    let file = modules.replace("::", "/");
    let places = ["tests/it/flows", "tests/it"].map(|folder| root.join(folder).join(&file));
    let files = places.iter().flat_map(|place| [place.with_extension("rs"), place.join("mod.rs")]);
    let sources = files.filter_map(|file| std::fs::read_to_string(file).ok());
    sources.into_iter().any(|source| source.contains(&format!("fn {test}(")))
}

#[test]
fn every_test_that_is_named_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/specifications.md")).unwrap();
    let mut rows = 0;
    for line in page.lines().filter(|line| line.starts_with("| ") && !line.ends_with("| Held by |")) {
        let held_by = line.trim_end_matches(" |").rsplit("| ").next().unwrap();
        let names: Vec<&str> = held_by.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "no test holds this row: {line}");
        for name in names {
            assert!(exists(root, name), "there is no test {name}: {line}");
        }
        rows += 1;
    }
    assert!(rows > 40, "{rows}");
    assert!(!exists(root, "prompt::no_such_test") && !exists(root, "no_such_module::x") && !exists(root, "src/nowhere.rs"));
}
