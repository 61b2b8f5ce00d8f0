//! Bytes on a socket, for requests that no client library would send.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::site::Site;

/// Sends `request` as it stands and reads until the server closes: the whole answer as text.
pub async fn send(site: &Site, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(site.address).await.unwrap();
    // The server may answer and close before it has read everything.
    let _ = stream.write_all(request).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// A form POST with exactly these header lines and this body.
pub async fn post(site: &Site, path: &str, headers: &[&str], body: &[u8]) -> String {
    let mut request = format!("POST {path} HTTP/1.1\r\nHost: id.test\r\nConnection: close\r\nContent-Length: {}\r\n", body.len());
    for line in headers {
        request.push_str(line);
        request.push_str("\r\n");
    }
    request.push_str("\r\n");
    let mut bytes = request.into_bytes();
    bytes.extend_from_slice(body);
    send(site, &bytes).await
}

/// A GET with exactly this target.
pub async fn get(site: &Site, target: &str) -> String {
    send(site, format!("GET {target} HTTP/1.1\r\nHost: id.test\r\nConnection: close\r\n\r\n").as_bytes()).await
}

/// The status code of an answer.
#[track_caller]
pub fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("no answer: {answer:?}"))
}
