//! Which campaigns a purchase counts for, and until when it may arrive.

use jiff::SignedDuration;
use tenantry_kit::time::UtcDateTime;

use super::{Campaign, Purchase};

/// What a slot's settings say about qualification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QualificationRules {
    /// For how long after a campaign's end purchases that were made while it ran are taken.
    pub late_grace: SignedDuration,
}

/// What a purchase is to a campaign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It counts.
    Counts,
    /// It is of another item, or was made before the start or from the end on.
    DoesNotConcern,
    /// It is dated from the end on, by a clock ahead of ours, and was accepted before the end, which can still be moved past it.
    PastEnd,
    /// It was made while the campaign ran, and accepted when it was too late.
    TooLate {
        /// The first moment at which it was.
        since: UtcDateTime,
    },
}

impl QualificationRules {
    /// Judges a purchase that was accepted at `accepted_at` by the database's clock.
    pub fn judge(&self, campaign: &Campaign, purchase: &Purchase, accepted_at: UtcDateTime) -> Verdict {
        let since = self.late_since(campaign);
        let is_past_end = purchase.timestamp >= campaign.times.end() && accepted_at < campaign.times.end();
        if purchase.item_id == campaign.item_id && is_past_end {
            Verdict::PastEnd
        } else if !campaign.qualifies(purchase) {
            Verdict::DoesNotConcern
        } else if accepted_at < since {
            Verdict::Counts
        } else {
            Verdict::TooLate { since }
        }
    }

    /// The first moment at which a purchase is accepted too late for the campaign.
    pub fn late_since(&self, campaign: &Campaign) -> UtcDateTime {
        campaign.times.end().saturating_add(self.late_grace)
    }
}

#[cfg(test)]
mod tests {
    use rust_decimal::Decimal;
    use tenantry_kit::currency::Currency;
    use tenantry_kit::money::Money;

    use super::*;
    use crate::domain::{CampaignId, CampaignTimes, ItemId, TieRules, UserId};

    const RULES: QualificationRules = QualificationRules { late_grace: SignedDuration::from_secs(3600) };

    fn verdict(made: &str, accepted: &str) -> Verdict {
        let at = |text: &str| format!("2026-02-{text}Z").parse::<UtcDateTime>().unwrap();
        let money = Money::new(Decimal::ONE, Currency::EUR).unwrap();
        let item_id = ItemId::new(10).unwrap();
        let times = CampaignTimes::new(at("01T00:00:00"), at("02T00:00:00")).unwrap();
        let id = CampaignId::new(1).unwrap();
        let campaign = Campaign { id, item_id, prize: money, currency: Currency::EUR, times, ties: TieRules::default() };
        let purchase =
            Purchase { event_id: "e".parse().unwrap(), user_id: UserId::new(1).unwrap(), item_id, amount: money, timestamp: at(made) };
        RULES.judge(&campaign, &purchase, at(accepted))
    }

    #[test]
    fn a_purchase_counts_by_its_own_time_until_the_grace_is_over() {
        assert_eq!(verdict("01T12:00:00", "01T12:00:00"), Verdict::Counts);
        assert_eq!(verdict("01T23:59:59.999999", "02T00:59:59.999999"), Verdict::Counts);
        let since = "2026-02-02T01:00:00Z".parse().unwrap();
        assert_eq!(verdict("01T12:00:00", "02T01:00:00"), Verdict::TooLate { since });
    }

    #[test]
    fn a_purchase_dated_past_an_end_that_has_not_come_can_still_count() {
        assert_eq!(verdict("02T00:00:00", "01T23:59:59.999999"), Verdict::PastEnd);
        assert_eq!(verdict("02T00:03:00", "01T23:59:00"), Verdict::PastEnd);
    }

    #[test]
    fn a_purchase_from_outside_of_the_campaign_does_not_concern_it_however_late_it_is() {
        assert_eq!(verdict("02T00:00:00", "02T00:00:00"), Verdict::DoesNotConcern);
        assert_eq!(verdict("02T00:00:00", "03T00:00:00"), Verdict::DoesNotConcern);
    }
}
