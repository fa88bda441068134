//! A bar for long work, on standard error and only on a terminal.

use std::io::{self, IsTerminal as _};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How far a piece of work is.
#[derive(Debug)]
pub struct Progress(ProgressBar);

impl Progress {
    /// Work on so many events; `quiet` when nobody wants to see it.
    #[must_use]
    pub fn over_events(what: &'static str, events: u64, quiet: bool) -> Progress {
        let is_shown = !quiet && io::stderr().is_terminal();
        let target = if is_shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(events), target);
        let style = "{msg} [{bar:40}] {human_pos}/{human_len} events, {per_sec}, {eta} left";
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(what);
        Progress(bar)
    }

    /// The work is at this event.
    pub fn at(&self, event: u64) {
        /// The bar is drawn some times a second; it need not hear of every event.
        const EACH: u64 = 4096;
        if event.is_multiple_of(EACH) {
            self.0.set_position(event);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
