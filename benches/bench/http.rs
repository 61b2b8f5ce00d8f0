//! One kept-alive HTTP/1.1 connection that costs as little as can be, since it shares the cores with what it measures.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A connection with its read buffer.
pub struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// What came back; it borrows the buffer.
pub struct Answer<'a> {
    pub status: u16,
    head: &'a str,
    pub body: &'a [u8],
}

impl Answer<'_> {
    /// The first header of this name.
    pub fn header(&self, wanted: &str) -> Option<&str> {
        header(self.head, wanted)
    }

    /// Fails loudly unless the answer is the one that is measured.
    pub fn expect(&self, status: u16) {
        assert_eq!(self.status, status, "{}\n{}", self.head, String::from_utf8_lossy(self.body));
    }
}

impl Connection {
    pub async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, buffer: Vec::with_capacity(16_384) }
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
            let head_text = std::str::from_utf8(&self.buffer[..head]).unwrap();
            let status = head_text[9..12].parse().unwrap();
            return Answer { status, head: head_text, body: &self.buffer[head + 4..end] };
        }
    }
}

fn header<'a>(head: &'a str, wanted: &str) -> Option<&'a str> {
    head.split("\r\n").find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case(wanted).then(|| value.trim())
    })
}

fn content_length(head: &[u8]) -> usize {
    let head = std::str::from_utf8(head).unwrap();
    header(head, "content-length").unwrap_or_else(|| panic!("an answer without Content-Length: {head}")).parse().unwrap()
}

/// A GET, ready to send. `headers` are whole lines.
pub fn get(target: &str, host: &str, headers: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nhost: {host}\r\n{headers}\r\n").into_bytes()
}

/// A form POST, ready to send. `headers` are whole lines.
pub fn post(path: &str, host: &str, headers: &str, form: &str) -> Vec<u8> {
    format!(
        "POST {path} HTTP/1.1\r\nhost: {host}\r\n{headers}content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{form}",
        form.len()
    )
    .into_bytes()
}

/// `application/x-www-form-urlencoded`.
pub fn form(fields: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}
