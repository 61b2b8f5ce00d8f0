//! The README shows what the tests run.

use std::fs;

#[test]
fn the_readme_prints_the_first_clients_as_the_tests_run_them() {
    let readme = fs::read_to_string("README.md").unwrap();
    for sample in ["docs/first-client/app.mjs", "docs/first-client/app.py"] {
        let text = fs::read_to_string(sample).unwrap();
        assert!(readme.contains(text.trim_end()), "README.md does not show {sample} as it stands");
    }
}

#[test]
fn every_link_of_the_readme_into_the_repository_leads_somewhere() {
    let readme = fs::read_to_string("README.md").unwrap();
    for link in readme.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
        if !link.starts_with("http") {
            assert!(fs::metadata(link).is_ok(), "README.md links to {link}, which is not there");
        }
    }
}
