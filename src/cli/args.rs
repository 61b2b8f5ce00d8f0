//! What may be typed.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// An OAuth 2.0 and OpenID Connect authorization server that explains itself.
#[derive(Debug, Parser)]
#[command(name = "chancery", version, about, propagate_version = true, arg_required_else_help = true)]
pub struct Cli {
    /// Configuration file (TOML); config/chancery.toml lists every key
    #[arg(long, global = true, value_name = "FILE", env = "CHANCERY_CONFIG")]
    pub config: Option<PathBuf>,
    /// Print JSON instead of tables
    #[arg(long, global = true)]
    pub json: bool,
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the server
    Serve(ServeArgs),
    /// Run a server to try things out: SQLite in ./chancery-data, an administrator, a demo client and the demo at /demo
    Quickstart(ServeArgs),
    /// Bring the database schema up to date
    Migrate,
    /// Look at the configuration
    Config {
        #[command(subcommand)]
        command: ConfigCommand,
    },
    /// People who can sign in
    User {
        #[command(subcommand)]
        command: UserCommand,
    },
    /// Groups of people and the roles that they carry
    Group {
        #[command(subcommand)]
        command: GroupCommand,
    },
    /// Applications that may ask for tokens
    Client {
        #[command(subcommand)]
        command: ClientCommand,
    },
    /// Who may register applications at the server (RFC 7591)
    Registration {
        #[command(subcommand)]
        command: RegistrationCommand,
    },
    /// APIs that tokens are made for
    Resource {
        #[command(subcommand)]
        command: ResourceCommand,
    },
    /// Signing keys, data keys and the master key
    Key {
        #[command(subcommand)]
        command: KeyCommand,
    },
    /// Tell why a request was refused
    Explain {
        /// The trace id from the error page or the Chancery-Trace-Id header
        trace_id: String,
    },
    /// Show what applying a set-up file (TOML) would change
    Plan(PlanArgs),
    /// Make clients, resources and groups what a set-up file (TOML) says; all of it or nothing
    Apply(ApplyArgs),
    /// Say what is wrong with this deployment and how to mend it; changes nothing
    Doctor(ServeArgs),
    /// Ask the running server whether it is ready; for container health checks
    Healthcheck,
}

/// Flags of the server; each overrides its configuration key.
#[derive(Debug, Default, Args)]
pub struct ServeArgs {
    /// The public base URL, such as https://id.example.com
    #[arg(long, value_name = "URL")]
    pub issuer: Option<String>,
    /// Where to listen [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
    /// Where to serve health and metrics [default: 127.0.0.1:9080]
    #[arg(long, value_name = "ADDRESS")]
    pub management_listen: Option<String>,
    /// sqlite://FILE or postgres://…
    #[arg(long, value_name = "URL")]
    pub database_url: Option<String>,
    /// Where the SQLite database and the generated master key live [default: ./chancery-data]
    #[arg(long, value_name = "FOLDER")]
    pub data_dir: Option<String>,
    /// Tracing filter, such as info or debug
    #[arg(long, value_name = "FILTER")]
    pub log: Option<String>,
    /// text or json
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,
    /// Do not migrate the schema at start; refuse to start when it is behind
    #[arg(long)]
    pub no_migrate: bool,
}

impl ServeArgs {
    /// The configuration keys that these flags override.
    pub fn flags(&self) -> Vec<(&'static str, String)> {
        [
            ("server.issuer", &self.issuer),
            ("server.listen", &self.listen),
            ("server.management_listen", &self.management_listen),
            ("database.url", &self.database_url),
            ("server.data_dir", &self.data_dir),
            ("log.filter", &self.log),
            ("log.format", &self.log_format),
        ]
        .into_iter()
        .filter_map(|(key, value)| value.clone().map(|value| (key, value)))
        .collect()
    }
}

/// `chancery config`.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Read file, environment and flags as the server would, and say all that is wrong
    Check(ServeArgs),
}

