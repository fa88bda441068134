//! Pages of lists, the same for both documents: `limit` and `offset` in, the page and the
//! true total out. A limit outside its range is refused, never clamped in silence.

/// The largest page; a list of this many tenants is a few hundred kilobytes.
pub const MAX_LIMIT: usize = 1000;

/// The limit is not 1 to [`MAX_LIMIT`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("limit must be 1 to {MAX_LIMIT}, not {0}")]
pub struct BadLimit(pub usize);

/// Which part of a list is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    limit: usize,
    offset: usize,
}

/// Part of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// The part, at most `limit` items.
    pub items: Vec<T>,
    /// How many items the whole list has.
    pub total: usize,
    /// What was asked for.
    pub limit: usize,
    /// Number of items before the part.
    pub offset: usize,
}

impl Window {
    /// Asks for `limit` items after the first `offset`.
    ///
    /// # Errors
    /// When the limit is not 1 to [`MAX_LIMIT`].
    pub fn new(limit: usize, offset: usize) -> Result<Window, BadLimit> {
        if !(1..=MAX_LIMIT).contains(&limit) {
            return Err(BadLimit(limit));
        }
        Ok(Window { limit, offset })
    }

    /// Takes the part out of a list. Goes through all of it to count it, and keeps no more
    /// than the part.
    pub fn of<T>(self, list: impl IntoIterator<Item = T>) -> Page<T> {
        let Window { limit, offset } = self;
        let mut list = list.into_iter();
        let before = list.by_ref().take(offset).count();
        let items: Vec<T> = list.by_ref().take(limit).collect();
        let total = before + items.len() + list.count();
        Page { items, total, limit, offset }
    }
}

impl<T> Page<T> {
    /// Whether the list goes on after this part.
    #[must_use]
    pub fn has_more(&self) -> bool {
        self.offset.saturating_add(self.items.len()) < self.total
    }

    /// The same page of other items.
    #[must_use]
    pub fn map<U>(self, change: impl FnMut(T) -> U) -> Page<U> {
        Page {
            items: self.items.into_iter().map(change).collect(),
            total: self.total,
            limit: self.limit,
            offset: self.offset,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_knows_the_true_total_and_whether_there_is_more() {
        let page = Window::new(20, 40).unwrap().of(0..156);
        assert_eq!((page.items.first(), page.items.len(), page.total), (Some(&40), 20, 156));
        assert!(page.has_more());
        let last = Window::new(20, 140).unwrap().of(0..156);
        assert_eq!((last.items.len(), last.total, last.has_more()), (16, 156, false));
    }

    #[test]
    fn a_page_after_the_end_is_empty_and_still_counts() {
        for offset in [156, 157, usize::MAX] {
            let page = Window::new(1, offset).unwrap().of(0..156);
            assert_eq!((page.items.len(), page.total, page.has_more()), (0, 156, false));
        }
    }

    #[test]
    fn a_limit_outside_its_range_is_refused() {
        assert!(Window::new(1, 0).is_ok() && Window::new(MAX_LIMIT, 0).is_ok());
        for bad in [0, MAX_LIMIT + 1, usize::MAX] {
            assert_eq!(Window::new(bad, 0), Err(BadLimit(bad)));
        }
    }
}
