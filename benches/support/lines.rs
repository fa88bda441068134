//! Lines as applications print them: a time, a level, words that are common, seldom and rare,
//! numbers, and an id that is never the same.

use std::io::Write;

const WHAT: [&str; 16] = [
    "request completed",
    "request completed",
    "request completed",
    "request completed",
    "cache hit for session",
    "cache miss for session",
    "query executed",
    "query executed",
    "user logged in",
    "user logged out",
    "job enqueued for delivery",
    "job finished delivery",
    "connection accepted from upstream",
    "connection closed by upstream",
    "retrying after timeout",
    "database error connecting to pg",
];
const PATHS: [&str; 8] = [
    "/api/donations",
    "/api/volunteers",
    "/api/events",
    "/health",
    "/static/app.js",
    "/api/contacts/search",
    "/api/mailings",
    "/login",
];

/// Writes the line of this number. Each word of [`WHAT`] is in thousands of a million lines,
/// `shard` of a number in a thousand, a trace id in one.
pub(crate) fn line(n: u64, out: &mut impl Write) {
    // A generator of good spread (splitmix64), so that lines follow no pattern.
    let mut random = n.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(0x9e37_79b9_7f4a_7c15);
    random = (random ^ (random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    random = (random ^ (random >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    random ^= random >> 31;
    let what = WHAT.get((random & 15) as usize).unwrap_or(&"");
    let level = if what.contains("error") { "ERROR" } else { "INFO" };
    let path = PATHS.get((random >> 4 & 7) as usize).unwrap_or(&"");
    let (status, ms) = (if random & 0x700 == 0 { 404 } else { 200 }, random >> 12 & 511);
    let (user, shard) = (random >> 24 & 0xffff, random >> 40 & 1023);
    writeln!(
        out,
        "{level} {what} path={path} status={status} duration_ms={ms} user=u{user} shard=s{shard} trace={:08x}",
        (random >> 32) as u32
    )
    .unwrap();
}
