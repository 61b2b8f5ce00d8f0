//! What happens at the same moment: on two replicas of PostgreSQL, and on SQLite. One winner, no server errors, no half state.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use chancery::storage::users;
use futures_util::future::join_all;
use serde_json::json;

use crate::harness::{Answer, Backend, Client, Request, Server, Setup, jwt, on_both, rounds, unique};

on_both![
    fifty_redemptions_of_one_code_give_one_set_of_tokens,
    concurrent_refreshes_leave_one_live_head,
    concurrent_refreshes_of_a_strict_client_have_one_winner,
    after_a_revoke_answered_nothing_of_the_family_is_active,
    a_disable_between_read_and_write_wins,
    a_client_that_is_switched_off_meanwhile_is_refused_and_not_to_be_tried_again,
    one_consent_answered_twice_gives_one_code,
    whoever_changes_all_the_time_keeps_no_operator_out,
    replicas_agree_about_everything,
];

/// A server and a second one on the same database.
async fn two(server: &Server) -> [Server; 2] {
    [server.clone(), server.replica().await]
}

fn spread<'a>(client: &'a Client, replicas: &'a [Server; 2]) -> impl Fn(usize) -> Client + 'a {
    move |index| client.through(replicas[index % 2].site())
}

fn statuses(answers: &[Answer]) -> (usize, usize) {
    let ok = answers.iter().filter(|answer| answer.status == 200).count();
    (ok, answers.len() - ok)
}

///
async fn fifty_redemptions_of_one_code_give_one_set_of_tokens(server: Server) {
    let (server, alice, client) = server.actors().await;
    let replicas = two(&server).await;
    let through = spread(&client, &replicas);
    for round in 0..rounds(3, 40) {
        let back = Arc::new(alice.visit(&client, "openid").await);
        let answers = join_all((0..50).map(|index| {
            let (client, back) = (through(index), back.clone());
            tokio::spawn(async move { client.redeem(back.code(), &back.verifier).await })
        }))
        .await;
        let answers: Vec<Answer> = answers.into_iter().map(Result::unwrap).collect();
        assert_eq!(statuses(&answers), (1, 49), "round {round}");
        for answer in answers.into_iter().filter(|answer| answer.status != 200) {
            answer.refused(400, "invalid_grant");
        }
    }
}

///
async fn concurrent_refreshes_leave_one_live_head(server: Server) {
    let alice = server.person("alice").await;
    let replicas = two(&server).await;
    for client in [server.client(json!({})).await, server.public_client(json!({})).await] {
        for round in 0..rounds(2, 20) {
            let tokens = alice.tokens_for_long(&client).await;
            let token = tokens.str("refresh_token");
            let through = spread(&client, &replicas);
            let answers = join_all((0..20).map(|index| {
                let (client, token) = (through(index), token.clone());
                tokio::spawn(async move { client.refresh(&token).await })
            }))
            .await;
            let answers: Vec<Answer> = answers.into_iter().map(|answer| answer.unwrap().ok()).collect();
            let heads: std::collections::BTreeSet<String> = answers.iter().map(|answer| answer.str("refresh_token")).collect();
            assert_eq!(heads.len(), 1, "round {round}: all hold the same head");
            let jtis: std::collections::BTreeSet<String> =
                answers.iter().map(|answer| jwt(&answer.str("access_token")).1["jti"].to_string()).collect();
            assert_eq!(jtis.len(), 20);
            client.refresh(heads.first().unwrap()).await.ok();
        }
    }
}

async fn concurrent_refreshes_of_a_strict_client_have_one_winner(server: Server) {
    let (server, alice, _) = server.actors().await;
    let client = server.client(json!({ "refresh_rotation": "strict" })).await;
    let replicas = two(&server).await;
    let through = spread(&client, &replicas);
    for _ in 0..rounds(3, 20) {
        let tokens = alice.tokens_for_long(&client).await;
        let token = tokens.str("refresh_token");
        let answers = join_all((0..10).map(|index| {
            let (client, token) = (through(index), token.clone());
            tokio::spawn(async move { client.refresh(&token).await })
        }))
        .await;
        let answers: Vec<Answer> = answers.into_iter().map(Result::unwrap).collect();
        assert_eq!(statuses(&answers).0, 1);
    }
}

