//! `chancery user …`.

use std::path::PathBuf;

use serde_json::{Value, json};
use uuid::Uuid;

use super::args::{ListArgs, SignOutArgs, UserAddArgs, UserCommand};
use super::error::CliError;
use super::office::Office;
use super::output::{Out, Table, yes_no};
use super::{input, key};
use crate::oidc::pairwise;
use crate::oidc::user::User;
use crate::secret::Secret;
use crate::service::document::Document;
use crate::service::users::factors::{Kind, ShownFactors};
use crate::service::users::{self, UserDocument};

pub async fn run(file: Option<PathBuf>, command: UserCommand, out: Out) -> Result<(), CliError> {
    let office = Office::open(file).await?;
    let operator = office.operator();
    match command {
        UserCommand::Add(args) => add(&office, args, out).await,
        UserCommand::List(args) => {
            let after = after(&args)?;
            list(&users::list(&operator, args.limit, after).await?, out)
        }
        UserCommand::Show(args) => {
            let user = match &args.sub {
                // Only the server's keys tell whose a pairwise subject is.
                Some(sub) => match pairwise::person(&key::open(&office).await?.data(), sub) {
                    Some(id) => users::by_id(&operator, id).await?,
                    None => users::by_sub(&operator, sub).await?,
                },
                None => users::find(&operator, args.name.as_deref().unwrap_or_default()).await?,
            };
            show(&user, &users::factors::of(&operator, &user).await?, out)
        }
        UserCommand::Update { user, file } => {
            let patch = Document::parse(&input::file(&file.file)?)
                .map_err(|error| CliError::new(format!("{}: {error}", file.file.display())))?;
            done(&users::update(&operator, &user.name, patch).await?, "updated", out)
        }
        UserCommand::Remove(user) => {
            done(&users::remove(&operator, &user.name).await?, "removed; every session and token has ended", out)
        }
        UserCommand::Disable(user) => {
            let user = users::disable(&operator, &user.name).await?;
            done(&user, "disabled; every session and token has ended", out)
        }
        UserCommand::Enable(user) => done(&users::enable(&operator, &user.name).await?, "enabled", out),
        UserCommand::SetPassword { user, password_stdin } => {
            let (password, made) = password(&office, password_stdin)?;
            let user = users::set_password(&operator, &user.name, password).await?;
            print_once(&user, made.as_ref(), "has a new password; every session and token has ended", out)
        }
        UserCommand::SignOut(SignOutArgs { name: Some(name), .. }) => {
            done(&users::sign_out(&operator, &name).await?, "signed out; every session and token has ended", out)
        }
        UserCommand::SignOut(SignOutArgs { name: None, .. }) => {
            let people = users::sign_out_all(&operator).await?;
            if out.json {
                return out.json(&json!({ "signed_out": people }));
            }
            out.say(&format!("All {people} users are signed out; every session and token has ended."))
        }
        UserCommand::ResetFactors(user) => {
            let user = users::factors::reset(&operator, &user.name).await?;
            done(&user, "has no second factor and no recovery codes any more; every session and token has ended", out)
        }
    }
}

/// The person and their second factors: one line for each.
fn show(user: &User, factors: &ShownFactors, out: Out) -> Result<(), CliError> {
    let shown = users::show(user);
    if out.json {
        let mut value = shown;
        if let Value::Object(members) = &mut value {
            members.insert("second_factors".to_owned(), users::factors::show(factors));
        }
        return out.json(&value);
    }
    out.show(&shown, || {
        let mut table = Table::members(&shown);
        for factor in &factors.factors {
            let (kind, synced) = match (factor.kind, factor.synced) {
                (Kind::Totp, _) => ("authenticator app", ""),
                (Kind::Passkey, Some(true)) => ("passkey", ", synced"),
                (Kind::Passkey, _) => ("passkey", ""),
            };
            let device = factor.device.as_ref().map(|device| format!(" in {device}")).unwrap_or_default();
            let words = format!("added {}{device}{synced}, last used {}", factor.created_at, factor.last_used_at);
            table.row([kind.to_owned(), words]);
        }
        if !factors.factors.is_empty() {
            table.row(["recovery codes".to_owned(), format!("{} left", factors.recovery_codes)]);
        }
        table
    })
}

async fn add(office: &Office, args: UserAddArgs, out: Out) -> Result<(), CliError> {
    if args.password_stdin && args.file.as_deref().is_some_and(|path| path == std::path::Path::new("-")) {
        return Err(CliError::new("--password-stdin and --file - both read standard input; use a file for one of them"));
    }
    let mut document = match &args.file {
        Some(path) => {
            UserDocument::parse(&input::file(path)?).map_err(|error| CliError::new(format!("{}: {error}", path.display())))?
        }
        None => UserDocument::default(),
    };
    document.username = args.username.or(document.username);
    document.claims.email = args.email.or(document.claims.email);
    document.claims.name = args.name.or(document.claims.name);
    if args.admin {
        document.admin = Some(true);
    }
    if !args.groups.is_empty() {
        document.groups = Some(args.groups);
    }
    document.check()?;
    let (password, made) = match (&document.password, args.password_stdin) {
        (Some(_), true) => {
            return Err(CliError::new("the file has a password, and --password-stdin gives another; keep one of them"));
        }
        (Some(password), false) => (password.clone(), None),
        (None, stdin) => password(office, stdin)?,
    };
    let user = users::add(&office.operator(), document, Some(password)).await?;
    print_once(&user, made.as_ref(), "added", out)
}

/// The password from standard input, or one made here, which has to be told.
fn password(office: &Office, stdin: bool) -> Result<(Secret<String>, Option<Secret<String>>), CliError> {
    if stdin {
        return Ok((input::password()?, None));
    }
    let made = users::make_password(&office.operator());
    Ok((made.clone(), Some(made)))
}

/// The user, and the password if it was made here: it is told now and never again.
fn print_once(user: &User, made: Option<&Secret<String>>, what: &str, out: Out) -> Result<(), CliError> {
    let mut value = users::show(user);
    if let (Some(made), Value::Object(members)) = (made, &mut value) {
        members.insert("password".to_owned(), json!(made.expose()));
    }
    if out.json {
        return out.json(&value);
    }
    done(user, what, out)?;
    match made {
        Some(made) => out.say(&format!("Password, shown this once: {}", made.expose())),
        None => Ok(()),
    }
}

fn done(user: &User, what: &str, out: Out) -> Result<(), CliError> {
    if out.json {
        return out.json(&users::show(user));
    }
    out.say(&format!("User {:?} ({}) {what}.", user.username, user.id))
}

/// `--after` of a list of people.
pub fn after(args: &ListArgs) -> Result<Option<Uuid>, CliError> {
    let after = args.after.as_deref().map(Uuid::parse_str).transpose();
    after.map_err(|_| CliError::new("--after takes an id, as `user list` shows them"))
}

pub fn list(people: &[User], out: Out) -> Result<(), CliError> {
    let value = Value::Array(people.iter().map(users::show).collect());
    out.show(&value, || {
        let mut table = Table::new(["USERNAME", "EMAIL", "ENABLED", "ADMIN", "GROUPS", "ID"]);
        for user in people {
            table.row([
                user.username.clone(),
                user.claims.email.clone().unwrap_or_else(|| "-".to_owned()),
                yes_no(user.enabled),
                yes_no(user.admin),
                user.groups.join(" "),
                user.id.to_string(),
            ]);
        }
        table
    })
}
