//! The API of Tenantry, group `tenantry.dev`, version `v1alpha1`: types only, with the rules that the API server itself
//! can enforce. `generate-crds` writes them as YAML into the chart `tenantry-crds`.

mod auth;
mod class;
mod common;
pub mod definition;
mod group;
mod release;
mod slot;

pub use auth::{Auth, Issuer, JsonWebKey, JsonWebKeySet, KeyUse};
pub use class::{
    Autoscaling, CacheOffer, DatabaseSize, EgressDestination, MonitoringPods, NetworkIsolation, NetworkOffer, NetworkPath, PostgresOffer,
    PostgresServer, ResourceGroupClass, ResourceGroupClassSpec, ResourceGroupClassStatus, Resources, RetainedDatabase, RoleSize, SlotSize,
};
pub use common::{ClassRef, CredentialRotation, CredentialSource, Owner, OwnerKind, SecretRef, ServiceSettings};
pub use group::{DatabaseAdoption, DeletionPolicy, ResourceGroup, ResourceGroupSpec, ResourceGroupStatus, SlotSpecTemplate, SlotSummary};
pub use release::{Release, ReleaseSpec, ReleaseStatus, ReleasedService};
pub use slot::{
    DatabasePlacement, GroupRef, NetworkProbe, NetworkProbeResult, Revision, RunningCredential, RunningService, Slot, SlotSpec, SlotStatus,
};

/// The API group.
pub const GROUP: &str = "tenantry.dev";
/// The API version.
pub const VERSION: &str = "v1alpha1";

/// Labels, annotations and finalizers that the operator sets.
pub mod names {
    /// The operator's field manager for everything that it applies.
    pub const FIELD_MANAGER: &str = "tenantry";
    /// The field manager under which a promoted slot's revision is set.
    pub const PROMOTION_FIELD_MANAGER: &str = "tenantry-promotion";
    /// The field manager that holds the number of an autoscaled Deployment's pods until the autoscaler changes it.
    pub const REPLICAS_FIELD_MANAGER: &str = "tenantry-replicas";
    /// The value of `app.kubernetes.io/managed-by` on everything that the operator owns.
    pub const MANAGED_BY: &str = "tenantry";
    /// The standard label that carries [`MANAGED_BY`].
    pub const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";
    /// Label: the resource group's name.
    pub const GROUP_LABEL: &str = "tenantry.dev/group";
    /// Label: the resource group's UID.
    pub const GROUP_UID_LABEL: &str = "tenantry.dev/group-uid";
    /// Label: the slot's name.
    pub const SLOT_LABEL: &str = "tenantry.dev/slot";
    /// Label: the service's name.
    pub const SERVICE_LABEL: &str = "tenantry.dev/service";
    /// Label: the service's role: `api`, `worker`, `migrate`; or `cache`, or `probe`.
    pub const ROLE_LABEL: &str = "tenantry.dev/role";
    /// Label of the Secrets in a slot's namespace that are its owners' own: they alone become credentials.
    pub const USER_SECRET_LABEL: &str = "tenantry.dev/user-secret";
    /// Label of a namespace whose slot has `deletionProtection`: `true`. A policy refuses to delete what carries it.
    pub const DELETION_PROTECTION_LABEL: &str = "tenantry.dev/deletion-protection";
    /// Annotation of a ResourceGroup: names of databases, with commas between them, whose servers are gone for ever. Their slots
    /// are let go without them.
    pub const ABANDON_DATABASE_ANNOTATION: &str = "tenantry.dev/abandon-database";
    /// Annotation: the hash of what the operator last applied, by which a change of the desired state is noticed.
    pub const APPLIED_HASH_ANNOTATION: &str = "tenantry.dev/applied-hash";
    /// Annotation of a Deployment: an autoscaler owns the number of its pods.
    pub const AUTOSCALED_ANNOTATION: &str = "tenantry.dev/autoscaled";
    /// Finalizer of groups and slots, which hold databases and namespaces.
    pub const TEARDOWN_FINALIZER: &str = "tenantry.dev/teardown";
    /// Finalizer of classes and releases while something uses them.
    pub const IN_USE_FINALIZER: &str = "tenantry.dev/in-use";
}
