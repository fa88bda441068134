//! From a query to the lines that match, newest first or best first, and how many there are.
//!
//! Segments are sorted newest first, so the newest matches of each are its first ones: no
//! more are looked at than are wanted. Counting goes over all of them, by lists alone.

use std::ops::Bound;

use tantivy::collector::TopDocs;
use tantivy::query::{
    AllQuery, BooleanQuery, ConstScoreQuery, EmptyQuery, EnableScoring, Occur, PhrasePrefixQuery,
    PhraseQuery, Query as Matcher, RangeQuery, TermQuery, TermSetQuery,
};
use tantivy::schema::IndexRecordOption;
use tantivy::{DocAddress, DocSet as _, Result, TERMINATED, Term};
use tenantry_journal::id::InstanceId;

use super::index::{POSITION_BITS, order};
use super::query::Query;
use super::{Hit, Live, Names, Request, Sort};

/// To how many words the last one of a phrase may go on.
const EXPANSIONS: u32 = 1_000;

/// The wanted part of what matches, and how much there is.
pub(super) fn find(live: &Live, request: &Request<'_>) -> Result<(Vec<Hit>, usize)> {
    let matcher = matcher(live, request);
    let wanted = request.offset.saturating_add(request.limit).min(live.searcher.num_docs() as usize);
    let (docs, total) = match request.sort {
        Sort::Newest => newest(live, &*matcher, wanted)?,
        Sort::Relevance if wanted == 0 => (Vec::new(), 0),
        Sort::Relevance => {
            let best = live.searcher.search(&*matcher, &TopDocs::with_limit(wanted).order_by_score())?;
            let total = matcher.count(&live.searcher)?;
            (best.into_iter().map(|(_, doc)| doc).collect(), total)
        }
    };
    let hits = docs.into_iter().skip(request.offset).take(request.limit);
    let hits = hits.map(|doc| hit(live, doc)).collect::<Result<Vec<Option<Hit>>>>()?;
    Ok((hits.into_iter().flatten().collect(), total))
}

fn newest(live: &Live, matcher: &dyn Matcher, wanted: usize) -> Result<(Vec<DocAddress>, usize)> {
    let weight = matcher.weight(EnableScoring::disabled_from_searcher(&live.searcher))?;
    let (mut found, mut total) = (Vec::new(), 0);
    for (ordinal, segment) in (0..).zip(live.searcher.segment_readers()) {
        total += weight.count(segment)? as usize;
        let orders = segment.fast_fields().u64("order")?.first_or_default_col(0);
        let alive = segment.alive_bitset();
        let mut docs = weight.scorer(segment, 1.0)?;
        let (mut doc, mut taken) = (docs.doc(), 0);
        while doc != TERMINATED && taken < wanted {
            if alive.is_none_or(|alive| alive.is_alive(doc)) {
                found.push((orders.get_val(doc), DocAddress::new(ordinal, doc)));
                taken += 1;
            }
            doc = docs.advance();
        }
    }
    found.sort_unstable_by(|(left, _), (right, _)| right.cmp(left));
    found.truncate(wanted);
    Ok((found.into_iter().map(|(_, doc)| doc).collect(), total))
}

fn hit(live: &Live, doc: DocAddress) -> Result<Option<Hit>> {
    let fields = live.searcher.segment_reader(doc.segment_ord).fast_fields();
    let ordinal = fields.u64("instance")?.first(doc.doc_id).unwrap_or_default();
    let position = fields.u64("position")?.first(doc.doc_id).unwrap_or_default();
    Ok(live.instances.get(&ordinal).map(|instance| Hit { instance: *instance, position }))
}

