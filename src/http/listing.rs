//! Pages of lists: `limit` and `offset`, refused when out of range and never clamped.

use serde::Serialize;

use super::error::ApiError;

/// The most entries in one answer; the contract's.
pub const LARGEST_PAGE: u64 = 1000;

/// Which part of a list is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Page {
    /// How many entries.
    pub limit: usize,
    /// How many are left out before them.
    pub offset: usize,
}

/// Document 2's `pagination`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Pagination {
    /// How many entries at most.
    pub limit: usize,
    /// How many were left out before them.
    pub offset: usize,
    /// How many there are.
    pub total: usize,
    /// Whether there are some after them.
    pub has_more: bool,
}

impl Page {
    /// Checks what a query says.
    ///
    /// # Errors
    /// 400 when `limit` is not 1 to 1000 or `offset` is too large.
    pub fn new(limit: Option<i64>, offset: Option<i64>, default_limit: u64) -> Result<Page, ApiError> {
        let limit = match limit {
            None => default_limit,
            Some(given) => {
                u64::try_from(given).ok().filter(|limit| (1..=LARGEST_PAGE).contains(limit)).ok_or_else(
                    || ApiError::bad_request(format!("limit must be 1 to {LARGEST_PAGE}, not {given}.")),
                )?
            }
        };
        let offset = offset.unwrap_or(0);
        let offset = usize::try_from(offset)
            .map_err(|_| ApiError::bad_request(format!("offset must not be negative, as {offset} is.")))?;
        Ok(Page { limit: usize::try_from(limit).unwrap_or(usize::MAX), offset })
    }

    /// The wanted part of a list, and how many entries the whole has.
    pub fn of<T>(self, all: impl Iterator<Item = T>) -> (Vec<T>, usize) {
        let mut total = 0;
        let mut part = Vec::new();
        for entry in all {
            if total >= self.offset && part.len() < self.limit {
                part.push(entry);
            }
            total += 1;
        }
        (part, total)
    }

    /// Document 2's `pagination` for a list of so many entries.
    #[must_use]
    pub fn pagination(self, total: usize) -> Pagination {
        let has_more = self.offset.saturating_add(self.limit) < total;
        Pagination { limit: self.limit, offset: self.offset, total, has_more }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_out_of_range_is_refused_and_not_clamped() {
        for bad in [0, -1, 1001, i64::MAX] {
            assert_eq!(Page::new(Some(bad), None, 50).map_err(|e| e.status.as_u16()), Err(400));
        }
        assert!(Page::new(None, Some(-1), 50).is_err());
        assert_eq!(Page::new(Some(1000), Some(3), 50).ok(), Some(Page { limit: 1000, offset: 3 }));
        assert_eq!(Page::new(None, None, 50).ok(), Some(Page { limit: 50, offset: 0 }));
    }

    #[test]
    fn a_page_is_a_part_and_knows_the_whole() {
        let page = Page { limit: 2, offset: 1 };
        assert_eq!(page.of(0..4), (vec![1, 2], 4));
        assert!(page.pagination(4).has_more);
        assert!(!page.pagination(3).has_more);
        assert_eq!(Page { limit: 2, offset: 9 }.of(0..4), (vec![], 4));
    }
}
