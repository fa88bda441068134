//! What happens on the writer's thread, and what on the committing one.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tenantry_journal::event::Event;
use tenantry_journal::feed::Feed;
use tenantry_journal::group::{Author, Committed, Poisoned, Publisher, Stage};
use tenantry_journal::id::CommandId;
use tenantry_journal::recorded::{Draft, Recorded};
use tenantry_journal::tree::TileRoots;
use tenantry_projections::world::World;
use tokio::sync::{oneshot, watch};

use super::{Outcome, SubmitError};
use crate::clock::Clock;
use crate::domain::command::{Mode, Submission};
use crate::domain::ctx::{Ctx, Ids};
use crate::domain::decide::{check_expected, decide, observed_of, subject};
use crate::domain::policy::Policy;
use crate::domain::rejection::Rejection;
use crate::telemetry::metrics::Metrics;

type Answer = Result<Outcome, SubmitError>;

/// A command and who waits for it.
pub(super) struct Request {
    pub(super) submission: Submission,
    pub(super) reply: oneshot::Sender<Answer>,
}

/// Decides, and evolves its own World ahead of the durable one.
pub(super) struct Writer {
    pub(super) world: World,
    pub(super) policy: Arc<ArcSwap<Policy>>,
    pub(super) clock: Arc<dyn Clock>,
}

impl Writer {
    fn carry_out(&mut self, submission: &Submission, stage: &mut Stage) -> Result<Outcome, Rejection> {
        if let Some(expected) = submission.expected {
            check_expected(&self.world, &submission.command, expected)?;
        }
        let now = self.clock.now().max(self.world.at);
        let ids = Ids::new(now, rand::random());
        let command_id: CommandId = ids.make();
        let ctx = Ctx { now, ids, policy: self.policy.load_full() };
        let events = decide(&self.world, &submission.command, &ctx)?;
        let drafts = self.drafts(events, submission, command_id, &ctx);
        let recorded: Arc<[Recorded]> = match submission.mode {
            Mode::DryRun => {
                let mut seq = self.world.seq;
                let place = |draft| {
                    seq = seq.next();
                    Recorded { seq, draft }
                };
                let would: Arc<[Recorded]> = drafts.into_iter().map(place).collect();
                let mut world = self.world.clone();
                would.iter().for_each(|recorded| world.evolve(recorded));
                return Ok(Outcome {
                    command_id,
                    seq: self.world.seq,
                    events: would,
                    world: Arc::new(world),
                });
            }
            Mode::Record => stage.record(drafts).map_err(|error| {
                Rejection::unprocessable("too_large", crate::error::chain(&error), "send less at once")
            })?,
        }
        .into();
        recorded.iter().for_each(|recorded| self.world.evolve(recorded));
        Ok(Outcome { command_id, events: recorded, seq: self.world.seq, world: Arc::new(self.world.clone()) })
    }

    fn drafts(
        &self,
        events: Vec<Event>,
        submission: &Submission,
        command_id: CommandId,
        ctx: &Ctx,
    ) -> Vec<Draft> {
        let mut idempotency = submission.idempotency;
        let observed = || observed_of(&self.world, &submission.command);
        let caused_by = submission.caused_by.or_else(observed);
        events
            .into_iter()
            .map(|event| {
                let (tenant_id, instance_id) = subject(&self.world, &event);
                Draft {
                    id: ctx.ids.make(),
                    at: ctx.now,
                    actor: submission.actor,
                    tenant_id,
                    instance_id,
                    command_id,
                    caused_by,
                    idempotency: idempotency.take(),
                    event,
                }
            })
            .collect()
    }
}

impl Author for Writer {
    type Request = Request;
    type Reply = (oneshot::Sender<Answer>, Result<Outcome, Rejection>);
    type State = Arc<World>;

    fn decide(&mut self, request: Request, stage: &mut Stage) -> Self::Reply {
        let Request { submission, reply } = request;
        let outcome = self.carry_out(&submission, stage);
        (reply, outcome)
    }

    fn state(&mut self) -> Arc<World> {
        Arc::new(self.world.clone())
    }
}

/// Shows a durable World, tells the feed, and answers.
pub(super) struct Visible {
    pub(super) world: Arc<ArcSwap<World>>,
    pub(super) feed: Arc<Feed>,
    /// Told when users or tokens changed.
    pub(super) access: watch::Sender<()>,
    pub(super) metrics: Arc<Metrics>,
    /// What commits complete of the Merkle tree.
    pub(super) tiles: Arc<TileRoots>,
}

impl Publisher<Writer> for Visible {
    fn publish(&mut self, state: Arc<World>, commits: &[Committed]) {
        // The World first: whoever learns of a new head from the feed finds it in the World.
        let is_access_same = self.world.load().access.is_same(&state.access);
        self.world.store(state);
        // Then this: whoever got an event from the feed was told before of what revoked its
        // credential up to that event.
        if !is_access_same {
            self.access.send_replace(());
        }
        self.feed.publish(commits);
        self.tiles.add(commits.iter().flat_map(|commit| &commit.tiles));
        self.metrics.journal_commits.inc_by(commits.len() as u64);
        self.metrics.journal_bytes.inc_by(commits.iter().map(|commit| commit.bytes as u64).sum());
    }

    fn synced(&mut self, took: Duration) {
        self.metrics.journal_sync_seconds.observe(took.as_secs_f64());
    }

    fn answer(&mut self, (reply, outcome): <Writer as Author>::Reply, durable: Result<(), Poisoned>) {
        let answer = match durable {
            Ok(()) => outcome.map_err(SubmitError::Rejected),
            Err(poisoned) => Err(SubmitError::Unavailable(poisoned.to_string())),
        };
        // A caller that went away has no use for the answer; what was decided stands.
        drop(reply.send(answer));
    }
}
