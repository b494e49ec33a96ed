//! `/rates`: what is taken, what is refused and how.

use http::Method;
use serde_json::{Value, json};

use crate::api_client::{Answer, Client, campaign, purchase_with};
use crate::fixture::{Slot, eventually};
use crate::rates_model::{days_before, today};

const HISTORY: &str = "Date,USD,JPY,CYP,EEK,ZAR,\n2024-11-20,1.0562,163.77,N/A,N/A,19.1436,\n2024-11-19,1.0578,162.59,N/A,N/A,19.1277,\n\
                       1999-01-04,1.1789,133.73,0.58231,15.6466,6.9358,\n";

async fn put(client: &Client, content_type: &str, body: impl Into<reqwest::Body>) -> Answer {
    client.send(client.request(Method::PUT, "/rates").header("content-type", content_type).body(body)).await
}

async fn put_json(client: &Client, rates: Value) -> Answer {
    put(client, "application/json", rates.to_string()).await
}

#[tokio::test]
async fn rates_are_put_once_however_often_they_are_sent() {
    let slot = Slot::new().await;
    let api = slot.api().await;
    let client = Client::of(&api);
    let mut rates = json!([
        { "date": "2024-11-20", "currency": "USD", "rate": "1.0562" },
        { "date": "2024-11-19", "currency": "USD", "rate": "1.0578" },
        { "date": "2024-11-20", "currency": "JPY", "rate": "163.77" },
    ]);
    let first = put_json(&client, rates.clone()).await;
    assert_eq!((first.status.as_u16(), &first.body), (200, &json!({ "new": 3, "changed": 0, "unchanged": 0, "leftOut": [] })));
    assert_eq!(put_json(&client, rates.clone()).await.body, json!({ "new": 0, "changed": 0, "unchanged": 3, "leftOut": [] }));
    rates[0]["rate"] = json!("1.05630");
    assert_eq!(put_json(&client, rates).await.body, json!({ "new": 0, "changed": 1, "unchanged": 2, "leftOut": [] }));
    let read = client.get("/rates?date=2024-11-22").await.body;
    assert_eq!(
        read,
        json!({ "rates": [
            { "date": "2024-11-20", "currency": "JPY", "rate": "163.77" },
            { "date": "2024-11-20", "currency": "USD", "rate": "1.0563" },
        ] })
    );
    assert_eq!(client.get("/rates?date=2024-11-28").await.body, json!({ "rates": [] }), "too old by then");
    assert_eq!(client.get("/rates").await.body, json!({ "rates": [] }));
}

#[tokio::test]
async fn the_ecbs_files_are_taken_as_they_come() {
    let slot = Slot::new().await;
    let api = slot.api().await;
    let client = Client::of(&api);
    let history = put(&client, "text/csv; charset=utf-8", HISTORY).await;
    assert_eq!(history.body, json!({ "new": 9, "changed": 0, "unchanged": 0, "leftOut": ["CYP", "EEK"] }));
    let daily = "Date, USD, JPY, ZAR, \n20 November 2024, 1.0562, 163.77, 19.1500, \n";
    assert_eq!(put(&client, "text/csv", daily).await.body, json!({ "new": 0, "changed": 1, "unchanged": 2, "leftOut": [] }));
    let read = client.get("/rates?date=1999-01-05").await.body;
    assert_eq!(read["rates"].as_array().unwrap().len(), 3, "{read}");
}

#[tokio::test]
async fn a_file_of_all_days_since_1999_is_taken() {
    let slot = Slot::new().await;
    let api = slot.api().await;
    let client = Client::of(&api);
    let codes =
        ["USD", "JPY", "CZK", "DKK", "GBP", "HUF", "PLN", "RON", "SEK", "CHF", "ISK", "NOK", "TRY", "AUD", "BRL", "CAD", "CNY", "HKD"];
    let yesterday = days_before(today(&slot).await, 1);
    let row = |day: i64| format!("{},{}\n", days_before(yesterday, day), codes.map(|_| format!("{}.{:04}", 1 + day % 90, day)).join(","));
    let file = format!("Date,{}\n{}", codes.join(","), (0..7000).map(row).collect::<String>());
    let answer = put(&client, "text/csv", file.clone()).await;
    assert_eq!(answer.body["new"], json!(7000 * codes.len()), "{} bytes: {}", file.len(), answer.body);
    assert_eq!(put(&client, "text/csv", file).await.body["unchanged"], json!(7000 * codes.len()));
}

