//! The leaderboard as people have it: in a real Chromium, with the real API and worker.

use std::time::Duration;

use serde_json::{Value, json};
use tenantry_harness::process::Process;
use tenantry_harness::stalling_proxy::StallingProxy;

use crate::api_client::{Client, buy, campaign, in_seconds, name_item, put_names};
use crate::browser::{Browser, ENTER};
use crate::fixture::{Api, Slot, eventually, is_ready};

const PAGE: &str = "/leaderboards/42";

/// A slot with a campaign that runs, and a browser on its leaderboard.
struct Scene {
    slot: Slot,
    api: Api,
    client: Client,
    _worker: Process,
    browser: Browser,
}

impl Scene {
    async fn new() -> Self {
        let slot = Slot::new().await;
        let (api, worker) = (slot.api().await, slot.worker());
        let client = Client::of(&api);
        assert_eq!(client.post("/campaigns", &campaign(Some("42"))).await.status.as_u16(), 201);
        Self { slot, api, client, _worker: worker, browser: Browser::start().await }
    }

    /// With the page open and live.
    async fn watching() -> Self {
        let scene = Self::new().await;
        scene.open().await;
        scene
    }

    async fn open(&self) {
        self.browser.go(self.api.port, PAGE).await;
        self.browser.shows("#connection", "live").await;
    }

    async fn buy(&self, event: &str, user: &str, value: &str) {
        buy(&self.client, event, user, value).await;
    }

    async fn put_names(&self, users: Value) {
        put_names(&self.client, users).await;
    }

    /// Gives a token to the page, by keyboard alone.
    async fn give(&self, token: &str) {
        self.browser.tab_to("own-token").await;
        self.browser.press(token).await;
        self.browser.press(ENTER).await;
    }
}

#[tokio::test]
async fn a_purchase_shows_up_without_a_reload() {
    let scene = Scene::watching().await;
    let browser = &scene.browser;
    browser.value("window.wasNotReloaded = true").await;
    assert_eq!(
        (browser.text("#empty").await.as_str(), browser.text("#users").await.as_str()),
        ("Nobody has a purchase that counts yet.", "0")
    );
    browser.assert_accessible("an empty leaderboard").await;
    scene.put_names(json!([{ "userId": "5", "name": "Anna" }])).await;
    scene.buy("1", "5", "10.00").await;
    browser.shows_rows(&["1 Anna 10.00 EUR"]).await;
    scene.buy("2", "6", "25.50").await;
    browser.shows_rows(&["1 User 6 25.50 EUR", "2 Anna 10.00 EUR"]).await;
    scene.buy("3", "5", "20.00").await;
    browser.shows_rows(&["1 Anna 30.00 EUR", "2 User 6 25.50 EUR"]).await;
    assert_eq!((browser.text("#empty").await.as_str(), browser.text("#users").await.as_str()), ("", "2"));
    browser.assert_accessible("a leaderboard with users").await;
    assert_eq!(browser.value("window.wasNotReloaded").await, json!(true));
    let live = browser.texts("#board tbody tr").await;
    scene.open().await;
    assert_eq!(browser.texts("#board tbody tr").await, live, "the server writes rows as the script does");
    browser.assert_loaded_from(scene.api.port).await;
    browser.assert_no_complaints().await;
}

#[tokio::test]
async fn markup_in_a_name_is_text_whoever_writes_it() {
    let scene = Scene::new().await;
    let browser = &scene.browser;
    let item = "<b>Espresso</b> & </title><script>document.title='taken'</script>";
    name_item(&scene.client, "10", item).await;
    scene.open().await;
    let names = [
        "<img src=x onerror=document.title='taken'>",
        "<script>document.title='taken'</script>",
        "</th></table><h1>taken</h1>",
        "&lt;b&gt;",
    ];
    let users: Vec<Value> = names.iter().zip(5..).map(|(name, user)| json!({ "userId": user.to_string(), "name": name })).collect();
    scene.put_names(json!(users)).await;
    for user in 5..9 {
        scene.buy(&user.to_string(), &user.to_string(), &format!("{}.00", 20 - user)).await;
    }
    for written_by in ["script", "server"] {
        eventually("the names are shown as they are", async || browser.texts("#board tbody th").await == names).await;
        assert_eq!(browser.value("document.querySelectorAll('main img, main script, main b, h1').length").await, json!(1), "{written_by}");
        assert_eq!(browser.text("h1").await, item);
        assert_eq!(browser.value("document.title").await, json!(format!("{item}: leaderboard of campaign 42")));
        scene.open().await;
    }
    browser.go(scene.api.port, "/leaderboards").await;
    browser.shows("h1", "Leaderboards").await;
    assert_eq!(browser.texts("li a").await, [item]);
    assert_eq!(browser.value("document.querySelectorAll('main script, main b').length").await, json!(0));
    browser.assert_no_complaints().await;
}

