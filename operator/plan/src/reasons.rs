//! Every reason that a condition may give: a constant each, since people and scripts match on them.

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        $($(#[$doc])* pub const $name: &str = $text;)*
        /// All of them.
        pub const ALL: &[&str] = &[$($text),*];
    };
}

reasons! {
    /// All is as it should be.
    READY = "Ready";
    /// Steps were executed; whether they took effect, the next observation says.
    RECONCILING = "Reconciling";
    /// The object, or one that it needs, is being deleted.
    TERMINATING = "Terminating";
    /// A promoted slot without an initial release, before its first promotion.
    AWAITING_PROMOTION = "AwaitingPromotion";
    /// The slot's place in PostgreSQL is being written down before it is made.
    RECORDING_PLACEMENT = "RecordingPlacement";
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
    /// The JSON Schema of a service's settings is none.
    INVALID_SETTINGS_SCHEMA = "InvalidSettingsSchema";
    /// The slot's group does not exist (any more) with the UID that the slot names, or the slot is in another namespace.
    NOT_A_SLOT_OF_ITS_GROUP = "NotASlotOfItsGroup";
    /// A namespace of the name that is needed exists and belongs to somebody else.
    NAMESPACE_NOT_OURS = "NamespaceNotOurs";
    /// A database or role of the name that is needed exists and belongs to somebody else.
    DATABASE_NOT_OURS = "DatabaseNotOurs";
    /// The slot's database is on a server that its class does not offer any more.
    DATABASE_ELSEWHERE = "DatabaseElsewhere";
    /// The server's connections are all promised.
    POSTGRES_SERVER_FULL = "PostgresServerFull";
    /// The server was not asked.
    POSTGRES_NOT_ASKED = "PostgresNotAsked";
    /// The operator's master key was not read.
    MASTER_KEY_NOT_READ = "MasterKeyNotRead";
    /// A migration runs.
    MIGRATING = "Migrating";
    /// A migration failed.
    MIGRATION_FAILED = "MigrationFailed";
    /// The workloads wait for the data services or the schema.
    AWAITING_DATA = "AwaitingData";
    /// Pods of the wanted revision come up and those of the former one go.
    ROLLING_OUT = "RollingOut";
    /// The cache's pod comes up.
    CACHE_STARTING = "CacheStarting";
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
    DELETING = "Deleting";
    /// Something holds a deletion up.
    DELETION_BLOCKED = "DeletionBlocked";
    /// Nothing blocks the deletion.
    NOT_BLOCKED = "NotBlocked";
    /// A slot is not ready.
    SLOTS_NOT_READY = "SlotsNotReady";
    /// Something uses the object, which therefore cannot be deleted.
    IN_USE = "InUse";
}
