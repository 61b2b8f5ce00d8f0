//! What commands print: tables for people, JSON for programs, one line for an error.

use std::io::Write as _;

use serde_json::Value;

use super::error::CliError;
pub use crate::printable::printable;

/// Standard output, in the form that was asked for.
#[derive(Debug, Clone, Copy)]
pub struct Out {
    /// `--json`.
    pub json: bool,
}

impl Out {
    /// A line for people; nothing with `--json`.
    pub fn say(self, line: &str) -> Result<(), CliError> {
        if self.json { Ok(()) } else { write(line) }
    }

    /// A value for programs with `--json`, else what `table` makes.
    pub fn show(self, value: &Value, table: impl FnOnce() -> Table) -> Result<(), CliError> {
        if self.json { self.json(value) } else { write(table().render().trim_end()) }
    }

    /// A value for programs.
    pub fn json(self, value: &Value) -> Result<(), CliError> {
        write(&serde_json::to_string_pretty(value).map_err(|error| CliError::new(error.to_string()))?)
    }
}

/// Writes a line. A reader that has gone away (`| head`) has read enough.
pub fn write(line: &str) -> Result<(), CliError> {
    match writeln!(std::io::stdout().lock(), "{line}") {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(|error| CliError::new(format!("standard output: {error}"))),
    }
}

/// Rows under a header, aligned.
#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns.
    pub fn new<const N: usize>(header: [&str; N]) -> Self {
        Self { rows: vec![header.map(str::to_owned).to_vec()] }
    }

    /// A table of names and values, without a header.
    pub fn pairs() -> Self {
        Self::default()
    }

    /// Adds a row. What would move the cursor or colour the screen is escaped: names come from strangers.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.map(|cell| printable(&cell)).to_vec());
    }

    /// Adds every scalar member of an object, nested ones as JSON.
    pub fn members(value: &Value) -> Self {
        let mut table = Self::pairs();
        if let Value::Object(members) = value {
            for (name, value) in members {
                table.row([name.clone(), cell(value)]);
            }
        }
        table
    }

    /// The text, with two blanks between columns.
    pub fn render(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width =
            |column: usize| self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                line.push_str(cell);
                line.push_str(&" ".repeat(width.saturating_sub(cell.chars().count()) + 2));
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// A JSON value as one cell: lists of strings separated by blanks.
pub fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) if items.iter().all(Value::is_string) => {
            items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" ")
        }
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

/// `yes` or `no`.
pub fn yes_no(yes: bool) -> String {
    if yes { "yes" } else { "no" }.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_by_characters() {
        let mut table = Table::new(["NAME", "ENABLED"]);
        table.row(["zoë".to_owned(), "yes".to_owned()]);
        table.row(["alexander".to_owned(), "no".to_owned()]);
        assert_eq!(table.render(), "NAME       ENABLED\nzoë        yes\nalexander  no\n");
    }
}
