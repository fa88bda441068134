//! Which documents of a segment match a query. Each word is looked up once; common words are
//! brought together as bits, and the list of a common word is not gone through for the few
//! documents of a seldom one.

use std::ops::Range;

use tantivy::postings::TermInfo;
use tantivy::query::{EnableScoring, PhrasePrefixQuery, Query as _};
use tantivy::schema::IndexRecordOption;
use tantivy::{DocSet as _, InvertedIndexReader, Result, TERMINATED, Term};
use tenantry_journal::id::InstanceId;

use super::docs::{Docs, Gather};
use super::phrase::phrase;
use super::query::Query;
use super::segment::Segment;
use super::{Live, Request};

/// To how many words the last one of a phrase may go on.
pub(super) const EXPANSIONS: u32 = 1_000;
/// A list this many times as long as what it narrows down is looked into and not gone through.
const MUCH_LONGER: usize = 16;

/// What matches in one segment: its newest documents, no more than are wanted, and how many.
pub(super) fn matching(
    live: &Live,
    request: &Request<'_>,
    segment: &Segment,
    wanted: usize,
) -> Result<(Vec<u32>, usize)> {
    let range = segment.between(request.since, request.until);
    if range.is_empty() {
        return Ok((Vec::new(), 0));
    }
    let planner = Planner { live, request, segment };
    let mut plan = planner.plan(request.query)?;
    if let Some(allowed) = &request.allowed {
        plan = Plan::and(vec![plan, planner.instances(allowed)?], Vec::new());
    }
    if let (Plan::Word(word), true) = (&plan, segment.is_whole() && range == (0..segment.max)) {
        return word.first(segment, wanted);
    }
    let docs = segment.alive(plan.docs(segment)?.within(&range));
    Ok((docs.first(wanted), docs.count()))
}

/// Which list of a segment.
#[derive(Clone, Copy)]
enum Kind {
    Text,
    Instance,
    Level,
}

/// The documents of one word.
struct List {
    kind: Kind,
    info: TermInfo,
}

/// A query, with what one segment knows of its words.
enum Plan {
    None,
    All,
    Word(List),
    /// Any of these.
    Words(Vec<List>),
    Phrase(Vec<TermInfo>),
    Prefix(String),
    PhrasePrefix(PhrasePrefixQuery),
    And {
        must: Vec<Plan>,
        not: Vec<Plan>,
    },
    Or(Vec<Plan>),
}

struct Planner<'a> {
    live: &'a Live,
    request: &'a Request<'a>,
    segment: &'a Segment,
}

