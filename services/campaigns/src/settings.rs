//! What a resource group may set for campaigns.

use jiff::SignedDuration;
use schemars::JsonSchema;
use serde::Deserialize;
use tenantry_kit::currency::Currency;

use crate::domain::PurchaseRules;

/// The settings of one slot's campaigns.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Settings {
    /// The currency of purchases and totals. Campaigns keep the one they were created under.
    pub base_currency: Currency,
    /// How many seconds a purchase's time may be ahead of the database's clock.
    #[schemars(range(min = 0, max = 86_400))]
    pub purchase_clock_skew_seconds: u32,
    /// How many users' standings an API process holds in memory, over all campaigns: about 85 bytes each. The largest campaign is held in any case.
    #[schemars(range(min = 1000, max = 50_000_000))]
    pub standings_users: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { base_currency: Currency::EUR, purchase_clock_skew_seconds: 300, standings_users: 2_000_000 }
    }
}

impl Settings {
    /// The rules for purchases.
    pub fn purchase_rules(&self) -> PurchaseRules {
        PurchaseRules {
            base_currency: self.base_currency,
            clock_skew: SignedDuration::from_secs(i64::from(self.purchase_clock_skew_seconds)),
        }
    }
}
