//! Exchange rates: put as JSON or as the ECB's file, read for a day, and those that purchases wait for.

use std::collections::HashSet;

use axum::Json;
use axum::extract::{Request, State};
use http::{StatusCode, header};
use serde::{Deserialize, Deserializer, Serialize, de};
use tenantry_kit::currency::Currency;
use tenantry_kit::date::Date;
use tenantry_kit::http::{QueryParameters, is_json, media_type, parse_json, read_body};
use tenantry_kit::problem::{Problem, ProblemKind, UNSUPPORTED_MEDIA_TYPE};
use utoipa::{IntoParams, ToSchema};

use super::ApiState;
use crate::domain::ecb::{ReferenceRatesError, reference_rates};
use crate::domain::rates::{DatedRate, DatedRateError, Rate};

/// The ECB's file of all days since 1999 has about 2 MB.
const MAX_BODY: usize = 4 * 1024 * 1024;
const INVALID_RATES: ProblemKind = ProblemKind::new("invalid-rates", StatusCode::UNPROCESSABLE_ENTITY, "The rates are not valid");

/// A currency's rate on a day.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = Rate)]
pub(super) struct RateBody {
    /// The day.
    date: Date,
    /// The currency; not the euro.
    currency: Currency,
    /// So many units of the currency for one euro: from 0.000001 to 1000000000, with at most 12 decimals.
    #[schema(value_type = String, pattern = "^(0|[1-9][0-9]*)(\\.[0-9]+)?$", example = "1.1532")]
    rate: WrittenRate,
}

/// A rate as a plain decimal number in a string.
#[derive(Debug, Clone, Copy)]
struct WrittenRate(Rate);

impl Serialize for WrittenRate {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0.per_euro())
    }
}

impl<'de> Deserialize<'de> for WrittenRate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct RateVisitor;
        impl de::Visitor<'_> for RateVisitor {
            type Value = WrittenRate;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("a rate as a string such as \"1.1532\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<WrittenRate, E> {
                text.parse().map(WrittenRate).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(RateVisitor)
    }
}

impl From<DatedRate> for RateBody {
    fn from(DatedRate { date, currency, rate }: DatedRate) -> Self {
        Self { date, currency, rate: WrittenRate(rate) }
    }
}

/// What came of putting rates.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct RatesPutBody {
    /// How many were not there before.
    new: u64,
    /// How many were there with another value; what was converted by that stays as it is.
    changed: u64,
    /// How many were there already.
    unchanged: u64,
    /// Columns of the file that were left out: currencies that are no more.
    left_out: Vec<&'static str>,
}

/// The rates for a day.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RatesBody {
    /// In the order of the currencies' codes, each with the day that it is of.
    rates: Vec<RateBody>,
}

/// Of which day the rates are read.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct RatesQuery {
    /// The day; today, in UTC, if none is given.
    date: Option<Date>,
}

/// The rates that purchases wait for.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RateGapsBody {
    /// In the order of days and codes; at most a thousand.
    gaps: Vec<RateGapBody>,
}

/// A rate that purchases wait for.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = RateGap)]
struct RateGapBody {
    /// The currency.
    currency: Currency,
    /// The day. A rate of an earlier day will do, as far back as the setting `maxRateAgeDays` says.
    date: Date,
    /// How many purchases wait for it, as far as 100,000 for each campaign's currency. Some may wait for another one too.
    purchases: u64,
}

