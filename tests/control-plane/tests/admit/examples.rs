//! The manifests of `examples/`, which are the first that a user reads.

use tenantry_harness::control_plane::checkout;

use super::{DIGEST, accepted};

#[tokio::test]
async fn the_examples_are_accepted() {
    for file in ["class.yaml", "pcasia.yaml", "next/second-group.yaml"] {
        let text = std::fs::read_to_string(checkout().join("examples").join(file)).expect("the example is there");
        let manifest = text.replace("${RELEASE}", "v0.1.0").replace("${VALKEY_IMAGE}", &format!("localhost:5000/valkey@{DIGEST}"));
        assert!(!manifest.contains("${"), "{file} has another placeholder");
        accepted(&manifest).await;
    }
}
