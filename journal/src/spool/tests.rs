//! The spool as a whole: what a writer kept, a reader finds.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use uuid::Uuid;

use super::segment::Segment;
use super::*;

const OWNER: Uuid = Uuid::from_u128(7);
const SMALL: Options = Options { segment_bytes: 2_000, retain_bytes: 10_000, retain_ms: None };

fn entry(bytes: &[u8], at: u64) -> Entry<'_> {
    Entry { run: Uuid::from_u128(1), stream: Stream::Stdout, at: Timestamp(at), bytes, shape: Shape::Line }
}

fn put(writer: &mut Writer, range: std::ops::Range<u64>) {
    for n in range {
        writer
            .append(&entry(format!("line {n} {}", Uuid::from_u128(u128::from(n) << 70)).as_bytes(), n))
            .unwrap();
        if n % 7 == 0 {
            writer.flush().unwrap();
        }
    }
    writer.flush().unwrap();
}

fn numbers(records: &[Record]) -> Vec<u64> {
    let number = |record: &Record| {
        let text = String::from_utf8(record.bytes.clone()).unwrap();
        text.split(' ').nth(1).unwrap().parse::<u64>().unwrap()
    };
    records.iter().for_each(|record| assert_eq!(record.position, number(record)));
    records.iter().map(number).collect()
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

fn bytes_on_disk(dir: &Path) -> Vec<u8> {
    segments(dir).iter().flat_map(|path| std::fs::read(path).unwrap()).collect()
}

#[test]
fn reads_on_where_it_stopped_while_the_spool_grows_over_segments() {
    let dir = tempfile::tempdir().unwrap();
    let mut reader = Reader::open(dir.path(), OWNER, None);
    assert_eq!(reader.read(10).unwrap(), []);
    let mut writer =
        Writer::open(dir.path(), OWNER, None, Options { retain_bytes: 1 << 30, ..SMALL }).unwrap();
    let mut seen = Vec::new();
    for start in (1..1_000).step_by(37) {
        put(&mut writer, start..start + 37);
        loop {
            let records = reader.read(10).unwrap();
            if records.is_empty() {
                break;
            }
            seen.extend(numbers(&records));
        }
    }
    assert_eq!(seen, (1..1_000).collect::<Vec<_>>());
    assert!(segments(dir.path()).len() > 5);
    assert_eq!(reader.damaged(), 0);
}

#[test]
fn finds_the_newest_records_and_those_before_a_position() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer =
        Writer::open(dir.path(), OWNER, None, Options { retain_bytes: 1 << 30, ..SMALL }).unwrap();
    put(&mut writer, 1..500);
    let reader = Reader::open(dir.path(), OWNER, None);
    assert_eq!(numbers(&reader.last(3, None).unwrap()), [497, 498, 499]);
    assert_eq!(numbers(&reader.last(4, Some(100)).unwrap()), [96, 97, 98, 99]);
    assert_eq!(numbers(&reader.last(9, Some(3)).unwrap()), [1, 2]);
    assert_eq!(reader.last(9_999, None).unwrap().len(), 499);
    let mut reader = Reader::open(dir.path(), OWNER, None);
    reader.seek(321);
    assert_eq!(numbers(&reader.read(2).unwrap()), [321, 322]);
}

#[test]
fn a_writer_that_comes_back_counts_on_and_cuts_off_a_torn_end() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::open(dir.path(), OWNER, None, SMALL).unwrap();
    put(&mut writer, 1..5);
    drop(writer);
    let path = segments(dir.path()).pop().unwrap();
    let whole = std::fs::read(&path).unwrap();
    // A second frame of which everything but the last byte was written.
    let mut writer = Writer::open(dir.path(), OWNER, None, SMALL).unwrap();
    put(&mut writer, 5..6);
    drop(writer);
    let grown = std::fs::metadata(&path).unwrap().len();
    OpenOptions::new().write(true).open(&path).unwrap().set_len(grown - 1).unwrap();
    let mut reader = Reader::open(dir.path(), OWNER, None);
    assert_eq!(numbers(&reader.read(100).unwrap()), [1, 2, 3, 4]);
    let mut writer = Writer::open(dir.path(), OWNER, None, SMALL).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), whole);
    assert_eq!(writer.next_position(), 5);
    put(&mut writer, 5..8);
    assert_eq!(numbers(&reader.read(100).unwrap()), [5, 6, 7]);
    assert_eq!(reader.damaged(), 0);
}

