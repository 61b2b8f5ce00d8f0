//! One kept-alive HTTP/1.1 connection that costs as little as can be, since it shares the cores with what it measures.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A connection with its read buffer.
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// What came back; the body borrows the buffer.
pub struct Answer<'a> {
    pub status: u16,
    pub body: &'a [u8],
}

impl Connection {
    pub async fn open(address: std::net::SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, buffer: Vec::with_capacity(8192) }
    }

    /// Sends a whole request and reads the whole answer, which must have a Content-Length.
    pub async fn send(&mut self, request: &[u8]) -> Answer<'_> {
        self.stream.write_all(request).await.unwrap();
        self.buffer.clear();
        loop {
            let read = self.stream.read_buf(&mut self.buffer).await.unwrap();
            assert!(read > 0, "the server hung up: {}", String::from_utf8_lossy(&self.buffer));
            let Some(head) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
            let length = content_length(&self.buffer[..head]);
            let end = head + 4 + length;
            while self.buffer.len() < end {
                assert!(self.stream.read_buf(&mut self.buffer).await.unwrap() > 0, "the server hung up inside a body");
            }
            let status = std::str::from_utf8(&self.buffer[9..12]).unwrap().parse().unwrap();
            return Answer { status, body: &self.buffer[head + 4..end] };
        }
    }
}

fn content_length(head: &[u8]) -> usize {
    let head = std::str::from_utf8(head).unwrap();
    let line = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then_some(value)
    });
    line.expect("an answer without Content-Length").trim().parse().unwrap()
}

/// A form POST, ready to send.
pub fn form_post(path: &str, host: &str, authorization: &str, form: &str) -> Vec<u8> {
    format!(
        "POST {path} HTTP/1.1\r\nhost: {host}\r\nauthorization: {authorization}\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{form}",
        form.len()
    )
    .into_bytes()
}