#[tokio::test]
async fn a_gap_is_named_until_its_rate_is_put_and_the_purchase_counts_then() {
    let slot = Slot::new().await;
    let api = slot.api().await;
    let _worker = slot.worker();
    let client = Client::of(&api);
    assert_eq!(client.post("/campaigns", &campaign(Some("42"))).await.status.as_u16(), 201);
    let purchase = purchase_with("/amount", json!({ "value": "11532", "currency": "JPY" }));
    assert_eq!(client.post("/purchases", &purchase).await.status.as_u16(), 202);
    eventually("the gap is named", async || client.get("/rates/gaps").await.body["gaps"].as_array().unwrap().len() == 1).await;
    let day = purchase["timestamp"].as_str().unwrap()[..10].to_owned();
    assert_eq!(client.get("/rates/gaps").await.body, json!({ "gaps": [{ "currency": "JPY", "date": day, "purchases": 1 }] }));
    let put = put_json(&client, json!([{ "date": day, "currency": "JPY", "rate": "115.32" }])).await;
    assert_eq!(put.status.as_u16(), 200, "{}", put.body);
    eventually("the purchase counts", async || {
        let records = client.get("/records/top/1/42").await.body;
        records["records"]["positions"][0]["total"] == json!({ "value": "100.00", "currency": "EUR" })
    })
    .await;
    assert_eq!(client.get("/rates/gaps").await.body, json!({ "gaps": [] }));
}

macro_rules! refuses_json {
    ($($name:ident: $rates:expr, $problem:expr, $at:expr;)*) => {$(
        #[tokio::test]
        async fn $name() {
            let slot = Slot::new().await;
            let api = slot.api().await;
            put_json(&Client::of(&api), $rates).await.assert_refused(422, $problem, $at);
            assert_eq!(slot.store.rates_on("2024-11-20".parse().unwrap(), 366).await.unwrap(), [], "nothing of it is kept");
        }
    )*};
}

fn rate(date: &str, currency: &str, rate: Value) -> Value {
    json!({ "date": date, "currency": currency, "rate": rate })
}

fn good() -> Value {
    rate("2024-11-20", "USD", json!("1.0562"))
}

refuses_json! {
    a_rate_of_zero_is_refused: json!([good(), rate("2024-11-20", "JPY", json!("0"))]), "invalid-body", "/1/rate";
    a_negative_rate_is_refused: json!([good(), rate("2024-11-20", "JPY", json!("-163.77"))]), "invalid-body", "/1/rate";
    a_rate_of_absurd_size_is_refused: json!([good(), rate("2024-11-20", "JPY", json!("9".repeat(400)))]), "invalid-body", "/1/rate";
    a_rate_of_almost_nothing_is_refused: json!([good(), rate("2024-11-20", "JPY", json!("0.0000001"))]), "invalid-body", "/1/rate";
    a_rate_with_thirteen_decimals_is_refused: json!([good(), rate("2024-11-20", "JPY", json!("1.0000000000001"))]), "invalid-body", "/1/rate";
    a_rate_as_a_number_is_refused: json!([good(), rate("2024-11-20", "JPY", json!(163.77))]), "invalid-body", "/1/rate";
    a_rate_of_a_currency_that_is_not_iso_4217_is_refused: json!([good(), rate("2024-11-20", "XYZ", json!("1"))]), "invalid-body", "/1/currency";
    a_rate_of_the_euro_is_refused: json!([good(), rate("2024-11-20", "EUR", json!("1"))]), "invalid-rates", "/1/currency";
    a_rate_of_a_day_in_the_future_is_refused: json!([good(), rate("2999-01-01", "JPY", json!("163.77"))]), "invalid-rates", "/1/date";
    a_rate_from_before_the_euro_is_refused: json!([good(), rate("1998-12-31", "JPY", json!("133"))]), "invalid-rates", "/1/date";
    a_day_that_does_not_exist_is_refused: json!([good(), rate("2023-02-29", "JPY", json!("163.77"))]), "invalid-body", "/1/date";
    a_day_that_comes_twice_is_refused: json!([good(), rate("2024-11-20", "JPY", json!("163.77")), good()]), "invalid-rates", "/2/date";
    an_unknown_member_is_refused: json!([{ "date": "2024-11-20", "currency": "USD", "rate": "1", "source": "x" }]), "invalid-body", "/0/source";
    one_rate_that_is_no_list_is_refused: good(), "invalid-body", "";
}