#[test]
fn a_damaged_segment_costs_no_other_and_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer =
        Writer::open(dir.path(), OWNER, None, Options { retain_bytes: 1 << 30, ..SMALL }).unwrap();
    put(&mut writer, 1..300);
    drop(writer);
    let all = segments(dir.path());
    let mut bytes = std::fs::read(&all[1]).unwrap();
    bytes[super::segment::HEAD + super::segment::FRAME_HEAD + 3] ^= 1;
    std::fs::write(&all[1], bytes).unwrap();
    let mut reader = Reader::open(dir.path(), OWNER, None);
    let seen = numbers(&reader.read(9_999).unwrap());
    assert_eq!(reader.damaged(), 1);
    assert_eq!(seen.last(), Some(&299));
    let second: u64 = all[1].file_stem().unwrap().to_str().unwrap().parse().unwrap();
    let third: u64 = all[2].file_stem().unwrap().to_str().unwrap().parse().unwrap();
    assert_eq!(seen, (1..second).chain(third..300).collect::<Vec<_>>());
}

#[test]
fn keeps_no_more_bytes_than_asked_and_never_reuses_a_position() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::open(dir.path(), OWNER, None, SMALL).unwrap();
    put(&mut writer, 1..5_000);
    assert!(bytes_on_disk(dir.path()).len() <= 12_000);
    let mut reader = Reader::open(dir.path(), OWNER, None);
    let seen = numbers(&reader.read(9_999).unwrap());
    assert_eq!(seen, (seen[0]..5_000).collect::<Vec<_>>());
    drop(writer);
    assert_eq!(Writer::open(dir.path(), OWNER, None, SMALL).unwrap().next_position(), 5_000);
}

#[test]
fn forgets_what_is_past_its_age_and_still_counts_on() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { retain_ms: Some(100), ..SMALL };
    let mut writer = Writer::open(dir.path(), OWNER, None, options).unwrap();
    put(&mut writer, 1..50);
    writer.expire(Timestamp(120)).unwrap();
    assert_eq!(writer.next_position(), 50);
    assert_eq!(Reader::open(dir.path(), OWNER, None).last(99, None).unwrap().last().unwrap().position, 49);
    writer.expire(Timestamp(10_000)).unwrap();
    assert_eq!(Reader::open(dir.path(), OWNER, None).last(99, None).unwrap(), []);
    drop(writer);
    let mut writer = Writer::open(dir.path(), OWNER, None, options).unwrap();
    put(&mut writer, 50..51);
    assert_eq!(numbers(&Reader::open(dir.path(), OWNER, None).last(99, None).unwrap()), [50]);
}

#[test]
fn old_segments_can_be_deleted_beside_the_writer() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer =
        Writer::open(dir.path(), OWNER, None, Options { retain_bytes: 1 << 30, ..SMALL }).unwrap();
    put(&mut writer, 1..300);
    let all = segments(dir.path());
    assert_eq!(expire(dir.path(), Timestamp(1)).unwrap(), 0);
    assert_eq!(expire(dir.path(), Timestamp(u64::MAX)).unwrap(), all.len() - 1);
    assert_eq!(segments(dir.path()), all[all.len() - 1..]);
    put(&mut writer, 300..600);
    let seen = numbers(&Reader::open(dir.path(), OWNER, None).read(9_999).unwrap());
    assert_eq!(seen, (seen[0]..600).collect::<Vec<_>>());
}

#[test]
fn nothing_can_be_read_without_the_key_that_it_is_under() {
    let dir = tempfile::tempdir().unwrap();
    let key = Key::new([9; 32]);
    let mut writer = Writer::open(dir.path(), OWNER, Some(&key), SMALL).unwrap();
    writer.append(&entry(b"the customer's address", 1)).unwrap();
    writer.flush().unwrap();
    let stored = bytes_on_disk(dir.path());
    assert!(!stored.windows(8).any(|window| window == b"customer"));
    let read = |key: Option<&Key>| Reader::open(dir.path(), OWNER, key).read(9);
    assert_eq!(read(Some(&key)).unwrap()[0].bytes, b"the customer's address");
    assert!(matches!(read(None), Err(SpoolError::Key { .. })));
    assert!(matches!(read(Some(&Key::new([8; 32]))), Err(SpoolError::Key { .. })));
    assert!(matches!(
        Reader::open(dir.path(), Uuid::from_u128(8), Some(&key)).read(9),
        Err(SpoolError::Foreign { .. })
    ));
}

