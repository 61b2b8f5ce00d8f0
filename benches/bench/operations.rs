//! What is measured, and how fast it must be.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::http::{Connection, form, get, post};
use crate::load::{self, Measured};
use crate::target::{Flavour, PATHS, Target, basic, bearer};
use crate::work::{InTurn, Once, SignIn};
use crate::yardsticks::Yardstick;
use crate::{CONNECTIONS, machine};

/// Discovery requests a second beside a load that takes all there is: one after the other, at this distance.
const PACE: Duration = Duration::from_millis(2);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    Discovery,
    Jwks,
    ClientCredentials,
    ClientCredentialsEs256,
    Refresh,
    RefreshEs256,
    RefreshOpaque,
    Code,
    SignIn,
    Introspection,
    IntrospectionOpaque,
    Userinfo,
    Revocation,
    RevocationOfRefreshTokens,
    DiscoveryBesideLoad,
    /// Last, since it is the one that takes memory.
    Login,
}

/// A share of a yardstick.
#[derive(Debug, Clone, Copy)]
pub struct Goal {
    pub yardstick: Yardstick,
    pub floor: f64,
    pub target: f64,
}

/// One measured operation.
pub struct Sample {
    pub measured: Measured,
    /// Processor time per step, of the server and of the database.
    pub server_cpu: Duration,
    pub database_cpu: Option<Duration>,
}

impl Operation {
    pub const ALL: [Self; 16] = [
        Self::Discovery,
        Self::Jwks,
        Self::ClientCredentials,
        Self::ClientCredentialsEs256,
        Self::Refresh,
        Self::RefreshEs256,
        Self::RefreshOpaque,
        Self::Code,
        Self::SignIn,
        Self::Introspection,
        Self::IntrospectionOpaque,
        Self::Userinfo,
        Self::Revocation,
        Self::RevocationOfRefreshTokens,
        Self::DiscoveryBesideLoad,
        Self::Login,
    ];

