//! A backend's `Set-Cookie` as a browser reads it (RFC 6265, 5.1 and 5.2), and for which requests it is.

/// Longest name and value together, in bytes, as in browsers (draft-ietf-httpbis-rfc6265bis, 5.6).
const MAX_PAIR: usize = 4_096;

/// Longest attribute that is heeded, in bytes (the same).
const MAX_ATTRIBUTE: usize = 1_024;

/// One cookie, as a backend sets it.
#[derive(Debug, PartialEq, Eq)]
pub struct SetCookie<'a> {
    /// Never empty.
    pub name: &'a [u8],
    /// May be empty.
    pub value: &'a [u8],
    /// The path that it says, where that begins with a slash.
    pub path: Option<&'a [u8]>,
    /// When it ends, in milliseconds since 1970: 0 where it is deleted, none where it is the session's.
    pub expires_ms: Option<u64>,
}

/// Reads the header's value; none where a browser would not take the cookie. `Domain` is not looked at, since
/// a cookie goes back to the backend that set it and to no other; nor are `Secure`, `HttpOnly` and `SameSite`,
/// which are about the way between a browser and us.
pub fn set_cookie(text: &[u8], now_ms: u64) -> Option<SetCookie<'_>> {
    if text.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t') {
        return None;
    }
    let mut parts = text.split(|byte| *byte == b';');
    let (name, value) = pair(parts.next()?)?;
    if name.is_empty() || name.len() + value.len() > MAX_PAIR {
        return None;
    }
    let (mut path, mut expires, mut max_age) = (None, None, None);
    for part in parts {
        let (name, value) = pair(part).unwrap_or((part.trim_ascii(), b""));
        if value.len() > MAX_ATTRIBUTE {
            continue;
        }
        // The last of each counts (RFC 6265, 5.3).
        if name.eq_ignore_ascii_case(b"path") {
            path = value.starts_with(b"/").then_some(value);
        } else if name.eq_ignore_ascii_case(b"expires") {
            expires = date_ms(value).or(expires);
        } else if name.eq_ignore_ascii_case(b"max-age") {
            max_age = seconds(value).or(max_age);
        }
    }
    let max_age = max_age.map(|seconds| match seconds {
        0 => 0,
        seconds => now_ms.saturating_add(seconds.saturating_mul(1_000)),
    });
    Some(SetCookie { name, value, path, expires_ms: max_age.or(expires) })
}

/// The path of a cookie that says none (RFC 6265, 5.1.4).
pub fn default_path(request: &str) -> &str {
    match request.rfind('/') {
        Some(last @ 1..) if request.starts_with('/') => request.get(..last).unwrap_or("/"),
        _ => "/",
    }
}

/// Whether a cookie of this path is for a request of that one (RFC 6265, 5.1.4).
pub fn path_fits(cookie: &[u8], request: &str) -> bool {
    match request.as_bytes().strip_prefix(cookie) {
        Some([] | [b'/', ..]) => true,
        Some(_) => cookie.ends_with(b"/"),
        None => false,
    }
}

/// Name and value, without white space around either; none without `=`.
pub fn pair(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|byte| *byte == b'=')?;
    let (name, value) = text.split_at_checked(at)?;
    Some((name.trim_ascii(), value.strip_prefix(b"=")?.trim_ascii()))
}

