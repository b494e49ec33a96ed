//! Over https a receiver is known by its certificate: from one of the authorities that the credential names, or of the web's where it names none.

use serde_json::json;
use tenantry_harness::authority::Authority;

use crate::fixture::{Slot, eventually};
use crate::payments::{KEY, LONG, failed_by, message, paying_slot, time_passes, until_paid, won};
use crate::receiver::{Reaction, Receiver};

const AUTHORITIES: &str = "webhook/ca.crt";
const UNKNOWN: &str = "invalid peer certificate: UnknownIssuer";

/// A receiver on `localhost` with a certificate of that authority for `host`, a slot that pays by it, and a winner who is to be paid.
async fn receiver_and_slot(authority: &Authority, host: &str) -> (Receiver, Slot) {
    let receiver = Receiver::start_with_tls(&authority.certify(host).unwrap(), KEY, |_, _| Reaction::Take).await;
    let slot = paying_slot(&receiver.url(), json!({})).await;
    won(&slot, [3]).await;
    (receiver, slot)
}

#[tokio::test]
async fn a_receiver_with_a_private_authority_is_paid_by_a_signed_request_over_https() {
    let own = Authority::new("own").unwrap();
    let (receiver, slot) = receiver_and_slot(&own, "localhost").await;
    slot.write_credential(AUTHORITIES, &own.certificate().unwrap());
    let _worker = slot.worker();
    until_paid(&slot, 1).await;
    assert_eq!((receiver.taken().len(), receiver.received().len()), (1, 1));
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_tried_again_and_says_so_until_the_credential_names_it() {
    let [own, other] = ["own", "other"].map(|name| Authority::new(name).unwrap());
    let [own_certificate, others] = [&own, &other].map(|authority| authority.certificate().unwrap());
    let (receiver, slot) = receiver_and_slot(&own, "localhost").await;
    let _worker = slot.worker();
    // None is named: those of the web count.
    failed_by(&slot, UNKNOWN).await;
    slot.write_credential(AUTHORITIES, &others);
    time_passes(&slot, LONG).await;
    eventually("it fails again", async || message(&slot).await.is_some_and(|(deliveries, ..)| deliveries == 2)).await;
    failed_by(&slot, UNKNOWN).await;
    assert!(receiver.received().is_empty());
    slot.write_credential(AUTHORITIES, &format!("{others}{own_certificate}"));
    time_passes(&slot, LONG).await;
    until_paid(&slot, 1).await;
    assert_eq!(receiver.taken().len(), 1);

    slot.remove_credential(AUTHORITIES);
    won(&slot, [5]).await;
    failed_by(&slot, UNKNOWN).await;
    assert_eq!(receiver.received().len(), 1);
}

#[tokio::test]
async fn a_certificate_for_another_host_is_tried_again_and_says_so() {
    let own = Authority::new("own").unwrap();
    let (receiver, slot) = receiver_and_slot(&own, "shop.example").await;
    slot.write_credential(AUTHORITIES, &own.certificate().unwrap());
    let _worker = slot.worker();
    let wait = failed_by(&slot, "certificate not valid for name \"localhost\"").await;
    assert!(wait > 0.0 && receiver.received().is_empty());
}

#[tokio::test]
async fn authorities_that_cannot_be_read_hold_prizes_without_using_up_a_try() {
    const SECRET: &str = "MHcCAQEEIAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8g";
    let own = Authority::new("own").unwrap();
    let (receiver, slot) = receiver_and_slot(&own, "localhost").await;
    let log = tempfile::NamedTempFile::new().unwrap();
    slot.write_credential(AUTHORITIES, &format!("-----BEGIN EC PRIVATE KEY-----\n{SECRET}\n-----END EC PRIVATE KEY-----\n"));
    let _worker = slot.worker_logging_to(log.path());
    let says = || std::fs::read_to_string(log.path()).unwrap();
    eventually("the worker says what to do", async || says().contains("ca.crt holds no certificates in PEM; write those of its")).await;
    slot.write_credential(AUTHORITIES, &format!("-----BEGIN CERTIFICATE-----\n{SECRET}\n-----END CERTIFICATE-----\n"));
    eventually("it has looked again", async || says().contains("ca.crt is damaged")).await;
    assert_eq!(message(&slot).await.map(|(deliveries, ..)| deliveries), Some(0));
    slot.write_credential(AUTHORITIES, &own.certificate().unwrap());
    until_paid(&slot, 1).await;
    assert_eq!(receiver.taken().len(), 1);
    assert!(!says().contains(SECRET) && !says().contains(KEY), "{}", says());
}