/// Puts exchange rates.
///
/// As a list in JSON, or as the ECB publishes its euro reference rates in CSV (`eurofxref.csv`, `eurofxref-hist.csv`). All are put or none.
/// Putting the same again changes nothing; another value replaces the former one, by which what was converted already stays converted. Purchases
/// that waited for a rate count soon after.
#[utoipa::path(
    put, path = "/rates", tag = "rates", operation_id = "putRates",
    request_body(content((Vec<RateBody> = "application/json"), (String = "text/csv"))),
    responses((status = 200, description = "They are durable.", body = RatesPutBody)),
)]
pub(super) async fn put(State(api): State<ApiState>, request: Request) -> Result<Json<RatesPutBody>, Problem> {
    let (is_json, media_type) = (is_json(request.headers()), media_type(request.headers()));
    let body = read_body(request.into_body(), MAX_BODY).await?;
    let today = api.clock.now().await?.date();
    let (rates, left_out) = if is_json {
        (rates_in_json(parse_json(&body)?, today)?, Vec::new())
    } else if media_type == "text/csv" {
        rates_in_csv(&body, today)?
    } else {
        let accepted = "send a list with the header `Content-Type: application/json`, or the ECB's file with `Content-Type: text/csv`";
        return Err(Problem::new(UNSUPPORTED_MEDIA_TYPE, accepted).with_header(header::ACCEPT, ACCEPTED));
    };
    let put = api.store.put_rates(&rates).await?;
    Ok(Json(RatesPutBody { new: put.new, changed: put.changed, unchanged: put.unchanged, left_out }))
}

const ACCEPTED: http::HeaderValue = http::HeaderValue::from_static("application/json, text/csv");

fn rates_in_json(bodies: Vec<RateBody>, today: Date) -> Result<Vec<DatedRate>, Problem> {
    let (mut rates, mut seen) = (Vec::with_capacity(bodies.len()), HashSet::new());
    for (index, RateBody { date, currency, rate: WrittenRate(rate) }) in bodies.into_iter().enumerate() {
        let rate = DatedRate { date, currency, rate };
        let duplicate = || DatedRateError::Duplicate { date, currency };
        let checked = rate.check(today).and_then(|()| if seen.insert(rate.key()) { Ok(()) } else { Err(duplicate()) });
        checked.map_err(|error| {
            let member = if error == DatedRateError::Euro { "currency" } else { "date" };
            let pointer = format!("/{index}/{member}");
            Problem::new(INVALID_RATES, format!("{pointer}: {error}")).with_error(pointer, error.to_string())
        })?;
        rates.push(rate);
    }
    Ok(rates)
}

fn rates_in_csv(body: &[u8], today: Date) -> Result<(Vec<DatedRate>, Vec<&'static str>), Problem> {
    let refused = |detail: String| Problem::new(INVALID_RATES, detail.clone()).with_error("", detail);
    let text = std::str::from_utf8(body).map_err(|error| refused(format!("the file is not UTF-8 from byte {} on", error.valid_up_to())))?;
    let file =
        reference_rates(text.trim_start_matches('\u{feff}'), today).map_err(|error: ReferenceRatesError| refused(error.to_string()))?;
    Ok((file.rates, file.left_out))
}

/// Reads the exchange rates for a day.
///
/// For each currency the one by which a purchase of that day is converted: the day's, or the last one before it that is not older than the
/// setting `maxRateAgeDays` says. Between two currencies other than the euro, both are used.
#[utoipa::path(
    get, path = "/rates", tag = "rates", operation_id = "readRates", params(RatesQuery),
    responses((status = 200, description = "The rates.", body = RatesBody)),
)]
pub(super) async fn read(
    State(api): State<ApiState>,
    QueryParameters(query): QueryParameters<RatesQuery>,
) -> Result<Json<RatesBody>, Problem> {
    let date = match query.date {
        Some(date) => date,
        None => api.clock.now().await?.date(),
    };
    let rates = api.store.rates_on(date, api.settings.max_rate_age_days).await?;
    Ok(Json(RatesBody { rates: rates.into_iter().map(RateBody::from).collect() }))
}

/// Lists the exchange rates that purchases wait for.
///
/// A purchase that cannot be converted yet is kept, and counts by itself once the rate is there.
#[utoipa::path(
    get, path = "/rates/gaps", tag = "rates", operation_id = "listRateGaps",
    responses((status = 200, description = "The rates that are missing.", body = RateGapsBody)),
)]
pub(super) async fn gaps(State(api): State<ApiState>) -> Result<Json<RateGapsBody>, Problem> {
    let gaps = api.store.rate_gaps(api.settings.max_rate_age_days).await?;
    let gaps = gaps.into_iter().map(|gap| RateGapBody { currency: gap.key.currency, date: gap.key.date, purchases: gap.purchases });
    Ok(Json(RateGapsBody { gaps: gaps.collect() }))
}
