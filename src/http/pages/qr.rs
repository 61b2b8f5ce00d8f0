//! QR codes (ISO/IEC 18004) as inline SVG: text that a person would otherwise have to copy by hand into another device. Drawn with
//! attributes alone, so the pages' policy needs no exception.

use qrcodegen::{QrCode, QrCodeEcc};

/// Modules of white around the code (ISO/IEC 18004 §5.3.8).
const QUIET: i32 = 4;

/// A QR code as a template draws it: a square with `side` modules, white, and one dark path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Qr {
    /// Modules along one side, the quiet zone included.
    pub side: i32,
    /// What is dark, as the `d` of an SVG path in modules.
    pub path: String,
}

impl Qr {
    /// The code of a text; `None` if it is too long for one (some 2,300 bytes).
    pub fn of(text: &str) -> Option<Self> {
        let code = QrCode::encode_text(text, QrCodeEcc::Medium).ok()?;
        let mut path = String::new();
        for y in 0..code.size() {
            let mut x = 0;
            while x < code.size() {
                let run = (x..code.size()).take_while(|x| code.get_module(*x, y)).count();
                if run > 0 {
                    path.push_str(&format!("M{},{}h{run}v1h-{run}z", x + QUIET, y + QUIET));
                }
                x += i32::try_from(run).unwrap_or(0) + 1;
            }
        }
        Some(Self { side: code.size() + 2 * QUIET, path })
    }

    /// A whole picture. `label` is what it says to those who cannot see it; it must be escaped already.
    pub fn svg(&self, label: &str) -> String {
        let Self { side, path } = self;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"qr\" role=\"img\" aria-label=\"{label}\" viewBox=\"0 0 {side} {side}\" \
             shape-rendering=\"crispEdges\"><path fill=\"#fff\" d=\"M0,0h{side}v{side}h-{side}z\"/><path fill=\"#000\" d=\"{path}\"/></svg>"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The dark modules of a path, read back.
    fn drawn(qr: &Qr) -> Vec<(i32, i32)> {
        let mut dark = Vec::new();
        for run in qr.path.split('M').skip(1) {
            let (x, rest) = run.split_once(',').unwrap();
            let (y, rest) = rest.split_once('h').unwrap();
            let (x, y, run): (i32, i32, i32) =
                (x.parse().unwrap(), y.parse().unwrap(), rest.split_once('v').unwrap().0.parse().unwrap());
            dark.extend((x..x + run).map(|x| (x, y)));
        }
        dark
    }

    #[test]
    fn every_module_of_the_code_is_drawn_and_no_other() {
        let text = "https://id.example.com/device?user_code=WDJB-MJHT";
        let (qr, code) = (Qr::of(text).unwrap(), QrCode::encode_text(text, QrCodeEcc::Medium).unwrap());
        let expected: Vec<(i32, i32)> = (0..code.size())
            .flat_map(|y| (0..code.size()).map(move |x| (x, y)))
            .filter(|(x, y)| code.get_module(*x, *y))
            .map(|(x, y)| (x + QUIET, y + QUIET))
            .collect();
        assert_eq!(drawn(&qr), expected);
        assert_eq!(qr.side, code.size() + 8);
        assert!(!qr.svg("x").contains("style"));
    }

    #[test]
    fn what_does_not_fit_is_no_code() {
        assert_eq!(Qr::of(&"x".repeat(3000)), None);
    }
}
