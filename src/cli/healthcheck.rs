//! `chancery healthcheck`: asks the management listener of the running server, for container images without a shell or curl.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::error::CliError;
use super::output::Out;
use crate::config::{Config, Sources};

const PATIENCE: Duration = Duration::from_secs(5);

pub async fn run(file: Option<PathBuf>, out: Out) -> Result<(), CliError> {
    let config = Config::load(Sources::from_process(file, Vec::new())?)?;
    let address = reachable(config.server.management_listen);
    let status = match timeout(PATIENCE, ask(address)).await {
        Ok(Ok(status)) => status,
        Ok(Err(error)) => return Err(CliError::new(format!("{address} does not answer: {error}"))),
        Err(_) => return Err(CliError::new(format!("{address} does not answer within 5 seconds"))),
    };
    if !status.starts_with("200") {
        return Err(CliError::new(format!("{address} is not ready: {status}")));
    }
    if out.json { out.json(&json!({ "ready": true })) } else { out.say("ready") }
}

async fn ask(address: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(format!("GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(4096).read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.lines().next().and_then(|line| line.strip_prefix("HTTP/1.1 ")).unwrap_or("no HTTP answer");
    Ok(status.to_owned())
}

/// A listener on all addresses is asked on loopback.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}
