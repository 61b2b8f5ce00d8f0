//! The TOML file as a flat list of `section.key` with the line of each, before anybody asks what a key means.

use std::collections::BTreeMap;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::ConfigError;

/// A value as written, before its type is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Raw {
    /// A string, or anything from the environment or a flag.
    Text(String),
    Integer(i64),
    Boolean(bool),
    List(Vec<String>),
}

/// What stands in the file.
#[derive(Debug, Default)]
pub struct File {
    /// By section and key: the value and its line.
    pub entries: BTreeMap<(String, String), (Raw, usize)>,
    /// Sections as written, with their lines, even if they are empty.
    pub sections: Vec<(String, usize)>,
}

/// Reads the file; `name` is how errors call it.
pub fn read(path: &Path, name: &str, errors: &mut Vec<ConfigError>) -> File {
    match std::fs::read_to_string(path) {
        Ok(text) => parse(&text, name, errors),
        Err(error) => {
            errors.push(ConfigError::new(name, format!("the configuration file cannot be read: {error}")));
            File::default()
        }
    }
}

/// Parses TOML strictly: keys in sections only, values that are scalars or lists of strings.
pub fn parse(text: &str, name: &str, errors: &mut Vec<ConfigError>) -> File {
    let table = match DeTable::parse(text) {
        Ok(table) => table,
        Err(error) => {
            let line = error.span().map_or(1, |span| line_of(text, span.start));
            errors.push(ConfigError::new(format!("{name}:{line}"), format!("not valid TOML: {}", error.message().trim())));
            return File::default();
        }
    };
    let mut file = File::default();
    for (section, value) in table.get_ref() {
        let line = line_of(text, section.span().start);
        let section = section.get_ref().to_string();
        let DeValue::Table(keys) = value.get_ref() else {
            errors.push(top_level(name, line, &section));
            continue;
        };
        file.sections.push((section.clone(), line));
        for (key, value) in keys {
            let line = line_of(text, key.span().start);
            match raw(value.get_ref()) {
                Ok(raw) => {
                    file.entries.insert((section.clone(), key.get_ref().to_string()), (raw, line));
                }
                Err(what) => errors.push(ConfigError::new(
                    format!("{name}:{line}"),
                    format!("[{section}] {} cannot be {what}", key.get_ref().escape_debug()),
                )),
            }
        }
    }
    file
}

fn top_level(name: &str, line: usize, key: &str) -> ConfigError {
    let error = ConfigError::new(format!("{name}:{line}"), format!("unknown key {key:?} outside of a section"));
    match super::Config::known().into_iter().find(|known| known.key == key) {
        Some(known) => error.hint(format!("it belongs into a section: [{}] {key}", known.section)),
        None => error.hint("every key stands in a section, such as [server]"),
    }
}

fn raw(value: &DeValue<'_>) -> Result<Raw, &'static str> {
    match value {
        DeValue::String(text) => Ok(Raw::Text(text.to_string())),
        DeValue::Integer(number) => i64::from_str_radix(&number.as_str().replace('_', ""), number.radix())
            .map(Raw::Integer)
            .map_err(|_| "so large a number"),
        DeValue::Boolean(yes) => Ok(Raw::Boolean(*yes)),
        DeValue::Array(items) => items
            .iter()
            .map(|item| item.get_ref().as_str().map(str::to_owned).ok_or("a list of anything but strings"))
            .collect::<Result<_, _>>()
            .map(Raw::List),
        DeValue::Float(_) => Err("a number with a fraction"),
        DeValue::Datetime(_) => Err("a bare date; write it in quotes"),
        DeValue::Table(_) => Err("a table"),
    }
}

/// The line, from 1, that byte `at` stands on.
fn line_of(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}
