//! Takes out of a text what differs between two groups that are otherwise the same: names, UIDs, hashes and times.

use std::sync::LazyLock;

use regex::Regex;

/// What is replaced whatever the names are, in this order.
static OPAQUE: LazyLock<Vec<(Regex, &'static str)>> = LazyLock::new(|| {
    [
        (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "UID"),
        (r#"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d[^\s,\]}"]*"#, "TIME"),
        (r#"credential=[^\s'"]+"#, "credential=FINGERPRINT"),
        (r"\b[a-z2-7]{8}-(\d+)\b", "FINGERPRINT-$1"),
        (r"since=\d+", "since=TIME"),
        (r#"(tenantry\.dev/credential": ?)"[a-z2-7]{8}"#, "$1\"FINGERPRINT"),
        (r"t[a-z2-7]{16}", "tHASH"),
        (r"\b[a-z2-7]{16}\b", "HASH"),
        (r"-[a-z2-7]{10}\b", "-HASH"),
    ]
    .map(|(pattern, name)| (Regex::new(pattern).unwrap(), name))
    .into()
});

/// Names of a test's own, and what stands for each.
#[derive(Debug, Clone, Default)]
pub struct Names(Vec<(String, String)>);

impl Names {
    pub fn new(names: &[(&str, &str)]) -> Self {
        Self(names.iter().map(|(name, role)| ((*name).to_owned(), (*role).to_owned())).collect())
    }

    pub fn normal(&self, text: &str) -> String {
        let named = self.0.iter().fold(text.to_owned(), |text, (name, role)| text.replace(name, role));
        OPAQUE.iter().fold(named, |text, (pattern, name)| pattern.replace_all(&text, *name).into_owned())
    }
}
