//! Every reason that a condition, an error or an event may give: a constant each, since people and scripts match on them. Each
//! that is not marked `progress` has a page in `docs/reasons`, which says what to do (`cargo xtask tidy` compares).

/// Each line: the constant, its text, and after a colon what it is. `progress`: nothing is wrong, and nobody has anything to do.
/// `lasting`: something failed that does not pass until somebody acts, so that it is reported as `Stalled` and not as
/// `Reconciling`. Without a mark: something is wrong, and whether it stalls says who gives the reason.
macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal $(: $mark:ident)?;)*) => {
        $($(#[$doc])* pub const $name: &str = $text;)*
        /// All of them.
        pub const ALL: &[&str] = &[$($text),*];

        fn mark(reason: &str) -> Option<&'static str> {
            match reason {
                $($text => [$(stringify!($mark))?].first().copied(),)*
                _ => None,
            }
        }
    };
}

/// Whether the reason tells of progress alone: nothing is wrong.
pub fn is_progress(reason: &str) -> bool {
    mark(reason) == Some("progress")
}

/// Whether a failure of this reason stays until somebody acts.
pub fn is_lasting(reason: &str) -> bool {
    mark(reason) == Some("lasting")
}

reasons! {
    /// All is as it should be.
    READY = "Ready": progress;
    /// Steps were executed; whether they took effect, the next observation says.
    RECONCILING = "Reconciling": progress;
    /// The object, or one that it needs, is being deleted.
    TERMINATING = "Terminating": progress;
    /// A promoted slot without an initial release, before its first promotion.
    AWAITING_PROMOTION = "AwaitingPromotion": progress;
    /// The slot's place in PostgreSQL is being written down before it is made.
    RECORDING_PLACEMENT = "RecordingPlacement": progress;
    /// The class has changed, and other slots of it get the change first.
    CLASS_ROLLOUT_QUEUED = "ClassRolloutQueued": progress;
    /// The group's status does not list the slot yet.
    AWAITING_GROUP = "AwaitingGroup": progress;
    /// The slot's isolation could not be established, and no pod comes before it.
    AWAITING_ISOLATION = "AwaitingIsolation": progress;
    /// A probe was refused where the policies forbid.
    NETWORK_REFUSES = "NetworkRefuses": progress;
    /// A probe is on its way that tries whether the network policies are enforced.
    NETWORK_PROBING = "NetworkProbing": progress;
    /// A probe came to no end that says anything.
    NETWORK_PROBE_FAILED = "NetworkProbeFailed";
    /// A probe got through where the policies forbid.
    NETWORK_NOT_ISOLATED = "NetworkNotIsolated";
    /// The admission policies are missing that confine the operator and shield the slots: it writes nothing.
    NOT_CONFINED = "NotConfined": lasting;
    /// The class does not exist.
    UNKNOWN_CLASS = "UnknownClass";
    /// The class has no size of that name.
    UNKNOWN_SIZE = "UnknownSize";
    /// The release does not exist.
    UNKNOWN_RELEASE = "UnknownRelease";
    /// The release has no service of that name.
    UNKNOWN_SERVICE = "UnknownService";
    /// A service has a name that the operator needs itself.
    RESERVED_SERVICE_NAME = "ReservedServiceName";
    /// A setting is not what the service's JSON Schema asks for.
    INVALID_SETTINGS = "InvalidSettings";
    /// The group gives a service a credential that its release does not know.
    UNKNOWN_CREDENTIAL = "UnknownCredential";
    /// The Secret that the group names as a credential is not there.
    CREDENTIAL_MISSING = "CredentialMissing";
    /// The Secret that the group names as a credential is not a tenant's own, or lacks an entry.
    CREDENTIAL_NOT_USABLE = "CredentialNotUsable";
    /// The JSON Schema of a service's settings is none.
    INVALID_SETTINGS_SCHEMA = "InvalidSettingsSchema";
    /// The slot's group does not exist (any more) with the UID that the slot names, or the slot is in another namespace.
    NOT_A_SLOT_OF_ITS_GROUP = "NotASlotOfItsGroup";
    /// A namespace of the name that is needed exists and belongs to somebody else.
    NAMESPACE_NOT_OURS = "NamespaceNotOurs";
    /// A database or role of the name that is needed exists and belongs to somebody else.
    DATABASE_NOT_OURS = "DatabaseNotOurs": lasting;
    /// The slot has a database from an earlier life, which was retained.
    DATABASE_RETAINED = "DatabaseRetained";
    /// The database that the slot should take over does not exist on that server.
    DATABASE_NOT_FOUND = "DatabaseNotFound";
    /// The database that the slot should take over is no retained one.
    DATABASE_NOT_RETAINED = "DatabaseNotRetained";
    /// What was planned for a database came too late: another Slot holds it by now.
    DATABASE_TAKEN_OVER = "DatabaseTakenOver";
    /// A database was given up, as the group's annotation says.
    DATABASE_ABANDONED = "DatabaseAbandoned";
    /// What was planned for a removed service came too late: it was added again.
    SERVICE_NOT_REMOVED = "ServiceNotRemoved";
    /// The slot takes a retained database over.
    ADOPTING_DATABASE = "AdoptingDatabase": progress;
    /// The slot's database is on a server that its class does not offer any more.
    DATABASE_ELSEWHERE = "DatabaseElsewhere": lasting;
    /// The server's connections are all promised.
    POSTGRES_SERVER_FULL = "PostgresServerFull";
    /// The server was not asked.
    POSTGRES_NOT_ASKED = "PostgresNotAsked": progress;
    /// The operator's master key was not read.
    MASTER_KEY_NOT_READ = "MasterKeyNotRead": progress;
    /// A migration runs.
    MIGRATING = "Migrating": progress;
    /// A migration failed.
    MIGRATION_FAILED = "MigrationFailed";
    /// The workloads wait for the data services or the schema.
    AWAITING_DATA = "AwaitingData": progress;
    /// Pods of the wanted revision come up and those of the former one go.
    ROLLING_OUT = "RollingOut": progress;
    /// Pods move from a former database login to a new one.
    ROTATING_CREDENTIALS = "RotatingCredentials": progress;
    /// The cache's pod comes up.
    CACHE_STARTING = "CacheStarting": progress;
    /// An image cannot be pulled.
    IMAGE_PULL_FAILED = "ImagePullFailed";
    /// A container ends again and again.
    CRASH_LOOPING = "CrashLooping";
    /// A container cannot be made, since something that it mounts is missing.
    CONTAINER_NOT_CREATED = "ContainerNotCreated";
    /// No node takes a pod.
    UNSCHEDULABLE = "Unschedulable";
    /// Pods cannot be made.
    POD_CREATION_FAILED = "PodCreationFailed";
    /// Objects are being deleted.
    DELETING = "Deleting": progress;
    /// Something holds a deletion up.
    DELETION_BLOCKED = "DeletionBlocked";
    /// The slot has `deletionProtection`.
    DELETION_PROTECTED = "DeletionProtected";
    /// The CustomResourceDefinition is being deleted, and with it every object of its kind.
    DEFINITION_DELETED = "DefinitionDeleted";
    /// The CustomResourceDefinitions were not read.
    DEFINITIONS_NOT_READ = "DefinitionsNotRead": progress;
    /// Nothing blocks the deletion.
    NOT_BLOCKED = "NotBlocked": progress;
    /// A slot is not ready.
    SLOTS_NOT_READY = "SlotsNotReady": progress;
    /// Something uses the object, which therefore cannot be deleted.
    IN_USE = "InUse";

    /// The Secret with a PostgreSQL server's admin login is missing or incomplete.
    POSTGRES_SECRET_MISSING = "PostgresSecretMissing": lasting;
    /// A PostgreSQL server refuses the admin login.
    POSTGRES_AUTHENTICATION_FAILED = "PostgresAuthenticationFailed": lasting;
    /// A PostgreSQL server does not answer.
    POSTGRES_UNREACHABLE = "PostgresUnreachable";
    /// All of the operator's connections to a PostgreSQL server are in use, or another operator works there.
    POSTGRES_BUSY = "PostgresBusy";
    /// A PostgreSQL server refused a statement.
    POSTGRES_REFUSED = "PostgresRefused";
    /// The admin login lacks a right.
    POSTGRES_NOT_PERMITTED = "PostgresNotPermitted": lasting;
    /// Everybody may connect to the server's own databases, and the admin login may not change that.
    POSTGRES_NOT_ADOPTED = "PostgresNotAdopted": lasting;
    /// A name that is not one that Tenantry gives: a bug.
    POSTGRES_NAME_REFUSED = "PostgresNameRefused": lasting;
    /// A plan with steps for a server that the class does not name: a bug.
    POSTGRES_UNKNOWN = "PostgresUnknown";
    /// The Secret with the master key is gone.
    MASTER_KEY_MISSING = "MasterKeyMissing": lasting;
    /// The Secret with the master key does not hold one.
    MASTER_KEY_INVALID = "MasterKeyInvalid": lasting;
    /// The API server does not answer.
    API_UNREACHABLE = "ApiUnreachable";
    /// The API server failed.
    API_ERROR = "ApiError";
    /// The API server asks for fewer requests.
    TOO_MANY_REQUESTS = "TooManyRequests";
    /// The API server does not permit it: rights, a quota, or a namespace that terminates.
    FORBIDDEN = "Forbidden";
    /// What was to be changed is not there.
    NOT_FOUND = "NotFound";
    /// Somebody else changed the object at the same time.
    CONFLICT = "Conflict";
    /// The API server or an admission policy refuses the object.
    INVALID = "Invalid": lasting;
    /// A plan names a kind that the operator does not manage: a bug.
    UNKNOWN_KIND = "UnknownKind";
    /// A reconcile panicked: a bug.
    PANICKED = "Panicked";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_reason_is_one_camel_case_word_of_its_own() {
        let distinct: BTreeSet<&str> = ALL.iter().copied().collect();
        assert_eq!(distinct.len(), ALL.len());
        for reason in ALL {
            assert!(reason.starts_with(|first: char| first.is_ascii_uppercase()), "{reason}");
            assert!(reason.chars().all(|letter| letter.is_ascii_alphanumeric()), "{reason}");
        }
    }

    #[test]
    fn a_wrong_password_lasts_and_a_server_that_is_away_may_come_back() {
        assert!(is_lasting(POSTGRES_AUTHENTICATION_FAILED) && is_lasting(MASTER_KEY_MISSING));
        assert!(!is_lasting(POSTGRES_UNREACHABLE) && !is_lasting("NoReasonOfOurs"));
        assert!(is_progress(MIGRATING) && !is_progress(MIGRATION_FAILED) && !is_progress(POSTGRES_UNREACHABLE));
    }
}
