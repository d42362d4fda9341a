//! Times and durations in the text forms of XML Schema (ISO 8601).

use std::time::Duration;

/// What the service writes where a duration has no limit.
pub(super) const UNLIMITED: &str = "P10675199DT2H48M5.4775807S";

/// The time since the Unix epoch as `2026-01-02T03:04:05.678Z`.
pub(super) fn date_time(since_epoch: Duration) -> String {
    let (seconds, millis) = (since_epoch.as_secs(), since_epoch.subsec_millis());
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Days to a civil date, counting from 1 March of year 0 so that leap days come last.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// The time since the Unix epoch of a text such as `2026-01-02T03:04:05.678Z`.
pub(super) fn parse_date_time(text: &str) -> Option<Duration> {
    let (date, time) = text.trim_end_matches('Z').split_once('T')?;
    let mut date = date.splitn(3, '-').map(str::parse::<u64>);
    let mut part = || date.next()?.ok();
    let (year, month, day) = (part()?, part()?, part()?);
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let mut time = time.splitn(3, ':');
    let (hour, minute) = (time.next()?.parse::<u64>().ok()?, time.next()?.parse::<u64>().ok()?);
    let seconds = parse_seconds(time.next()?, 1)?;
    if hour > 23 || minute > 59 || seconds >= Duration::from_secs(60) {
        return None;
    }
    // The inverse of what `date_time` does: years begin in March.
    let year = year - u64::from(month <= 2);
    let (era, year_of_era) = (year / 400, year % 400);
    let month_from_march = (month + 9) % 12;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = (era * 146_097 + day_of_era).checked_sub(719_468)?;
    Some(Duration::from_secs(days * 86_400 + hour * 3_600 + minute * 60) + seconds)
}

/// A duration as `PT1M30S`; `None` is unlimited.
pub(super) fn duration(duration: Option<Duration>) -> String {
    let Some(duration) = duration else { return UNLIMITED.to_owned() };
    let (seconds, nanos) = (duration.as_secs(), duration.subsec_nanos());
    let (days, hours) = (seconds / 86_400, seconds / 3_600 % 24);
    let (minutes, seconds) = (seconds / 60 % 60, seconds % 60);
    let days = if days > 0 { format!("{days}D") } else { String::new() };
    let part = |value: u64, unit: &str| {
        if value > 0 { format!("{value}{unit}") } else { String::new() }
    };
    let (hours, minutes) = (part(hours, "H"), part(minutes, "M"));
    if nanos == 0 {
        return format!("P{days}T{hours}{minutes}{seconds}S");
    }
    let fraction = format!("{nanos:09}");
    format!("P{days}T{hours}{minutes}{seconds}.{}S", fraction.trim_end_matches('0'))
}

/// Reads a duration; `Some(None)` is unlimited, `None` no duration.
///
/// Months and years have no fixed length and are refused. What exceeds the service's largest
/// value is unlimited.
pub(in crate::emulator) fn parse_duration(text: &str) -> Option<Option<Duration>> {
    let rest = text.trim().strip_prefix('P')?;
    let (date, time) = rest.split_once('T').unwrap_or((rest, ""));
    let mut total = Duration::ZERO;
    let mut count = 0;
    for (part, units) in
        [(date, &[('D', 86_400)][..]), (time, &[('H', 3_600), ('M', 60), ('S', 1)])]
    {
        let mut part = part;
        while !part.is_empty() {
            let end = part.find(|c: char| c.is_ascii_alphabetic())?;
            let unit = part[end..].chars().next()?;
            let (_, seconds) = *units.iter().find(|(known, _)| *known == unit)?;
            total = total.checked_add(parse_seconds(&part[..end], seconds)?)?;
            part = &part[end + 1..];
            count += 1;
        }
    }
    let is_unlimited = total >= Duration::from_secs(10_675_199 * 86_400);
    (count > 0).then_some((!is_unlimited).then_some(total))
}

fn parse_seconds(number: &str, unit_secs: u64) -> Option<Duration> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !is_digits(whole) || !is_digits(fraction) {
        return None;
    }
    let whole = Duration::from_secs(whole.parse::<u64>().ok()?.checked_mul(unit_secs)?);
    let nanos = format!("{fraction:0<9}").get(..9)?.parse::<u64>().ok()?;
    whole.checked_add(Duration::from_nanos(nanos.checked_mul(unit_secs)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written_as_xml_schema_says() {
        let table = [
            ("PT1M", Some(60_000)),
            ("P1DT2H3M4S", Some(93_784_000)),
            ("PT0.25S", Some(250)),
            ("P14D", Some(1_209_600_000)),
            ("PT0S", Some(0)),
            (UNLIMITED, None),
            ("P99999999D", None),
        ];
        for (text, expected_ms) in table {
            let expected = expected_ms.map(Duration::from_millis);
            assert_eq!(parse_duration(text), Some(expected), "{text}");
            assert_eq!(parse_duration(&duration(expected)), Some(expected), "{text}");
        }
        for text in [
            "",
            "P",
            "PT",
            "1M",
            "P1Y",
            "P1M",
            "PT1",
            "PTxS",
            "P1S",
            "PT-1S",
            "PT99999999999999999999S",
        ] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
        assert_eq!(duration(Some(Duration::from_millis(61_500))), "PT1M1.5S");
    }

    #[test]
    fn dates_follow_the_calendar() {
        let table = [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (1_767_323_045, "2026-01-02T03:04:05.000Z"),
        ];
        for (seconds, text) in table {
            assert_eq!(date_time(Duration::from_secs(seconds)), text);
            assert_eq!(parse_date_time(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "2026-13-01T00:00:00Z", "2026-01-01", "2026-01-01T24:00:00Z", "x"] {
            assert_eq!(parse_date_time(text), None, "{text}");
        }
    }
}
