//! The set-up file: TOML, strict, every error with its file and line. What can be judged without the database is judged here, by the
//! validators of `client add` and `resource add`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Map, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::{ConfigError, ConfigErrors, read_secret_file};
use crate::jose::Alg;
use crate::oauth::client::{self, Policy};
use crate::oauth::resource::Resource;
use crate::oidc::groups::Group;
use crate::secret::{Digest, Secret};
use crate::service::clients::{self, ClientDocument};
use crate::service::document::{Document, DocumentError};
use crate::service::{groups, resources};
use crate::storage::owners::Object;
use crate::storage::setup::Names;

/// What may stand at the top.
const TOP: [&str; 4] = ["name", "clients", "resources", "groups"];
/// Characters of a secret in a file: 190 bits and more if they are letters and digits drawn at random.
const SHORTEST_SECRET: usize = 32;
const LONGEST_SECRET: usize = 512;
/// Different characters in it: what a person thinks up, or repeats, has fewer.
const FEWEST_LETTERS: usize = 12;
/// The digest of a slip or of something to be guessed at once is no secret.
const GUESSED: [&str; 8] = ["", "secret", "client_secret", "client-secret", "password", "changeme", "change-me", "test"];

/// A set-up file, read.
#[derive(Debug, Clone)]
pub struct SetupFile {
    /// Its `name`: what it owns is marked with it.
    pub owner: String,
    pub(super) clients: Vec<WantedClient>,
    pub(super) resources: Vec<WantedResource>,
    pub(super) groups: Vec<WantedGroup>,
}

/// A client as the file wants it, validated.
#[derive(Debug, Clone)]
pub(super) struct WantedClient {
    pub client_id: String,
    pub document: ClientDocument,
    /// `None`: the file leaves them to others.
    pub secrets: Option<Vec<Digest>>,
    pub at: Place,
}

/// A resource as the file wants it; whether its scopes are free is for the database to say.
#[derive(Debug, Clone)]
pub(super) struct WantedResource {
    pub resource: Resource,
    pub at: Place,
}

/// A group as the file wants it, validated.
#[derive(Debug, Clone)]
pub(super) struct WantedGroup {
    pub group: Group,
    pub at: Place,
}

/// Where an object stands in the file.
#[derive(Debug, Clone)]
pub(super) struct Place {
    file: String,
    line: usize,
    /// `[[clients]] "shop"`.
    what: String,
    members: BTreeMap<String, usize>,
}

impl Place {
    /// An error about the object, at the line of the member that is at fault.
    pub fn error(&self, error: &DocumentError) -> ConfigError {
        let line = error.member.as_ref().and_then(|member| self.members.get(member)).unwrap_or(&self.line);
        ConfigError::new(format!("{}:{line}", self.file), format!("{} {error}", self.what))
    }
}

impl SetupFile {
    /// Reads a file. `name` is how errors call it, `folder` is where the paths of secret files start.
    ///
    /// # Errors
    /// All that is wrong, with file, line and hint.
    pub fn parse(text: &[u8], name: &str, folder: &Path, policy: &Policy) -> Result<Self, ConfigErrors> {
        let mut reader = Reader { text: "", name, folder, policy, errors: Vec::new() };
        let Ok(text) = std::str::from_utf8(text) else {
            return Err(ConfigErrors(vec![ConfigError::new(name, "the file is not UTF-8 text")]));
        };
        reader.text = text;
        let file = reader.file();
        match file {
            Some(file) if reader.errors.is_empty() => Ok(file),
            Some(_) | None => Err(ConfigErrors(reader.errors)),
        }
    }

    /// Everything that it names.
    pub(super) fn objects(&self) -> impl Iterator<Item = Object> {
        let clients = self.clients.iter().map(|client| Object::client(&client.client_id));
        let resources = self.resources.iter().map(|resource| Object::resource(&resource.resource.identifier));
        clients.chain(resources).chain(self.groups.iter().map(|group| Object::group(&group.group.identifier)))
    }

    /// The algorithms that its clients and resources register.
    pub(super) fn signing_algs(&self) -> Vec<Alg> {
        let of_clients = self.clients.iter().flat_map(|client| client.document.metadata.signing_algs());
        of_clients.chain(self.resources.iter().map(|resource| resource.resource.access_token_signing_alg)).collect()
    }

    /// What the store is asked for.
    pub(super) fn names(&self) -> Names {
        Names {
            owner: self.owner.clone(),
            clients: self.clients.iter().map(|client| client.client_id.clone()).collect(),
            resources: self.resources.iter().map(|resource| resource.resource.identifier.clone()).collect(),
            groups: self.groups.iter().map(|group| group.group.identifier.clone()).collect(),
        }
    }
}

