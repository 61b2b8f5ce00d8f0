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

    /// The file, or `None` when there is no contact. `origin` is where it is served: what is copied elsewhere says where it comes from,
    /// unless it was served by http, which `Canonical` must not name (RFC 9116 §2.5.2).
    pub fn render(&self, origin: &str) -> Option<String> {
        if self.contact.is_empty() {
            return None;
        }
        let contacts = self.contact.iter().map(|contact| ("Contact", contact));
        let canonical = origin.starts_with("https://").then(|| format!("{origin}/.well-known/security.txt"));
        let rest = [("Expires", self.expires.as_ref()), ("Policy", self.policy.as_ref()), ("Canonical", canonical.as_ref())];
        let rest = rest.into_iter().filter_map(|(field, value)| value.map(|value| (field, value)));
        Some(contacts.chain(rest).map(|(field, value)| format!("{field}: {value}\n")).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_has_a_line_for_each_field_and_is_absent_without_a_contact() {
        let mut fields = SecurityTxt { contact: Vec::new(), expires: Some("2027-12-31T23:00:00Z".to_owned()), policy: None };
        assert_eq!(fields.render("https://id.example.com"), None);
        fields.contact = vec!["mailto:security@example.com".to_owned(), "https://example.com/security".to_owned()];
        assert_eq!(
            fields.render("http://localhost:8080").unwrap(),
            "Contact: mailto:security@example.com\nContact: https://example.com/security\nExpires: 2027-12-31T23:00:00Z\n"
        );
        let text = fields.render("https://id.example.com").unwrap();
        assert!(text.ends_with("\nCanonical: https://id.example.com/.well-known/security.txt\n"), "{text}");
    }
}