    /// As it is asked for.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Discovery => "discovery",
            Self::Jwks => "jwks",
            Self::ClientCredentials => "client_credentials",
            Self::ClientCredentialsEs256 => "client_credentials-es256",
            Self::Refresh => "refresh",
            Self::RefreshEs256 => "refresh-es256",
            Self::RefreshOpaque => "refresh-opaque",
            Self::Code => "code",
            Self::SignIn => "sign-in",
            Self::Introspection => "introspection",
            Self::IntrospectionOpaque => "introspection-opaque",
            Self::Userinfo => "userinfo",
            Self::Revocation => "revocation",
            Self::RevocationOfRefreshTokens => "revocation-refresh",
            Self::DiscoveryBesideLoad => "discovery-beside-load",
            Self::Login => "login",
        }
    }

    /// As the report calls it.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Discovery => "discovery",
            Self::Jwks => "JWKS",
            Self::ClientCredentials => "client_credentials, RS256",
            Self::ClientCredentialsEs256 => "client_credentials, ES256",
            Self::Refresh => "refresh with rotation, RS256",
            Self::RefreshEs256 => "refresh with rotation, ES256",
            Self::RefreshOpaque => "refresh with rotation, opaque",
            Self::Code => "code → access and ID token",
            Self::SignIn => "authorize → code → access and ID token",
            Self::Introspection => "introspection of a JWT",
            Self::IntrospectionOpaque => "introspection, opaque",
            Self::Userinfo => "userinfo",
            Self::Revocation => "revocation of an access token",
            Self::RevocationOfRefreshTokens => "revocation of a refresh token",
            Self::DiscoveryBesideLoad => "discovery while client_credentials saturates",
            Self::Login => "password login",
        }
    }

    /// Steps of a round: about a second's worth.
    pub const fn steps(self) -> usize {
        match self {
            Self::Discovery | Self::Jwks => 60_000,
            Self::ClientCredentialsEs256 => 40_000,
            Self::Introspection | Self::IntrospectionOpaque | Self::Userinfo => 20_000,
            Self::RefreshEs256 | Self::RefreshOpaque | Self::ClientCredentials | Self::DiscoveryBesideLoad => 12_000,
            Self::Refresh | Self::Revocation => 8_000,
            Self::Code | Self::SignIn => 3_000,
            Self::RevocationOfRefreshTokens => 2_000,
            Self::Login => 200,
        }
    }

    /// What is promised. R is for a database that commits one by one; SQLite here commits what waits together.
    pub fn goal(self, sqlite: bool) -> Option<Goal> {
        use Yardstick::{A, H, R, S};
        let goal = |yardstick, floor, target| Some(Goal { yardstick, floor, target });
        match self {
            Self::Discovery | Self::Jwks => goal(H, 0.80, 0.95),
            Self::ClientCredentials => goal(S, 0.75, 0.85),
            Self::ClientCredentialsEs256 => goal(H, 0.40, 0.50),
            Self::Refresh => goal(S, 0.55, if sqlite { 0.65 } else { 0.68 }),
            Self::RefreshEs256 | Self::RefreshOpaque => goal(R, 0.40, 0.52),
            Self::SignIn => goal(S, 0.18, 0.25),
            Self::Introspection | Self::IntrospectionOpaque | Self::Userinfo => goal(H, 0.20, 0.30),
            Self::Revocation | Self::RevocationOfRefreshTokens => goal(R, 0.35, 0.50),
            Self::Login => goal(A, 0.80, 0.90),
            Self::Code | Self::DiscoveryBesideLoad => None,
        }
    }

    /// Does node-oidc-provider have it? It has no pages for people, and revoking a refresh token there ends whatever the person ever gave
    /// to the app, which happens once.
    pub const fn has_peer(self) -> bool {
        !matches!(
            self,
            Self::ClientCredentialsEs256
                | Self::RefreshEs256
                | Self::RevocationOfRefreshTokens
                | Self::DiscoveryBesideLoad
                | Self::Login
        )
    }

    /// Is it about people and what was issued to them, in whatever flavour?
    pub const fn reads_the_store(self) -> bool {
        match self {
            Self::Refresh
            | Self::Code
            | Self::SignIn
            | Self::Introspection
            | Self::Userinfo
            | Self::Revocation
            | Self::RevocationOfRefreshTokens
            | Self::Login
            | Self::ClientCredentials => true,
            Self::Discovery
            | Self::Jwks
            | Self::ClientCredentialsEs256
            | Self::RefreshEs256
            | Self::RefreshOpaque
            | Self::IntrospectionOpaque
            | Self::DiscoveryBesideLoad => false,
        }
    }

    /// One closed loop of it.
    pub async fn measure(self, target: &mut Target, steps: usize) -> Sample {
        machine::forget_most_resident(target.pid);
        let sample = match self {
            Self::Discovery => same(target, steps, get(PATHS.discovery, &target.host, ""), 200).await,
            Self::Jwks => same(target, steps, get(PATHS.jwks, &target.host, ""), 200).await,
            Self::ClientCredentials => same(target, steps, client_credentials(target, Flavour::Rs256), 200).await,
            Self::ClientCredentialsEs256 => same(target, steps, client_credentials(target, Flavour::Es256), 200).await,
            Self::Refresh => refresh(target, steps, Flavour::Rs256).await,
            Self::RefreshEs256 => refresh(target, steps, Flavour::Es256).await,
            Self::RefreshOpaque => refresh(target, steps, Flavour::Opaque).await,
            Self::Code => {
                let redemptions = target.redemptions(target.scope(Flavour::OpenId), steps).await;
                once(target, redemptions).await
            }
            Self::SignIn => sign_in(target, steps).await,
            Self::Introspection => introspection(target, steps, Flavour::OpenId).await,
            Self::IntrospectionOpaque => introspection(target, steps, Flavour::Opaque).await,
            Self::Userinfo => {
                let host = Arc::clone(&target.host);
                let tokens = target.access_tokens(Flavour::OpenId).await;
                in_turn(target, steps, tokens, |token| get(PATHS.userinfo, &host, &bearer(token))).await
            }
            Self::Revocation => {
                // The peer keeps no JWT that it could revoke.
                let flavour = if target.peer { Flavour::Opaque } else { Flavour::Rs256 };
                let tokens = target.machine_tokens(flavour, steps).await;
                once(target, tokens.iter().map(|token| revocation(target, flavour.machine(), token)).collect()).await
            }
            Self::RevocationOfRefreshTokens => {
                let tokens = target.refresh_tokens(target.scope(Flavour::Opaque), steps).await;
                once(target, tokens.iter().map(|token| revocation(target, "app", token)).collect()).await
            }
            Self::DiscoveryBesideLoad => beside_load(target, steps).await,
            Self::Login => logins(target, steps).await,
        };
        let most = machine::most_resident(target.pid);
        if self == Self::Login {
            target.loaded_by_logins = target.loaded_by_logins.max(most);
        } else {
            target.loaded = target.loaded.max(most);
        }
        sample
    }
}

/// RFC 6749 §4.4, with client_secret_basic.
pub fn client_credentials(target: &Target, flavour: Flavour) -> Vec<u8> {
    post(PATHS.token, &target.host, &basic(flavour.machine()), "grant_type=client_credentials")
}