/// whichever comes first, in the end nothing lives.
async fn after_a_revoke_answered_nothing_of_the_family_is_active(server: Server) {
    let (server, alice, client) = server.actors().await;
    let replicas = two(&server).await;
    for round in 0..rounds(5, 60) {
        let tokens = alice.tokens_for_long(&client).await;
        let token = tokens.str("refresh_token");
        let (one, two) = (client.through(replicas[round % 2].site()), client.through(replicas[(round + 1) % 2].site()));
        let refreshing = {
            let token = token.clone();
            tokio::spawn(async move { one.refresh(&token).await })
        };
        if round % 3 == 0 {
            tokio::time::sleep(Duration::from_millis(round as u64 % 7)).await;
        }
        two.revoke(&token).await.ok();
        let refreshed = refreshing.await.unwrap();
        let mut all = vec![tokens];
        if refreshed.status == 200 {
            all.push(refreshed);
        }
        for answer in all {
            assert!(!client.is_active(&answer.str("access_token")).await, "round {round}");
            assert!(!client.is_active(&answer.str("refresh_token")).await, "round {round}");
            client.refresh(&answer.str("refresh_token")).await.refused(400, "invalid_grant");
        }
    }
}

/// Lesson 4: the write repeats what the decision rested on.
async fn a_disable_between_read_and_write_wins(server: Server) {
    let (server, _, client) = server.actors().await;
    let replicas = two(&server).await;
    for round in 0..rounds(4, 40) {
        let alice = server.person("alice").await;
        let tokens = alice.tokens_for_long(&client).await;
        let back = Arc::new(alice.visit(&client, "openid").await);
        let through = spread(&client, &replicas);
        let mut work = Vec::new();
        for index in 0..6 {
            let (client, token, back) = (through(index), tokens.str("refresh_token"), back.clone());
            work.push(tokio::spawn(async move {
                if index < 3 { client.refresh(&token).await } else { client.redeem(back.code(), &back.verifier).await }
            }));
        }
        tokio::time::sleep(Duration::from_millis(round as u64 % 5)).await;
        server.disable_user(&alice).await;
        for answer in join_all(work).await {
            let answer = answer.unwrap();
            if answer.status == 200 {
                assert!(!client.is_active(&answer.str("access_token")).await, "round {round}");
                client.refresh(&answer.str("refresh_token")).await.refused(400, "invalid_grant");
            } else {
                answer.refused(400, "invalid_grant");
            }
        }
    }
}

/// Whoever is on the way to it gets a code that came before, or hears that it is off; no server error says to try again.
async fn a_client_that_is_switched_off_meanwhile_is_refused_and_not_to_be_tried_again(server: Server) {
    let alice = server.person("alice").await;
    let replicas = two(&server).await;
    let mut refused = 0;
    for round in 0..rounds(10, 60) {
        let client = server.client(json!({ "first_party": true })).await;
        alice.visit(&client, "openid").await;
        let on_the_way = (0..12).map(|index| {
            let (request, browser) =
                (Request::of(&client).with("prompt", "none"), alice.browser.through(replicas[index % 2].site()));
            tokio::spawn(async move { browser.get(request.url(browser.site())).await })
        });
        let on_the_way: Vec<_> = on_the_way.collect();
        tokio::time::sleep(Duration::from_millis(round as u64 % 5)).await;
        server.disable_client(&client).await;
        for page in join_all(on_the_way).await {
            let page = page.unwrap();
            match page.location() {
                Some(to) => assert!(to.query_pairs().any(|(name, _)| name == "code"), "{to}"),
                None => {
                    assert_eq!(page.status, 400, "{}", page.body);
                    assert!(page.body.contains(&client.client_id), "{}", page.body);
                    refused += 1;
                }
            }
        }
    }
    assert!(refused > 0, "nobody was on the way");
}