struct Reader<'a> {
    text: &'a str,
    name: &'a str,
    folder: &'a Path,
    policy: &'a Policy,
    errors: Vec<ConfigError>,
}

impl Reader<'_> {
    fn file(&mut self) -> Option<SetupFile> {
        let table = match DeTable::parse(self.text) {
            Ok(table) => table,
            Err(error) => {
                let at = self.place(error.span().map_or(0, |span| span.start));
                self.errors.push(ConfigError::new(at, format!("not valid TOML: {}", error.message().trim())));
                return None;
            }
        };
        let table = table.get_ref();
        for key in table.keys().filter(|key| !TOP.contains(&key.get_ref().as_ref())) {
            let at = self.place(key.span().start);
            let error = ConfigError::new(at, format!("unknown key {:?}", key.get_ref()));
            self.errors.push(match nearest(key.get_ref()) {
                Some(near) => error.hint(format!("did you mean {near:?}?")),
                None => error.hint(format!("a set-up file has {}", TOP.join(", "))),
            });
        }
        let owner = self.owner(table);
        let mut all = Vec::new();
        let mut ids = BTreeSet::new();
        for (members, mut at) in self.objects(table, "clients", "client_id") {
            if let Some(client) = self.client(members, &mut at) {
                if !ids.insert(client.client_id.clone()) {
                    self.errors.push(at.error(&DocumentError::member("client_id", "stands in this file twice")));
                }
                all.push(client);
            }
        }
        let mut resources = Vec::new();
        let mut identifiers = BTreeSet::new();
        for (members, at) in self.objects(table, "resources", "identifier") {
            match resources::read(Document::of(members)) {
                Ok(resource) => {
                    if !identifiers.insert(resource.identifier.clone()) {
                        self.errors.push(at.error(&DocumentError::member("identifier", "stands in this file twice")));
                    }
                    resources.push(WantedResource { resource, at });
                }
                Err(error) => self.errors.push(at.error(&error)),
            }
        }
        let mut wanted = Vec::new();
        let mut identifiers = BTreeSet::new();
        for (members, at) in self.objects(table, "groups", "identifier") {
            match groups::read(Document::of(members)) {
                Ok(group) => {
                    if !identifiers.insert(group.identifier.clone()) {
                        self.errors.push(at.error(&DocumentError::member("identifier", "stands in this file twice")));
                    }
                    wanted.push(WantedGroup { group, at });
                }
                Err(error) => self.errors.push(at.error(&error)),
            }
        }
        Some(SetupFile { owner: owner?, clients: all, resources, groups: wanted })
    }

    /// The file's own name, by which it owns things.
    fn owner(&mut self, table: &DeTable<'_>) -> Option<String> {
        let Some((key, value)) = table.get_key_value("name") else {
            let error = ConfigError::new(format!("{}:1", self.name), "the file has no name");
            self.errors.push(error.hint("begin it with a line such as name = \"apps\": what the file makes is marked with it"));
            return None;
        };
        let good = |name: &&str| {
            (1..=64).contains(&name.len())
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
        };
        let name = value.get_ref().as_str().filter(good);
        if name.is_none() {
            let at = self.place(key.span().start);
            self.errors
                .push(ConfigError::new(at, "name must be a string of 1 to 64 letters, digits, dots, dashes and underscores"));
        }
        name.map(str::to_owned)
    }

    /// The tables under one key, as JSON, with their lines.
    fn objects(&mut self, table: &DeTable<'_>, key: &str, id: &str) -> Vec<(Map<String, Value>, Place)> {
        let Some((name, list)) = table.get_key_value(key) else { return Vec::new() };
        let DeValue::Array(list) = list.get_ref() else {
            let at = self.place(name.span().start);
            self.errors.push(ConfigError::new(at, format!("{key} must be a list of tables")).hint(format!("write [[{key}]]")));
            return Vec::new();
        };
        let mut objects = Vec::new();
        for item in list {
            let line = self.line(item.span().start);
            let DeValue::Table(table) = item.get_ref() else {
                let at = format!("{}:{line}", self.name);
                self.errors.push(ConfigError::new(at, format!("{key} must hold tables alone")).hint(format!("write [[{key}]]")));
                continue;
            };
            let mut members = Map::new();
            let mut lines = BTreeMap::new();
            for (name, value) in table {
                let member = name.get_ref().to_string();
                lines.insert(member.clone(), self.line(name.span().start));
                match json(value, 0) {
                    Ok(value) => {
                        members.insert(member, value);
                    }
                    Err(what) => {
                        let at = self.place(value.span().start);
                        self.errors.push(ConfigError::new(at, format!("[[{key}]] {member} cannot hold {what}")));
                    }
                }
            }
            let what = match members.get(id).and_then(Value::as_str) {
                Some(id) => format!("[[{key}]] {id:?}:"),
                None => format!("[[{key}]]"),
            };
            objects.push((members, Place { file: self.name.to_owned(), line, what, members: lines }));
        }
        objects
    }

    fn client(&mut self, mut members: Map<String, Value>, at: &mut Place) -> Option<WantedClient> {
        let before = self.errors.len();
        let mut note = |error: DocumentError| self.errors.push(at.error(&error));
        let client_id = match members.remove("client_id") {
            Some(Value::String(id)) => {
                if let Err(error) = clients::check_id(&id) {
                    note(error);
                }
                id
            }
            Some(_) => {
                note(DocumentError::member("client_id", "must be a string"));
                String::new()
            }
            None => {
                note(DocumentError::member("client_id", "is missing: in a set-up file you choose it"));
                String::new()
            }
        };
        for name in ["client_secret", "secret", "secret_file", "secret_sha256"] {
            if members.remove(name).is_some() {
                let message = "is not written here; write secrets = [{ sha256 = \"…\" }] or secrets = [{ file = \"…\" }]";
                note(DocumentError::member(name, message));
            }
        }
        let secrets = members.remove("secrets");
        let document = ClientDocument::of(Document::of(members)).and_then(|mut document| {
            document.metadata = client::validate(document.metadata, self.policy)?;
            Ok(document)
        });
        let document = document.map_err(|error| self.errors.push(at.error(&error))).ok();
        let secrets = secrets.and_then(|secrets| match self.secrets(&secrets) {
            Ok(secrets) => Some(secrets),
            Err(message) => {
                self.errors.push(at.error(&DocumentError::member("secrets", message)));
                None
            }
        });
        let document = document?;
        let method = document.metadata.token_endpoint_auth_method;
        if secrets.is_some() && !method.has_secret() {
            let message =
                format!("are for clients that authenticate by one; this one has token_endpoint_auth_method {:?}", method.as_str());
            self.errors.push(at.error(&DocumentError::member("secrets", message)));
        }
        (self.errors.len() == before).then(|| WantedClient { client_id, document, secrets, at: at.clone() })
    }

    /// One or two secrets, each by its SHA-256 or by the file that holds it. No message repeats what stands there: it may be the secret.
    fn secrets(&self, value: &Value) -> Result<Vec<Digest>, String> {
        let form = "must be a list of { sha256 = \"…\" } or { file = \"…\" }";
        let list = value.as_array().ok_or(form)?;
        if list.is_empty() {
            return Err("is empty; leave it out, and `chancery client rotate-secret` makes secrets".to_owned());
        }
        if list.len() > 2 {
            return Err("has more than two entries; two are enough for a rotation without an outage".to_owned());
        }
        let mut digests: Vec<Digest> = Vec::new();
        for (number, entry) in (1..).zip(list) {
            let entry = entry.as_object().ok_or(form)?;
            let digest = match (entry.len(), entry.get("sha256"), entry.get("file")) {
                (1, Some(Value::String(hash)), None) => hashed(hash),
                (1, None, Some(Value::String(path))) => self.secret_file(path),
                _ => Err(form.to_owned()),
            };
            let digest = digest.map_err(|message| format!("entry {number} {message}"))?;
            if digests.contains(&digest) {
                return Err(format!("entry {number} is the same secret as the one before"));
            }
            digests.push(digest);
        }
        Ok(digests)
    }

    fn secret_file(&self, path: &str) -> Result<Digest, String> {
        let secret = read_secret_file(&self.folder.join(path)).map_err(|error| format!("{error} ({})", error.hint()))?;
        if strong(&secret) {
            return Ok(secret.digest());
        }
        Err(format!(
            "is too easy to guess: the file must hold {SHORTEST_SECRET} to {LONGEST_SECRET} random letters and digits, as `openssl rand -hex 32` makes them"
        ))
    }

    fn place(&self, at: usize) -> String {
        format!("{}:{}", self.name, self.line(at))
    }

    /// The line, from 1, that byte `at` stands on.
    fn line(&self, at: usize) -> usize {
        self.text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
    }
}