/// RFC 6749 §6, always with the same token.
pub fn refresh_of(target: &Target, token: &str) -> Vec<u8> {
    post(PATHS.token, &target.host, &basic("app"), &form(&[("grant_type", "refresh_token"), ("refresh_token", token)]))
}

fn revocation(target: &Target, client_id: &str, token: &str) -> Vec<u8> {
    post(PATHS.revoke, &target.host, &basic(client_id), &form(&[("token", token)]))
}

async fn same(target: &Target, steps: usize, request: Vec<u8>, status: u16) -> Sample {
    let request = Arc::new(request);
    let workers = (0..CONNECTIONS).map(|_| InTurn::one(Arc::clone(&request), status)).collect();
    measured(target, steps, workers).await.0
}

async fn once(target: &Target, requests: Vec<Vec<u8>>) -> Sample {
    let steps = requests.len();
    measured(target, steps, vec![Once::new(requests); CONNECTIONS]).await.0
}

/// RFC 6749 §6 with rotation, durable before it is answered.
async fn refresh(target: &mut Target, steps: usize, flavour: Flavour) -> Sample {
    let workers = target.rotations(flavour).await;
    let (sample, workers) = measured(target, steps, workers).await;
    target.keep(flavour, workers);
    sample
}

/// OpenID Connect Core §3.1 for who has a session: two requests are one step.
async fn sign_in(target: &Target, steps: usize) -> Sample {
    let authorization: Arc<str> = basic("app").into();
    let worker = |authorize| SignIn {
        authorize,
        path: PATHS.token,
        host: Arc::clone(&target.host),
        authorization: Arc::clone(&authorization),
    };
    measured(target, steps, target.authorizations(target.scope(Flavour::OpenId)).into_iter().map(worker).collect()).await.0
}

/// RFC 7662, asked by the client that the token was issued to.
async fn introspection(target: &mut Target, steps: usize, flavour: Flavour) -> Sample {
    let (host, app) = (Arc::clone(&target.host), basic("app"));
    let tokens = target.access_tokens(flavour).await;
    let mut connection = Connection::open(target.address).await;
    let request = |token: &str| post(PATHS.introspect, &host, &app, &form(&[("token", token)]));
    let answer = connection.send(&request(&tokens[0][0])).await;
    assert!(String::from_utf8_lossy(answer.body).contains("\"active\":true"), "{}", String::from_utf8_lossy(answer.body));
    in_turn(target, steps, tokens, request).await
}

async fn in_turn(target: &Target, steps: usize, tokens: Vec<Vec<String>>, request: impl Fn(&str) -> Vec<u8>) -> Sample {
    let worker = |tokens: Vec<String>| InTurn {
        requests: tokens.iter().map(|token| Arc::new(request(token))).collect(),
        next: 0,
        status: 200,
    };
    measured(target, steps, tokens.into_iter().map(worker).collect()).await.0
}

/// The form of the login page, over and over: each answer is a new session.
async fn logins(target: &Target, steps: usize) -> Sample {
    let workers = target.logins.iter().map(|login| InTurn::one(Arc::new(login.clone()), 303)).collect();
    measured(target, steps, workers).await.0
}

/// How long somebody waits for a prepared document while everybody else wants signatures.
async fn beside_load(target: &Target, steps: usize) -> Sample {
    let done = Arc::new(AtomicBool::new(false));
    let (address, document) = (target.address, get(PATHS.discovery, &target.host, ""));
    let beside = tokio::spawn({
        let done = Arc::clone(&done);
        async move {
            let mut connection = Connection::open(address).await;
            let (begun, mut latencies) = (Instant::now(), Vec::new());
            while !done.load(Ordering::Relaxed) {
                let started = Instant::now();
                connection.send(&document).await.expect(200);
                latencies.push(started.elapsed());
                tokio::time::sleep(PACE).await;
            }
            Measured::new(latencies, begun.elapsed())
        }
    });
    same(target, steps, client_credentials(target, Flavour::Rs256), 200).await;
    done.store(true, Ordering::Relaxed);
    Sample { measured: beside.await.unwrap(), server_cpu: Duration::ZERO, database_cpu: None }
}

async fn measured<W: load::Work>(target: &Target, steps: usize, workers: Vec<W>) -> (Sample, Vec<W>) {
    let before = target.spent();
    let (measured, workers) = load::run(target.address, steps, workers).await;
    let after = target.spent();
    let each = |before: Duration, after: Duration| after.saturating_sub(before) / u32::try_from(steps).unwrap();
    let database_cpu = before.1.zip(after.1).map(|(before, after)| each(before, after));
    (Sample { measured, server_cpu: each(before.0, after.0), database_cpu }, workers)
}