/// `chancery user`.
#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Add a person; without a password one is made and printed once
    Add(UserAddArgs),
    /// List people
    List(ListArgs),
    /// Show a person, by name or by the subject that an app knows them under
    Show(UserShowArgs),
    /// Change what a JSON file names and leave the rest (null removes); groups are replaced as a whole
    Update {
        #[command(flatten)]
        user: UserName,
        #[command(flatten)]
        file: FileArg,
    },
    /// Remove a person and everything issued for them
    Remove(UserName),
    /// Keep a person out: all sessions, tokens and open sign-ins end
    Disable(UserName),
    /// Let a person sign in again
    Enable(UserName),
    /// Set another password; everything signed in with the old one ends
    SetPassword {
        #[command(flatten)]
        user: UserName,
        /// Read the password from standard input instead of making one
        #[arg(long)]
        password_stdin: bool,
    },
    /// End all sessions and tokens of a person, or of everybody
    SignOut(SignOutArgs),
    /// Take away all second factors and recovery codes of a person who has lost them; all sessions and tokens end
    ResetFactors(UserName),
}

/// Whom a command means.
#[derive(Debug, Args)]
pub struct UserName {
    /// Username, id or subject
    #[arg(value_name = "USER")]
    pub name: String,
}

/// `chancery user show`.
#[derive(Debug, Args)]
pub struct UserShowArgs {
    /// Username, id or subject
    #[arg(value_name = "USER", required_unless_present = "sub", conflicts_with = "sub")]
    pub name: Option<String>,
    /// The subject that an app knows the person under, public or pairwise
    // One in 64 begins with a hyphen.
    #[arg(long, value_name = "SUB", allow_hyphen_values = true)]
    pub sub: Option<String>,
}

/// `chancery user sign-out`.
#[derive(Debug, Args)]
pub struct SignOutArgs {
    /// Username, id or subject
    #[arg(value_name = "USER", required_unless_present = "all", conflicts_with = "all")]
    pub name: Option<String>,
    /// Everybody
    #[arg(long)]
    pub all: bool,
}

/// `chancery user add`.
#[derive(Debug, Args)]
pub struct UserAddArgs {
    /// JSON file with username, password, groups and OpenID Connect claims; - is standard input
    #[arg(long, value_name = "FILE", required_unless_present = "username")]
    pub file: Option<PathBuf>,
    /// What the person types to sign in
    #[arg(long)]
    pub username: Option<String>,
    /// The person's e-mail address
    #[arg(long)]
    pub email: Option<String>,
    /// The person's full name
    #[arg(long)]
    pub name: Option<String>,
    /// A group that the person belongs to; may be given several times
    #[arg(long = "group", value_name = "GROUP")]
    pub groups: Vec<String>,
    /// Read the password from standard input
    #[arg(long)]
    pub password_stdin: bool,
    /// An administrator
    #[arg(long)]
    pub admin: bool,
}

/// How much of a list to print.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// At most so many
    #[arg(long, default_value_t = 1000)]
    pub limit: u32,
    /// Only what comes after this id
    #[arg(long, value_name = "ID")]
    pub after: Option<String>,
}

/// `chancery group`.
#[derive(Debug, Subcommand)]
pub enum GroupCommand {
    /// Add a group with its roles
    Add(FileArg),
    /// List groups
    List(ListArgs),
    /// Show a group
    Show(GroupName),
    /// List the people of a group
    Members {
        #[command(flatten)]
        group: GroupName,
        #[command(flatten)]
        list: ListArgs,
    },
    /// Change what a JSON file names and leave the rest (null removes)
    Update {
        #[command(flatten)]
        group: GroupName,
        #[command(flatten)]
        file: FileArg,
    },
    /// Remove a group, and take everybody out of it
    Remove(GroupName),
}

/// Which group a command means.
#[derive(Debug, Args)]
pub struct GroupName {
    /// The identifier, as users' groups name it
    #[arg(value_name = "GROUP")]
    pub identifier: String,
}

