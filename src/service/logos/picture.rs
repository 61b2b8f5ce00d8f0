//! Which bytes are a picture that a page may show: PNG, JPEG or WebP, by their own first bytes and no header's word, and no larger than a
//! screen, since a few kilobytes can unfold to gigabytes.

/// Pixels of a side.
const LONGEST_SIDE: u32 = 2048;

/// The media type of a picture that may be shown.
pub fn media_type(bytes: &[u8]) -> Option<&'static str> {
    let (kind, width, height) = png(bytes).or_else(|| webp(bytes)).or_else(|| jpeg(bytes))?;
    ((1..=LONGEST_SIDE).contains(&width) && (1..=LONGEST_SIDE).contains(&height)).then_some(kind)
}

type Found = Option<(&'static str, u32, u32)>;

/// PNG, section 5.2 and 11.2.2.
fn png(bytes: &[u8]) -> Found {
    let rest = bytes.strip_prefix(b"\x89PNG\r\n\x1a\n")?;
    (rest.get(4..8)? == b"IHDR").then_some(())?;
    Some(("image/png", big(rest.get(8..12)?), big(rest.get(12..16)?)))
}

/// The WebP container: a lossy, a lossless, or an extended file.
fn webp(bytes: &[u8]) -> Found {
    (bytes.get(..4)? == b"RIFF" && bytes.get(8..12)? == b"WEBP").then_some(())?;
    let (width, height) = match bytes.get(12..16)? {
        b"VP8X" => (little(bytes.get(24..27)?) + 1, little(bytes.get(27..30)?) + 1),
        b"VP8L" => {
            (bytes.get(20)? == &0x2f).then_some(())?;
            let sizes = little(bytes.get(21..25)?);
            ((sizes & 0x3fff) + 1, (sizes >> 14 & 0x3fff) + 1)
        }
        b"VP8 " => {
            (bytes.get(23..26)? == [0x9d, 0x01, 0x2a]).then_some(())?;
            (little(bytes.get(26..28)?) & 0x3fff, little(bytes.get(28..30)?) & 0x3fff)
        }
        _ => return None,
    };
    Some(("image/webp", width, height))
}

/// JPEG: the segments up to the frame header (ITU-T T.81, B.2.2).
fn jpeg(bytes: &[u8]) -> Found {
    let mut rest = bytes.strip_prefix(&[0xff, 0xd8])?;
    loop {
        let (marker, after) = match rest {
            [0xff, 0xff, ..] => {
                rest = rest.get(1..)?;
                continue;
            }
            [0xff, marker, after @ ..] => (*marker, after),
            _ => return None,
        };
        match marker {
            // Start of frame, but not the tables that share its numbers.
            0xc0..=0xcf if !matches!(marker, 0xc4 | 0xc8 | 0xcc) => {
                return Some(("image/jpeg", big(after.get(5..7)?), big(after.get(3..5)?)));
            }
            // The data begins, or the picture ends, before anything said how large it is.
            0xd8..=0xda => return None,
            _ => {
                let length = usize::try_from(big(after.get(..2)?)).ok().filter(|length| *length >= 2)?;
                rest = after.get(length..)?;
            }
        }
    }
}

fn big(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte))
}

fn little(bytes: &[u8]) -> u32 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u32::from(*byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn png_of(width: u32, height: u32) -> Vec<u8> {
        [b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR".as_slice(), &width.to_be_bytes(), &height.to_be_bytes(), &[8, 6, 0, 0, 0]].concat()
    }

    fn jpeg_of(width: u16, height: u16) -> Vec<u8> {
        let (width, height) = (width.to_be_bytes(), height.to_be_bytes());
        [&[0xff, 0xd8, 0xff, 0xe0, 0, 4, 1, 2, 0xff, 0xff, 0xc2, 0, 11, 8], height.as_slice(), &width, &[1, 1, 0x11, 0]].concat()
    }

    fn webp_of(kind: &[u8; 4], body: &[u8]) -> Vec<u8> {
        [b"RIFF\0\0\0\0WEBP".as_slice(), kind, &[0; 4], body].concat()
    }

    #[test]
    fn bitmaps_of_a_sensible_size_are_told_by_their_bytes() {
        assert_eq!(media_type(&png_of(64, 32)), Some("image/png"));
        assert_eq!(media_type(&jpeg_of(640, 480)), Some("image/jpeg"));
        assert_eq!(media_type(&webp_of(b"VP8X", &[0, 0, 0, 0, 63, 0, 0, 31, 0, 0])), Some("image/webp"));
        assert_eq!(media_type(&webp_of(b"VP8L", &[0x2f, 63, 0xc0, 7, 0])), Some("image/webp"));
        assert_eq!(media_type(&webp_of(b"VP8 ", &[0, 0, 0, 0x9d, 1, 0x2a, 64, 0, 32, 0])), Some("image/webp"));
    }

    #[test]
    fn nothing_else_is_shown() {
        for bad in [
            b"".to_vec(),
            b"<svg xmlns=\"http://www.w3.org/2000/svg\"><script>alert(1)</script></svg>".to_vec(),
            b"<!doctype html><script>alert(1)</script>".to_vec(),
            b"GIF89a\x01\0\x01\0".to_vec(),
            b"\x89PNG\r\n\x1a\n".to_vec(),
            png_of(0, 1),
            png_of(2049, 1),
            png_of(u32::MAX, u32::MAX),
            jpeg_of(40_000, 1),
            jpeg_of(1, 0),
            vec![0xff, 0xd8, 0xff, 0xda, 0, 2],
            vec![0xff, 0xd8, 0xff, 0xe0, 0, 0],
            vec![0xff, 0xd8, 0xff, 0xe0, 0xff, 0xff],
            webp_of(b"VP8X", &[0, 0, 0, 0, 0xff, 0xff, 0xff, 0, 0, 0]),
            webp_of(b"ALPH", &[0; 20]),
        ] {
            assert_eq!(media_type(&bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_stumble(bytes in prop::collection::vec(any::<u8>(), 0..200), head in 0usize..4) {
            let heads: [&[u8]; 4] = [b"", b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR", &[0xff, 0xd8], b"RIFF\0\0\0\0WEBPVP8 "];
            let _ = media_type(&[heads[head], &bytes].concat());
        }
    }
}