/// The digest that 64 hexadecimal digits say.
fn hashed(hash: &str) -> Result<Digest, String> {
    let bytes: Option<Vec<u8>> = (hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| {
        let pairs = hash.as_bytes().chunks(2).filter_map(|pair| std::str::from_utf8(pair).ok());
        pairs.filter_map(|pair| u8::from_str_radix(pair, 16).ok()).collect()
    });
    let digest = bytes
        .and_then(|bytes| Digest::from_stored(&bytes))
        .ok_or("must have in sha256 the 64 hexadecimal digits that `printf %s \"$SECRET\" | sha256sum` prints")?;
    let guessed = GUESSED
        .iter()
        .any(|word| [(*word).to_owned(), format!("{word}\n")].iter().any(|text| Digest::of(text.as_bytes()) == digest));
    if guessed {
        return Err("is the digest of nothing or of a word; make a secret with `openssl rand -hex 32`".to_owned());
    }
    Ok(digest)
}

/// Is it long and varied enough for a plain digest to protect it (design 6)? Of the characters that every client library sends alike.
fn strong(secret: &Secret<String>) -> bool {
    let text = secret.expose();
    let letters: BTreeSet<u8> = text.bytes().collect();
    (SHORTEST_SECRET..=LONGEST_SECRET).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~'))
        && letters.len() >= FEWEST_LETTERS
}

