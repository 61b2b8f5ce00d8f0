//! `[pages]`: what people see.

use super::reader::Section;

/// The name over the sign-in form, and whom to ask.
#[derive(Debug, Clone)]
pub struct Pages {
    /// The name of the service, at the top of every page.
    pub name: String,
    /// An https or mailto URL that pages link for help.
    pub support: Option<String>,
}

impl Pages {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        Self { name: section.text("name", "Chancery"), support: section.parsed("support", "", "a URL", contact) }
    }
}

/// An https URL or a mailto URL: what may stand in a link.
pub(super) fn contact(text: &str) -> Result<String, String> {
    match url::Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "https" | "mailto") => Ok(text.to_owned()),
        _ => Err(format!("must be an https:// or mailto: URL, and {text:?} is neither")),
    }
}
