//! The operator, as its users see it: objects go in, objects, conditions and databases come out. The control plane, the
//! controller manager, PostgreSQL and the operator are real. Only the kubelet is a fake: see [`fake_kubelet`].

mod fake_kubelet;
mod manifests;
mod operator_creation;
mod operator_deletion;
mod operator_kill;
mod operator_postgres;
mod operator_refusals;
mod operator_stillness;
mod operator_usage;
mod platform;
