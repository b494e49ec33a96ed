//! The names of what a slot has in PostgreSQL, and the comments by which it is found again and known as ours.
//!
//! Names are opaque (PostgreSQL shows databases and roles to every login of a server, tenants' names are none of their
//! business) and at most 63 bytes: PostgreSQL cuts longer ones silently. They can never change: data hangs on them.

use std::fmt;

use data_encoding::BASE32_NOPAD;
use sha2::{Digest, Sha256};
use tenantry_crds::Slot;

/// Bytes of SHA-256 that go into a name: 80 bits, 16 characters.
const HASH_BYTES: usize = 10;

/// A slot, for ever: another group of the same name, in this cluster or another, is another identity.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SlotIdentity {
    /// UID of the cluster.
    pub cluster_uid: String,
    /// UID of the group.
    pub group_uid: String,
    /// Name of the slot.
    pub slot: String,
}

impl SlotIdentity {
    /// The identity of a Slot in the cluster of that UID.
    pub fn of(slot: &Slot, cluster_uid: &str) -> Self {
        Self {
            cluster_uid: cluster_uid.to_owned(),
            group_uid: slot.spec.group_ref.uid.clone(),
            slot: slot.metadata.name.clone().unwrap_or_default(),
        }
    }

    /// Name of the slot's database: `t<hash>`.
    pub fn database(&self) -> String {
        let mut digest = Sha256::new();
        for part in ["tenantry", &self.cluster_uid, &self.group_uid, &self.slot] {
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part.as_bytes());
        }
        format!("t{}", BASE32_NOPAD.encode(&digest.finalize()[..HASH_BYTES]).to_ascii_lowercase())
    }

    /// What the names of all the slot's roles begin with: `t<hash>_`.
    pub fn role_prefix(&self) -> String {
        format!("{}_", self.database())
    }

    /// Name of a service's role: `t<hash>_<service>_<purpose>`.
    pub fn role(&self, service: &str, purpose: Purpose) -> String {
        format!("{}{}_{}", self.role_prefix(), schema(service), purpose.suffix())
    }

    /// What the comment of the slot's database begins with. Further words follow (who holds it, since when it is retained): it is
    /// never compared whole, in SQL neither.
    pub fn comment(&self) -> Comment {
        Comment { cluster: self.cluster_uid.clone(), group: self.group_uid.clone(), slot: self.slot.clone(), ..Comment::default() }
    }

    /// The comment of the slot's database while the Slot of that UID holds it. Another Slot in its place writes its own UID:
    /// from then on, what a paused operator still planned for the former one is refused.
    pub fn held_comment(&self, holder: &str) -> Comment {
        Comment { holder: Some(holder.to_owned()), ..self.comment() }
    }

    /// The comment of a service's role; for a login with what is known of its password.
    pub fn role_comment(&self, service: &str, credential: Option<CredentialNote>) -> Comment {
        Comment { service: Some(service.to_owned()), credential, ..self.comment() }
    }

    /// Whether a comment says that what carries it belongs to this slot. None, or one by anybody else, does not; nor one of a
    /// database that the slot left behind.
    pub fn owns(&self, comment: Option<&str>) -> bool {
        self.is_named_by(comment).is_some_and(|comment| comment.retained.is_none())
    }

    /// Whether a comment says that this slot left behind what carries it.
    pub fn has_retained(&self, comment: Option<&str>) -> bool {
        self.is_named_by(comment).is_some_and(|comment| comment.retained.is_some())
    }

    fn is_named_by(&self, comment: Option<&str>) -> Option<Comment> {
        let comment = comment.and_then(Comment::parse)?;
        (comment.cluster == self.cluster_uid && comment.group == self.group_uid && comment.slot == self.slot).then_some(comment)
    }
}

/// The name of a service's schema: PostgreSQL's unquoted identifiers have no hyphen.
pub fn schema(service: &str) -> String {
    service.replace('-', "_")
}

/// What a role is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Owns the schema and all in it; cannot log in.
    Owner,
    /// The login of migrations; acts as the owner.
    Migrate,
    /// One of the two runtime logins.
    A,
    /// The other: rotation goes from one to the other.
    B,
}

impl Purpose {
    /// The end of the role's name.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Migrate => "migrate",
            Self::A => "a",
            Self::B => "b",
        }
    }
}

/// The comment on a database or role that is ours:
/// `tenantry cluster=<uid> group=<uid> slot=<name>`, and then what applies of ` service=<name>`, ` credential=<fingerprint>
/// generation=<number> request=<number> since=<Unix time>`, ` removed=<time>`, ` holder=<uid>`, ` retained=<time>` and
/// ` name=<group>`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Comment {
    /// UID of the cluster.
    pub cluster: String,
    /// UID of the group.
    pub group: String,
    /// Name of the slot.
    pub slot: String,
    /// Name of the service; none on the database.
    pub service: Option<String>,
    /// Which password the login has.
    pub credential: Option<CredentialNote>,
    /// On the owner of a service that the slot does not run any more: since when (RFC 3339).
    pub removed: Option<String>,
    /// On a database: UID of the Slot object that holds it.
    pub holder: Option<String>,
    /// On a database that its slot left behind: when (RFC 3339).
    pub retained: Option<String>,
    /// On such a database: name of the group, for people.
    pub name: Option<String>,
}

/// Which password a login has. With this, rotation needs no other record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialNote {
    /// Names the password without saying anything of it: so that a changed master key is noticed.
    pub fingerprint: String,
    /// From which generation it is derived.
    pub generation: u32,
    /// The number that the group asked with when it was made.
    pub request: u32,
    /// When it was made: seconds of Unix time, by the server's clock.
    pub since: i64,
}