/// `chancery client`.
#[derive(Debug, Subcommand)]
pub enum ClientCommand {
    /// Register an application; prints it with client_id and client_secret
    Add(FileArg),
    /// List applications
    List(ListArgs),
    /// Show an application; its secrets are never shown again
    Show(ClientId),
    /// Change what a JSON file names and leave the rest (null removes)
    Update {
        #[command(flatten)]
        client: ClientId,
        #[command(flatten)]
        file: FileArg,
    },
    /// Refuse everything that the application asks for
    Disable(ClientId),
    /// Serve the application again
    Enable(ClientId),
    /// Remove the application and everything issued to it
    Remove(ClientId),
    /// Make another secret; the old one stays valid for a while, so that rotation needs no outage
    RotateSecret {
        #[command(flatten)]
        client: ClientId,
        /// How long the old secret stays valid, such as 0, 10m, 24h
        #[arg(long, value_name = "DURATION", default_value = "24h")]
        grace: String,
    },
}

/// Which application a command means.
#[derive(Debug, Args)]
pub struct ClientId {
    /// The client_id
    #[arg(value_name = "CLIENT_ID")]
    pub client_id: String,
}

/// `chancery registration`.
#[derive(Debug, Subcommand)]
pub enum RegistrationCommand {
    /// Initial access tokens: who has one may register applications
    Token {
        #[command(subcommand)]
        command: RegistrationTokenCommand,
    },
}

/// `chancery registration token`.
#[derive(Debug, Subcommand)]
pub enum RegistrationTokenCommand {
    /// Make a token; it is printed once
    Add(RegistrationTokenArgs),
    /// List tokens, without themselves
    List(ListArgs),
    /// Show a token, without itself
    Show(RegistrationTokenId),
    /// Remove a token; applications that were registered with it stay
    Remove(RegistrationTokenId),
}

/// `chancery registration token add`.
#[derive(Debug, Args)]
pub struct RegistrationTokenArgs {
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    pub note: Option<String>,
    /// How many applications may be registered with it
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub registrations: u64,
    /// How long it is good, such as 1h, 7d; at most 365d
    #[arg(long, value_name = "DURATION", default_value = "7d")]
    pub expires_in: String,
    /// A grant that they may register for, such as client_credentials; may be given several times [default: [registration] grant_types]
    #[arg(long = "grant-type", value_name = "GRANT")]
    pub grant_types: Vec<String>,
    /// A scope that they may register for; may be given several times [default: [registration] scopes]
    #[arg(long = "scope", value_name = "SCOPE")]
    pub scopes: Vec<String>,
}

/// Which token a command means.
#[derive(Debug, Args)]
pub struct RegistrationTokenId {
    /// The token's id, as the list shows it
    #[arg(value_name = "ID")]
    pub id: uuid::Uuid,
}

/// A JSON document.
#[derive(Debug, Args)]
pub struct FileArg {
    /// JSON file; - is standard input
    #[arg(long, value_name = "FILE")]
    pub file: PathBuf,
}

/// `chancery resource`.
#[derive(Debug, Subcommand)]
pub enum ResourceCommand {
    /// Add an API with its scopes
    Add(FileArg),
    /// List APIs
    List,
    /// Show an API
    Show(Identifier),
    /// Change what a JSON file names and leave the rest (null removes)
    Update {
        #[command(flatten)]
        resource: Identifier,
        #[command(flatten)]
        file: FileArg,
    },
    /// Remove an API; its scopes are refused from then on
    Remove(Identifier),
}

/// Which API a command means.
#[derive(Debug, Args)]
pub struct Identifier {
    /// The identifier, such as https://api.example.com
    #[arg(value_name = "IDENTIFIER")]
    pub identifier: String,
}

/// `chancery plan`.
#[derive(Debug, Args)]
pub struct PlanArgs {
    #[command(flatten)]
    pub apply: ApplyArgs,
    /// Exit with 2 if something would change, with 0 if nothing would
    #[arg(long)]
    pub detailed_exitcode: bool,
}

