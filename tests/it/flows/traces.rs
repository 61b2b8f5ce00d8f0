//! Traces over OTLP: the built binary and a collector in this process (docs/running.md).

use std::time::Duration;

use opentelemetry_proto::tonic::trace::v1::{Span, span::SpanKind, status::StatusCode};
use serde_json::json;

use crate::harness::collector::{CERTIFICATE, Collector, attribute};
use crate::harness::machine::{Machine, until};
use crate::harness::{Request, rounds};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn on(machine: &mut Machine, endpoint: &str) {
    machine.set("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint);
    machine.set("OTEL_BSP_SCHEDULE_DELAY", "100");
}

fn of(spans: &[Span], trace_id: &str) -> Vec<Span> {
    spans.iter().filter(|span| hex(&span.trace_id) == trace_id).cloned().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_is_a_trace_of_its_own_id_and_holds_no_secret() {
    for (mut machine, system) in Machine::both().await.into_iter().zip(["sqlite", "postgresql"]) {
        let collector = Collector::start(false).await;
        on(&mut machine, &format!("http://{}", collector.address));
        machine.set("OTEL_EXPORTER_OTLP_HEADERS", "x-team=one");
        machine.set("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test");
        let (person, client) = (machine.person("alice"), machine.client());
        let server = machine.start(&["serve"]).await;
        let secret = client.secret.clone().unwrap();
        let known = json!({ "client_id": client.client_id });
        let good = server.token(&known, &secret).await;
        let bad = server.token(&known, "not-the-secret-8fh3k").await;
        let id = |answer: &reqwest::Response| answer.headers()["chancery-trace-id"].to_str().unwrap().to_owned();
        let (good_id, bad_id) = (id(&good), id(&bad));
        let token = good.json::<serde_json::Value>().await.unwrap()["access_token"].as_str().unwrap().to_owned();
        // A person signs in, so that codes, cookies, a password and forms pass by.
        let asked = Request::of(&client).with("state", "a-state-that-is-private").with("scope", "openid offline_access");
        let back = person.arrive(&asked.with("prompt", "consent")).await;
        let tokens = client.redeem(back.code(), &back.verifier).await.ok();
        let (_, _, log) = server.stop();
        assert!(log.contains("sending traces"), "{log}");

        let all = collector.spans();
        assert!(!all.is_empty());
        for (sender, _) in &all {
            assert_eq!(attribute(sender, "service.name").as_deref(), Some("chancery"));
            assert_eq!(attribute(sender, "deployment.environment.name").as_deref(), Some("test"));
        }
        let received = collector.received();
        for request in &received {
            assert!(request.head.starts_with("post /v1/traces http/1.1"), "{}", request.head);
            assert!(request.head.contains("x-team: one") && request.head.contains("content-type: application/x-protobuf"));
        }
        let spans: Vec<Span> = all.into_iter().map(|(_, span)| span).collect();
        for (trace_id, status, rule) in [(&good_id, "200", None), (&bad_id, "401", Some("client-secret-wrong"))] {
            let trace = of(&spans, trace_id);
            let root = trace.iter().find(|span| span.parent_span_id.is_empty()).unwrap_or_else(|| panic!("no root of {trace_id}"));
            assert_eq!((root.name.as_str(), root.kind), ("POST /token", SpanKind::Server as i32));
            let said = |key: &str| attribute(&root.attributes, key);
            assert_eq!(said("http.response.status_code").as_deref(), Some(status));
            assert_eq!(said("http.route").as_deref(), Some("/token"));
            assert_eq!(said("chancery.trace_id").as_ref(), Some(trace_id));
            assert_eq!(said("chancery.rule").is_some(), rule.is_some(), "{:?}", said("chancery.rule"));
            assert_ne!(root.status.clone().unwrap_or_default().code, StatusCode::Error as i32, "a refusal is no fault");
        }
        // What the database did hangs under the request, units of work in tasks of their own included.
        let unit = spans.iter().find(|span| span.name == "authorize.complete").unwrap();
        assert_eq!(attribute(&unit.attributes, "db.system.name").as_deref(), Some(system));
        let root = spans.iter().find(|span| span.span_id == unit.parent_span_id).unwrap();
        assert_eq!(root.kind, SpanKind::Server as i32);
        assert!(spans.iter().all(|span| !span.name.contains("/healthz") && !span.name.contains("/readyz")));
        let statements: Vec<String> = spans.iter().filter_map(|span| attribute(&span.attributes, "db.query.text")).collect();
        assert!(statements.iter().any(|text| text.contains("$1")) && statements.iter().all(|text| !text.contains("http")));
        // security.md R-84, over every byte that was sent.
        let bytes: Vec<u8> = received.iter().flat_map(|request| [request.head.as_bytes(), &request.body].concat()).collect();
        let sent = String::from_utf8_lossy(&bytes);
        let refresh = tokens.str("refresh_token");
        for private in [
            secret.as_str(),
            "not-the-secret-8fh3k",
            &token,
            back.code(),
            &back.verifier,
            &refresh,
            &tokens.str("id_token"),
            &person.password,
            "a-state-that-is-private",
            "alice",
            "app.test",
            "127.0.0.1:",
        ] {
            assert!(!sent.replace(&collector.address.to_string(), "").contains(private), "{private} was sent");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_configured_proxy_says_which_trace_a_request_belongs_to() {
    let theirs = "4bf92f3577b34da6a3ce929d0e0e4736";
    for (trusted, taken) in [("", false), ("127.0.0.0/8", true)] {
        let collector = Collector::start(false).await;
        let mut machine = Machine::sqlite();
        on(&mut machine, &format!("http://{}", collector.address));
        machine.set("CHANCERY_PROXIES__TRUSTED", trusted);
        let server = machine.start(&["serve"]).await;
        let discovery = format!("{}/.well-known/openid-configuration", machine.issuer);
        let traceparent = format!("00-{theirs}-00f067aa0ba902b7-01");
        let answer = reqwest::Client::new().get(discovery).header("traceparent", traceparent).send().await.unwrap();
        let ours = answer.headers()["chancery-trace-id"].to_str().unwrap().to_owned();
        drop(server.stop());
        let spans: Vec<Span> = collector.spans().into_iter().map(|(_, span)| span).collect();
        assert_eq!((of(&spans, theirs).len(), of(&spans, &ours).len()), if taken { (1, 0) } else { (0, 1) });
        // explain finds it by ours in any case.
        assert!(spans.iter().any(|span| attribute(&span.attributes, "chancery.trace_id").as_deref() == Some(ours.as_str())));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_over_tls_is_checked() {
    let collector = Collector::start(true).await;
    for (certificate, reached) in [(Some(CERTIFICATE), true), (None, false)] {
        let mut machine = Machine::sqlite();
        on(&mut machine, &format!("https://localhost:{}", collector.address.port()));
        if let Some(certificate) = certificate {
            machine.set("OTEL_EXPORTER_OTLP_CERTIFICATE", certificate);
        }
        let server = machine.start(&["serve"]).await;
        let before = collector.received().len();
        reqwest::get(format!("{}/jwks", machine.issuer)).await.unwrap();
        let (_, _, log) = server.stop();
        assert_eq!(collector.received().len() > before, reached);
        assert_eq!(log.contains("the collector of traces cannot be reached"), !reached, "{log}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collector_that_is_away_costs_a_line_in_the_log_and_nothing_else() {
    let mut machine = Machine::sqlite();
    on(&mut machine, "http://127.0.0.1:9");
    let client = machine.client();
    let server = machine.start(&["serve"]).await;
    for _ in 0..rounds(5, 50) {
        let answer = server.token(&json!({ "client_id": client.client_id }), client.secret.as_ref().unwrap()).await;
        assert_eq!(answer.status(), 200);
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    let (status, _, log) = server.stop();
    assert!(status.success());
    assert_eq!(log.matches("the collector of traces cannot be reached").count(), 1, "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_variables_nothing_is_sent_and_a_protocol_that_is_not_spoken_is_said() {
    let collector = Collector::start(false).await;
    for (name, value, said) in [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "only http/protobuf is spoken here"),
        ("OTEL_SDK_DISABLED", "true", ""),
        ("OTEL_TRACES_EXPORTER", "none", ""),
    ] {
        let mut machine = Machine::sqlite();
        on(&mut machine, &format!("http://{}", collector.address));
        machine.set(name, value);
        let server = machine.start(&["serve"]).await;
        until(Duration::from_secs(5), async || reqwest::get(format!("{}/jwks", machine.issuer)).await.is_ok()).await;
        let (_, _, log) = server.stop();
        assert!(log.contains(said) && !log.contains("sending traces"), "{log}");
    }
    assert!(collector.received().is_empty());
}
