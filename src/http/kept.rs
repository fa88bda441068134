//! Answers that follow from the present World and the query alone, kept until the World
//! changes: whoever asks for the same meanwhile gets the same bytes.
//!
//! A list is kept for who sees everything alone, so that no answer is ever another one's than
//! it says.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use axum::body::Bytes;
use tenantry_journal::id::{Seq, TenantId};
use tenantry_journal::time::Timestamp;

/// Bytes of answers that are kept together: a page of a thousand tenants has 330 KB.
const MOST_BYTES: usize = 8 << 20;
/// Answers that are kept at once, however short.
const MOST: usize = 1024;

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Question {
    /// Tenants, by what the query says.
    Tenants(String),
    /// The fleet in numbers.
    Fleet,
    /// Tenants' lines after one of them, so many.
    FleetTenants(Option<TenantId>, usize),
    /// A tenant by itself, whose health was looked at last at this time.
    Tenant(TenantId, Option<Timestamp>),
}

impl Question {
    /// Bytes that it takes beside its answer.
    fn len(&self) -> usize {
        match self {
            Question::Tenants(text) => text.len(),
            Question::Fleet | Question::FleetTenants(..) | Question::Tenant(..) => size_of::<Question>(),
        }
    }
}

/// Answers as of one position, by what was asked for.
#[derive(Debug, Default)]
struct Answers {
    seq: Seq,
    all: HashMap<Question, Bytes>,
    bytes: usize,
}

/// Keeps answers.
#[derive(Debug, Default)]
pub struct Kept(Mutex<Answers>);

impl Kept {
    /// What the same question was answered with at this position, if it was.
    #[must_use]
    pub fn get(&self, seq: Seq, question: &Question) -> Option<Bytes> {
        let answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        answers.all.get(question).filter(|_| answers.seq == seq).cloned()
    }

    /// Forgets everything; to be called when a key was erased, for names stand in the answers.
    pub fn forget(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Answers::default();
    }

    /// Keeps an answer. Those of earlier positions are forgotten with the first of a later one.
    pub fn keep(&self, seq: Seq, question: Question, answer: &Bytes) {
        let mut answers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seq > answers.seq {
            *answers = Answers { seq, ..Answers::default() };
        }
        let bytes = answers.bytes + question.len() + answer.len();
        if seq < answers.seq || answers.all.len() >= MOST || bytes > MOST_BYTES {
            return;
        }
        if answers.all.insert(question, answer.clone()).is_none() {
            answers.bytes = bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(text: &str) -> Question {
        Question::Tenants(text.to_owned())
    }

    fn bytes(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    #[test]
    fn an_answer_is_of_its_position_and_its_question_alone() {
        let kept = Kept::default();
        kept.keep(Seq(5), asked("a"), &bytes("five"));
        assert_eq!(kept.get(Seq(5), &asked("a")), Some(bytes("five")));
        assert_eq!(kept.get(Seq(5), &asked("b")), None);
        assert_eq!(kept.get(Seq(4), &asked("a")), None);
        assert_eq!(kept.get(Seq(6), &asked("a")), None);
        kept.keep(Seq(6), asked("a"), &bytes("six"));
        // Whoever took longer brings nothing back.
        kept.keep(Seq(5), asked("a"), &bytes("five"));
        assert_eq!(kept.get(Seq(6), &asked("a")), Some(bytes("six")));
        assert_eq!(kept.get(Seq(5), &asked("a")), None);
    }

    #[test]
    fn what_is_kept_is_bounded_in_number_and_bytes() {
        let kept = Kept::default();
        for n in 0..2 * MOST {
            kept.keep(Seq(1), asked(&n.to_string()), &bytes("x"));
        }
        let found = (0..2 * MOST).filter(|n| kept.get(Seq(1), &asked(&n.to_string())).is_some()).count();
        assert_eq!(found, MOST);
        let long = Bytes::from(vec![0; MOST_BYTES / 3]);
        for n in 0..4 {
            kept.keep(Seq(2), asked(&n.to_string()), &long);
        }
        let found = (0..4).filter(|n| kept.get(Seq(2), &asked(&n.to_string())).is_some()).count();
        assert_eq!(found, 2);
    }
}
