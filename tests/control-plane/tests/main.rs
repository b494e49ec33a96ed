//! Tests on a control plane without a node: what the API admits, and what the operator does with objects.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails, in its helpers too")]

mod admit;
mod operator;