impl Comment {
    /// Reads a comment; none if it is not one of ours. Words of a later version are passed over.
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        if words.next() != Some("tenantry") {
            return None;
        }
        let pairs: Vec<(&str, &str)> = words.filter_map(|word| word.split_once('=')).collect();
        let value = |key: &str| pairs.iter().find(|(name, _)| *name == key).map(|(_, value)| (*value).to_owned());
        let credential = || {
            Some(CredentialNote {
                fingerprint: value("credential")?,
                generation: value("generation")?.parse().ok()?,
                request: value("request")?.parse().ok()?,
                since: value("since")?.parse().ok()?,
            })
        };
        Some(Self {
            cluster: value("cluster")?,
            group: value("group")?,
            slot: value("slot")?,
            service: value("service"),
            credential: credential(),
            removed: value("removed"),
            holder: value("holder"),
            retained: value("retained"),
            name: value("name"),
        })
    }
}

impl fmt::Display for Comment {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "tenantry cluster={} group={} slot={}", self.cluster, self.group, self.slot)?;
        let word = |formatter: &mut fmt::Formatter<'_>, key: &str, value: &Option<String>| match value {
            Some(value) => write!(formatter, " {key}={value}"),
            None => Ok(()),
        };
        word(formatter, "service", &self.service)?;
        if let Some(CredentialNote { fingerprint, generation, request, since }) = &self.credential {
            write!(formatter, " credential={fingerprint} generation={generation} request={request} since={since}")?;
        }
        let others = [("removed", &self.removed), ("holder", &self.holder), ("retained", &self.retained), ("name", &self.name)];
        others.into_iter().try_for_each(|(key, value)| word(formatter, key, value))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn identity(slot: &str) -> SlotIdentity {
        SlotIdentity { cluster_uid: "c".into(), group_uid: "g".into(), slot: slot.into() }
    }

    /// Data hangs on it: a change would make every tenant's database another.
    #[test]
    fn names_never_change() {
        assert_eq!(identity("dev").database(), "terwnhncv53bru24n");
        assert_eq!(identity("dev").role("my-service", Purpose::Migrate), "terwnhncv53bru24n_my_service_migrate");
    }

    #[test]
    fn a_comment_that_is_none_or_somebody_elses_is_not_ours() {
        let ours = identity("dev");
        assert!(ours.owns(Some(&ours.comment().to_string())));
        let note = CredentialNote { fingerprint: "abc".into(), generation: 1, request: 0, since: 7 };
        assert!(ours.owns(Some(&ours.role_comment("campaigns", Some(note)).to_string())));
        for comment in
            [None, Some(""), Some("tenantry"), Some("tenantry cluster=c group=g"), Some("tenantry cluster=c group=g slot=staging")]
        {
            assert!(!ours.owns(comment), "{comment:?}");
        }
        let retained = Comment { retained: Some("2026-01-01T00:00:00Z".into()), name: Some("pcasia".into()), ..ours.held_comment("uid") };
        assert!(!ours.owns(Some(&retained.to_string())) && ours.has_retained(Some(&retained.to_string())));
        assert!(!identity("staging").has_retained(Some(&retained.to_string())));
    }

    fn purpose() -> impl Strategy<Value = Purpose> {
        prop_oneof![Just(Purpose::Owner), Just(Purpose::Migrate), Just(Purpose::A), Just(Purpose::B)]
    }

    proptest! {
        #[test]
        fn every_name_fits_into_63_bytes_and_needs_no_quotes(
            cluster in ".{0,80}", group in ".{0,80}", slot in "[a-z][a-z0-9]{0,15}", service in "[a-z][a-z0-9-]{0,19}", purpose in purpose(),
        ) {
            let identity = SlotIdentity { cluster_uid: cluster, group_uid: group, slot };
            let role = identity.role(&service, purpose);
            prop_assert!(role.len() <= 63);
            prop_assert!(role.starts_with('t'));
            prop_assert!(role.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'));
        }

        #[test]
        fn two_roles_of_a_slot_never_have_one_name(
            one in "[a-z][a-z0-9-]{0,5}", other in "[a-z][a-z0-9-]{0,5}", first in purpose(), second in purpose(),
        ) {
            let identity = identity("dev");
            let same = one == other && first == second;
            prop_assert_eq!(identity.role(&one, first) == identity.role(&other, second), same);
        }

        #[test]
        fn two_slots_never_have_one_database(one in prop::array::uniform3("[a-b]{0,3}"), other in prop::array::uniform3("[a-b]{0,3}")) {
            let database = |[cluster_uid, group_uid, slot]: [String; 3]| SlotIdentity { cluster_uid, group_uid, slot }.database();
            prop_assert_eq!(database(one.clone()) == database(other.clone()), one == other);
        }

        #[test]
        fn a_comment_reads_back(slot in "[a-z][a-z0-9]{0,15}", service in prop::option::of("[a-z][a-z0-9-]{0,19}"), credential in prop::option::of(("[a-z0-9]{8}", any::<u32>(), any::<u32>(), any::<i64>()))) {
            let credential = credential.map(|(fingerprint, generation, request, since)| CredentialNote { fingerprint, generation, request, since });
            let comment = Comment { cluster: "c".into(), group: "g".into(), slot, service, credential, ..Comment::default() };
            prop_assert_eq!(Comment::parse(&comment.to_string()), Some(comment));
        }
    }
}
