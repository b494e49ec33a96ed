//! What a campaign does with ties, beyond the order that everybody has: the rank of equal totals, and the prize of equal winners.

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;
use tenantry_kit::money::Money;

/// The choices of one campaign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TieRules {
    /// Whether equal totals have the same rank.
    pub ranks: RankRule,
    /// Whether they share the prize.
    pub prize: PrizeRule,
}

/// How users are ranked whose totals are equal. Their positions differ in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RankRule {
    /// By who reached the total first: 1, 2, 3, 4.
    #[default]
    Strict,
    /// The same: 1, 2, 2, 4.
    Shared,
}

/// Who gets the prize.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PrizeRule {
    /// The user at the first position, all of it.
    #[default]
    First,
    /// All users whose total is the highest, in equal parts.
    Shared,
}

impl RankRule {
    /// The rank, counted from 1, of a user with `before` users before, of whom `better` have higher totals.
    pub fn rank(self, before: u64, better: u64) -> u64 {
        match self {
            Self::Strict => before + 1,
            Self::Shared => better + 1,
        }
    }
}

impl PrizeRule {
    /// What each of those with the highest total gets, in the order of their positions; `winners` is how many they are. The parts are whole units of
    /// the currency's last decimal and add up to the prize: what does not divide goes, one unit each, to those who come first. Where there
    /// are more winners than units, those who come last get nothing and are left out.
    pub fn shares(self, prize: Money, winners: usize) -> Vec<Money> {
        let (Self::Shared, 2..) = (self, winners) else { return vec![prize; winners.min(1)] };
        let scale = prize.value().scale();
        let units = prize.value().mantissa();
        let count = winners as i128;
        let (each, rest) = (units / count, (units % count).to_usize().unwrap_or(0));
        let share = |place: usize| {
            let units = each + i128::from(place < rest);
            let value = Decimal::try_from_i128_with_scale(units, scale).ok().filter(|value| !value.is_zero())?;
            Money::new(value, prize.currency()).ok()
        };
        (0..winners).map_while(share).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tenantry_kit::currency::Currency;

    use super::*;

    fn euros(cents: i64) -> Money {
        Money::new(Decimal::new(cents, 2), Currency::EUR).unwrap()
    }

    #[test]
    fn a_prize_that_is_not_shared_goes_to_the_first() {
        assert_eq!(PrizeRule::First.shares(euros(1000), 3), [euros(1000)]);
        assert_eq!(PrizeRule::First.shares(euros(1000), 0), []);
    }

    #[test]
    fn a_shared_prize_is_divided_to_the_cent_and_the_rest_goes_to_those_who_come_first() {
        assert_eq!(PrizeRule::Shared.shares(euros(1000), 1), [euros(1000)]);
        assert_eq!(PrizeRule::Shared.shares(euros(1000), 3), [euros(334), euros(333), euros(333)]);
        assert_eq!(PrizeRule::Shared.shares(euros(2), 3), [euros(1), euros(1)]);
        assert_eq!(PrizeRule::Shared.shares(euros(2), 0), []);
    }

    proptest! {
        #[test]
        fn shares_add_up_to_the_prize_and_differ_by_a_cent_at_most(cents in 1i64..1_000_000_000, winners in 1usize..200) {
            let shares = PrizeRule::Shared.shares(euros(cents), winners);
            let total: Decimal = shares.iter().map(Money::value).sum();
            prop_assert_eq!(total, euros(cents).value());
            prop_assert!(shares.len() <= winners && shares.iter().all(Money::is_positive));
            prop_assert!(shares[0].value() - shares[shares.len() - 1].value() <= Decimal::new(1, 2));
            prop_assert!(shares.is_sorted_by(|first, second| first.value() >= second.value()));
        }
    }
}