#[tokio::test]
async fn who_gives_a_token_sees_the_own_position_and_has_the_token_forgotten() {
    let scene = Scene::watching().await;
    let browser = &scene.browser;
    scene.buy("1", "6", "50.00").await;
    browser.shows_rows(&["1 User 6 50.00 EUR"]).await;
    let token = scene.slot.issuer.token("records:read").unwrap();
    scene.give(&token).await;
    browser.shows("#own-position", "You have no purchase that counts yet.").await;
    assert_eq!(browser.value("document.activeElement.id").await, json!("own-forget"), "the focus is where the field was");
    browser.assert_accessible("an own position without a purchase").await;
    scene.buy("2", "7", "30.00").await;
    browser.shows("#own-position", "You are at rank 2 with 30.00 EUR.").await;
    scene.buy("3", "7", "30.00").await;
    browser.shows("#own-position", "You are at rank 1 with 60.00 EUR.").await;
    eventually("the own row is marked", async || browser.texts("#board tr.own").await == ["1 User 7 60.00 EUR"]).await;
    browser.assert_accessible("an own position").await;

    browser.reload().await;
    browser.shows("#own-position", "You are at rank 1 with 60.00 EUR.").await;
    let traces = "[location.href, document.cookie, JSON.stringify(localStorage), document.documentElement.outerHTML,
        JSON.stringify(performance.getEntries().map((entry) => entry.name))].join(' ')";
    assert!(!browser.value(traces).await.as_str().unwrap().contains(&token), "the token is in the tab's storage alone");
    assert!(browser.url().await.ends_with(PAGE));
    browser.tab_to("own-forget").await;
    browser.press(ENTER).await;
    assert_eq!(browser.texts("#own-position, #board tr.own").await, [""]);
    assert_eq!(browser.value("[sessionStorage.length, document.getElementById('own-token').value]").await, json!([0, ""]));
    browser.reload().await;
    browser.shows("#connection", "live").await;
    assert_eq!(browser.text("#own-position").await, "");
    browser.assert_no_complaints().await;
}

#[tokio::test]
async fn a_token_that_is_refused_or_ends_is_said_to_be_and_forgotten() {
    let scene = Scene::watching().await;
    let browser = &scene.browser;
    let nobody = scene.client.post("/api-keys", &json!({ "name": "till", "scopes": ["records:read"] })).await.body["key"].clone();
    let cases = [
        ("wrong", "is not accepted: the token is not valid in this slot"),
        ("zwei Wörter", "This is no token"),
        (&scene.slot.issuer.token("purchases:write").unwrap(), "lacks the scope records:read"),
        (nobody.as_str().unwrap(), "the credential names no user"),
    ];
    for (token, reason) in cases {
        scene.give(token).await;
        browser.shows("#own-error", reason).await;
        assert_eq!(browser.value("document.activeElement.id").await, json!("own-token"), "{reason}");
        assert_eq!(browser.value("sessionStorage.length").await, json!(0), "{reason}");
    }
    browser.assert_accessible("a token that was refused").await;

    let trial =
        scene.client.post("/tokens", &json!({ "userId": "7", "scopes": ["records:read"], "expiresInSeconds": 6 })).await.body["token"]
            .clone();
    scene.give(trial.as_str().unwrap()).await;
    browser.shows("#own-position", "You have no purchase that counts yet.").await;
    assert_eq!(browser.text("#own-error").await, "");
    browser.shows("#own-error", "is not accepted: the token has expired: get a new one").await;
    assert_eq!(browser.value("sessionStorage.length").await, json!(0));
    assert_eq!(browser.text("#own-position").await, "");
}

