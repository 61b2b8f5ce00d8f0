//! Chancery on one store, set up as an operator would.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::postgres::Cluster;
use crate::server::Server;
use crate::sign_in::{self, Person};
use crate::target::{CLIENT_SECRET, Target};
use crate::{CONNECTIONS, machine};

/// Whose sessions the connections use; each signs in from several browsers.
const PEOPLE: usize = 8;
/// Registered clients in all.
const CLIENTS: usize = 100;
const PASSWORD: &str = "a long passphrase for a benchmark";

/// A deployment that runs.
pub struct Deployment {
    pub server: Server,
    pub target: Target,
}

impl Deployment {
    /// Clients, APIs, people, and as many who are signed in as there are connections. `starts` times it is started anew.
    pub async fn prepare(name: &'static str, binary: &Path, url: Option<&str>, cluster: &Cluster, starts: usize) -> Self {
        Self::of(Server::new(binary, url), name, url, cluster, starts).await
    }

    /// [`Self::prepare`] with a server that has settings of its own.
    pub async fn of(mut server: Server, name: &'static str, url: Option<&str>, cluster: &Cluster, starts: usize) -> Self {
        server.operate(&["migrate"], "");
        server.operate(&["apply", &server.file("setup.toml", &setup())], "");
        for number in 0..PEOPLE {
            let (username, email) = (username(number), format!("{}@example.com", username(number)));
            server.operate(&["user", "add", "--username", &username, "--email", &email, "--password-stdin"], PASSWORD);
        }
        // The first start makes the keys and does not count.
        server.start().await;
        let people: Vec<String> = (0..CONNECTIONS).map(|number| username(number % PEOPLE)).collect();
        let (sessions, logins) = sign_in_all(&server, &people).await;
        let mut times = Vec::new();
        for _ in 0..starts.max(1) {
            server.stop();
            times.push(server.start().await);
        }
        let target = Target {
            name,
            peer: false,
            address: server.address,
            host: format!("localhost:{}", server.address.port()).into(),
            sessions,
            logins,
            families: BTreeMap::new(),
            pid: server.pid(),
            database: url.map(|_| cluster.supervisor),
            idle: machine::resident(server.pid()),
            loaded: 0,
            loaded_by_logins: 0,
            starts: times,
        };
        Self { server, target }
    }
}

/// Signs each of them in at a browser of their own: cookie lines, and the form of the login page filled in.
pub async fn sign_in_all(server: &Server, people: &[String]) -> (Vec<String>, Vec<Vec<u8>>) {
    let (mut sessions, mut logins) = (Vec::new(), Vec::new());
    for username in people {
        logins.push(Person::new(&server.issuer()).login_form(&server.address.to_string(), username, PASSWORD).await);
        sessions.push(Person::new(&server.issuer()).session(username, PASSWORD).await);
    }
    (sessions, logins)
}

fn username(number: usize) -> String {
    format!("person-{number}")
}

/// The file that `chancery apply` makes so.
fn setup() -> String {
    let secret = Sha256::digest(CLIENT_SECRET).iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    });
    let mut file = "name = \"bench\"\n".to_owned();
    for (name, alg, format) in [("es256", "ES256", "jwt"), ("opaque", "RS256", "opaque")] {
        write!(
            file,
            "[[resources]]\nidentifier = \"https://{name}.example\"\nname = \"{name}\"\naccess_token_signing_alg = \"{alg}\"\n\
             access_token_format = \"{format}\"\nscopes = [{{ name = \"{name}:use\", description = \"Use it\" }}]\n"
        )
        .unwrap();
    }
    write!(
        file,
        "[[clients]]\nclient_id = \"app\"\nclient_name = \"App\"\nredirect_uris = [\"{}\"]\nfirst_party = true\n\
         grant_types = [\"authorization_code\", \"refresh_token\"]\n\
         scope = \"openid profile email offline_access es256:use opaque:use\"\nsecrets = [{{ sha256 = \"{secret}\" }}]\n",
        sign_in::REDIRECT_URI
    )
    .unwrap();
    let mut machine = |client_id: &str, scope: &str| {
        write!(
            file,
            "[[clients]]\nclient_id = \"{client_id}\"\nclient_name = \"{client_id}\"\ngrant_types = [\"client_credentials\"]\n{scope}\
             secrets = [{{ sha256 = \"{secret}\" }}]\n"
        )
        .unwrap();
    };
    machine("machine", "");
    machine("machine-es256", "scope = \"es256:use\"\n");
    machine("machine-opaque", "scope = \"opaque:use\"\n");
    for number in 4..CLIENTS {
        machine(&format!("another-{number}"), "");
    }
    file
}
