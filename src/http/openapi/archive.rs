//! One file of a zip archive, as gzip: both hold the same deflated bytes, so nothing is
//! unpacked or packed.
//!
//! Layout: PKWARE's APPNOTE 6.3.10, 4.3; of gzip: RFC 1952. Archives of more than 4 GiB are not
//! read.

/// What a file's entry of the central directory begins with.
const ENTRY: &[u8] = b"PK\x01\x02";
/// What a file's own header begins with.
const FILE: &[u8] = b"PK\x03\x04";
/// What the end of the central directory begins with.
const END: &[u8] = b"PK\x05\x06";
/// Length of an entry without name, extra field and comment.
const ENTRY_BYTES: usize = 46;
/// Length of a file's header without name and extra field.
const FILE_BYTES: usize = 30;
/// The method of deflated files.
const DEFLATED: u16 = 8;
/// Deflated, without name and time, made on no known system.
const GZIP: &[u8] = &[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn place(bytes: &[u8], at: usize) -> Option<usize> {
    usize::try_from(u32_at(bytes, at)?).ok()
}

/// The first deflated file whose path ends so; `None` when there is none.
pub(super) fn gzip(zip: &[u8], path_end: &str) -> Option<Vec<u8>> {
    let end = zip.windows(END.len()).rposition(|window| window == END)?;
    let mut at = place(zip, end + 16)?;
    while zip.get(at..at + ENTRY.len()) == Some(ENTRY) {
        let entry = zip.get(at..)?;
        let name_bytes = usize::from(u16_at(entry, 28)?);
        let name = entry.get(ENTRY_BYTES..ENTRY_BYTES + name_bytes)?;
        if name.ends_with(path_end.as_bytes()) && u16_at(entry, 10)? == DEFLATED {
            return repacked(zip, entry);
        }
        at += ENTRY_BYTES + name_bytes + usize::from(u16_at(entry, 30)?) + usize::from(u16_at(entry, 32)?);
    }
    None
}

fn repacked(zip: &[u8], entry: &[u8]) -> Option<Vec<u8>> {
    let (checksum, deflated, length) = (entry.get(16..20)?, place(entry, 20)?, entry.get(24..28)?);
    let file = zip.get(place(entry, 42)?..)?;
    if !file.starts_with(FILE) {
        return None;
    }
    let begin = FILE_BYTES + usize::from(u16_at(file, 26)?) + usize::from(u16_at(file, 28)?);
    let deflated = file.get(begin..begin + deflated)?;
    Some([GZIP, deflated, checksum, length].concat())
}