#[tokio::test]
async fn a_reader_is_told_that_the_server_is_gone_and_goes_on_when_it_is_back() {
    let mut scene = Scene::watching().await;
    scene.buy("1", "7", "10.00").await;
    scene.give(&scene.slot.issuer.token("records:read").unwrap()).await;
    scene.browser.shows("#own-position", "You are at rank 1 with 10.00 EUR.").await;
    let port = scene.api.port;
    scene.api.process.terminate().unwrap();
    scene.browser.shows("#connection", "not connected, trying again").await;
    scene.browser.shows("#own-position", "not known at the moment").await;
    scene.browser.shows("#announcer", "Not connected, trying again.").await;
    scene.browser.assert_accessible("a lost connection").await;
    assert_eq!(scene.browser.texts("#board tbody tr").await, ["1 User 7 10.00 EUR"], "what was known stays");
    eventually("the API has ended", async || scene.api.process.try_wait().unwrap().is_some()).await;
    scene.api.process = scene.slot.api_on(port);
    eventually("the API is back", async || is_ready(port).await).await;
    scene.buy("2", "6", "20.00").await;
    scene.browser.shows("#connection", "live").await;
    scene.browser.shows_rows(&["1 User 6 20.00 EUR", "2 User 7 10.00 EUR"]).await;
    scene.browser.shows("#own-position", "You are at rank 2 with 10.00 EUR.").await;
    scene.browser.assert_no_complaints().await;
}

/// A phone in a tunnel: nothing comes, and nobody says that nothing will.
#[tokio::test]
async fn a_page_whose_connection_is_silent_gives_it_up_and_catches_up() {
    let scene = Scene::new().await;
    let browser = &scene.browser;
    let proxy = StallingProxy::start(scene.api.port).await.unwrap();
    // Silence is 40 seconds, of which the test waits for one.
    browser
        .run_before_pages(
            "const wait = setTimeout; window.setTimeout = (then, time, ...more) => wait(then, time === 40000 ? 1000 : time, ...more);",
        )
        .await;
    browser.go(proxy.port(), PAGE).await;
    browser.shows("#connection", "live").await;
    proxy.stall();
    for number in 1..=3 {
        scene.buy(&number.to_string(), &number.to_string(), &format!("{number}.00")).await;
    }
    browser.shows("#connection", "not connected, trying again").await;
    assert_eq!(browser.texts("#board tbody tr").await, [""; 0]);
    proxy.flow();
    browser.shows_rows(&["1 User 3 3.00 EUR", "2 User 2 2.00 EUR", "3 User 1 1.00 EUR"]).await;
    browser.shows("#connection", "live").await;
}

#[tokio::test]
async fn a_page_that_nobody_sees_holds_no_connection() {
    let scene = Scene::watching().await;
    let browser = &scene.browser;
    let viewers = async |count: u32| {
        let metrics = scene.client.get("/metrics").await;
        metrics.body.as_str().unwrap().contains(&format!("leaderboard_viewers {count}\n"))
    };
    eventually("the page watches", async || viewers(1).await).await;
    let hide = |hidden: bool| {
        format!(
            "(Object.defineProperty(document, 'hidden', {{ value: {hidden}, configurable: true }}), document.dispatchEvent(new Event('visibilitychange')))"
        )
    };
    browser.value(&hide(true)).await;
    scene.buy("1", "5", "10.00").await;
    eventually("the connection is closed", async || viewers(0).await).await;
    assert_eq!(browser.texts("#board tbody tr").await, [""; 0]);
    browser.value(&hide(false)).await;
    browser.shows_rows(&["1 User 5 10.00 EUR"]).await;
    eventually("the page watches again", async || viewers(1).await).await;
}

