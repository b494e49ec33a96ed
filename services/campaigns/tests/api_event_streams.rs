//! Leaderboards as streams of events over HTTP: how an answer begins, who is taken, and how a viewer goes on when the server went away.

use futures::StreamExt;
use http::Method;
use serde_json::json;

use crate::api_client::{Client, buy, campaign};
use crate::api_leaderboards::{Page, Viewer};
use crate::fixture::{Slot, eventually, is_ready};

const EVENTS: &str = "/leaderboards/42/events";

#[tokio::test]
async fn an_answer_is_a_stream_that_nobody_keeps_whatever_is_accepted() {
    let slot = Slot::new().await;
    let api = slot.api().await;
    let client = Client::of(&api);
    client.post("/campaigns", &campaign(Some("42"))).await;
    for path in [EVENTS, "/leaderboards/42/positions/5/events"] {
        for method in [Method::GET, Method::HEAD] {
            for accept in ["text/event-stream", "*/*", "application/json", "text/html"] {
                let answer = client.stream(client.request(method.clone(), path).header("accept", accept)).await;
                assert_eq!(answer.status().as_u16(), 200, "{method} {path} {accept}");
                for (name, value) in [("content-type", "text/event-stream"), ("cache-control", "no-store"), ("x-accel-buffering", "no")] {
                    assert_eq!(answer.headers()[name], value, "{method} {path} {accept}");
                }
                if method == Method::HEAD {
                    assert_eq!(answer.bytes().await.unwrap().len(), 0, "{path}");
                }
            }
        }
        let refused = client.post(path, &json!({})).await;
        refused.assert_refused(405, "method-not-allowed", "");
        assert_eq!(refused.headers["allow"], "GET");
    }
    eventually("nobody is taken for a viewer who has gone", async || {
        client.get("/metrics").await.body.as_str().unwrap().contains("leaderboard_viewers 0\n")
    })
    .await;
}

#[tokio::test]
async fn a_viewer_goes_on_after_its_last_event_when_the_process_was_replaced() {
    let slot = Slot::new().await;
    let (mut api, _worker) = (slot.api().await, slot.worker());
    let (port, client) = (api.port, Client::of(&api));
    client.post("/campaigns", &campaign(Some("42"))).await;
    let mut page = Page::default();
    let mut viewer = Viewer::of(&client, EVENTS, None).await;
    page.receive(viewer.next().await.unwrap());
    buy(&client, "1", "5", "10.00").await;
    page.receive(viewer.next().await.unwrap());
    assert_eq!(page.totals(), [("5", "10.00")]);
    let mut replace = async || {
        api.process.terminate().unwrap();
        eventually("the process ends", async || api.process.try_wait().unwrap().is_some()).await;
        api.process = slot.api_on(port);
        eventually("the API is back", async || is_ready(port).await).await;
    };

    // Nothing has changed: nothing is sent again.
    replace().await;
    assert_eq!(viewer.next().await, None);
    let mut viewer = Viewer::of(&client, EVENTS, Some(&page.version)).await;
    buy(&client, "2", "6", "20.00").await;
    let change = viewer.next().await.unwrap();
    assert_eq!((change.kind.as_str(), &change.data["after"]), ("changes", &json!(page.version)));
    page.receive(change);

    // What has changed meanwhile comes whole, since the new process did not see it come.
    let last = page.version.clone();
    buy(&client, "3", "5", "20.00").await;
    page.receive(viewer.next().await.unwrap());
    replace().await;
    let mut viewer = Viewer::of(&client, EVENTS, Some(&last)).await;
    let whole = viewer.next().await.unwrap();
    assert_eq!((whole.kind.as_str(), whole.id.as_str()), ("snapshot", page.version.as_str()));
    let mut again = Page::default();
    again.receive(whole);
    assert_eq!(again.totals(), page.totals());
}

#[tokio::test]
async fn a_process_takes_two_thousand_viewers_and_another_one_when_one_has_gone() {
    let slot = Slot::new().await;
    let campaign = slot.campaign(10, -60.0, 600.0).await;
    let (standings, _running) = slot.standings();
    let leaderboards = campaigns::leaderboards::Leaderboards::new(standings, slot.store.clone(), Default::default(), Default::default());
    let mut viewers = Vec::new();
    for _ in 0..1999 {
        viewers.push(leaderboards.watch(campaign, None).await.unwrap().boxed());
    }
    let user = campaigns::domain::UserId::new(5).unwrap();
    viewers.push(leaderboards.watch_user(campaign, user).await.unwrap().boxed());
    let refused = leaderboards.watch(campaign, None).await.err();
    assert_eq!(refused, Some(campaigns::leaderboards::ViewError::TooMany));
    assert!(leaderboards.watch_user(campaign, user).await.is_err());
    viewers.pop();
    let mut last = leaderboards.watch(campaign, None).await.unwrap().boxed();
    assert!(last.next().await.is_some());
}
