//! The operator, as its users see it: objects go in, objects, conditions and databases come out. The control plane, the
//! controller manager, PostgreSQL and the operator are real. Only the kubelet is a fake: see [`fake_kubelet`].

mod audit;
mod end_state;
mod fake_kubelet;
mod kill_campaign;
mod normal;
mod operator_api_server_lost;
mod operator_autoscaling;
mod operator_class_rollout;
mod operator_confinement;
mod operator_conflicts;
mod operator_creation;
mod operator_credentials;
mod operator_deletion;
mod operator_drift;
mod operator_fair;
mod operator_former_leader;
mod operator_hanging;
mod operator_killed_everywhere;
mod operator_limits;
mod operator_loss;
mod operator_network;
mod operator_placement;
mod operator_postgres;
mod operator_quota;
mod operator_refusals;
mod operator_retention;
mod operator_rotation;
mod operator_safety;
mod operator_seen;
mod operator_stillness;
mod operator_usage;
mod platform;
mod rows;
mod tampering;

use tenantry_harness::manifests;
