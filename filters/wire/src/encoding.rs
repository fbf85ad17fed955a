//! Small encodings, written without the formatting machinery: its code would be compiled before the
//! first request of every cold start.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

/// Appends lower-case hexadecimal.
pub fn push_hex(out: &mut String, bytes: &[u8]) {
    for byte in bytes {
        for nibble in [byte >> 4, byte & 15] {
            out.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
        }
    }
}

/// Appends a decimal number.
pub fn push_decimal(out: &mut String, number: u64) {
    push_padded(out, number, 1);
}

fn push_padded(out: &mut String, number: u64, width: usize) {
    let mut digits = [0_u8; 20];
    let mut rest = number;
    let mut used = 0;
    for digit in digits.iter_mut() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
        used += 1;
        if rest == 0 && used >= width {
            break;
        }
    }
    out.extend(digits.iter().take(used).rev().map(|digit| char::from(*digit)));
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
    let mut out = String::with_capacity(24);
    push_padded(&mut out, year, 4);
    for (separator, number) in [('-', month), ('-', day)] {
        out.push(separator);
        push_padded(&mut out, number, 2);
    }
    let parts = [('T', ms_of_day / 3_600_000), (':', ms_of_day / 60_000 % 60), (':', ms_of_day / 1000 % 60)];
    for (separator, number) in parts {
        out.push(separator);
        push_padded(&mut out, number, 2);
    }
    out.push('.');
    push_padded(&mut out, ms_of_day % 1000, 3);
    out.push('Z');
    out
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
    let mut hex = String::with_capacity(36);
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            hex.push('-');
        }
        push_hex(&mut hex, &[*byte]);
    }
    hex
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
    fn ids_are_uuids_of_version_7_sorted_by_time() {
        let id = uuid_v7(0x0123_4567_89ab, [0xff; 10]);
        assert_eq!(id, "01234567-89ab-7fff-bfff-ffffffffffff");
        assert!(uuid_v7(1, [0xff; 10]) < uuid_v7(2, [0; 10]));
    }
}
