//! What was observed, and all that a plan may depend on beside the planned object.

use std::{collections::BTreeMap, fmt};

use crate::ClassTurn;
use kube::core::DynamicObject;
use tenantry_crds::{Release, ResourceGroup, ResourceGroupClass, Slot};

use crate::{Ingress, Now, UserSecret};

/// About the operator and its cluster; the same for all objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorFacts {
    /// UID of the namespace `kube-system`, which names the cluster.
    pub cluster_uid: String,
    /// Namespace of the operator.
    pub namespace: String,
    /// ServiceAccount of the operator, in its namespace.
    pub service_account: String,
    /// What probes of slots' networks need.
    pub probe: ProbeOffer,
}

/// What the probe of a slot's network needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeOffer {
    /// The operator's own image, by digest.
    pub image: String,
    /// Where the operator listens for what no slot may reach: address and port of its pod.
    pub canary: String,
}

/// About a group.
#[derive(Debug, Clone)]
pub struct GroupFacts {
    /// The operator.
    pub operator: OperatorFacts,
    /// The live namespaces `<group>-*` that the group wants, whoever they belong to, and those that carry its UID.
    pub namespaces: Vec<DynamicObject>,
    /// The live Slots whose `groupRef.uid` is the group's.
    pub slots: Vec<Slot>,
    /// The RoleBindings with which the operator gave itself rights, in those namespaces.
    pub bindings: Vec<DynamicObject>,
    /// Of a deleted group: which definitions of groups and Slots are being deleted themselves.
    pub doomed_definitions: Observation<Vec<String>>,
}

/// About a slot. Its `Debug` names the live objects only, since Secrets are among them.
#[derive(Clone)]
pub struct SlotFacts {
    /// The operator.
    pub operator: OperatorFacts,
    /// The slot's group, if it still exists with the UID that the slot names.
    pub group: Option<ResourceGroup>,
    /// The slot's class.
    pub class: Option<ResourceGroupClass>,
    /// The release of the slot's revision.
    pub release: Option<Release>,
    /// Whether a change of the class may replace the slot's pods now.
    pub class_turn: ClassTurn,
    /// The slot's namespace.
    pub namespace: Option<DynamicObject>,
    /// Live objects in the slot's namespace of the kinds in [`crate::MANAGED_KINDS`], and its pods: those that carry the label
    /// `app.kubernetes.io/managed-by: tenantry`. All with `apiVersion` and `kind`. The values of Secrets never leave this.
    pub live: Vec<DynamicObject>,
    /// The Secrets that the slot's revision names as credentials, by name: those that are there.
    pub user_secrets: BTreeMap<String, UserSecret>,
    /// What came of the operator's attempts to reach the probe's pods, by their UIDs.
    pub ingress: BTreeMap<String, Ingress>,
    /// The operator's master key, from which passwords are derived.
    pub master_key: Observation<crate::MasterKey>,
    /// The slot's part of its PostgreSQL server.
    pub database: Observation<DatabaseFacts>,
    /// The clock's reading.
    pub now: Now,
    /// Of a deleted slot: which definitions of groups and Slots are being deleted themselves. Their objects are deleted with
    /// them, whatever anybody wants of the slot.
    pub doomed_definitions: Observation<Vec<String>>,
    /// The servers of the class by name, where [`crate::needs_servers`] says that they are needed.
    pub servers: BTreeMap<String, Observation<ServerFacts>>,
}

impl fmt::Debug for SlotFacts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let live: Vec<String> = self.live.iter().map(crate::live::describe).collect();
        formatter
            .debug_struct("SlotFacts")
            .field("operator", &self.operator)
            .field("group", &self.group)
            .field("class", &self.class)
            .field("release", &self.release)
            .field("class_turn", &self.class_turn)
            .field("namespace", &self.namespace)
            .field("live", &live)
            .field("user_secrets", &self.user_secrets)
            .field("ingress", &self.ingress)
            .field("master_key", &self.master_key)
            .field("database", &self.database)
            .field("now", &self.now)
            .field("doomed_definitions", &self.doomed_definitions)
            .field("servers", &self.servers)
            .finish()
    }
}

/// Something that may not have been found out.
#[derive(Debug, Clone, PartialEq)]
pub enum Observation<T> {
    /// Not needed for this plan, so not asked for.
    NotAsked,
    /// Could not be found out: the reason as a CamelCase constant, and a message that says what to do.
    Failed {
        /// CamelCase constant, such as `PostgresUnreachable`.
        reason: &'static str,
        /// What is wrong and what to do; without any secret.
        message: String,
    },
    /// Found out.
    Known(T),
}

/// What a PostgreSQL server says to whoever looks for a place for a slot.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServerFacts {
    /// Connections that have been promised to the databases of slots, and to those that are on the way there.
    pub promised_connections: u32,
    /// Whether the slot's database or one of its roles is there.
    pub holds: bool,
}

/// What a PostgreSQL server says about one slot. Names are those that [`crate::names`] derives.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DatabaseFacts {
    /// Whether PUBLIC may no longer connect to `postgres` and `template1`.
    pub adopted: bool,
    /// Connections that the server's other tenant databases have been promised.
    pub promised_connections: u32,
    /// The server's clock: seconds of Unix time.
    pub now: i64,
    /// Comment of the slot's database, if a database of that name exists: `Some(None)` is one without a comment.
    pub comment: Option<Option<String>>,
    /// Whether the database accepts connections (`datallowconn`).
    pub open: bool,
    /// Its connection limit; -1 is none.
    pub connection_limit: i64,
    /// Logins with CONNECT on the database.
    pub connectors: Vec<String>,
    /// Whether PUBLIC may connect to it.
    pub public_may_connect: bool,
    /// Roles whose names begin with the slot's prefix, by name.
    pub roles: BTreeMap<String, RoleFacts>,
    /// The database that the group says the slot should take over, if it exists.
    pub source: Option<SourceFacts>,
    /// Schemas in the database, by name; empty while it accepts no connections.
    pub schemas: BTreeMap<String, SchemaFacts>,
}

/// A database that a slot may take over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SourceFacts {
    /// Its comment.
    pub comment: Option<String>,
    /// The comments of the roles whose names begin with its name.
    pub roles: BTreeMap<String, Option<String>>,
}

/// One role.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RoleFacts {
    /// Its comment.
    pub comment: Option<String>,
    /// Whether it may log in.
    pub login: bool,
    /// Its connection limit; -1 is none.
    pub connection_limit: i64,
    /// Roles that it is a member of.
    pub member_of: Vec<String>,
    /// Its settings in the slot's database, as `pg_db_role_setting` has them: `name=value`.
    pub settings: Vec<String>,
}

/// One schema.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SchemaFacts {
    /// Its owner.
    pub owner: String,
    /// Logins with USAGE on it and default privileges for what its owner makes.
    pub grantees: Vec<String>,
    /// The version that `migrate` recorded; none while the table is missing or empty.
    pub version: Option<u32>,
}
