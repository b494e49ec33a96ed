//! The rules of campaign scoring, pure: values and a clock's reading in, values out. No I/O, no async, no clock.
//!
//! [`Campaign`]s and [`Purchase`]s are made only through their rules; [`ranking`] says who stands before whom,
//! [`rates`] what an amount is worth in another currency.

mod campaign;
pub mod dead_letter;
pub mod ecb;
mod purchase;
mod qualification;
pub mod ranking;
pub mod rates;
mod winner;

pub use campaign::{ActiveCampaigns, Campaign, CampaignCreation, CampaignError, CampaignTimes, NewCampaign};
pub use purchase::{EventId, EventIdError, Purchase, PurchaseAcceptance, PurchaseError, PurchaseRules};
pub use qualification::{QualificationRules, Verdict};
pub use ranking::{PositionAnswer, Reached, Standing, Top, TopCount, TopCountError, Total};
pub use winner::{Winner, winners};

tenantry_kit::define_id! {
    /// A campaign.
    CampaignId
}
tenantry_kit::define_id! {
    /// An item of the shop's catalogue.
    ItemId
}
tenantry_kit::define_id! {
    /// A user of the shop.
    UserId
}