#[tokio::test]
async fn on_a_phone_everything_is_within_the_screen_and_legible() {
    let scene = Scene::new().await;
    let browser = &scene.browser;
    let long = "Wolfeschlegelsteinhausenbergerdorff".repeat(2) + &"m".repeat(30);
    let names = [long.as_str(), "محمد عبد الرحمن", "יוסף כהן"];
    let users: Vec<Value> = names.iter().zip(5..).map(|(name, user)| json!({ "userId": user.to_string(), "name": name })).collect();
    scene.put_names(json!(users)).await;
    for (user, value) in [("5", "900000000000.00"), ("6", "1234.50"), ("7", "12.00"), ("9223372036854775807", "1.00")] {
        scene.buy(user, user, value).await;
    }
    name_item(&scene.client, "10", &"m".repeat(200)).await;
    browser.be_a_phone().await;
    browser.go(scene.api.port, "/leaderboards").await;
    browser.shows("h1", "Leaderboards").await;
    let widths = "[document.documentElement.scrollWidth, innerWidth]";
    assert_eq!(browser.value(widths).await, json!([320, 320]), "the list does not scroll sideways");
    scene.open().await;
    browser.shows("#board tbody tr:last-child", "User 9223372036854775807").await;
    scene.give(&scene.slot.issuer.token("records:read").unwrap()).await;
    browser.shows("#own-position", "You are at rank 3 with 12.00 EUR.").await;
    assert_eq!(browser.value(widths).await, json!([320, 320]), "nothing scrolls sideways");
    let beyond = "[...document.querySelectorAll('main *:not(.visually-hidden)')].filter((element) => element.getBoundingClientRect().right > innerWidth).length";
    assert_eq!(browser.value(beyond).await, json!(0));
    let sizes = "Math.min(...[...document.querySelectorAll('main *')].map((element) => parseFloat(getComputedStyle(element).fontSize)))";
    assert_eq!(browser.value(sizes).await, json!(16));
    let targets = "Math.min(...[...document.querySelectorAll('a, button, input')].map((element) => element.getBoundingClientRect().height).filter(Boolean))";
    assert!(browser.value(targets).await.as_f64().unwrap() >= 44.0, "a finger finds it");
    // A name that is written from right to left leaves rank and total where they are.
    let places = "[...document.querySelectorAll('#board tbody tr')].map((row) => [...row.cells].map((cell) => Math.round(cell.getBoundingClientRect().left)))";
    let places = browser.value(places).await;
    assert!(places.as_array().unwrap().iter().all(|place| *place == places[0] && place[0].as_f64() < place[2].as_f64()), "{places}");
    browser.assert_accessible("a phone").await;
}

#[tokio::test]
async fn the_page_is_as_the_readers_system_is_set() {
    let scene = Scene::new().await;
    let browser = &scene.browser;
    scene.buy("1", "7", "10.00").await;
    for (scheme, is_dark) in [("light", false), ("dark", true)] {
        browser.prefer(&[("prefers-color-scheme", scheme), ("prefers-reduced-motion", "reduce")]).await;
        scene.open().await;
        browser.shows_rows(&["1 User 7 10.00 EUR"]).await;
        let ground = "getComputedStyle(document.querySelector('thead th')).backgroundColor.match(/\\d+/g).slice(0, 3).reduce((sum, part) => sum + Number(part), 0)";
        assert_eq!(browser.value(ground).await.as_i64().unwrap() < 3 * 128, is_dark, "{scheme}");
        scene.give("wrong").await;
        browser.shows("#own-error", "not accepted").await;
        browser.assert_accessible(scheme).await;
        // Rows that were just changed have another ground.
        browser.value("document.querySelector('#board tbody tr').classList.add('new')").await;
        browser.assert_accessible(&format!("{scheme}, a new row")).await;
    }
    let transition = "getComputedStyle(document.querySelector('#board tbody tr')).transitionDuration";
    assert_eq!(browser.value(transition).await, json!("0s"));
    browser.prefer(&[("prefers-reduced-motion", "no-preference")]).await;
    assert_eq!(browser.value(transition).await, json!("1s"));
}

