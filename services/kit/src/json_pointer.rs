//! JSON Pointers (RFC 6901) from the paths that `serde_path_to_error` collects.

use serde_path_to_error::{Path, Segment};

/// The pointer to `path`; empty for the whole document.
pub(crate) fn of(path: &Path) -> String {
    let mut pointer = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => pointer.push_str(&format!("/{index}")),
            Segment::Map { key } => pointer.push_str(&format!("/{}", key.replace('~', "~0").replace('/', "~1"))),
            Segment::Enum { variant } => pointer.push_str(&format!("/{variant}")),
            Segment::Unknown => {}
        }
    }
    pointer
}
