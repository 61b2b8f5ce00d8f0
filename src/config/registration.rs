//! `[registration]`: what clients may be registered with.

use super::reader::Section;

/// Rules beyond those of the specifications.
#[derive(Debug, Clone)]
pub struct Registration {
    /// Private-use redirect schemes without a dot that are accepted all the same (RFC 8252 §7.1 asks for a dot).
    pub redirect_schemes: Vec<String>,
}

impl Registration {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        Self { redirect_schemes: section.list("redirect_schemes", &["cursor", "vscode"], scheme) }
    }
}

/// RFC 3986 §3.1, in lower case, and none of those that run or read something in a browser.
fn scheme(text: &str) -> Result<String, String> {
    const NEVER: [&str; 11] =
        ["javascript", "data", "file", "blob", "http", "https", "vbscript", "about", "filesystem", "view-source", "ws"];
    let well_formed = text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '+' | '-' | '.'));
    if !well_formed {
        return Err(format!("must hold schemes in lower case without a colon, such as \"vscode\", and {text:?} is none"));
    }
    if NEVER.contains(&text) {
        return Err(format!("must never hold {text:?}"));
    }
    Ok(text.to_owned())
}
