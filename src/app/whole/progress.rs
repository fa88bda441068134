//! How far long work is, on standard error, where that is a terminal.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tenantry_journal::id::Seq;

/// Events between two looks at the clock.
const EVERY: u64 = 1024;

/// A bar over events; gone when it is dropped.
pub(super) struct Progress(ProgressBar);

impl Progress {
    /// Over `events`, of which none is done.
    pub(super) fn new(what: &'static str, events: u64) -> Progress {
        let bar = ProgressBar::with_draw_target(Some(events), ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{msg} {bar:30} {pos}/{len} events, {per_sec}, {eta} left");
        if let Ok(style) = style {
            bar.set_style(style);
        }
        bar.set_message(what);
        Progress(bar)
    }

    /// So far.
    pub(super) fn at(&self, seq: Seq) {
        if seq.0.is_multiple_of(EVERY) {
            self.0.set_position(seq.0);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
