//! On which of the class's PostgreSQL servers a slot's database is, or is to be made. The place is recorded in the Slot's
//! status, and beside it in the Secrets with the database's logins, before anything is made there; and for ever in the
//! comment of the database. A slot stays where it is. One without any record is looked for on all servers first.

use kube::core::DynamicObject;
use tenantry_crds::{DatabaseAdoption, DatabasePlacement, PostgresServer, Slot};

use super::adoption::adopted_database;
use super::content::Content;
use super::probe::is_probe;
use super::{identity, recorded_database};
use crate::live::{Live, is_ours, kind_of, name_of};
use crate::objects::{cache, secret};
use crate::{Observation, ServerFacts, SlotFacts, Stall, Wait, reasons};

/// Where a slot's database is, or is to be.
#[derive(Debug)]
pub(crate) enum Placement<'a> {
    /// No service has a schema.
    NotNeeded,
    /// On that server.
    At {
        /// The server.
        server: &'a PostgresServer,
        /// Whether that is written down; until then nothing is made there.
        recorded: bool,
        /// Whether the slot may have something there already.
        found: bool,
    },
    /// Not known, or not possible yet.
    Await(Wait),
    /// Not before somebody changes something.
    Stalled(Stall),
}

impl<'a> Placement<'a> {
    /// The server, where there is one.
    pub(crate) fn server(&self) -> Option<&'a PostgresServer> {
        match self {
            Self::At { server, .. } => Some(server),
            Self::NotNeeded | Self::Await(_) | Self::Stalled(_) => None,
        }
    }
}

/// A slot's place on a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// Name of the server within the class.
    pub server: String,
    /// Whether the place is only being chosen, by this plan.
    pub chosen: bool,
    /// Whether the slot may have something there already.
    pub found: bool,
    /// Connections that the slot needs there.
    pub connections: u32,
}

/// The server that the plan of this slot works on, if it has one.
pub fn placed(slot: &Slot, facts: &SlotFacts) -> Option<Placed> {
    if slot.metadata.deletion_timestamp.is_some() {
        let server = recorded_server(slot, &facts.live).or_else(|| sole_holder(facts))?;
        return Some(Placed { server, chosen: false, found: true, connections: 0 });
    }
    match Content::of(slot, facts) {
        Some(Ok(content)) => match &content.placement {
            Placement::At { server, recorded, found } => {
                Some(Placed { server: server.name.clone(), chosen: !recorded, found: *found, connections: content.connections() })
            }
            // What services that are removed left.
            Placement::NotNeeded => {
                recorded_server(slot, &facts.live).map(|server| Placed { server, chosen: false, found: true, connections: 0 })
            }
            Placement::Await(_) | Placement::Stalled(_) => None,
        },
        _ => None,
    }
}

/// Where a slot's database was placed, as its status says; or, when that is lost, the Secrets with the database's logins.
pub fn recorded_server(slot: &Slot, live: &[DynamicObject]) -> Option<String> {
    let marked = || {
        let secrets = live.iter().filter(|object| kind_of(object) == secret::KIND && is_ours(object));
        secrets.filter_map(|secret| secret.metadata.annotations.as_ref()?.get(secret::SERVER_ANNOTATION)).min().cloned()
    };
    recorded_database(slot).map(|recorded| recorded.server.clone()).or_else(marked)
}

/// Whether the plan depends on what all servers of the class say: without a record, and where nothing has been made yet on the
/// recorded server, which the slot may therefore leave.
pub fn needs_servers(slot: &Slot, facts: &SlotFacts) -> bool {
    recorded_server(slot, &facts.live).is_none()
        || matches!(Content::of(slot, facts), Some(Ok(content)) if is_free_to_leave(slot, facts, &content))
}

/// The recorded server, as far as the class offers it.
pub(crate) fn recorded_in_class<'a>(slot: &Slot, facts: &'a SlotFacts) -> Option<&'a PostgresServer> {
    let name = recorded_server(slot, &facts.live)?;
    facts.class.as_ref()?.spec.postgres.servers.iter().find(|server| server.name == name)
}

/// The server, if it is but one, on which a slot without a record has something.
fn sole_holder(facts: &SlotFacts) -> Option<String> {
    match holders(facts)[..] {
        [holder] => Some(holder.to_owned()),
        _ => None,
    }
}

/// The servers on which the slot has something.
pub(crate) fn holders(facts: &SlotFacts) -> Vec<&str> {
    let servers = facts.servers.iter();
    servers
        .filter(|(_, server)| matches!(server, Observation::Known(ServerFacts { holds: true, .. })))
        .map(|(name, _)| name.as_str())
        .collect()
}

/// The stall of a slot whose database seems to be in several places.
pub(crate) fn several(slot: &Slot, facts: &SlotFacts, holders: &[&str]) -> Stall {
    let message = format!(
        "the servers {} all have a database or a role {} with this slot's comment, and which is the right one is not recorded: \
         drop or rename all but one",
        holders.join(", "),
        identity(slot, facts).database(),
    );
    Stall::new(reasons::DATABASE_ELSEWHERE, message)
}

pub(crate) fn of<'a>(slot: &Slot, facts: &'a SlotFacts, content: &Content<'a>) -> Placement<'a> {
    if content.with_database().next().is_none() {
        return Placement::NotNeeded;
    }
    let name = content.identity.database();
    if let Some(recorded) = recorded_database(slot).filter(|recorded| recorded.name != name) {
        return Placement::Stalled(elsewhere(recorded, content));
    }
    let Some(recorded) = recorded_server(slot, &facts.live) else {
        return choose(slot, facts, content);
    };
    if is_free_to_leave(slot, facts, content) && !facts.servers.is_empty() {
        return choose(slot, facts, content);
    }
    match content.class.spec.postgres.servers.iter().find(|offered| offered.name == recorded) {
        Some(server) => Placement::At { server, recorded: recorded_database(slot).is_some(), found: true },
        None => Placement::Stalled(elsewhere(&DatabasePlacement { server: recorded, name }, content)),
    }
}

