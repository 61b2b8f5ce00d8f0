//! Durations as people write them: `600`, `"600"` (seconds), `"500ms"`, `"10m"`, `"12h"`, `"7d"`.

use std::time::Duration;

/// Reads a duration; a bare number means seconds.
pub fn parse(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits)?;
    let number: u64 = number.parse().ok()?;
    let seconds = |per: u64| number.checked_mul(per).map(Duration::from_secs);
    match unit.trim() {
        "ms" => Some(Duration::from_millis(number)),
        "" | "s" => seconds(1),
        "m" => seconds(60),
        "h" => seconds(3600),
        "d" => seconds(86_400),
        _ => None,
    }
}

/// Writes a duration in the largest unit that holds it whole.
pub fn show(duration: Duration) -> String {
    if duration.subsec_nanos() != 0 {
        return format!("{}ms", duration.as_millis());
    }
    let seconds = duration.as_secs();
    match seconds {
        0 => "0s".to_owned(),
        _ if seconds.is_multiple_of(86_400) => format!("{}d", seconds / 86_400),
        _ if seconds.is_multiple_of(3600) => format!("{}h", seconds / 3600),
        _ if seconds.is_multiple_of(60) => format!("{}m", seconds / 60),
        _ => format!("{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_number_means_seconds_and_units_mean_what_they_say() {
        assert_eq!(parse("600"), Some(Duration::from_secs(600)));
        assert_eq!(parse("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(parse("10 m"), Some(Duration::from_secs(600)));
        assert_eq!(parse("7d"), Some(Duration::from_secs(604_800)));
    }

    #[test]
    fn what_is_not_a_duration_is_refused() {
        for text in ["", "m", "-1", "1.5h", "1w", "1h30m", "99999999999999999999", "18446744073709551615d", "ü"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_shown_reads_back_as_the_same_duration() {
        for seconds in [0, 1, 59, 60, 3600, 86_400, 90_061] {
            let duration = Duration::from_secs(seconds);
            assert_eq!(parse(&show(duration)), Some(duration));
        }
    }
}