fn nearest(key: &str) -> Option<&'static str> {
    let near = TOP.into_iter().map(|known| (strsim::jaro_winkler(key, known), known)).filter(|(likeness, _)| *likeness > 0.8);
    near.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, known)| known)
}

/// A TOML value as JSON; `Err` says what JSON documents of ours never hold.
fn json(value: &Spanned<DeValue<'_>>, depth: usize) -> Result<Value, &'static str> {
    if depth > 16 {
        return Err("so many levels");
    }
    match value.get_ref() {
        DeValue::String(text) => Ok(Value::String(text.to_string())),
        DeValue::Integer(number) => {
            i64::from_str_radix(&number.as_str().replace('_', ""), number.radix()).map(Value::from).map_err(|_| "so large a number")
        }
        DeValue::Boolean(yes) => Ok(Value::Bool(*yes)),
        DeValue::Array(items) => items.iter().map(|item| json(item, depth + 1)).collect::<Result<_, _>>().map(Value::Array),
        DeValue::Table(members) => {
            let members = members.iter().map(|(name, value)| Ok((name.get_ref().to_string(), json(value, depth + 1)?)));
            members.collect::<Result<_, _>>().map(Value::Object)
        }
        DeValue::Float(_) => Err("a number with a fraction"),
        DeValue::Datetime(_) => Err("a bare date; write it in quotes"),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn read(text: &str) -> Result<SetupFile, String> {
        read_in(Path::new("."), text)
    }

    fn read_in(folder: &Path, text: &str) -> Result<SetupFile, String> {
        let policy = Policy { operator: true, ..Policy::default() };
        SetupFile::parse(text.as_bytes(), "apps.toml", folder, &policy).map_err(|errors| errors.to_string())
    }

    const SHOP: &str = "name = \"apps\"\n[[clients]]\nclient_id = \"shop\"\nredirect_uris = [\"https://shop.example/cb\"]\n";

    #[test]
    fn errors_name_file_line_object_and_member() {
        for (text, error) in [
            ("[[clients]]\n", "apps.toml:1: the file has no name"),
            ("name = \"a b\"\n", "apps.toml:1: name must be"),
            ("name = \"a\"\n\n[[client]]\n", "apps.toml:3: unknown key \"client\" (did you mean \"clients\"?)"),
            ("name = \"a\"\n[clients]\n", "apps.toml:2: clients must be a list of tables (write [[clients]])"),
            ("name = \"a\"\nname = \"b\"\n", "apps.toml:2: not valid TOML"),
            ("name = \"a\"\n[[clients]]\nredirect_uris = []\n", "apps.toml:2: [[clients]] client_id: is missing"),
            (
                "name = \"a\"\n[[clients]]\nclient_id = \"shop\"\n\nredirect_uri = \"https://shop.example/cb\"\n",
                "apps.toml:5: [[clients]] \"shop\": redirect_uri: unknown member; did you mean \"redirect_uris\"?",
            ),
            (
                "name = \"a\"\n[[clients]]\nclient_id = \"shop\"\nredirect_uris = [\"http://shop.example/cb\"]\n",
                "apps.toml:4: [[clients]] \"shop\": redirect_uris: entry 1 (\"http://shop.example/cb\")",
            ),
            (
                "name = \"a\"\n[[clients]]\nclient_id = \"sh op\"\nredirect_uris = [\"https://a.test/\"]\n",
                "apps.toml:3: [[clients]] \"sh op\": client_id: ",
            ),
            (
                "name = \"a\"\n[[resources]]\nidentifier = \"https://a.test\"\nname = \"A\"\n[[resources.scope]]\nname = \"x\"\n",
                "apps.toml:5: [[resources]] \"https://a.test\": scope: unknown member; did you mean \"scopes\"?",
            ),
            (
                "name = \"a\"\n[[clients]]\nclient_id = \"x\"\ndefault_max_age = 1.5\n",
                "apps.toml:4: [[clients]] default_max_age cannot hold a number with a fraction",
            ),
        ] {
            let said = read(text).unwrap_err();
            assert!(said.contains(error), "{said}\n does not say\n{error}");
        }
    }

    #[test]
    fn everything_wrong_is_said_at_once() {
        let said = read("name = \"a\"\nx = 1\n[[clients]]\nclient_id = \"b\"\n[[clients]]\nclient_id = \"c\"\n").unwrap_err();
        assert_eq!(said.lines().count(), 3, "{said}");
    }

    #[test]
    fn nothing_stands_in_a_file_twice() {
        let client = SHOP.strip_prefix("name = \"apps\"\n").unwrap();
        assert!(
            read(&format!("{SHOP}{client}"))
                .unwrap_err()
                .contains("apps.toml:6: [[clients]] \"shop\": client_id: stands in this file twice")
        );
        let resource = "[[resources]]\nidentifier = \"https://a.test\"\nname = \"A\"\nscopes = [{ name = \"a\" }]\n";
        assert!(read(&format!("name = \"a\"\n{resource}{resource}")).unwrap_err().contains("twice"));
    }

    #[test]
    fn a_secret_is_given_by_its_digest_or_by_a_private_file_and_never_repeated() {
        let secret = "0123456789abcdefghijklmnopqrstuvwxyz";
        let digest = Digest::of(secret.as_bytes());
        let hex: String = digest.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("shop.secret");
        std::fs::write(&path, format!("{secret}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        for secrets in [
            format!("[{{ sha256 = \"{hex}\" }}]"),
            "[{ file = \"shop.secret\" }]".to_owned(),
            format!("[{{ sha256 = \"{}\" }}]", hex.to_uppercase()),
        ] {
            let file = read_in(folder.path(), &format!("{SHOP}secrets = {secrets}\n")).unwrap();
            assert_eq!(file.clients[0].secrets, Some(vec![digest]));
        }
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let said = read_in(folder.path(), &format!("{SHOP}secrets = [{{ file = \"shop.secret\" }}]\n")).unwrap_err();
        assert!(said.contains("every user of this machine") && said.contains("apps.toml:5"), "{said}");
        for (secrets, why) in [
            (format!("secrets = [\"{secret}\"]"), "must be a list of"),
            (format!("secrets = \"{secret}\""), "must be a list of"),
            (format!("secrets = [{{ sha256 = \"{secret}\" }}]"), "64 hexadecimal digits"),
            (format!("secrets = [{{ sha265 = \"{secret}\" }}]"), "must be a list of"),
            (format!("secrets = [{{ sha256 = \"{hex}\", file = \"{secret}\" }}]"), "must be a list of"),
            (format!("secrets = [{{ sha256 = \"{hex}\" }}, {{ sha256 = \"{hex}\" }}]"), "the same secret"),
            (format!("client_secret = \"{secret}\""), "client_secret: is not written here"),
            (format!("clientsecret = \"{secret}\""), "clientsecret: unknown member"),
            ("secrets = []".to_owned(), "is empty"),
            (
                "secrets = [{ sha256 = \"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\" }]".to_owned(),
                "of nothing or of a word",
            ),
            (
                format!("token_endpoint_auth_method = \"none\"\nsecrets = [{{ sha256 = \"{hex}\" }}]"),
                "for clients that authenticate",
            ),
        ] {
            let said = read(&format!("{SHOP}{secrets}\n")).unwrap_err();
            assert!(said.contains(why), "{said}\n does not say\n{why}");
            assert!(!said.contains(secret) && !said.contains(&hex), "{said}");
        }
        for weak in ["short", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "with a blank and with many different characters"]
        {
            std::fs::write(&path, weak).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
            let said = read_in(folder.path(), &format!("{SHOP}secrets = [{{ file = \"shop.secret\" }}]\n")).unwrap_err();
            assert!(said.contains("too easy to guess") && !said.contains(weak), "{said}");
        }
    }
}
