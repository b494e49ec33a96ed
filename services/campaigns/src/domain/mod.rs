//! The rules of campaign scoring, pure: values and a clock's reading in, values out. No I/O, no async, no clock.
//!
//! [`Campaign`]s and [`Purchase`]s are made only through their rules; [`CatalogueEntry`] says what may be changed of a campaign and when;
//! [`ranking`] says who stands before whom, and [`Standings`] hold it in memory; [`rates`] say what an amount is worth in another currency.

mod campaign;
mod catalogue;
mod counted_tree;
pub mod dead_letter;
pub mod ecb;
mod item;
pub mod operations;
mod outcome;
pub mod payment;
mod purchase;
mod qualification;
pub mod ranking;
pub mod rates;
mod standings;
mod ties;
mod user_name;
mod winner;

pub use campaign::{ActiveCampaigns, Campaign, CampaignCreation, CampaignError, CampaignTimes, NewCampaign};
pub use catalogue::{CampaignContent, CampaignState, CatalogueEntry, ChangeError};
pub use item::{Item, ItemName, ItemNameError};
pub use outcome::{EndedCampaign, HistoryKey, HistoryKeyError, Leader, Outcome};
pub use purchase::{EventId, EventIdError, Purchase, PurchaseAcceptance, PurchaseError, PurchaseRules};
pub use qualification::{QualificationRules, Verdict};
pub use ranking::{Reached, Standing, TopCount, TopCountError, Total};
pub use standings::{Standings, StandingsBuilder, TotalError};
pub use ties::{PrizeRule, RankRule, TieRules};
pub use user_name::{UserName, UserNameError};
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