impl Planner<'_> {
    fn plan(&self, query: &Query) -> Result<Plan> {
        let (fields, names) = (&self.live.fields, self.request.names);
        Ok(match query {
            Query::All => Plan::All,
            Query::And(all) => self.and(all)?,
            Query::Or(all) => Plan::Or(all.iter().map(|one| self.plan(one)).collect::<Result<_>>()?),
            Query::Not(_) => self.and(std::slice::from_ref(query))?,
            Query::Words { words, prefix } => self.words(words, *prefix)?,
            Query::Instance(name) => self.instances(&names.named(name))?,
            Query::Service(name) => self.instances(&names.of_service(name))?,
            Query::Level(level) => {
                let term = Term::from_field_u64(fields.level, *level as u64);
                self.list(Kind::Level, &term)?.map_or(Plan::None, Plan::Word)
            }
        })
    }

    fn and(&self, all: &[Query]) -> Result<Plan> {
        let (mut must, mut not) = (Vec::new(), Vec::new());
        for one in all {
            match one {
                Query::Not(one) => not.push(self.plan(one)?),
                other => must.push(self.plan(other)?),
            }
        }
        Ok(Plan::and(must, not))
    }

    fn words(&self, words: &[String], prefix: bool) -> Result<Plan> {
        let term = |word: &String| Term::from_field_text(self.live.fields.text, word);
        Ok(match (words, prefix) {
            ([], _) => Plan::All,
            ([word], true) => Plan::Prefix(word.clone()),
            (words, true) => {
                let mut query = PhrasePrefixQuery::new(words.iter().map(term).collect());
                query.set_max_expansions(EXPANSIONS);
                Plan::PhrasePrefix(query)
            }
            (words, false) => {
                let mut infos = Vec::with_capacity(words.len());
                for word in words {
                    match self.segment.text.get_term_info(&term(word))? {
                        Some(info) => infos.push(info),
                        None => return Ok(Plan::None),
                    }
                }
                match (infos.len(), infos.pop()) {
                    (1, Some(info)) => Plan::Word(List { kind: Kind::Text, info }),
                    (_, last) => {
                        infos.extend(last);
                        Plan::Phrase(infos)
                    }
                }
            }
        })
    }

    fn instances(&self, ids: &[InstanceId]) -> Result<Plan> {
        let known = ids.iter().filter_map(|id| self.live.ordinals.get(id));
        let term = |ordinal: &u64| Term::from_field_u64(self.live.fields.instance, *ordinal);
        let lists = known.map(|ordinal| self.list(Kind::Instance, &term(ordinal)));
        let mut lists = lists.filter_map(Result::transpose).collect::<Result<Vec<List>>>()?;
        Ok(match (lists.len(), lists.pop()) {
            (_, None) => Plan::None,
            (1, Some(one)) => Plan::Word(one),
            (_, Some(last)) => {
                lists.push(last);
                Plan::Words(lists)
            }
        })
    }

    fn list(&self, kind: Kind, term: &Term) -> Result<Option<List>> {
        Ok(kind.of(self.segment).get_term_info(term)?.map(|info| List { kind, info }))
    }
}

impl Kind {
    fn of(self, segment: &Segment) -> &InvertedIndexReader {
        match self {
            Kind::Text => &segment.text,
            Kind::Instance => &segment.instance,
            Kind::Level => &segment.level,
        }
    }
}

impl List {
    /// The first documents and how many there are, without going through the rest.
    fn first(&self, segment: &Segment, wanted: usize) -> Result<(Vec<u32>, usize)> {
        let lists = self.kind.of(segment);
        let mut list = lists.read_block_postings_from_terminfo(&self.info, IndexRecordOption::Basic)?;
        let mut first = Vec::new();
        while first.len() < wanted && !list.docs().is_empty() {
            first.extend_from_slice(list.docs());
            list.advance();
        }
        first.truncate(wanted);
        Ok((first, self.info.doc_freq as usize))
    }

    fn gather(&self, segment: &Segment, into: &mut Gather) -> Result<()> {
        let lists = self.kind.of(segment);
        let mut list = lists.read_block_postings_from_terminfo(&self.info, IndexRecordOption::Basic)?;
        while !list.docs().is_empty() {
            into.add(list.docs());
            list.advance();
        }
        Ok(())
    }

    /// Those of a few that are in it.
    fn narrow(&self, segment: &Segment, few: Docs) -> Result<Docs> {
        let lists = self.kind.of(segment);
        let mut list = lists.read_postings_from_terminfo(&self.info, IndexRecordOption::Basic)?;
        Ok(few.retain(|doc| {
            let at = list.doc();
            (if at < doc { list.seek(doc) } else { at }) == doc
        }))
    }
}

impl Plan {
    /// All of these and none of those.
    fn and(must: Vec<Plan>, not: Vec<Plan>) -> Plan {
        let mut must: Vec<Plan> = must.into_iter().filter(|plan| !matches!(plan, Plan::All)).collect();
        let mut not: Vec<Plan> = not.into_iter().filter(|plan| !matches!(plan, Plan::None)).collect();
        if must.iter().any(|plan| matches!(plan, Plan::None)) {
            return Plan::None;
        }
        match (must.len(), not.is_empty(), must.pop()) {
            (_, true, None) => Plan::All,
            (1, true, Some(one)) => one,
            (_, _, last) => {
                must.extend(last);
                must.sort_by_key(Plan::most);
                not.sort_by_key(Plan::most);
                Plan::And { must, not }
            }
        }
    }

