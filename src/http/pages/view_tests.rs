//! Every page in every language. With `CHANCERY_RENDER_PAGES=DIR` the pages are written to files to look at, CSS inlined.

use scraper::{Html, Selector};

use super::account::{
    AccountView, AppRow, ConfirmBy, ConfirmView, Done, PasswordFailure, PasswordView, ProfileField, ProfileRow, ProfileView,
    SessionRow,
};
use super::*;
use crate::clock::Timestamp;
use crate::http::pages::client_seen::HttpsLink;
use crate::http::pages::qr::Qr;
use crate::http::pages::scope_words::ScopeLine;
use crate::oauth::grant::samples;
use crate::oauth::resource::Catalogue;
use crate::oidc::user::User;
use crate::service::account::password::NotTaken;
use crate::service::account::profile::{Field, Problem};
use crate::service::passwords::PolicyError;

const EVIL: &str = "\"><script>alert(1)</script>";

fn frame(lang: Lang) -> Frame<'static> {
    Frame { lang, base: "/auth", name: "Northwind Traders", support: Some("https://support.example.com") }
}

fn form(action: &'static str) -> Form<'static> {
    Form { action, interaction: Some("interaction-id"), csrf: "csrf-token" }
}

fn client(name: &str) -> ClientSeen {
    ClientSeen {
        name: name.to_owned(),
        destination: Destination::of("https://ledger.example.com/cb"),
        website: HttpsLink::of("https://ledger.example.com"),
        privacy_policy: HttpsLink::of("https://ledger.example.com/privacy"),
        terms_of_service: HttpsLink::of("https://ledger.example.com/terms"),
        contacts: vec![name.to_owned(), "support@ledger.example.com".to_owned()],
        logo: Some("/logo/ledger?v=0a1b2c3d".to_owned()),
        unverified: true,
    }
}

fn person(name: &str) -> Person<'_> {
    Person { name, detail: "alice@northwind.example" }
}

fn groups(lang: Lang) -> Vec<ScopeGroup> {
    let own: Vec<String> = ["openid", "profile", "email", "offline_access"].map(String::from).to_vec();
    let mut groups = crate::http::pages::scope_words::groups(lang, &own, &Catalogue::new(vec![], "https://id.example.com"));
    groups.push(ScopeGroup {
        title: "Orders".into(),
        identifier: Some("https://api.example.com/orders".into()),
        scopes: vec![
            ScopeLine { scope: "orders:read".into(), title: "Read your orders".into(), description: String::new() },
            ScopeLine { scope: "orders:write".into(), title: "Place orders in your name".into(), description: String::new() },
        ],
    });
    groups
}