#[test]
fn a_frame_moved_to_another_place_does_not_open() {
    let dir = tempfile::tempdir().unwrap();
    let key = Key::new([9; 32]);
    let mut writer = Writer::open(dir.path(), OWNER, Some(&key), SMALL).unwrap();
    writer.append(&entry(b"one", 1)).unwrap();
    writer.flush().unwrap();
    let path = segments(dir.path()).pop().unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    let frame = bytes.split_off(super::segment::HEAD);
    // Renumbered, with a checksum that holds.
    let mut forged = frame.clone();
    forged[8..16].copy_from_slice(&2u64.to_le_bytes());
    let crc = crc32fast::hash(&forged[8..]);
    forged[4..8].copy_from_slice(&crc.to_le_bytes());
    bytes.extend([frame, forged].concat());
    std::fs::write(&path, bytes).unwrap();
    let mut reader = Reader::open(dir.path(), OWNER, Some(&key));
    assert!(matches!(reader.read(9), Err(SpoolError::Key { .. })));
}

/// Two records as layout 1 has them.
const LAYOUT_1: &str = "544e53504f4f4c010000000000000000000000000000000700000000000000001400000\
    0a3f8c56601000000000000000068e5cf8b0100000168e5cf8b010000020000001e0000002a08000100e001000568656c6c6f0502ac0201ff";
/// The same as layout 2 has them.
const LAYOUT_2: &str = "544e53504f4f4c020000000000000000000000000000000700000000000000001f000000265c3d2c0100000000000000\
    0068e5cf8b0100000168e5cf8b010000020000001e00000028b52ffd201eb5000080080001000568656c6c6f0502ac02\
    01ff010032c002";

fn unhex(text: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(digit).collect()
}

fn golden() -> [Entry<'static>; 2] {
    let first = entry(b"hello", 1_700_000_000_000);
    let (stream, shape) = (Stream::Stderr, Shape::Cut(300));
    [first, Entry { stream, shape, ..entry(b"\xff", 1_700_000_000_001) }]
}

#[test]
fn segments_of_every_layout_are_read_for_ever() {
    for layout in [LAYOUT_1, LAYOUT_2] {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("00000000000000000001.seg"), unhex(layout)).unwrap();
        let read = || Reader::open(dir.path(), OWNER, None).read(9).unwrap();
        let expected: Vec<Record> = (1..)
            .zip(golden())
            .map(|(position, Entry { run, stream, at, bytes, shape })| Record {
                position,
                run,
                stream,
                at,
                bytes: bytes.to_vec(),
                shape,
            })
            .collect();
        assert_eq!(read(), expected);
        // Whoever writes on does so after them, in the layout of today.
        let mut writer = Writer::open(dir.path(), OWNER, None, SMALL).unwrap();
        writer.append(&entry(b"more", 1_700_000_000_002)).unwrap();
        writer.flush().unwrap();
        assert_eq!(segments(dir.path()).len(), if layout == LAYOUT_1 { 2 } else { 1 });
        assert_eq!(read()[..2], expected);
        assert_eq!((read()[2].position, &read()[2].bytes[..]), (3, &b"more"[..]));
    }
}

#[test]
fn the_bytes_of_a_plain_segment_stay_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::open(dir.path(), OWNER, None, SMALL).unwrap();
    golden().iter().for_each(|entry| writer.append(entry).unwrap());
    writer.flush().unwrap();
    let hex: String = bytes_on_disk(dir.path()).iter().map(|byte| format!("{byte:02x}")).collect();
    // How the compressor writes it down may change with its versions, so its bytes, their
    // length and their checksum are left out.
    let (head, frame) = (64, 64 + 2 * super::segment::FRAME_HEAD);
    assert_eq!((&hex[..head], &hex[head + 16..frame]), (&LAYOUT_2[..head], &LAYOUT_2[head + 16..frame]));
}

