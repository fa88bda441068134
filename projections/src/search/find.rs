//! From a query to the lines that match, newest first or best first, and how many there are.
//!
//! Segments are sorted newest first, so the newest matches of each are its first ones. Which
//! match is found by lists of words alone; only what is best first is weighed one by one.

use std::ops::Bound;

use tantivy::collector::TopDocs;
use tantivy::query::{
    AllQuery, BooleanQuery, ConstScoreQuery, EmptyQuery, Occur, PhrasePrefixQuery, PhraseQuery,
    Query as Matcher, RangeQuery, TermQuery, TermSetQuery,
};
use tantivy::schema::IndexRecordOption;
use tantivy::{DocAddress, Result, Term};
use tenantry_journal::id::InstanceId;

use super::index::{POSITION_BITS, order};
use super::matching::{EXPANSIONS, matching};
use super::query::Query;
use super::{Hit, Live, Names, Request, Sort};

/// The wanted part of what matches, and how much there is.
pub(super) fn find(live: &Live, request: &Request<'_>) -> Result<(Vec<Hit>, usize)> {
    let all = live.segments.iter().map(|segment| segment.max as usize).sum();
    let wanted = request.offset.saturating_add(request.limit).min(all);
    let by_time = if request.sort == Sort::Newest { wanted } else { 0 };
    let (mut found, mut total) = (Vec::new(), 0);
    for (ordinal, segment) in (0..).zip(&live.segments) {
        let (docs, count) = matching(live, request, segment, by_time)?;
        total += count;
        let place = |doc| (segment.orders.get_val(doc), DocAddress::new(ordinal, doc));
        found.extend(docs.into_iter().map(place));
    }
    let docs: Vec<DocAddress> = match request.sort {
        Sort::Newest => {
            found.sort_unstable_by(|(left, _), (right, _)| right.cmp(left));
            found.into_iter().map(|(_, doc)| doc).collect()
        }
        Sort::Relevance if wanted == 0 => Vec::new(),
        Sort::Relevance => {
            let best = TopDocs::with_limit(wanted).order_by_score();
            let best = live.searcher.search(&*matcher(live, request), &best)?;
            best.into_iter().map(|(_, doc)| doc).collect()
        }
    };
    let page = docs.into_iter().skip(request.offset).take(request.limit);
    Ok((page.filter_map(|doc| hit(live, doc)).collect(), total))
}

fn hit(live: &Live, doc: DocAddress) -> Option<Hit> {
    let segment = live.segments.get(doc.segment_ord as usize)?;
    let instance = live.instances.get(&segment.instances.get_val(doc.doc_id))?;
    Some(Hit { instance: *instance, position: segment.places.get_val(doc.doc_id) })
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