/// `Max-Age` in seconds; 0 is the past (RFC 6265, 5.2.2).
fn seconds(text: &[u8]) -> Option<u64> {
    let (past, digits) = match text.strip_prefix(b"-") {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digit = |number: u64, byte: &u8| number.saturating_mul(10).saturating_add(u64::from(byte - b'0'));
    let number = digits.iter().fold(0, digit);
    Some(if past { 0 } else { number })
}

/// A date in any of the forms that are about (RFC 6265, 5.1.1), in milliseconds since 1970; 0 before.
fn date_ms(text: &[u8]) -> Option<u64> {
    let (mut time, mut day, mut month, mut year) = (None, None, None, None);
    let delimits = |byte: &u8| matches!(byte, 9 | 0x20..=0x2f | 0x3b..=0x40 | 0x5b..=0x60 | 0x7b..=0x7e);
    for token in text.split(delimits).filter(|token| !token.is_empty()) {
        if time.is_none() && clock(token).is_some() {
            time = clock(token);
        } else if day.is_none() && digits(token, 1, 2).is_some() {
            day = digits(token, 1, 2).map(|(day, _)| day);
        } else if month.is_none() && month_of(token).is_some() {
            month = month_of(token);
        } else if year.is_none() {
            year = digits(token, 2, 4).map(|(year, _)| match year {
                70..=99 => year + 1_900,
                0..=69 => year + 2_000,
                year => year,
            });
        }
    }
    let ((hour, minute, second), day, month, year) = (time?, day?, month?, year?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let longest = match month {
        2 => 28 + u64::from(leap),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    if !(1..=longest).contains(&day) || year < 1_601 || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let seconds = (hour * 60 + minute) * 60 + second;
    Some(days_since_1970(year, month, day).map_or(0, |days| (days * 86_400 + seconds) * 1_000))
}

/// `1:2:3`, and what may follow.
fn clock(token: &[u8]) -> Option<(u64, u64, u64)> {
    let (hour, rest) = digits(token, 1, 2)?;
    let (minute, rest) = digits(rest.strip_prefix(b":")?, 1, 2)?;
    let (second, _) = digits(rest.strip_prefix(b":")?, 1, 2)?;
    Some((hour, minute, second))
}

fn month_of(token: &[u8]) -> Option<u64> {
    let names = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
    let name = token.get(..3)?;
    let at = names.iter().position(|month| name.eq_ignore_ascii_case(month.as_bytes()))?;
    Some(at as u64 + 1)
}

/// A number of `least` to `most` digits, and what follows it, which is no further digit.
fn digits(token: &[u8], least: usize, most: usize) -> Option<(u64, &[u8])> {
    let end = token.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(token.len());
    let (digits, rest) = token.split_at_checked(end).filter(|_| (least..=most).contains(&end))?;
    Some((digits.iter().fold(0, |number, byte| number * 10 + u64::from(byte - b'0')), rest))
}

/// None before 1970. The well-known algorithm on years that begin on 1 March.
fn days_since_1970(year: u64, month: u64, day: u64) -> Option<u64> {
    let year = year - u64::from(month <= 2);
    let (era, year_of_era) = (year / 400, year % 400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    (era * 146_097 + day_of_era).checked_sub(719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_795_320_000_000;

    fn read(text: &str) -> Option<SetCookie<'_>> {
        set_cookie(text.as_bytes(), NOW)
    }

    fn named(text: &str) -> Option<(&str, &str)> {
        let utf8 = |bytes| std::str::from_utf8(bytes).unwrap();
        read(text).map(|cookie| (utf8(cookie.name), utf8(cookie.value)))
    }

    #[test]
    fn name_and_value_are_what_stands_around_the_first_equals_sign() {
        assert_eq!(named("a=1"), Some(("a", "1")));
        assert_eq!(named("  a = b=c ; Path=/"), Some(("a", "b=c")));
        assert_eq!(named("a="), Some(("a", "")));
        assert_eq!(named("a=\"x y\""), Some(("a", "\"x y\"")));
        for none in ["", "a", "=1", "; a=1", "a\u{1}=1", "a=1\u{7f}"] {
            assert_eq!(named(none), None, "{none:?}");
        }
        assert_eq!(read(&["a=", &"x".repeat(4_096)].concat()), None);
        assert!(read(&["a=", &"x".repeat(4_095)].concat()).is_some());
    }

    #[test]
    fn a_path_counts_where_it_begins_with_a_slash() {
        for (text, path) in [
            ("a=1", None),
            ("a=1; PATH = /x/y ", Some("/x/y")),
            ("a=1; Path=/x; Path=/y", Some("/y")),
            ("a=1; Path=/x; Path=", None),
            ("a=1; Path", None),
            ("a=1; Path=x", None),
        ] {
            assert_eq!(read(text).unwrap().path, path.map(str::as_bytes), "{text}");
        }
        let long = ["a=1; Path=/", &"x".repeat(1_024)].concat();
        assert_eq!(read(&long).unwrap().path, None);
    }

    #[test]
    fn max_age_is_seconds_from_now_and_goes_before_a_date() {
        let past = "Expires=Thu, 01 Jan 1970 00:00:00 GMT";
        for (text, expires) in [
            ("a=1".to_owned(), None),
            ("a=1; Max-Age=60".to_owned(), Some(NOW + 60_000)),
            (format!("a=1; max-age=60; {past}"), Some(NOW + 60_000)),
            (format!("a=1; {past}; Max-Age=60"), Some(NOW + 60_000)),
            ("a=1; Max-Age=0".to_owned(), Some(0)),
            ("a=1; Max-Age=-1".to_owned(), Some(0)),
            ("a=1; Max-Age=-".to_owned(), None),
            ("a=1; Max-Age=1x".to_owned(), None),
            ("a=1; Max-Age=5; Max-Age=x".to_owned(), Some(NOW + 5_000)),
            ("a=1; Max-Age=99999999999999999999999".to_owned(), Some(u64::MAX)),
            (format!("a=1; {past}"), Some(0)),
        ] {
            assert_eq!(read(&text).unwrap().expires_ms, expires, "{text}");
        }
    }

    #[test]
    fn dates_are_read_in_every_form_that_is_about() {
        for (text, ms) in [
            ("Thu, 29 Feb 2024 12:34:56 GMT", Some(1_709_210_096_000)),
            ("Thursday, 29-Feb-24 12:34:56 GMT", Some(1_709_210_096_000)),
            ("Thu Feb 29 12:34:56 2024", Some(1_709_210_096_000)),
            ("29 february 2024 1:2:3", Some(1_709_168_523_000)),
            ("Mon, 01-Jan-1900 00:00:00 GMT", Some(0)),
            ("Thu, 01 Jan 1970 00:00:01 GMT", Some(1_000)),
            ("Sun, 28 Feb 2100 23:59:59 GMT", Some(4_107_542_399_000)),
            ("Fri, 31 Dec 1999 23:59:59 GMT", Some(946_684_799_000)),
            ("01 Jan 69 00:00:00", Some(3_124_224_000_000)),
            ("31 Dec 9999 23:59:59", Some(253_402_300_799_000)),
            ("29 Feb 2023 12:34:56", None),
            ("31 Apr 2023 12:34:56", None),
            ("00 Apr 2023 12:34:56", None),
            ("01 Apr 1600 12:34:56", None),
            ("01 Apr 2023 24:00:00", None),
            ("01 Apr 2023 12:60:00", None),
            ("01 Apr 2023", None),
            ("01 Apr 20233 12:00:00", None),
            ("tomorrow", None),
        ] {
            assert_eq!(date_ms(text.as_bytes()), ms, "{text}");
        }
    }

    #[test]
    fn a_cookie_is_for_its_path_and_what_is_below() {
        for (request, path) in
            [("/", "/"), ("/a", "/"), ("/a/", "/a"), ("/a/b", "/a"), ("a", "/"), ("", "/"), ("//", "/")]
        {
            assert_eq!(default_path(request), path, "{request}");
        }
        for (cookie, request, fits) in [
            ("/", "/a", true),
            ("/a", "/a", true),
            ("/a", "/a/b", true),
            ("/a/", "/a/b", true),
            ("/a", "/ab", false),
            ("/a/", "/a", false),
            ("/a/b", "/a", false),
        ] {
            assert_eq!(path_fits(cookie.as_bytes(), request), fits, "{cookie} {request}");
        }
    }
}
