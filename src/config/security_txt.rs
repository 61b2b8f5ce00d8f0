//! `[security_txt]`: what `/.well-known/security.txt` says (RFC 9116). Without a contact there is no such file.

use super::pages::contact;
use super::reader::Section;

/// The fields that RFC 9116 §2.5 asks for.
#[derive(Debug, Clone)]
pub struct SecurityTxt {
    /// `Contact`, in order of preference: https or mailto URLs.
    pub contact: Vec<String>,
    /// `Expires`: a date and time by RFC 3339.
    pub expires: Option<String>,
    /// `Policy`: an https URL.
    pub policy: Option<String>,
}

impl SecurityTxt {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let read = Self {
            contact: section.list("contact", &[], contact),
            expires: section.parsed("expires", "", "a date and time in quotes", |text| {
                time::OffsetDateTime::parse(text, &time::format_description::well_known::Rfc3339)
                    .map(|_| text.to_owned())
                    .map_err(|_| format!("must be a date and time such as 2027-12-31T23:00:00Z, and {text:?} is not"))
            }),
            policy: section.parsed("policy", "", "a URL", contact),
        };
        if !read.contact.is_empty() && read.expires.is_none() {
            section.contradiction("contact", "contact needs expires beside it (RFC 9116 §2.5.5)".to_owned());
        }
        read
    }
}