/// Whether a slot was given a place where nothing has been made yet, and that it cannot have: others were faster and the server
/// is full now, or the database that it is to take over is on another server, which was named wrongly at first.
fn is_free_to_leave(slot: &Slot, facts: &SlotFacts, content: &Content<'_>) -> bool {
    let Observation::Known(database) = &facts.database else { return false };
    let Some(server) = recorded_in_class(slot, facts) else { return false };
    let untouched = database.comment.is_none() && database.roles.is_empty() && !has_lived(slot, facts);
    let is_full = || content.connections().saturating_add(database.promised_connections) > server.connection_limit;
    let is_wrong = || adopted_database(slot, facts).is_some_and(|wanted| wanted.server != server.name);
    untouched && (is_wrong() || is_full())
}

/// Whether the slot shows that it had a database before. A probe of its network comes before that.
fn has_lived(slot: &Slot, facts: &SlotFacts) -> bool {
    let live = Live::new(&facts.live);
    let ran = slot.status.as_ref().is_some_and(|status| status.running_release.is_some());
    ran || live.owned("Job").any(|job| !is_probe(job)) || live.owned("Deployment").any(|deployment| name_of(deployment) != cache::NAME)
}

/// The server that has the slot's database already; or of those with room the one of which the largest share stays free, of
/// equals the first by name.
fn choose<'a>(slot: &Slot, facts: &SlotFacts, content: &Content<'a>) -> Placement<'a> {
    let servers = &content.class.spec.postgres.servers;
    let holders = holders(facts);
    if let [_, _, ..] = holders[..] {
        return Placement::Stalled(several(slot, facts, &holders));
    }
    if let Some(server) = holders.first().and_then(|holder| servers.iter().find(|server| server.name == *holder)) {
        return Placement::At { server, recorded: false, found: true };
    }
    if let Some(wanted) = adopted_database(slot, facts) {
        return match servers.iter().find(|server| server.name == wanted.server) {
            Some(server) => Placement::At { server, recorded: false, found: true },
            None => Placement::Stalled(no_such_server(wanted, content)),
        };
    }
    let silent = servers.iter().find_map(|server| match facts.servers.get(&server.name) {
        Some(Observation::Failed { reason, message }) => Some((*reason, message.as_str())),
        None | Some(Observation::NotAsked) => Some((reasons::POSTGRES_NOT_ASKED, "a server has not been asked yet")),
        Some(Observation::Known(_)) => None,
    });
    if let Some((reason, message)) = silent.filter(|_| has_lived(slot, facts)) {
        let message = format!("{message}. The slot has run before, and its database may be there: it gets no other one");
        return Placement::Await(Wait::new(reason, message));
    }
    let wanted = content.connections();
    let known = |server: &'a PostgresServer| match facts.servers.get(&server.name) {
        Some(Observation::Known(known)) => Some((server, known.promised_connections)),
        _ => None,
    };
    let open = servers.iter().filter(|server| !server.drain).filter_map(known);
    let left = open.filter_map(|(server, promised)| Some((server, server.connection_limit.checked_sub(promised.checked_add(wanted)?)?)));
    // The larger share of two is that of which the cross product is larger.
    let best = left.min_by(|(one, left_of_one), (other, left_of_other)| {
        let share = |left: u32, of: u32| u64::from(left) * u64::from(of);
        share(*left_of_other, one.connection_limit)
            .cmp(&share(*left_of_one, other.connection_limit))
            .then_with(|| one.name.cmp(&other.name))
    });
    match (best, silent) {
        (Some((server, _)), _) => Placement::At { server, recorded: false, found: false },
        (None, Some((reason, message))) => Placement::Await(Wait::new(reason, message)),
        (None, None) => Placement::Stalled(full(servers.iter().filter_map(known), wanted)),
    }
}

fn full<'a>(servers: impl Iterator<Item = (&'a PostgresServer, u32)>, wanted: u32) -> Stall {
    let each: Vec<String> = servers
        .map(|(server, promised)| {
            let drained = if server.drain { ", and it is drained" } else { "" };
            format!("{} has promised {promised} of {}{drained}", server.name, server.connection_limit)
        })
        .collect();
    let message = format!(
        "this slot needs {wanted} connections, and no PostgreSQL server of the class has them left: {}; raise connectionLimit of one in the \
         class (and max_connections of the server), add a server, or take a smaller size",
        each.join("; ")
    );
    Stall::new(reasons::POSTGRES_SERVER_FULL, message)
}

fn no_such_server(wanted: &DatabaseAdoption, content: &Content<'_>) -> Stall {
    let offered: Vec<&str> = content.class.spec.postgres.servers.iter().map(|server| server.name.as_str()).collect();
    let message = format!(
        "adoptDatabase names the server {}, which the class does not have; name a database of one of: {}",
        wanted.server,
        offered.join(", ")
    );
    Stall::new(reasons::DATABASE_NOT_FOUND, message)
}

fn elsewhere(recorded: &DatabasePlacement, content: &Content<'_>) -> Stall {
    let offered: Vec<&str> = content.class.spec.postgres.servers.iter().map(|server| server.name.as_str()).collect();
    let message = format!(
        "the slot's database is {} on the server {}, and its class offers {} on {}: give the server its former name in the class \
         again, databases do not move by themselves",
        recorded.name,
        recorded.server,
        content.identity.database(),
        offered.join(", "),
    );
    Stall::new(reasons::DATABASE_ELSEWHERE, message)
}
