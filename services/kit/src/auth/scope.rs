//! Scopes: what a credential permits. A service declares each as a constant, so that the set is found by grep and a name never
//! changes by accident.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

/// A scope that a service knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scope {
    name: &'static str,
    description: &'static str,
}

impl Scope {
    /// `name` is what tokens carry, `<what>:<action>`; `description` says, in the API's documentation, what it permits.
    pub const fn new(name: &'static str, description: &'static str) -> Self {
        Self { name, description }
    }

    /// What tokens carry.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// What it permits.
    pub const fn description(&self) -> &'static str {
        self.description
    }
}

/// What a credential permits. Names that no service knows permit nothing, and do no harm. Clones share the names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scopes(Arc<BTreeSet<String>>);

impl Scopes {
    /// Whether it is among them.
    pub fn contains(&self, name: &str) -> bool {
        self.0.contains(name)
    }

    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// The names as a list.
    pub fn to_vec(&self) -> Vec<String> {
        self.0.iter().cloned().collect()
    }
}

/// As tokens carry them (RFC 6749, section 3.3).
impl fmt::Display for Scopes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.names().collect::<Vec<_>>().join(" "))
    }
}

impl<T: Into<String>> FromIterator<T> for Scopes {
    fn from_iter<I: IntoIterator<Item = T>>(names: I) -> Self {
        Self(Arc::new(names.into_iter().map(Into::into).filter(|name: &String| !name.is_empty()).collect()))
    }
}
