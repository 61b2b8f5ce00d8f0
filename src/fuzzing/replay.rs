//! Every input of the corpus, once more.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::TARGETS;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzzing/corpus")
}

fn inputs(target: &str) -> Vec<PathBuf> {
    let mut inputs: Vec<PathBuf> = std::fs::read_dir(corpus().join(target))
        .unwrap_or_else(|error| panic!("fuzzing/corpus/{target}: {error}"))
        .map(|entry| entry.unwrap().path())
        .collect();
    inputs.sort();
    inputs
}

#[test]
fn every_input_of_the_corpus_keeps_its_promises() {
    let mut broken = Vec::new();
    for target in TARGETS {
        for input in inputs(target.name) {
            let bytes = std::fs::read(&input).unwrap();
            if std::panic::catch_unwind(|| (target.run)(&bytes)).is_err() {
                broken.push(input);
            }
        }
    }
    assert!(broken.is_empty(), "see above what does not hold for {broken:#?}");
}

#[test]
fn every_target_has_seeds_and_every_folder_a_target() {
    let named: BTreeSet<String> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    assert_eq!(named.len(), TARGETS.len());
    let there: BTreeSet<String> =
        std::fs::read_dir(corpus()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(named, there);
    for target in TARGETS {
        let seeds =
            inputs(target.name).iter().filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("seed-")).count();
        assert!(seeds >= 3, "{} has {seeds} seeds written by hand", target.name);
    }
}

#[test]
fn the_fuzzer_is_given_every_target() {
    let listed = std::process::Command::new("./fuzz").arg("--list").current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    assert_eq!(listed.lines().collect::<Vec<_>>(), TARGETS.iter().map(|target| target.name).collect::<Vec<_>>());
}
