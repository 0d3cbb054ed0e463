//! Numbers and texts as definitions hold them: numbers in LEB128, texts after their length.

pub(super) fn write_text(text: &str, out: &mut Vec<u8>) {
    // Far below 4 GiB: label values and names have bounds, and those of versions that had none came
    // from a journal with such a length.
    write_number(text.len() as u32, out);
    out.extend_from_slice(text.as_bytes());
}

pub(super) fn write_number(mut number: u32, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

pub(super) fn read_number(bytes: &mut &[u8]) -> Option<u32> {
    let mut number = 0_u64;
    for shift in (0..35).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return u32::try_from(number).ok();
        }
    }
    None
}

pub(super) fn read_text<'d>(bytes: &mut &'d [u8]) -> Option<&'d str> {
    let length = read_number(bytes)?;
    take_text(bytes, length)
}

pub(super) fn take_text<'d>(bytes: &mut &'d [u8], length: u32) -> Option<&'d str> {
    let (text, rest) = bytes.split_at_checked(length as usize)?;
    *bytes = rest;
    std::str::from_utf8(text).ok()
}