#[test]
fn what_is_known_of_places_holds_while_a_spool_grows_is_packed_and_is_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { segment_bytes: 50_000, retain_bytes: 1 << 30, retain_ms: None };
    let mut writer = Writer::open(dir.path(), OWNER, None, options).unwrap();
    let places = Arc::new(Places::default());
    let reader = Reader::open(dir.path(), OWNER, None).sharing(&places);
    let mut n = 0;
    while segments(dir.path()).len() < 3 {
        n += 1;
        put(&mut writer, n..n + 1);
        if n % 50 == 0 {
            assert_eq!(numbers(&reader.at(&[1, n / 2, n - 1, n]).unwrap()), [1, n / 2, n - 1, n]);
            assert_eq!(reader.range().unwrap(), (1, n + 1));
        }
    }
    let all: Vec<u64> = (1..=n).collect();
    assert_eq!(numbers(&reader.at(&all).unwrap()), all);
    // Another frame where one is known to lie: it is looked for anew.
    let path = &segments(dir.path())[0];
    let whole = std::fs::read(path).unwrap();
    let frames = Segment::open(path, OWNER).unwrap().unwrap().spots().unwrap();
    let second = frames[1].offset as usize;
    let head = super::segment::HEAD;
    let moved = [&whole[..head], &whole[second..], &vec![0; second - head]].concat();
    std::fs::write(path, &moved).unwrap();
    let first = frames[1].first;
    assert_eq!(numbers(&reader.at(&[first]).unwrap()), [first]);
}

#[test]
fn a_write_that_fails_keeps_what_was_there_and_uses_no_position() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = Writer::open(dir.path(), OWNER, None, SMALL).unwrap();
    put(&mut writer, 1..20);
    // Without its directory the next segment cannot be begun.
    let aside = dir.path().with_extension("aside");
    std::fs::rename(dir.path(), &aside).unwrap();
    let mut failed = false;
    for n in 20..200 {
        let line = format!("line {n} {}", Uuid::from_u128(n << 70));
        writer.append(&entry(line.as_bytes(), 1)).unwrap();
        if writer.flush().is_err() {
            failed = true;
            break;
        }
    }
    assert!(failed);
    let next = writer.next_position();
    std::fs::rename(&aside, dir.path()).unwrap();
    put(&mut writer, next..next + 10);
    let mut reader = Reader::open(dir.path(), OWNER, None);
    assert_eq!(numbers(&reader.read(999).unwrap()), (1..next + 10).collect::<Vec<_>>());
}

#[test]
fn a_full_disk_is_survived_when_one_can_be_made() {
    // Needs a file system of its own; where none can be mounted the test above stands alone.
    let dir = tempfile::tempdir().unwrap();
    let mount = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"])
        .arg(dir.path())
        .output();
    if !mount.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: cannot mount a tmpfs here");
        return;
    }
    struct Unmount<'a>(&'a Path);
    impl Drop for Unmount<'_> {
        fn drop(&mut self) {
            let _ = std::process::Command::new("umount").arg("-l").arg(self.0).status();
        }
    }
    let _unmount = Unmount(dir.path());
    let spool = dir.path().join("spool");
    let options = Options { segment_bytes: 1 << 20, ..SMALL };
    let mut writer = Writer::open(&spool, OWNER, None, options).unwrap();
    put(&mut writer, 1..20);
    let ballast = dir.path().join("ballast");
    let mut file = std::fs::File::create(&ballast).unwrap();
    while file.write_all(&[0; 512]).is_ok() {}
    drop(file);
    let mut n = 20;
    while n < 10_000 {
        let line = format!("line {n} {}", Uuid::from_u128(u128::from(n) << 70));
        writer.append(&entry(line.as_bytes(), 1)).unwrap();
        if writer.flush().is_err() {
            break;
        }
        n += 1;
    }
    assert!(n < 10_000, "the disk never filled");
    std::fs::remove_file(&ballast).unwrap();
    put(&mut writer, n..n + 10);
    let mut reader = Reader::open(&spool, OWNER, None);
    assert_eq!(numbers(&reader.read(9_999).unwrap()), (1..n + 10).collect::<Vec<_>>());
    assert_eq!(reader.damaged(), 0);
}

