//! Whether strangers can reach the management listener, where metrics tell of everything that goes on.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use url::Url;

use super::request::{self, Answer};
use super::{Check, Finding, Report};
use crate::config::Config;
use crate::service::address::is_public;

/// What is examined here.
pub const CHECKS: &[Check] = &[Check::ManagementPublic];

/// Looks at the configured address, and knocks where strangers would.
pub async fn examine(config: &Config) -> Report {
    let mut report = Report::default();
    let listen = config.server.management_listen;
    let about = |finding: Finding| finding.about(listen.to_string());
    if is_public(listen.ip()) {
        report.found(about(Finding::error(Check::ManagementPublic, format!("{listen} is a public address"))));
        return report;
    }
    if let Ok(url) = Url::parse(&format!("{}/metrics", config.issuer.origin()))
        && answers(&url).await
    {
        let what = format!("the metrics are passed on to {url}, which everybody can ask");
        report.found(
            Finding::error(Check::ManagementPublic, what)
                .about(url.as_str())
                .mended_by("Let the proxy pass on the public listener alone."),
        );
    }
    if !listen.ip().is_unspecified() {
        return report;
    }
    for address in public_addresses(config, listen.port()).await {
        let Ok(url) = Url::parse(&format!("http://{address}/metrics")) else { continue };
        if answers(&url).await {
            let what = format!("it listens on every address of this machine, and the metrics answer at {address}, which is public");
            report.found(about(Finding::error(Check::ManagementPublic, what)));
            return report;
        }
    }
    let what = format!("it listens on every address of this machine ({listen}); none that is public was seen to answer");
    let mend = "In a container that is as it must be. Elsewhere bind it to loopback or a private address.";
    report.found(about(Finding::note(Check::ManagementPublic, what)).mended_by(mend));
    report
}

/// The public addresses of the issuer's name, and the one by which this machine reaches the world.
async fn public_addresses(config: &Config, port: u16) -> Vec<SocketAddr> {
    let url = Url::parse(config.issuer.as_str()).ok();
    let mut found = match url.as_ref().and_then(Url::host) {
        Some(host) => request::resolve(&host, port).await.unwrap_or_default(),
        None => Vec::new(),
    };
    found.extend(own_address().map(|ip| SocketAddr::new(ip, port)));
    found.retain(|address| is_public(address.ip()));
    found.sort();
    found.dedup();
    found
}

/// Connecting a datagram socket sends nothing; it asks the routing table.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip())
}

async fn answers(url: &Url) -> bool {
    matches!(request::get(url).await.answer, Ok(Answer { status: 200, body, .. }) if String::from_utf8_lossy(&body).contains("chancery_"))
}
