//! Decision records on both databases (design 4.7).

use std::time::Duration;

use chancery::clock::Timestamp;
use chancery::oauth::refusal::{Reason, SignInBranch};
use chancery::service::address::Prefix;
use chancery::service::decisions::{self, Decision, Decisions};
use chancery::storage::decisions::{Count, Record, find, insert_batch};
use chancery::storage::{Kind, migrate};

use super::Store;
use crate::harness::keyed::keyed;

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

async fn migrated(kind: Kind) -> Store {
    let store = Store::empty(kind).await;
    migrate::run(&store.db, NOW).await.unwrap();
    store
}

fn decision(trace_id: &str, reason: Reason) -> Decision {
    Decision {
        trace_id: trace_id.to_owned(),
        endpoint: "/authorize".to_owned(),
        client_id: None,
        address_prefix: Prefix::of("2001:db8::1".parse().unwrap()),
        reason,
        now: NOW,
    }
}

fn record(trace_id: &str, rule: &str) -> Record {
    Record {
        trace_id: trace_id.to_owned(),
        at: NOW,
        endpoint: "/token".to_owned(),
        client_id: None,
        address_prefix: Some("192.0.2.1".to_owned()),
        rule: rule.to_owned(),
        reason: "{}".to_owned(),
    }
}

on_both! {
    async fn a_decision_comes_back_as_it_was(kind) {
        let store = migrated(kind).await;
        let recorder = Decisions::start(store.db.clone(), keyed());
        let reasons = [
            Reason::RedirectUriMismatch {
                client_id: "app".to_owned(),
                registered: vec!["https://app.example/callback".to_owned()],
                received: "https://app.example/calback?\u{0}\"'\\\u{1f600}".to_owned(),
            },
            Reason::CodeExpired { expired_at: NOW, now: NOW.plus(Duration::from_secs(5)) },
            Reason::CodeUnknown,
            Reason::MalformedParameter { name: "state".to_owned(), received: "\u{0}".to_owned(), detail: "a control byte".to_owned() },
        ];
        for (number, reason) in reasons.iter().enumerate() {
            recorder.record(decision(&format!("{number:032x}"), reason.clone()));
        }
        recorder.flush().await;
        for (number, reason) in reasons.iter().enumerate() {
            let found = decisions::find(&store.db, &format!("{number:032x}")).await.unwrap().expect("recorded");
            assert_eq!(&found.reason, reason);
            assert_eq!(found.rule, reason.rule().id);
            assert_eq!(found.address_prefix.as_deref(), Some("2001:db8::/64"));
            assert!(!reason.story().mend.is_empty());
        }
        let found = decisions::find(&store.db, &format!("{:032x}", 0)).await.unwrap().unwrap();
        assert_eq!(found.client_id.as_deref(), Some("app"), "taken from the reason when the handler did not say");
        assert!(decisions::find(&store.db, "unknown").await.unwrap().is_none());
    }

    async fn what_people_type_is_not_in_the_database(kind) {
        let store = migrated(kind).await;
        let recorder = Decisions::start(store.db.clone(), keyed());
        let typed = "correct-horse-battery-staple";
        recorder.record(decision(&"a".repeat(32), Reason::SignInFailed { branch: SignInBranch::UnknownUser, identifier: typed.to_owned() }));
        let claimed = Decision {
            client_id: Some(typed.to_owned()),
            ..decision(&"b".repeat(32), Reason::UnknownClient { client_id: typed.to_owned() })
        };
        recorder.record(claimed);
        recorder.record(decision(
            &"c".repeat(32),
            Reason::MalformedParameter { name: "client_secret".to_owned(), received: typed.to_owned(), detail: String::new() },
        ));
        recorder.flush().await;
        let rows = store.db.all("SELECT trace_id, client_id, reason FROM decisions", Vec::new()).await.unwrap();
        assert_eq!(rows.len(), 3);
        for row in rows {
            let reason: String = row.get("reason").unwrap();
            assert!(!reason.contains("horse"), "{reason}");
            assert_eq!(row.get::<Option<String>>("client_id").unwrap(), None, "an unknown client is nobody");
        }
    }

    async fn a_trace_id_keeps_its_first_record_and_counts_add_up(kind) {
        let store = migrated(kind).await;
        let (one, other) = (record("one", "first"), record("one", "second"));
        insert_batch(&store.db, &[one, record("two", "x")], &[]).await.unwrap();
        insert_batch(&store.db, &[other], &[]).await.unwrap();
        assert_eq!(find(&store.db, "one").await.unwrap().unwrap().rule, "first");
        let count = Count { minute: 1, rule: "x".to_owned(), client_id: String::new(), address_prefix: String::new(), count: 7 };
        insert_batch(&store.db, &[], &[count.clone(), count.clone()]).await.unwrap();
        insert_batch(&store.db, &[], &[count]).await.unwrap();
        let row = store.db.optional("SELECT count FROM decision_counts", Vec::new()).await.unwrap().unwrap();
        assert_eq!(row.get::<i64>("count").unwrap(), 21);
    }

    async fn a_lost_database_costs_records_and_no_request(kind) {
        let store = migrated(kind).await;
        let recorder = Decisions::start(store.db.clone(), keyed());
        store.db.close().await;
        // The quickest of several: a busy machine adds what it likes to one.
        let mut quickest = Duration::MAX;
        for round in 0..5 {
            let begin = std::time::Instant::now();
            for number in 0..2_000 {
                recorder.record(decision(&format!("{:032x}", 2_000 * round + number), Reason::CodeUnknown));
            }
            quickest = quickest.min(begin.elapsed());
        }
        assert!(quickest < Duration::from_millis(200), "{quickest:?}");
    }
}