/// Every page, by the name of its file, with text in every place that a stranger can fill.
fn every_page(lang: Lang, stranger: &str) -> Vec<(&'static str, String)> {
    let frame = frame(lang);
    let (client, alice) = (client(&format!("Ledger{stranger}")), format!("Alice Arden{stranger}"));
    let person = person(&alice);
    let login = |notice, failure, username| {
        LoginView {
            frame,
            form: form("/login"),
            client: Some(&client),
            username,
            notice,
            failure,
            passkey: None,
            for_device: false,
        }
        .render()
        .unwrap()
    };
    let device = |typed, failure| DeviceView { frame, form: form("/device"), typed, failure }.render().unwrap();
    let decide = |from_here, seconds, groups| {
        LookedAtView {
            frame,
            form: form("/device"),
            user_code: "WDJB-MJHT",
            client: &client,
            person,
            groups,
            requested_from: "203.0.113.7",
            from_here,
            age: Duration::from_secs(seconds),
        }
        .render()
        .unwrap()
    };
    let apps = vec![
        AppRow {
            id: "c1".into(),
            name: format!("Ledger{stranger}"),
            scopes: vec!["See your profile".into(), "See your email address".into(), "Read your orders".into()],
            since: lang.date(Timestamp::from_seconds(1_795_219_200)),
            last_used: Some(lang.ago(Timestamp::from_seconds(1), Timestamp::from_seconds(7300))),
            open: Some("https://shop.example.com/login?iss=https%3A%2F%2Fid.example.com".to_owned()),
        },
        AppRow {
            id: "c2".into(),
            name: "Team Calendar".into(),
            scopes: vec!["Know who you are".into()],
            since: lang.date(Timestamp::from_seconds(1_772_500_000)),
            last_used: None,
            open: None,
        },
    ];
    let session = |sid: &str, here, device: &str, address: &str| SessionRow {
        sid: format!("{sid}{stranger}"),
        here,
        device: format!("{device}{stranger}"),
        address: Some(address.to_owned()),
        last_used: lang.ago(Timestamp::from_seconds(1), Timestamp::from_seconds(if here { 2 } else { 7300 })),
        since: lang.date(Timestamp::from_seconds(1_795_219_200)),
    };
    let sessions = [
        session("s1", true, "Firefox · Windows", "203.0.113.7"),
        session("s2", false, "Samsung Internet · Android", "2001:db8:1:2::/64"),
    ];
    let user = User {
        username: format!("alice{stranger}"),
        claims: serde_json::from_value(serde_json::json!({
            "name": alice, "given_name": "Alice", "family_name": "Adams", "email": "alice@example.com", "email_verified": true,
            "phone_number": "+49 30 1", "address": { "formatted": format!("Weg 1\n10115 Berlin{stranger}") },
            "zoneinfo": "Europe/Berlin", "website": format!("https://alice.example/{stranger}"),
        }))
        .unwrap(),
        ..samples::user()
    };
    let profile = ProfileRow::of(lang, &user);
    let account = |profile: &[ProfileRow], sessions: &[SessionRow], apps: &[AppRow], done| {
        AccountView { frame, form: form("/account"), person, done, profile, sessions, apps, has_password: true }.render().unwrap()
    };
    let form_fields: Vec<ProfileField> = Field::ALL
        .into_iter()
        .map(|field| {
            let problem = (field == Field::Website).then_some(Problem::NotHttps);
            ProfileField::of(lang, field, format!("{}{stranger}", field.of(&user.claims).unwrap_or_default()), problem)
        })
        .collect();
    let password = |first, failure| {
        PasswordView { frame, form: form("/account/password"), username: &alice, first, shortest: 8, failure }.render().unwrap()
    };
    let offer = PasskeyOffer { rp_id: "id.example".into(), challenge: format!("1.AAAA{stranger}"), ids: "AAAA BBBB".into() };
    let confirm = |by: Option<ConfirmBy>, failure| {
        let form = form("/account/confirm");
        let (passkey, other_way) = (Some(&offer), by.map(|_| "/auth/account/confirm?to=account&with=code"));
        ConfirmView { frame, form, person, username: &alice, to: "account", by, passkey, other_way, failure }.render().unwrap()
    };
    let new = NewPasskeyOffer {
        offer: offer.clone(),
        user_handle: "AAAA".into(),
        username: alice.clone(),
        display_name: alice.clone(),
        algorithms: "-7 -8 -257".into(),
    };
    let codes = [format!("12345-67890-12345-67890{stranger}")];
    let second_factor = |recovery, failure| {
        let form = form("/second-factor");
        let (sign_in, other_way) = (Some("s"), Some("/auth/second-factor?sign_in=s"));
        SecondFactorView {
            frame,
            form,
            sign_in,
            client: Some(&client),
            person,
            recovery,
            has_app: true,
            passkey: None,
            other_way,
            failure,
        }
        .render()
        .unwrap()
    };
    let (uri, qr) = (format!("otpauth://totp/x?secret=A{stranger}"), Qr::of("otpauth://totp/x?secret=A").unwrap());
    let enrol = |passkey: Option<&NewPasskeyOffer>, failure| {
        let view = EnrolView {
            frame,
            form: form("/second-factor/enrol"),
            sign_in: None,
            enrolment: "sealed",
            client: Some(&client),
            person,
            demanded: true,
            passkey,
            qr: &qr,
            uri: &uri,
            secret: "GEZD GNBV GY3T QOJQ",
            failure,
        };
        view.render().unwrap()
    };
    let factors = |totp, recovery_codes| {
        let device = Some(format!("Firefox · Windows{stranger}"));
        let rows = [PasskeyRow {
            id: format!("p{stranger}"),
            synced: true,
            device,
            added: "1 May 2026".into(),
            used: "2 May 2026".into(),
        }];
        let passkeys = if recovery_codes > 0 { &rows[..] } else { &[] };
        let form = form("/account/factors");
        let view = FactorsView { frame, form, person, totp, recovery_codes, passkeys, passkey: Some(&new), failed: false };
        view.render().unwrap()
    };
    let reason = Reason::RedirectUriMismatch {
        client_id: "c1".into(),
        registered: vec!["https://registered.example/cb".into()],
        received: format!("https://ledger.example.com/callback/{stranger}"),
    };
    let missing = Reason::NotFound { path: format!("/x{stranger}") };
    let fields = [("code".to_owned(), format!("abc{stranger}")), ("state".to_owned(), stranger.to_owned())];
    vec![
        ("login", login(None, None, stranger)),
        ("login-again", login(Some(LoginNotice::SignInAgain), None, &alice)),
        ("login-failed", login(None, Some(LoginFailure::NoMatch), &alice)),
        ("login-throttled", login(None, Some(LoginFailure::Throttled(Duration::from_secs(150))), &alice)),
        ("login-busy", login(None, Some(LoginFailure::Busy), &alice)),
        (
            "login-alone",
            LoginView {
                frame,
                form: form("/login"),
                client: None,
                username: "",
                notice: None,
                failure: None,
                passkey: None,
                for_device: false,
            }
            .render()
            .unwrap(),
        ),
        ("select-account", SelectAccountView { frame, form: form("/login"), client: &client, person }.render().unwrap()),
        ("consent", ConsentView { frame, form: form("/consent"), client: &client, person, groups: groups(lang) }.render().unwrap()),
        (
            "login-device",
            LoginView {
                frame,
                form: form("/login"),
                client: None,
                username: "",
                notice: None,
                failure: None,
                passkey: None,
                for_device: true,
            }
            .render()
            .unwrap(),
        ),
        ("device", device(stranger, None)),
        ("device-failed", device(stranger, Some(DeviceFailure::NotValid))),
        ("device-throttled", device(stranger, Some(DeviceFailure::Throttled(Duration::from_secs(30))))),
        ("device-decide", decide(true, 20, groups(lang))),
        ("device-decide-elsewhere", decide(false, 150, Vec::new())),
        ("device-allowed", DeviceDoneView { frame, client: &client, allowed: true }.render().unwrap()),
        ("device-denied", DeviceDoneView { frame, client: &client, allowed: false }.render().unwrap()),
        (
            "error",
            ErrorView { frame, reason: &reason, sign_out: Some("/logout"), trace_id: "9f86d081884c7d659a2feaa0c55ad015" }
                .render()
                .unwrap(),
        ),
        (
            "not-found",
            ErrorView { frame, reason: &missing, sign_out: None, trace_id: "9f86d081884c7d659a2feaa0c55ad015" }.render().unwrap(),
        ),
        (
            "logout",
            LogoutView {
                frame,
                form: form("/logout"),
                asked: &[("state", "s")],
                client_name: Some(&client.name),
                person: Some(person),
            }
            .render()
            .unwrap(),
        ),
        ("signed-out", SignedOutView { frame, signed_out: true, frames: &[], onward: None }.render().unwrap()),
        (
            "signed-out-onward",
            SignedOutView {
                frame,
                signed_out: true,
                frames: &[format!("https://ledger.example.com/out?{stranger}"), "https://b.example.com/out?sid=1".to_owned()],
                onward: Some(&format!("https://ledger.example.com/bye?state={stranger}")),
            }
            .render()
            .unwrap(),
        ),
        ("stayed", SignedOutView::stayed(frame).render().unwrap()),
        ("form-post", FormPostView { frame, action: "https://ledger.example.com/cb", fields: &fields }.render().unwrap()),
        (
            "leave",
            LeaveView { frame, target: &format!("https://ledger.example.com/cb?code=abc&state={stranger}") }.render().unwrap(),
        ),
        ("account", account(&profile, &sessions, &apps, Some(Done::Withdrawn))),
        ("account-empty", account(&profile[..1], &sessions[..1], &[], None)),
        ("profile", ProfileView { frame, form: form("/account/profile"), fields: &form_fields }.render().unwrap()),
        ("password", password(false, None)),
        ("password-first", password(true, None)),
        ("password-short", password(false, Some(PasswordFailure::NotTaken(NotTaken::Policy(PolicyError::TooShort(8)))))),
        ("password-wrong", password(false, Some(PasswordFailure::Current(LoginFailure::NoMatch)))),
        ("confirm", confirm(Some(ConfirmBy::Password), None)),
        ("confirm-code", confirm(Some(ConfirmBy::Code), Some(LoginFailure::NoMatch))),
        ("confirm-passkey", confirm(None, None)),
        ("confirm-failed", confirm(Some(ConfirmBy::Password), Some(LoginFailure::NoMatch))),
        ("second-factor", second_factor(false, None)),
        ("second-factor-wrong", second_factor(false, Some(FactorFailure::Wrong))),
        ("recovery-code-throttled", second_factor(true, Some(FactorFailure::Throttled(Duration::from_secs(150))))),
        ("enrol", enrol(None, None)),
        ("enrol-passkey", enrol(Some(&new), Some(FactorFailure::Passkey))),
        ("enrol-wrong", enrol(None, Some(FactorFailure::Wrong))),
        ("recovery-codes", RecoveryCodesView { frame, codes: &codes, next: "/auth/consent?interaction=i" }.render().unwrap()),
        ("factors", factors(Some(("1 May 2026", "2 May 2026")), 10)),
        ("factors-none", factors(None, 0)),
        (
            "demo",
            DemoView {
                frame,
                issuer: "https://id.example.com/auth",
                client_id: "demo",
                scope: "openid profile email offline_access",
            }
            .render()
            .unwrap(),
        ),
    ]
}