async fn one_consent_answered_twice_gives_one_code(server: Server) {
    let (server, alice, client) = server.actors().await;
    alice.visit(&client, "openid").await;
    let alice = Arc::new(alice);
    for _ in 0..rounds(3, 20) {
        let mut page = alice.open(&Request::of(&client).with("prompt", "consent")).await;
        while page.location().is_some() {
            page = alice.browser.follow(&page).await;
        }
        let answers = join_all((0..8).map(|_| {
            let (alice, page) = (alice.clone(), page.clone());
            tokio::spawn(async move { alice.browser.submit(&page, &[("decision", "allow")]).await })
        }))
        .await;
        let codes = answers
            .into_iter()
            .map(Result::unwrap)
            .filter(|page| page.location().is_some_and(|to| to.as_str().contains("code=")))
            .count();
        assert_eq!(codes, 1);
    }
    drop(server);
}

/// A person who edits their profile over and over is disabled and removed like any other (security.md R-46).
async fn whoever_changes_all_the_time_keeps_no_operator_out(server: Server) {
    let (server, _, client) = server.actors().await;
    let admin = server.admin("admin:write").await;
    for round in 0..rounds(4, 20) {
        let alice = Arc::new(server.person("alice").await);
        alice.tokens(&client, "openid").await;
        let page = alice.browser.get("/account/profile").await;
        let (edits, over) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let editors = (0..8).map(|_| {
            let (alice, page, edits, over) = (alice.clone(), page.clone(), edits.clone(), over.clone());
            tokio::spawn(async move {
                while !over.load(Ordering::Relaxed) {
                    let edit = edits.fetch_add(1, Ordering::Relaxed);
                    alice.browser.submit(&page, &[("nickname", &edit.to_string())]).await;
                }
            })
        });
        let editors: Vec<_> = editors.collect();
        while edits.load(Ordering::Relaxed) < 40 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let id = users::find_by_sub(&server.app.db, &alice.sub).await.unwrap().unwrap().id;
        let path = format!("/users/{id}");
        let answer = if round % 2 == 0 { admin.delete(&path).await } else { admin.patch(&path, json!({ "enabled": false })).await };
        over.store(true, Ordering::Relaxed);
        for editor in editors {
            editor.await.unwrap();
        }
        assert!([200, 204].contains(&answer.status), "round {round}: {} {}", answer.status, answer.text);
    }
}

async fn replicas_agree_about_everything(server: Server) {
    let (server, alice, client) = server.actors().await;
    let replica = server.replica().await;
    let elsewhere = client.through(replica.site());
    let back = alice.visit(&client, "openid").await;
    let tokens = elsewhere.redeem(back.code(), &back.verifier).await.ok();
    replica.userinfo(&tokens.str("access_token")).await.ok();
    server.userinfo(&tokens.str("access_token")).await.ok();
    assert!(client.is_active(&tokens.str("refresh_token")).await);
    assert_eq!(server.get("/jwks").await.ok().json(), replica.get("/jwks").await.ok().json());
    let renewed = client.refresh(&tokens.str("refresh_token")).await.ok();
    elsewhere.revoke(&renewed.str("access_token")).await.ok();
    server.userinfo(&renewed.str("access_token")).await.refused(401, "invalid_token");
    // A session that began here is known there.
    let page = alice.browser.through(replica.site()).get(Request::of(&client).with("prompt", "none").url(&replica)).await;
    assert!(page.location().unwrap().as_str().contains("code="));
}

/// Two replicas that start together on an empty database: no failure, one set of keys.
async fn start_together(backend: Backend) {
    for round in 0..rounds(3, 50) {
        let first = Setup::on(backend).start_twice().await;
        let keys: Vec<_> = join_all(first.iter().map(|server| async { server.get("/jwks").await.ok().json() })).await;
        assert_eq!(keys[0], keys[1], "round {round}");
        assert_eq!(keys[0]["keys"].as_array().unwrap().len(), 6, "{}", unique("one active and one next per algorithm"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_start_together_on_sqlite() {
    start_together(Backend::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_start_together_on_postgres() {
    start_together(Backend::Postgres).await;
}