/// Ten changes a second can be seen. To listen takes longer.
#[tokio::test]
async fn who_listens_is_told_of_a_new_leader_and_not_of_every_change() {
    let scene = Scene::watching().await;
    let browser = &scene.browser;
    let announcer = "['role', 'aria-live'].map((name) => document.getElementById('announcer').getAttribute(name))";
    assert_eq!(browser.value(announcer).await, json!(["status", null]), "polite, as every status is");
    browser
        .value(
            "(window.told = [], window.changes = 0, window.began = performance.now(),
            new MutationObserver(() => told.push(document.getElementById('announcer').textContent)).observe(document.getElementById('announcer'), { childList: true }),
            new MutationObserver(() => { changes += 1; }).observe(document.querySelector('#board tbody'), { childList: true }), null)",
        )
        .await;
    // The two overtake each other, one after the other, until it was seen often.
    let mut number = 0;
    while browser.value("changes").await.as_u64().unwrap() < 12 {
        number += 1;
        scene.buy(&number.to_string(), if number % 2 == 0 { "5" } else { "6" }, &format!("{number}.00")).await;
    }
    let told = browser.value("told").await;
    let told = told.as_array().unwrap();
    // One at once, and one every five seconds.
    let most = 1 + browser.value("Math.ceil((performance.now() - began) / 5000)").await.as_u64().unwrap() as usize;
    assert!((1..=most).contains(&told.len()), "more than {most}: {told:?}");
    assert!(told[0].as_str().unwrap().contains("leads with"), "{told:?}");
    assert_eq!(browser.value("document.querySelectorAll('#board [aria-live], #board [role=status]').length").await, json!(0));
}

#[tokio::test]
async fn the_list_leads_to_the_leaderboards_of_the_campaigns_that_run() {
    let slot = Slot::new().await;
    let api = slot.api().await;
    let (client, browser) = (Client::of(&api), Browser::start().await);
    browser.go(api.port, "/leaderboards").await;
    browser.shows("main", "No campaign runs at the moment.").await;
    browser.assert_accessible("a list without a campaign").await;
    for (id, item) in [("42", "10"), ("43", "11")] {
        let mut campaign = campaign(Some(id));
        campaign["itemId"] = json!(item);
        client.post("/campaigns", &campaign).await;
    }
    name_item(&client, "10", "Espresso machine").await;
    name_item(&client, "11", "Sewing machine").await;
    let mut later = campaign(Some("44"));
    (later["startDateTime"], later["endDateTime"]) = (json!(in_seconds(600)), json!(in_seconds(3600)));
    client.post("/campaigns", &later).await;
    browser.reload().await;
    assert_eq!(browser.texts("li a").await, ["Espresso machine", "Sewing machine"]);
    browser.shows("li:first-child", "Campaign 42. Prize 100.00 EUR, ends").await;
    browser.assert_accessible("a list").await;
    browser.click("li:first-child a").await;
    browser.shows("#connection", "live").await;
    browser.shows("h1", "Espresso machine").await;
    browser.shows("#campaign", "Campaign 42. Prize 100.00 EUR, ends").await;
    browser.click("main > p:first-child a").await;
    browser.shows("h1", "Leaderboards").await;
    browser.go(api.port, "/leaderboards/44").await;
    browser.shows("#campaign", "begins").await;
    browser.assert_accessible("a campaign that has not begun").await;
    browser.assert_no_complaints().await;
}

#[tokio::test]
async fn campaigns_that_are_over_or_unknown_have_a_page_that_says_so() {
    let scene = Scene::new().await;
    let browser = &scene.browser;
    scene.buy("1", "5", "10.00").await;
    scene.open().await;
    browser.shows_rows(&["1 User 5 10.00 EUR"]).await;
    scene.slot.test.shift_time(Duration::from_secs(4000)).await.unwrap();
    scene.open().await;
    browser.shows("#campaign", "ended").await;
    browser.shows_rows(&["1 User 5 10.00 EUR"]).await;
    browser.assert_accessible("a campaign that has ended").await;

    scene.slot.test.shift_time(Duration::ZERO).await.unwrap();
    scene.client.post("/campaigns", &campaign(Some("43"))).await;
    let etag = scene.client.get("/campaigns/43").await.etag().to_owned();
    let cancelled = scene.client.send(scene.client.request(http::Method::POST, "/campaigns/43/cancel").header("if-match", etag)).await;
    assert!(cancelled.status.is_success(), "{}", cancelled.body);
    browser.go(scene.api.port, "/leaderboards/43").await;
    browser.shows("#campaign", "nobody wins it").await;
    browser.assert_accessible("a campaign that was cancelled").await;

    for (path, title) in
        [("/leaderboards/4711", "There is no such campaign"), ("/leaderboards/x", "A parameter of the request is not valid")]
    {
        browser.go(scene.api.port, path).await;
        browser.shows("h1", title).await;
        browser.assert_accessible(title).await;
        browser.click("a").await;
        browser.shows("h1", "Leaderboards").await;
    }
}
