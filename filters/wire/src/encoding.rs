//! Small encodings, written without the formatting machinery: its code would be compiled before the
//! first request of every cold start.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

/// Appends lower-case hexadecimal.
pub fn push_hex(out: &mut String, bytes: &[u8]) {
    for piece in bytes.chunks(32) {
        let mut digits = [b'0'; 64];
        hex(&mut digits, piece);
        push_ascii(out, digits.get(..piece.len() * 2).unwrap_or_default());
    }
}

/// Reads lower-case hexadecimal of just this many bytes.
pub fn from_hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if digits.len() != N * 2 {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        for digit in pair {
            let nibble = match digit {
                b'0'..=b'9' => digit - b'0',
                b'a'..=b'f' => digit - b'a' + 10,
                _ => return None,
            };
            *byte = *byte << 4 | nibble;
        }
    }
    Some(bytes)
}

fn hex(digits: &mut [u8], bytes: &[u8]) {
    for (pair, byte) in digits.chunks_exact_mut(2).zip(bytes) {
        for (digit, nibble) in pair.iter_mut().zip([byte >> 4, byte & 15]) {
            *digit = nibble + if nibble < 10 { b'0' } else { b'a' - 10 };
        }
    }
}

fn push_ascii(out: &mut String, text: &[u8]) {
    out.push_str(std::str::from_utf8(text).unwrap_or_default());
}

/// Appends a decimal number.
pub fn push_decimal(out: &mut String, number: u64) {
    let mut digits = [b'0'; 20];
    decimal(&mut digits, number);
    let zeros = digits.iter().take(19).take_while(|digit| **digit == b'0').count();
    push_ascii(out, digits.get(zeros..).unwrap_or_default());
}

/// As many of the number's last digits as there is room for, with zeros in front.
fn decimal(digits: &mut [u8], mut number: u64) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// Standard base64 with padding (RFC 4648, section 4), as Google's APIs use it.
pub fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Appends [`base64`].
pub fn push_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, b'=');
    if let Some(room) = out.get_mut(start..) {
        // It fits: the length is that of the encoding.
        let _ = STANDARD.encode_slice(bytes, room);
    }
}

/// Reads standard base64 with padding.
pub fn from_base64(text: &[u8]) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// Reads base64url without padding (RFC 7515, section 2), as tokens and keys use it.
pub fn from_base64url(text: &[u8]) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// base64url without padding.
pub fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Appends text for a query or a form: everything but RFC 3986's unreserved characters is escaped.
pub fn push_percent(out: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            for nibble in [byte >> 4, byte & 15] {
                out.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0').to_ascii_uppercase());
            }
        }
    }
}

/// A time as RFC 3339 in UTC with milliseconds: `2026-11-22T04:00:00.000Z`.
pub fn rfc3339(ms: u64) -> String {
    let (days, ms_of_day) = (ms / 86_400_000, ms % 86_400_000);
    let (year, month, day) = civil_from_days(days);
    let mut text = *b"0000-00-00T00:00:00.000Z";
    let (hour, minute, second) = (ms_of_day / 3_600_000, ms_of_day / 60_000 % 60, ms_of_day / 1_000 % 60);
    let mut rest = text.as_mut_slice();
    for (width, number) in
        [(4, year), (2, month), (2, day), (2, hour), (2, minute), (2, second), (3, ms_of_day % 1_000)]
    {
        let Some((digits, behind)) = rest.split_at_mut_checked(width) else { break };
        decimal(digits, number);
        rest = behind.get_mut(1..).unwrap_or_default();
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// Days since 1970-01-01 to a date of the proleptic Gregorian calendar: the well-known algorithm
/// on eras of 400 years that begin on 1 March.
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

/// A UUID of version 7 (RFC 9562, section 5.7): sorted by time, random beyond it.
pub fn uuid_v7(ms: u64, random: [u8; 10]) -> String {
    let mut bytes = [0_u8; 16];
    let time = ms.to_be_bytes();
    for (to, from) in bytes.iter_mut().zip(time.iter().skip(2).chain(&random)) {
        *to = *from;
    }
    let [_, _, _, _, _, _, version, _, variant, ..] = &mut bytes;
    *version = (*version & 0x0f) | 0x70;
    *variant = (*variant & 0x3f) | 0x80;
    let mut text = *b"00000000-0000-0000-0000-000000000000";
    let (mut rest, mut bytes) = (text.as_mut_slice(), bytes.as_slice());
    for length in [4, 2, 2, 2, 6] {
        let (Some((digits, behind)), Some((part, others))) =
            (rest.split_at_mut_checked(length * 2), bytes.split_at_checked(length))
        else {
            break;
        };
        hex(digits, part);
        (rest, bytes) = (behind.get_mut(1..).unwrap_or_default(), others);
    }
    String::from_utf8_lossy(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(1_709_210_096_007), "2024-02-29T12:34:56.007Z");
        assert_eq!(rfc3339(4_107_542_399_999), "2100-02-28T23:59:59.999Z");
    }

    #[test]
    fn numbers_are_decimal() {
        for number in [0, 7, 10, 999, u64::MAX] {
            let mut out = String::new();
            push_decimal(&mut out, number);
            assert_eq!(out, number.to_string());
        }
    }

    #[test]
    fn hexadecimal_is_read_as_it_is_written() {
        let bytes: [u8; 33] = std::array::from_fn(|index| (index * 7) as u8);
        let mut text = String::new();
        push_hex(&mut text, &bytes);
        assert_eq!(from_hex(text.as_bytes()), Some(bytes));
        for other in ["0", "000", "0g", "0A", "é", "00\0"] {
            assert_eq!(from_hex::<1>(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn ids_are_uuids_of_version_7_sorted_by_time() {
        let id = uuid_v7(0x0123_4567_89ab, [0xff; 10]);
        assert_eq!(id, "01234567-89ab-7fff-bfff-ffffffffffff");
        assert!(uuid_v7(1, [0xff; 10]) < uuid_v7(2, [0; 10]));
    }
}