fn count(page: &Html, selector: &str) -> usize {
    page.select(&Selector::parse(selector).unwrap()).count()
}

#[test]
fn every_page_has_one_main_at_most_one_form_and_its_language() {
    for lang in Lang::ALL {
        for (name, html) in every_page(lang, "") {
            let page = Html::parse_document(&html);
            assert_eq!(count(&page, "main"), 1, "{name}");
            assert_eq!(count(&page, "h1"), 1, "{name}");
            assert!(count(&page, "form") <= 1, "{name}");
            assert_eq!(count(&page, &format!("html[lang={}]", lang.tag())), 1, "{name}");
            assert_eq!(count(&page, "title"), 1, "{name}");
        }
    }
}

#[test]
fn what_strangers_write_is_escaped_everywhere() {
    for lang in Lang::ALL {
        for (name, html) in every_page(lang, EVIL) {
            assert!(!html.contains("<script>alert"), "{name}");
            let passkeys = name.starts_with("confirm") || name.starts_with("factors") || name == "enrol-passkey";
            let scripts = usize::from(matches!(name, "form-post" | "demo" | "signed-out-onward") || passkeys);
            assert_eq!(count(&Html::parse_document(&html), "script"), scripts, "{name}");
        }
    }
}

#[test]
fn no_page_needs_what_the_policy_forbids() {
    for (name, html) in every_page(Lang::En, "") {
        let page = Html::parse_document(&html);
        assert_eq!(count(&page, r#"[style], style, base, object, img:not([src^="/auth/logo/"]), link[rel=preload]"#), 0, "{name}");
        // The clients' own pages, which may run, and neither leave their frame nor open a window.
        let frames = count(&page, "iframe[hidden][src^='https://'][sandbox='allow-scripts allow-same-origin allow-forms']");
        assert_eq!((count(&page, "iframe"), frames), if name == "signed-out-onward" { (2, 2) } else { (0, 0) }, "{name}");
        assert!(!html.contains(" onclick=") && !html.contains("javascript:"), "{name}");
        for link in page.select(&Selector::parse("a[href]").unwrap()) {
            let to = link.attr("href").unwrap();
            let to_app = name.starts_with("enrol") && to.starts_with("otpauth://totp/");
            assert!(to.starts_with("https://") || to.starts_with("/auth/") || to_app, "{name}: {to}");
        }
    }
}

#[test]
fn every_url_of_ours_begins_with_the_path_of_the_issuer() {
    for (name, html) in every_page(Lang::En, "") {
        let page = Html::parse_document(&html);
        for own in page.select(&Selector::parse("link[href], script[src], img[src], form[action], a[href^='/']").unwrap()) {
            let url = own.attr("href").or(own.attr("src")).or(own.attr("action")).unwrap();
            assert!(url.starts_with("/auth/") || name == "form-post" && url.starts_with("https://ledger"), "{name}: {url}");
        }
    }
}

#[test]
fn the_names_that_scripts_and_password_managers_rely_on_are_there() {
    let pages = every_page(Lang::De, "");
    let page = |wanted: &str| Html::parse_document(&pages.iter().find(|(name, _)| *name == wanted).unwrap().1);
    let login = page("login");
    assert_eq!(count(&login, "main form input[name=username][autocomplete=username]"), 1);
    assert_eq!(count(&login, "main form input[name=password][type=password][autocomplete=current-password]"), 1);
    assert_eq!(count(&login, "main form input[name=csrf]"), 1);
    let change = page("password");
    assert_eq!(count(&change, "main form input[name=password][type=password][autocomplete=current-password]"), 1);
    assert_eq!(count(&change, "main form input[name=new_password][type=password][autocomplete=new-password]"), 1);
    assert_eq!(count(&page("confirm"), "main form input[name=password][autocomplete=current-password]"), 1);
    for name in ["second-factor", "enrol"] {
        assert_eq!(count(&page(name), "main form input[name=code][autocomplete=one-time-code]"), 1, "{name}");
    }
    for name in ["consent", "logout"] {
        assert_eq!(count(&page(name), "main form button[name=decision][value=allow]"), 1, "{name}");
        assert_eq!(count(&page(name), "main form button[name=decision][value=deny]"), 1, "{name}");
    }
    let error = page("error");
    let trace = error.select(&Selector::parse("#trace-id").unwrap()).next().unwrap();
    assert_eq!(trace.text().collect::<String>(), "9f86d081884c7d659a2feaa0c55ad015");
    assert!(!error.html().contains("registered.example"));
}

#[test]
fn the_inline_script_is_the_one_that_its_policy_allows() {
    let (_, html) = every_page(Lang::En, "").into_iter().find(|(name, _)| *name == "form-post").unwrap();
    let page = Html::parse_document(&html);
    let script = page.select(&Selector::parse("script").unwrap()).next().unwrap();
    assert_eq!(script.text().collect::<String>(), FormPostView::SCRIPT);
}

#[test]
fn pages_can_be_written_to_files_to_look_at() {
    let Ok(folder) = std::env::var("CHANCERY_RENDER_PAGES") else { return };
    let css = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/assets/chancery.css")).unwrap();
    for lang in Lang::ALL {
        for (name, html) in every_page(lang, "") {
            let html = html.replace("</head>", &format!("<style>{css}</style></head>")).replace("autofocus", "");
            std::fs::write(format!("{folder}/{name}.{}.html", lang.tag()), html).unwrap();
        }
    }
}