macro_rules! refuses_csv {
    ($($name:ident: $file:expr, $detail:expr;)*) => {$(
        #[tokio::test]
        async fn $name() {
            let slot = Slot::new().await;
            let api = slot.api().await;
            let answer = put(&Client::of(&api), "text/csv", $file).await;
            answer.assert_refused(422, "invalid-rates", "");
            assert!(answer.body["detail"].as_str().unwrap().contains($detail), "{}", answer.body);
            assert_eq!(slot.store.rates_on("2024-11-20".parse().unwrap(), 366).await.unwrap(), [], "nothing of it is kept");
        }
    )*};
}

refuses_csv! {
    a_file_without_a_header_is_refused: "2024-11-20,1.0562,163.77,\n", "must be the header";
    a_file_with_a_wrong_header_is_refused: "Day,USD\n2024-11-20,1.0562\n", "its first column is \"Day\"";
    a_file_with_an_unknown_currency_is_refused: "Date,USD,ABC\n2024-11-20,1.0562,1\n", "column 3 of the header is \"ABC\"";
    a_file_with_a_missing_column_is_refused: "Date,USD,JPY,\n2024-11-20,1.0562,163.77,\n2024-11-19,1.0578,\n", "line 3 has 3 cells and the header 4";
    a_file_with_a_day_twice_is_refused: "Date,USD\n2024-11-20,1.0562\n2024-11-20,1.0562\n", "send each day once";
    a_file_with_a_day_in_the_future_is_refused: "Date,USD\n2024-11-20,1.0562\n2999-01-01,1.0562\n", "in the future";
    a_file_with_a_rate_of_zero_is_refused: "Date,USD,JPY\n2024-11-20,1.0562,0\n", "line 2, JPY";
    a_file_that_is_not_utf_8_is_refused: b"Date,USD\n2024-11-20,\xff\n".to_vec(), "not UTF-8 from byte 20";
    an_empty_file_is_refused: "", "must be the header";
}

#[tokio::test]
async fn a_body_of_ten_megabytes_is_refused() {
    let slot = Slot::new().await;
    let api = slot.api().await;
    let client = Client::of(&api);
    for content_type in ["text/csv", "application/json"] {
        put(&client, content_type, "1".repeat(10_000_000)).await.assert_refused(413, "body-too-large", "");
    }
    assert_eq!(put(&client, "text/csv", HISTORY).await.status.as_u16(), 200, "the process is unharmed");
}

#[tokio::test]
async fn another_media_type_is_refused_with_those_that_are_taken() {
    let slot = Slot::new().await;
    let api = slot.api().await;
    let answer = put(&Client::of(&api), "application/xml", "<gesmes/>").await;
    answer.assert_refused(415, "unsupported-media-type", "");
    assert_eq!(answer.headers["accept"], "application/json, text/csv");
}

#[tokio::test]
async fn whether_a_day_has_come_is_for_the_databases_clock_to_say() {
    let slot = Slot::new().await;
    slot.test.shift_time(std::time::Duration::from_secs(3 * 86_400)).await.unwrap();
    let api = slot.api().await;
    let day = days_before(today(&slot).await, 0).to_string();
    let answer = put_json(&Client::of(&api), json!([rate(&day, "USD", json!("1.1"))])).await;
    assert_eq!(answer.status.as_u16(), 200, "in three days by the API's own clock: {}", answer.body);
}

#[tokio::test]
async fn a_query_that_is_misspelled_is_refused() {
    let slot = Slot::new().await;
    let api = slot.api().await;
    for query in ["date=yesterday", "day=2024-11-20", "date=2024-11-20T00:00:00Z"] {
        Client::of(&api).get(&format!("/rates?{query}")).await.assert_refused(400, "invalid-parameter", "");
    }
}
