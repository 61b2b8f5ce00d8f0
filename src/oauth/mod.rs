//! The protocol, pure: facts in, decisions out. No I/O, no clock, no randomness, no HTTP types; every rule of an RFC stands in
//! one named file with its section number. A test fails if this folder names the database driver, the web framework or the runtime.

pub mod access_token;
pub mod admin;
pub mod authorize;
pub mod bearer;
pub mod client;
pub mod client_auth;
pub mod device;
pub mod endpoint;
pub mod family;
pub mod grant;
pub mod introspection;
pub mod jar;
pub mod params;
pub mod pkce;
pub mod redirect_uri;
pub mod refusal;
pub mod registration;
pub mod resource;
pub mod revocation;
pub mod scope;

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    fn sources(folder: &Path) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        entries.flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] }).collect()
    }

    #[test]
    fn the_protocol_knows_no_database_no_web_framework_and_no_runtime() {
        // In halves, so that this file does not name them.
        let forbidden = [["sq", "lx"], ["ax", "um"], ["tok", "io"]].map(|halves| halves.concat());
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        for path in ["oauth", "oidc"].into_iter().flat_map(|folder| sources(&root.join(folder))) {
            let text = std::fs::read_to_string(&path).unwrap();
            for word in &forbidden {
                assert!(!text.contains(word.as_str()), "{} names {word}", path.display());
            }
            for higher in ["service", "http", "storage", "cli", "jobs", "app", "config"] {
                assert!(!text.contains(&format!("crate::{higher}::")), "{} reaches up to {higher}", path.display());
            }
        }
    }
}
