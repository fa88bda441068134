//! What each route of document 3 takes and gives, for `/openapi.json`. One entry for each, in
//! the order of the table.

use schemars::JsonSchema;
use tenantry_journal::id::{Seq, TenantId};
use tenantry_journal::merkle::proof::{Consistency, Inclusion};
use tenantry_journal::receipt::Receipt;
use tenantry_projections::event_view::EventView;

use super::{export, filter, get, history, journal, restore, undo, why, ws};
use crate::audit::Report;
use crate::http::openapi::Describe;

/// A page of the journal.
#[derive(JsonSchema)]
#[schemars(rename = "EventList")]
#[expect(dead_code, reason = "described, never made")]
struct Page<'a> {
    events: Vec<EventView<'a>>,
    /// The next `from_seq`; `null` when this was the last page.
    next_seq: Option<Seq>,
    /// The position of the last event there is.
    head_seq: Seq,
}

/// Something that a tenant had and that somebody else holds by now.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "described, never made")]
pub(super) struct RestoreConflict {
    /// What it is.
    #[schemars(extend("enum" = ["slug", "domain", "api_domain", "frontend_port", "backend_port"]))]
    field: String,
    /// What the tenant had.
    wanted: Held,
    /// Which tenant holds it; `null` when it is none, or none that the caller may see.
    held_by: Option<TenantId>,
    /// What it gets instead; `null` when it goes without.
    resolution: Option<Held>,
}

/// A port, or a name.
#[derive(JsonSchema)]
#[schemars(untagged, inline)]
#[expect(dead_code, reason = "described, never made")]
enum Held {
    Port(u16),
    Name(String),
}

/// A restore that was refused because of conflicts.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "described, never made")]
struct RefusedRestore {
    error: String,
    message: String,
    status: u16,
    /// Not there when it was refused for another reason.
    #[schemars(skip_serializing_if = "Option::is_none")]
    conflicts: Option<Vec<RestoreConflict>>,
}

/// What is said on the feed's socket.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "described, never made")]
enum FeedMessage<'a> {
    Event(FeedEvent<'a>),
    Notice(ws::Told<'a>),
}

/// One event of a subscription.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "described, never made")]
struct FeedEvent<'a> {
    #[schemars(extend("enum" = ["event"]))]
    r#type: String,
    /// The subscription's name, when it has one.
    #[schemars(skip_serializing_if = "Option::is_none")]
    sub: Option<String>,
    event: EventView<'a>,
}

/// Says what the routes of document 3 take and give.
pub(in crate::http) fn describe(all: &mut Describe) {
    all.get("/api/events", "listEvents", "Read the journal").query::<filter::Params>().answers::<Page<'_>>();
    all.get("/api/events/{seq}", "getEvent", "Get an event, with its causes and effects")
        .notes("`raw=true` gives the exact bytes that the journal's tree hashes.")
        .query::<get::GetQuery>()
        .answers::<get::Explained<'_>>()
        .gives(&["application/vnd.msgpack"])
        .etag();
    all.get("/api/events/why", "explainState", "Why an instance or a tenant is as it is")
        .notes("Name one of `instance` and `tenant_id`.")
        .query::<why::Subject>()
        .answers::<why::Why<'_>>();
    all.post("/api/events/{seq}/undo", "undoCommand", "Take back the command that an event belongs to")
        .answers::<undo::Undone<'_>>();
    all.get("/api/events/stream", "streamEvents", "Follow the journal (server-sent events)")
        .notes("`id` is the position, `event` the kind.")
        .query::<filter::Params>()
        .without(&["order", "limit"])
        .streams::<EventView<'_>>()
        .resumes();
    all.get("/ws/events", "followEvents", "Follow the journal (WebSocket)")
        .socket::<ws::Asked, FeedMessage<'_>>();
    all.get("/api/journal", "getJournal", "How far the journal goes, with a signed checkpoint")
        .answers::<journal::Stats>();
    all.get(
        "/api/journal/proof",
        "getProof",
        "Prove that an event is in the journal, or that nothing was changed",
    )
    .notes("`seq` (and `tree_size`) give an inclusion proof, `from` and `to` a consistency proof.")
    .query::<journal::ProofQuery>()
    .answers::<journal::Proof<Inclusion>>()
    .answers::<journal::Proof<Consistency>>();
    all.post("/api/journal/verify", "verifyJournal", "Read everything again and hold it against every hash")
        .answers::<Report>();
    all.get("/api/journal/export", "exportJournal", "The whole journal, what is sealed still sealed")
        .query::<export::ExportQuery>()
        .gives(&["application/jsonl", "application/vnd.msgpack"]);
    all.get("/api/tenants/{id}/receipt", "getReceipt", "Every event of a tenant, provably in the journal")
        .answers::<Receipt>();
    all.get("/api/tenants/{id}/history", "getTenantHistory", "What became of a tenant")
        .query::<history::HistoryQuery>()
        .answers::<history::HistoryPage<'_>>();
    all.get("/api/tenants/{id}/diff", "diffTenant", "How a tenant differs between two moments")
        .query::<history::DiffQuery>()
        .answers::<history::Difference>();
    all.post("/api/tenants/{id}/restore", "restoreTenant", "Bring a tenant back to what it was")
        .body::<restore::Wanted>()
        .answers::<restore::Restored<'_>>()
        .fails::<RefusedRestore>(409);
}
