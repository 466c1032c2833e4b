//! Moments as text: RFC 3339 in, UTC with milliseconds out.
//!
//! Owns what counts as a readable time and how times are written. Refuses to ask a clock.

use jiff::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;

/// The moment that an RFC 3339 text names, with any offset. `None` for every other text, other
/// forms of ISO 8601 among them. Digits beyond nanoseconds are cut off; a leap second is the second before.
#[must_use]
pub fn parse(text: &str) -> Option<Timestamp> {
    let (date_time, rest) = text.split_at_checked(19)?;
    shaped(date_time, b"0000-00-00T00:00:00").then_some(())?;
    let (fraction, zone) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at(rest.bytes().take_while(u8::is_ascii_digit).count()),
        None => ("0", rest),
    };
    let fraction = fraction.get(..9).unwrap_or(fraction);
    (!fraction.is_empty() && is_zone(zone)).then_some(())?;
    let moment: Timestamp = format!("{date_time}.{fraction}{zone}").parse().ok()?;
    in_four_digit_years(moment)
}

/// The moment so many seconds after 1970, as AMQP counts. `None` after the year 9999.
#[must_use]
pub fn from_seconds(seconds: u64) -> Option<Timestamp> {
    Timestamp::from_second(i64::try_from(seconds).ok()?).ok().and_then(in_four_digit_years)
}

/// RFC 3339 in UTC with three digits of milliseconds and `Z`; the rest is cut off.
#[must_use]
pub fn format(moment: Timestamp) -> String {
    const PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(3));
    PRINTER.timestamp_to_string(&moment)
}

/// Whether RFC 3339 can write it: an offset can move a moment before the year 0.
fn in_four_digit_years(moment: Timestamp) -> Option<Timestamp> {
    const YEAR_0: i64 = -62_167_219_200;
    (moment.as_second() >= YEAR_0).then_some(moment)
}

/// Whether the text has this shape: `0` is any digit, `T` is `T`, `t` or a space.
fn shaped(text: &str, shape: &[u8]) -> bool {
    text.len() == shape.len()
        && text.bytes().zip(shape).all(|(byte, wanted)| match wanted {
            b'0' => byte.is_ascii_digit(),
            b'T' => matches!(byte, b'T' | b't' | b' '),
            literal => byte == *literal,
        })
}

/// Whether this is `Z` or an offset of hours and minutes.
fn is_zone(text: &str) -> bool {
    let offset = |zone: &str| {
        let below = |part: Option<&str>, limit: u8| {
            part.and_then(|p| p.parse::<u8>().ok()).is_some_and(|value| value < limit)
        };
        shaped(zone, b"00:00") && below(zone.get(..2), 24) && below(zone.get(3..), 60)
    };
    matches!(text, "Z" | "z") || text.strip_prefix(['+', '-']).is_some_and(offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, wanted: Option<&str>) {
        assert_eq!(parse(text).map(format).as_deref(), wanted, "{text:?}");
    }

    #[test]
    fn rfc_3339_with_any_offset_becomes_utc_with_milliseconds() {
        check("2024-01-15T10:30:00Z", Some("2024-01-15T10:30:00.000Z"));
        check("2024-01-15t10:30:00z", Some("2024-01-15T10:30:00.000Z"));
        check("2024-01-15 10:30:00Z", Some("2024-01-15T10:30:00.000Z"));
        check("2024-01-15T10:30:00.5+02:00", Some("2024-01-15T08:30:00.500Z"));
        check("2024-01-15T23:30:00.9999-23:59", Some("2024-01-16T23:29:00.999Z"));
        check("2024-01-15T10:30:00-00:00", Some("2024-01-15T10:30:00.000Z"));
        check("2024-01-15T10:30:00.12345678901234567890Z", Some("2024-01-15T10:30:00.123Z"));
        check("1969-12-31T23:59:59.9996Z", Some("1969-12-31T23:59:59.999Z"));
        check("2016-12-31T23:59:60Z", Some("2016-12-31T23:59:59.000Z"));
        check("0000-01-01T00:00:00Z", Some("0000-01-01T00:00:00.000Z"));
    }

    #[test]
    fn everything_else_is_unreadable() {
        for bad in [
            "",
            "yesterday",
            "1705314600",
            "2024-01-15",
            "2024-01-15T10:30Z",
            "2024-01-15T10:30:00",
            "2024-01-15T10:30:00.Z",
            "2024-01-15T10:30:00,5Z",
            "2024-01-15T10:30:00+0200",
            "2024-01-15T10:30:00+24:00",
            "2024-01-15T10:30:00+02:60",
            "2024-01-15T10:30:00+02:00[Europe/Berlin]",
            "2024-02-30T10:30:00Z",
            "2024-01-15T24:30:00Z",
            "20240115T103000Z",
            "0000-01-01T00:00:00+01:00",
            "2024-01-15T10:30:00Z ",
            "２024-01-15T10:30:00Z",
        ] {
            check(bad, None);
        }
    }

    #[test]
    fn seconds_count_from_1970() {
        assert_eq!(
            from_seconds(1_705_314_600).map(format).as_deref(),
            Some("2024-01-15T10:30:00.000Z")
        );
        assert_eq!(from_seconds(1_705_314_600_000), None, "milliseconds by mistake");
        assert_eq!(from_seconds(u64::MAX), None);
    }
}