fn matcher(live: &Live, request: &Request<'_>) -> Box<dyn Matcher> {
    let asked = Builder { live, names: request.names, scored: request.sort == Sort::Relevance };
    let mut all = vec![asked.build(request.query)];
    if let Some(allowed) = &request.allowed {
        all.push(unscored(asked.instances(allowed)));
    }
    if request.since.is_some() || request.until.is_some() {
        let term = |order| Term::from_field_u64(live.fields.order, order);
        let since = request.since.map_or(Bound::Unbounded, |ms| Bound::Included(term(order(ms, 0))));
        let last = (1 << POSITION_BITS) - 1;
        let until = request.until.map_or(Bound::Unbounded, |ms| Bound::Included(term(order(ms, last))));
        all.push(unscored(Box::new(RangeQuery::new(since, until))));
    }
    match (all.len(), all.pop()) {
        (1, Some(one)) => one,
        (_, Some(last)) => {
            all.push(last);
            Box::new(BooleanQuery::new(all.into_iter().map(|one| (Occur::Must, one)).collect()))
        }
        (_, None) => Box::new(AllQuery),
    }
}

fn unscored(filter: Box<dyn Matcher>) -> Box<dyn Matcher> {
    Box::new(ConstScoreQuery::new(filter, 0.0))
}

struct Builder<'a> {
    live: &'a Live,
    names: &'a dyn Names,
    scored: bool,
}

impl Builder<'_> {
    fn build(&self, query: &Query) -> Box<dyn Matcher> {
        match query {
            Query::All => Box::new(AllQuery),
            Query::And(all) => self.and(all),
            Query::Or(all) => {
                let clauses = all.iter().map(|one| (Occur::Should, self.build(one))).collect();
                Box::new(BooleanQuery::new(clauses))
            }
            Query::Not(_) => self.and(std::slice::from_ref(query)),
            Query::Words { words, prefix } => self.words(words, *prefix),
            Query::Instance(name) => unscored(self.instances(&self.names.named(name))),
            Query::Service(name) => unscored(self.instances(&self.names.of_service(name))),
            Query::Level(level) => {
                let term = Term::from_field_u64(self.live.fields.level, *level as u64);
                unscored(Box::new(TermQuery::new(term, IndexRecordOption::Basic)))
            }
        }
    }

    fn and(&self, all: &[Query]) -> Box<dyn Matcher> {
        let mut clauses: Vec<(Occur, Box<dyn Matcher>)> = Vec::with_capacity(all.len() + 1);
        for one in all {
            match one {
                Query::Not(not) => clauses.push((Occur::MustNot, self.build(not))),
                other => clauses.push((Occur::Must, self.build(other))),
            }
        }
        if clauses.iter().all(|(occur, _)| *occur == Occur::MustNot) {
            clauses.push((Occur::Must, Box::new(AllQuery)));
        }
        Box::new(BooleanQuery::new(clauses))
    }

    fn words(&self, words: &[String], prefix: bool) -> Box<dyn Matcher> {
        let term = |word: &String| Term::from_field_text(self.live.fields.text, word);
        let terms: Vec<Term> = words.iter().map(term).collect();
        match (words, prefix) {
            ([], _) => Box::new(AllQuery),
            ([word], false) => {
                let option =
                    if self.scored { IndexRecordOption::WithFreqs } else { IndexRecordOption::Basic };
                Box::new(TermQuery::new(term(word), option))
            }
            (_, false) => Box::new(PhraseQuery::new(terms)),
            (_, true) => {
                let mut query = PhrasePrefixQuery::new(terms);
                query.set_max_expansions(EXPANSIONS);
                Box::new(query)
            }
        }
    }

    fn instances(&self, ids: &[InstanceId]) -> Box<dyn Matcher> {
        let term = |ordinal| Term::from_field_u64(self.live.fields.instance, ordinal);
        let known = ids.iter().filter_map(|id| self.live.ordinals.get(id).copied());
        let terms: Vec<Term> = known.map(term).collect();
        match terms.as_slice() {
            [] => Box::new(EmptyQuery),
            [one] => Box::new(TermQuery::new(one.clone(), IndexRecordOption::Basic)),
            _ => Box::new(TermSetQuery::new(terms)),
        }
    }
}
