//! The status as people have it: in a real Chromium, with the real API and worker.

use crate::api_client::{Client, campaign};
use crate::browser::Browser;
use crate::fixture::{Slot, TOKEN};

#[tokio::test]
async fn people_read_the_status_with_the_credential_as_a_password() {
    let slot = Slot::new().await;
    let (api, _worker) = (slot.api().await, slot.worker());
    assert_eq!(Client::of(&api).post("/campaigns", &campaign(Some("42"))).await.status.as_u16(), 201);
    let browser = Browser::start().await;
    browser.go_with(TOKEN, api.port, "/status").await;
    browser.shows("h1", "Campaigns").await;
    // It has asked once, and sends the password by itself from now on.
    browser.go(api.port, "/status").await;
    browser.shows("main", "Campaign 42 ends").await;
    browser.assert_accessible("the status").await;
    browser.be_a_phone().await;
    browser.reload().await;
    browser.shows("h1", "Campaigns").await;
    assert_eq!(browser.value("document.documentElement.scrollWidth <= innerWidth").await, true, "a phone need not scroll sideways");
    browser.click("a[href$='leaderboards/42']").await;
    browser.shows("#connection", "live").await;
    browser.assert_no_complaints().await;
    browser.assert_loaded_from(api.port).await;
    browser.go_with(TOKEN, api.port, "/leaderboards/42").await;
    browser.shows("#connection", "live").await;
}
