//! The value of a Host field: `uri-host [ ":" port ]` (RFC 9110 §7.2, RFC 3986 §3.2.2). Ours is never believed, but what stands before us may
//! read one in what is none, or another one.

use std::net::Ipv6Addr;

/// Whether this is one. An `http` or `https` URI has no empty host (RFC 9110 §4.2.1, §4.2.2). Nothing is allocated: every request is asked.
pub fn is_valid(value: &[u8]) -> bool {
    match value.strip_prefix(b"[") {
        Some(literal) => {
            let mut parts = literal.splitn(2, |byte| *byte == b']');
            let (address, port) = (parts.next().unwrap_or_default(), parts.next());
            port.is_some_and(is_end) && is_ipv6(address)
        }
        None => {
            let name = value.iter().position(|byte| *byte == b':').unwrap_or(value.len());
            value.split_at_checked(name).is_some_and(|(name, port)| is_name(name) && is_end(port))
        }
    }
}

/// What follows the host: nothing, or a colon with a port, which may be empty (RFC 3986 §3.2.3).
fn is_end(rest: &[u8]) -> bool {
    let Some((colon, port)) = rest.split_first() else { return true };
    let number = |port: &[u8]| {
        port.iter().try_fold(0_u16, |number, byte| {
            number.checked_mul(10)?.checked_add(byte.is_ascii_digit().then(|| u16::from(byte - b'0'))?)
        })
    };
    *colon == b':' && number(port).is_some()
}

/// A `reg-name` that is not empty; an IPv4 address is one too.
fn is_name(name: &[u8]) -> bool {
    let mut rest = name;
    loop {
        rest = match rest {
            [] => return !name.is_empty(),
            [b'%', high, low, rest @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => rest,
            [byte, rest @ ..] if is_of_names(*byte) => rest,
            _ => return false,
        };
    }
}

/// `unreserved` and `sub-delims`.
const fn is_of_names(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=')
}

/// No version of IP addresses but this one has come to be written in brackets; and a zone is nobody's business but the sender's (RFC 6874 §4).
fn is_ipv6(address: &[u8]) -> bool {
    std::str::from_utf8(address).is_ok_and(|address| address.parse::<Ipv6Addr>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_what_rfc_3986_calls_one_and_perhaps_a_port() {
        for good in [
            "id.test",
            "ID.Test.",
            "id.test:443",
            "id.test:",
            "a_b.internal:8080",
            "xn--bcher-kva.example",
            "127.0.0.1:80",
            "[::1]",
            "[::1]:80",
            "[::ffff:192.0.2.1]:",
            "caf%C3%A9.test",
            "a!$&'()*+,;=~b",
            "id.test:00080",
            "id.test:65535",
        ] {
            assert!(is_valid(good.as_bytes()), "{good}");
        }
        assert!(is_valid("a".repeat(4096).as_bytes()));
    }

    #[test]
    fn anything_else_is_none() {
        for bad in [
            "",
            ":80",
            "alice@id.test",
            "alice:secret@id.test",
            "id.test:80@evil.test",
            "id test",
            "id.test, evil.test",
            "id.test/evil",
            "id.test?evil",
            "id.test#evil",
            "id.test\\evil",
            "https://id.test",
            "<id.test>",
            "\"id.test\"",
            "id.test\t",
            "id\u{7f}.test",
            "bücher.example",
            "id.test:port",
            "id.test:-1",
            "id.test:+80",
            "id.test:65536",
            "id.test:99999999999999999999999",
            "id.test:80:80",
            "::1",
            "[::1",
            "::1]",
            "[]",
            "[::1]]",
            "[::1]80",
            "[::1]:80:",
            "[id.test]",
            "[127.0.0.1]",
            "[fe80::1%25eth0]",
            "[v1.a]",
            "a%2",
            "a%zz",
        ] {
            assert!(!is_valid(bad.as_bytes()), "{bad}");
        }
    }
}
