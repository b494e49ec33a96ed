//! What a resource group may set for campaigns.

use std::time::Duration;

use jiff::SignedDuration;
use schemars::JsonSchema;
use serde::Deserialize;
use tenantry_kit::currency::Currency;
use tenantry_kit::webhook::WebhookUrl;

use crate::domain::payment::Prizes;
use crate::domain::{PurchaseRules, QualificationRules};

/// The settings of one slot's campaigns.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Settings {
    /// The currency of totals. Campaigns keep the one they were created under. Purchases may be in any.
    pub base_currency: Currency,
    /// How many seconds a purchase's time may be ahead of the database's clock.
    #[schemars(range(min = 0, max = 86_400))]
    pub purchase_clock_skew_seconds: u32,
    /// For how many seconds after a campaign's end purchases that were made before it still count.
    #[schemars(range(min = 0, max = 2_592_000))]
    pub late_purchase_grace_seconds: u32,
    /// A purchase is converted by the rate of its day, or by the last one before it that is at most so many days older.
    #[schemars(range(min = 0, max = 366))]
    pub max_rate_age_days: u32,
    /// How many users' standings an API process holds in memory, over all campaigns: about 85 bytes each. The largest campaign is held in any case.
    #[schemars(range(min = 1000, max = 50_000_000))]
    pub standings_users: u32,
    /// For how many hours events stay in the streams after all that read them have passed them.
    #[schemars(range(min = 1, max = 8760))]
    pub stream_retention_hours: u32,
    /// For how many days purchases that do not count, and why, are kept.
    #[schemars(range(min = 1, max = 3650))]
    pub dead_letter_retention_days: u32,
    /// Where winners are paid. Without it their prizes are held until somebody asks for their payment.
    pub prize_webhook: Option<PrizeWebhook>,
}

/// Where winners are paid: by a signed request for each prize. The credential `webhook` has the key, and the
/// authorities of a receiver that has its own.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PrizeWebhook {
    /// Its URL. It is not secret: whoever sees the group sees it.
    pub url: WebhookUrl,
    /// Within how many seconds the receiver has to answer.
    #[serde(default = "ten")]
    #[schemars(range(min = 1, max = 120))]
    pub timeout_seconds: u32,
    /// How often a payment is tried at most before it is a dead letter. The pauses between tries grow from seconds to an hour: 20 tries
    /// take about half a day.
    #[serde(default = "twenty")]
    #[schemars(range(min = 1, max = 1000))]
    pub delivery_limit: u32,
}

fn ten() -> u32 {
    10
}

fn twenty() -> u32 {
    20
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            base_currency: Currency::EUR,
            purchase_clock_skew_seconds: 300,
            late_purchase_grace_seconds: 3600,
            max_rate_age_days: 7,
            standings_users: 2_000_000,
            stream_retention_hours: 168,
            dead_letter_retention_days: 365,
            prize_webhook: None,
        }
    }
}

impl Settings {
    /// Whether winners are paid as soon as they are fixed.
    pub fn prizes(&self) -> Prizes {
        if self.prize_webhook.is_some() { Prizes::Paid } else { Prizes::Held }
    }

    /// The rules for purchases.
    pub fn purchase_rules(&self) -> PurchaseRules {
        PurchaseRules { clock_skew: SignedDuration::from_secs(i64::from(self.purchase_clock_skew_seconds)) }
    }

    /// How long events stay.
    pub fn stream_retention(&self) -> Duration {
        Duration::from_secs(u64::from(self.stream_retention_hours) * 3600)
    }

    /// How long dead letters stay.
    pub fn dead_letter_retention(&self) -> Duration {
        Duration::from_secs(u64::from(self.dead_letter_retention_days) * 86_400)
    }

    /// The rules for qualification.
    pub fn qualification_rules(&self) -> QualificationRules {
        QualificationRules { late_grace: SignedDuration::from_secs(i64::from(self.late_purchase_grace_seconds)) }
    }
}