/// `chancery apply`.
#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// The set-up file; - is standard input
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Take over what exists and belongs to no file
    #[arg(long)]
    pub adopt: bool,
    /// Remove what the file owned and does not name any more
    #[arg(long)]
    pub prune: bool,
    /// Give up what the file owned and does not name any more, as it is
    #[arg(long, conflicts_with = "prune")]
    pub release: bool,
}

/// `chancery key`.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// List signing keys and data keys
    List,
    /// Let the next key take over as soon as everybody can know it
    Rotate(RotateArgs),
    /// Seal all keys anew under the first of the two master keys configured
    Rewrap,
}

/// `chancery key rotate`.
#[derive(Debug, Args)]
pub struct RotateArgs {
    /// A data key instead of the signing keys: signing, refresh, token, user_code, cookie, cursor, lookup or factor
    #[arg(long, value_name = "PURPOSE", conflicts_with_all = ["alg", "kid"])]
    pub purpose: Option<String>,
    /// Signing keys of one algorithm only: RS256, PS256, ES256, EdDSA or Ed25519
    #[arg(long, value_name = "ALG")]
    pub alg: Option<String>,
    /// One signing key in whatever state, by its kid; needs --compromised
    // One in 64 begins with a hyphen.
    #[arg(long, value_name = "KID", requires = "compromised", conflicts_with = "alg", allow_hyphen_values = true)]
    pub kid: Option<String>,
    /// The key is in wrong hands: replace it at once, and let nothing that it made be valid
    #[arg(long)]
    pub compromised: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split(' '))
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_the_contract_names_can_be_typed() {
        for line in [
            "chancery quickstart",
            "chancery serve --config /etc/chancery.toml",
            "chancery serve --no-migrate --listen 0.0.0.0:80 --issuer https://id.example.com",
            "chancery migrate",
            "chancery config check --config x.toml",
            "chancery user add --username alice --email alice@example.com --password-stdin --admin",
            "chancery user add --file user.json",
            "chancery user list --json",
            "chancery user show alice",
            "chancery user disable alice",
            "chancery user enable alice",
            "chancery user set-password alice --password-stdin",
            "chancery user sign-out alice",
            "chancery user sign-out --all",
            "chancery user update alice --file patch.json",
            "chancery user remove alice",
            "chancery group add --file group.json",
            "chancery group list",
            "chancery group show staff",
            "chancery group members staff --limit 5",
            "chancery group update staff --file patch.json",
            "chancery group remove staff",
            "chancery client add --file client.json",
            "chancery client list",
            "chancery client show abc --json",
            "chancery client update abc --file patch.json",
            "chancery client disable abc",
            "chancery client enable abc",
            "chancery client remove abc",
            "chancery client rotate-secret abc",
            "chancery registration token add --registrations 5 --expires-in 1d --grant-type authorization_code --scope openid",
            "chancery registration token list",
            "chancery registration token show 0198c1d5-0000-7000-8000-0000000000aa",
            "chancery registration token remove 0198c1d5-0000-7000-8000-0000000000aa --json",
            "chancery resource add --file resource.json",
            "chancery resource list",
            "chancery resource show https://api.example.com",
            "chancery resource update https://api.example.com --file r.json",
            "chancery resource remove https://api.example.com",
            "chancery key list",
            "chancery key rotate --purpose refresh --compromised",
            "chancery key rotate --kid -d8UC9mx30bvB4AzPoAcdA2XYjH3xkOx9rZcCZJNFls --compromised",
            "chancery user show --sub --6ZcUk1lvJgdNeTu4sCu9GG2Jm2xMi2hS9SqLzBq1c --json",
            "chancery key rewrap",
            "chancery plan apps.toml --json --detailed-exitcode",
            "chancery apply apps.toml --adopt --prune",
            "chancery explain 0123456789abcdef0123456789abcdef",
            "chancery doctor --json",
        ] {
            parse(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
    }

    #[test]
    fn what_does_not_exist_yet_is_not_offered() {
        for line in
            ["chancery apply", "chancery apply x --prune --release", "chancery", "chancery user add", "chancery serve --colour"]
        {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
