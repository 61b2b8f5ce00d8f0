//! `[server]`: the public URL, where to listen, where data lives.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use super::Issuer;
use super::reader::Section;

/// Where the server is found by browsers, proxies and probes.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Where the public listener binds.
    pub listen: SocketAddr,
    /// Where health and metrics are served.
    pub management_listen: SocketAddr,
    /// Holds the SQLite file and the generated master key.
    pub data_dir: PathBuf,
}

impl ServerConfig {
    /// Without an issuer the server is `http://localhost` at the port that it listens on.
    pub(super) fn read(section: &mut Section<'_>) -> (Self, Issuer) {
        let here = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        let issuer = section.parsed("issuer", "http://localhost:8080", "a URL", Issuer::parse);
        let listen = section.parsed_or("listen", here(8080), "127.0.0.1:8080", "an address and port such as 127.0.0.1:8080");
        let management_listen =
            section.parsed_or("management_listen", here(9080), "127.0.0.1:9080", "an address and port such as 127.0.0.1:9080");
        if listen == management_listen && listen.port() != 0 {
            section.contradiction("management_listen", format!("management_listen and listen are both {listen}"));
        }
        let data_dir = section.path("data_dir", "./chancery-data");
        let issuer = issuer.unwrap_or_else(|| Issuer::on_localhost(listen.port()));
        (Self { listen, management_listen, data_dir }, issuer)
    }
}