    /// How many documents it may match, about.
    fn most(&self) -> usize {
        match self {
            Plan::None => 0,
            Plan::All | Plan::Prefix(_) | Plan::PhrasePrefix(_) => usize::MAX,
            Plan::Word(list) => list.info.doc_freq as usize,
            Plan::Words(lists) => lists.iter().map(|list| list.info.doc_freq as usize).sum(),
            Plan::Phrase(words) => words.iter().map(|word| word.doc_freq as usize).min().unwrap_or(0),
            Plan::And { must, .. } => must.iter().map(Plan::most).min().unwrap_or(usize::MAX),
            Plan::Or(all) => all.iter().map(Plan::most).fold(0, usize::saturating_add),
        }
    }

    fn docs(&self, segment: &Segment) -> Result<Docs> {
        let mut found = Gather::new(segment.max);
        match self {
            Plan::None => {}
            Plan::All => return Ok(Docs::all(segment.max)),
            Plan::Word(list) => list.gather(segment, &mut found)?,
            Plan::Words(lists) => {
                for list in lists {
                    list.gather(segment, &mut found)?;
                }
            }
            Plan::Phrase(words) => return phrase(segment, words),
            Plan::Prefix(word) => prefix(segment, word, &mut found)?,
            Plan::PhrasePrefix(query) => {
                let schema = segment.reader.schema();
                let weight = query.weight(EnableScoring::disabled_from_schema(schema))?;
                let mut docs = weight.scorer(&segment.reader, 1.0)?;
                while docs.doc() != TERMINATED {
                    found.add(&[docs.doc()]);
                    docs.advance();
                }
            }
            Plan::Or(all) => {
                for one in all {
                    found.add_set(one.docs(segment)?);
                }
            }
            Plan::And { must, not } => return both(segment, must, not),
        }
        Ok(found.done())
    }
}

fn both(segment: &Segment, must: &[Plan], not: &[Plan]) -> Result<Docs> {
    let mut docs = match must.first() {
        Some(rarest) => rarest.docs(segment)?,
        None => Docs::all(segment.max),
    };
    for plan in must.iter().skip(1) {
        let count = docs.count();
        if count == 0 {
            return Ok(docs);
        }
        docs = match plan {
            Plan::Word(list) if plan.most() / MUCH_LONGER > count => list.narrow(segment, docs)?,
            plan => docs.and(plan.docs(segment)?),
        };
    }
    for plan in not {
        let count = docs.count();
        if count == 0 {
            return Ok(docs);
        }
        let unwanted = match plan {
            Plan::Word(list) if plan.most() / MUCH_LONGER > count => list.narrow(segment, docs.clone())?,
            plan => plan.docs(segment)?,
        };
        docs = docs.without(&unwanted);
    }
    Ok(docs)
}

/// The documents of every word that begins so.
fn prefix(segment: &Segment, word: &str, into: &mut Gather) -> Result<()> {
    let words = beginning_with(word.as_bytes());
    let mut stream = segment.text.terms().range().ge(&words.start).lt(&words.end).into_stream()?;
    let mut list = None;
    while let Some((_, info)) = stream.next() {
        let list = match &mut list {
            Some(list) => {
                segment.text.reset_block_postings_from_terminfo(info, list)?;
                list
            }
            none => {
                none.insert(segment.text.read_block_postings_from_terminfo(info, IndexRecordOption::Basic)?)
            }
        };
        while !list.docs().is_empty() {
            into.add(list.docs());
            list.advance();
        }
    }
    Ok(())
}

/// From the word itself to the first that does not begin so. No byte of text is 0xff.
fn beginning_with(word: &[u8]) -> Range<Vec<u8>> {
    let mut end = word.to_vec();
    if let Some(last) = end.last_mut() {
        *last = last.saturating_add(1);
    }
    word.to_vec()..end
}