#[test]
fn finds_records_by_their_positions_and_tells_its_range() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(Reader::open(dir.path(), OWNER, None).range().unwrap(), (1, 1));
    let key = Key::new([3; 32]);
    let options = Options { retain_bytes: 1 << 30, ..SMALL };
    let mut writer = Writer::open(dir.path(), OWNER, Some(&key), options).unwrap();
    put(&mut writer, 1..500);
    let reader = Reader::open(dir.path(), OWNER, Some(&key));
    assert_eq!(reader.range().unwrap(), (1, 500));
    assert_eq!(numbers(&reader.at(&[499, 3, 250, 3, 9_999]).unwrap()), [3, 250, 499]);
    std::fs::remove_file(&segments(dir.path())[0]).unwrap();
    assert!(reader.range().unwrap().0 > 3);
    assert_eq!(numbers(&reader.at(&[3, 499]).unwrap()), [499]);
}

#[test]
fn backwards_gives_every_record_once() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { retain_bytes: 1 << 30, ..SMALL };
    let mut writer = Writer::open(dir.path(), OWNER, None, options).unwrap();
    put(&mut writer, 1..500);
    let mut back = Reader::open(dir.path(), OWNER, None).backwards(Some(400)).unwrap();
    let mut seen = Vec::new();
    while let Some(records) = back.next_frame().unwrap() {
        seen.extend(numbers(&records).into_iter().rev());
    }
    assert_eq!(seen, (1..400).rev().collect::<Vec<_>>());
}

#[test]
fn a_closed_segment_of_single_lines_is_packed_and_read_as_before() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { segment_bytes: 50_000, retain_bytes: 1 << 30, retain_ms: None };
    let mut writer = Writer::open(dir.path(), OWNER, None, options).unwrap();
    // Who has begun with the loose segment reads it to its end.
    let mut early = Reader::open(dir.path(), OWNER, None);
    let mut n = 0;
    while segments(dir.path()).len() < 2 {
        n += 1;
        put(&mut writer, n..n + 1);
        writer.flush().unwrap();
        if n == 1 {
            assert_eq!(numbers(&early.read(1).unwrap()), [1]);
        }
    }
    let packed = std::fs::metadata(&segments(dir.path())[0]).unwrap().len();
    assert!(packed < 25_000, "{packed}");
    assert_eq!(numbers(&early.read(9_999).unwrap()), (2..=n).collect::<Vec<_>>());
    let mut late = Reader::open(dir.path(), OWNER, None);
    assert_eq!(numbers(&late.read(9_999).unwrap()), (1..=n).collect::<Vec<_>>());
}

#[test]
fn a_slow_spool_is_forgotten_by_age_too() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { retain_ms: Some(1_600), ..Options::default() };
    let mut writer = Writer::open(dir.path(), OWNER, None, options).unwrap();
    for n in 1..=100 {
        writer.append(&entry(format!("line {n}").as_bytes(), n * 50)).unwrap();
        writer.flush().unwrap();
    }
    writer.expire(Timestamp(5_000)).unwrap();
    let kept = Reader::open(dir.path(), OWNER, None).last(999, None).unwrap();
    assert!((30..=40).contains(&kept.len()), "{}", kept.len());
}

#[test]
fn a_sweep_forgets_what_nobody_writes_and_leaves_a_writer_alone() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { retain_ms: Some(1_000), ..SMALL };
    let mut writer = Writer::open(dir.path(), OWNER, None, SMALL).unwrap();
    put(&mut writer, 1..50);
    let late = Timestamp(u64::MAX / 2);
    assert_eq!(sweep(dir.path(), OWNER, options, late).unwrap(), None);
    drop(writer);
    assert_eq!(sweep(dir.path(), OWNER, options, Timestamp(0)).unwrap(), Some(true));
    assert_eq!(sweep(dir.path(), OWNER, options, late).unwrap(), Some(false));
    assert_eq!(Reader::open(dir.path(), OWNER, None).last(99, None).unwrap(), []);
    assert_eq!(Writer::open(dir.path(), OWNER, None, SMALL).unwrap().next_position(), 50);
}
