//! Holds the crate for its integration tests in `tests/`.
