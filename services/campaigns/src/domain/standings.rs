//! Who stands where in one campaign, in memory: the order of [`super::ranking`], with positions. Asking takes one or two descents of a
//! tree, however many users there are.

use std::cmp::Reverse;

use rust_decimal::Decimal;
use tenantry_kit::currency::Currency;
use tenantry_kit::money::{Money, MoneyError};
use tenantry_kit::time::{TimeError, UtcDateTime};

use super::counted_tree::{CountedTree, Entry};
use super::{RankRule, Reached, Standing, Total, UserId};

/// The standings of a campaign. Cloning costs nothing, and a clone stays as it is: a *version* is a value.
#[derive(Debug, Clone)]
pub struct Standings {
    currency: Currency,
    ranks: RankRule,
    by_user: CountedTree<ByUser>,
    by_place: CountedTree<ByPlace>,
}

/// Why a total cannot be held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a total is more than zero and has at most 28 digits, in the decimals of the campaign's currency")]
pub struct TotalError;

/// A total in 36 bytes: units of the currency's last decimal in 96 bits, and microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, packed(4))]
struct Packed {
    units_high: u32,
    units_low: u64,
    reached_at: i64,
    arrival: i64,
    user: i64,
}

#[derive(Debug, Clone, Copy)]
#[repr(transparent)]
struct ByUser(Packed);

#[derive(Debug, Clone, Copy)]
#[repr(transparent)]
struct ByPlace(Packed);

/// The smaller key stands before.
type Place = (Reverse<u128>, i64, i64, i64);

impl Entry for ByUser {
    type Key = i64;

    fn key(&self) -> i64 {
        self.0.user
    }
}

impl Entry for ByPlace {
    type Key = Place;

    fn key(&self) -> Place {
        self.0.place()
    }
}

impl Packed {
    fn pack(total: &Total, currency: Currency) -> Result<Self, TotalError> {
        let value = Money::new(total.total, currency).map_err(|_: MoneyError| TotalError)?.value();
        let units = u128::try_from(value.mantissa()).map_err(|_| TotalError)?;
        Ok(Self {
            units_high: u32::try_from(units >> 64).map_err(|_| TotalError)?,
            units_low: units as u64,
            reached_at: total.reached.at.unix_micros(),
            arrival: total.reached.arrival,
            user: total.user_id.get(),
        })
    }

    fn units(self) -> u128 {
        u128::from(self.units_high) << 64 | u128::from(self.units_low)
    }

    fn place(self) -> Place {
        (Reverse(self.units()), self.reached_at, self.arrival, self.user)
    }

    /// Before all places of users with the same total.
    fn first_place_of_total(self) -> Place {
        (Reverse(self.units()), i64::MIN, i64::MIN, i64::MIN)
    }

    fn money(self, currency: Currency) -> Money {
        let value = Decimal::from_i128_with_scale(self.units() as i128, currency.decimals());
        Money::new(value, currency).expect("what was packed was money of this currency")
    }

    fn user_id(self) -> UserId {
        UserId::new(self.user).expect("what was packed was a user's id")
    }

    fn total(self, currency: Currency) -> Result<Total, TimeError> {
        let reached = Reached { at: UtcDateTime::from_unix_micros(self.reached_at)?, arrival: self.arrival };
        Ok(Total { user_id: self.user_id(), total: self.money(currency).value(), reached })
    }
}

impl Standings {
    /// Nobody's, in a campaign with this currency and rule.
    pub fn new(currency: Currency, ranks: RankRule) -> Self {
        Self { currency, ranks, by_user: CountedTree::default(), by_place: CountedTree::default() }
    }

    /// How many users have purchases that count.
    pub fn len(&self) -> usize {
        self.by_user.len()
    }

    /// Whether nobody has.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sets a user's total to a new value.
    ///
    /// # Errors
    /// When it is not more than zero, or has more digits or decimals than are kept.
    pub fn set(&mut self, total: &Total) -> Result<(), TotalError> {
        let packed = Packed::pack(total, self.currency)?;
        if let Some(ByUser(before)) = self.by_user.insert(ByUser(packed)) {
            if before == packed {
                return Ok(());
            }
            self.by_place.remove(before.place());
        }
        self.by_place.insert(ByPlace(packed));
        Ok(())
    }

    /// What a user has, and since when.
    pub fn total(&self, user: UserId) -> Option<Total> {
        self.by_user.get(user.get())?.0.total(self.currency).ok()
    }

    /// The totals at position 0 and at each `interval` from there on.
    pub fn marks(&self, interval: usize) -> Vec<Total> {
        let mark = |position| self.by_place.at(position)?.0.total(self.currency).ok();
        (0..self.len()).step_by(interval.max(1)).filter_map(mark).collect()
    }

    /// Where a user stands; `None` without a purchase that counts.
    pub fn of(&self, user: UserId) -> Option<Standing> {
        let ByUser(packed) = self.by_user.get(user.get())?;
        let before = self.by_place.rank(packed.place()) as u64;
        let better = match self.ranks {
            RankRule::Strict => before,
            RankRule::Shared => self.by_place.rank(packed.first_place_of_total()) as u64,
        };
        Some(self.standing(packed, before, better))
    }

    /// The first `count`, or as many as there are.
    pub fn first(&self, count: usize) -> Vec<Standing> {
        let (mut better, mut units) = (0, None);
        let standing = |(ByPlace(packed), before): (ByPlace, u64)| {
            if units != Some(packed.units()) {
                (better, units) = (before, Some(packed.units()));
            }
            self.standing(packed, before, better)
        };
        self.by_place.first(count).into_iter().zip(0..).map(standing).collect()
    }

    fn standing(&self, packed: Packed, before: u64, better: u64) -> Standing {
        Standing { user_id: packed.user_id(), position: before, rank: self.ranks.rank(before, better), total: packed.money(self.currency) }
    }
}

/// Collects the totals of a campaign, from wherever they are stored, into [`Standings`].
#[derive(Debug)]
pub struct StandingsBuilder {
    standings: Standings,
    totals: Vec<Packed>,
}

impl StandingsBuilder {
    /// For a campaign with this currency and rule.
    pub fn new(currency: Currency, ranks: RankRule) -> Self {
        Self { standings: Standings::new(currency, ranks), totals: Vec::new() }
    }

    /// Adds a user's total; each user once.
    ///
    /// # Errors
    /// As [`Standings::set`].
    pub fn add(&mut self, total: &Total) -> Result<(), TotalError> {
        self.totals.push(Packed::pack(total, self.standings.currency)?);
        Ok(())
    }

    /// How many were added.
    pub fn len(&self) -> usize {
        self.totals.len()
    }

    /// Whether none was.
    pub fn is_empty(&self) -> bool {
        self.totals.is_empty()
    }

    /// The standings. This sorts: for a million users it takes a good part of a second of computing.
    pub fn build(mut self) -> Standings {
        self.totals.sort_unstable_by_key(|packed| packed.user);
        let by_user: Vec<ByUser> = self.totals.iter().map(|packed| ByUser(*packed)).collect();
        self.standings.by_user = CountedTree::from_sorted(&by_user);
        drop(by_user);
        self.totals.sort_unstable_by_key(|packed| packed.place());
        let by_place: Vec<ByPlace> = self.totals.into_iter().map(ByPlace).collect();
        self.standings.by_place = CountedTree::from_sorted(&by_place);
        self.standings
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::domain::ranking;

    fn reached(at: i64, arrival: i64) -> Reached {
        Reached { at: UtcDateTime::from_unix_micros(at).unwrap(), arrival }
    }

    fn total(user: i64, cents: i64, at: i64, arrival: i64) -> Total {
        Total { user_id: UserId::new(user).unwrap(), total: Decimal::new(cents, 2), reached: reached(at, arrival) }
    }

    fn standings(ranks: RankRule, totals: &[Total]) -> Standings {
        let mut builder = StandingsBuilder::new(Currency::EUR, ranks);
        for total in totals {
            builder.add(total).unwrap();
        }
        builder.build()
    }

    fn ranks(standings: &Standings) -> Vec<(i64, u64, u64)> {
        standings.first(100).iter().map(|standing| (standing.user_id.get(), standing.position, standing.rank)).collect()
    }

    #[test]
    fn equal_totals_have_different_ranks_or_share_one_by_the_campaigns_choice() {
        let totals = [total(1, 500, 0, 0), total(2, 300, 7, 7), total(3, 300, 5, 5), total(4, 100, 0, 0)];
        assert_eq!(ranks(&standings(RankRule::Strict, &totals)), [(1, 0, 1), (3, 1, 2), (2, 2, 3), (4, 3, 4)]);
        assert_eq!(ranks(&standings(RankRule::Shared, &totals)), [(1, 0, 1), (3, 1, 2), (2, 2, 2), (4, 3, 4)]);
    }

    #[test]
    fn the_largest_total_there_can_be_is_exact() {
        let most: Decimal = "99999999999999999999999999.99".parse().unwrap();
        let mut standings = Standings::new(Currency::EUR, RankRule::Strict);
        standings.set(&Total { total: most, ..total(1, 1, 0, 0) }).unwrap();
        standings.set(&Total { total: most - Decimal::new(1, 2), ..total(2, 1, 0, 0) }).unwrap();
        let first = standings.first(2);
        assert_eq!((first[0].user_id.get(), first[0].total.value()), (1, most));
        assert_eq!(first[1].total.value(), most - Decimal::new(1, 2));
        assert_eq!(standings.set(&Total { total: most + Decimal::ONE, ..total(3, 1, 0, 0) }), Err(TotalError));
        assert_eq!(standings.set(&total(3, -1, 0, 0)), Err(TotalError));
        assert_eq!(standings.len(), 2);
    }

    #[test]
    fn a_user_without_purchases_has_no_standing() {
        let standings = standings(RankRule::Strict, &[total(1, 1, 0, 0)]);
        assert_eq!(standings.of(UserId::new(2).unwrap()), None);
        assert_eq!(standings.total(UserId::new(2).unwrap()), None);
        assert!(Standings::new(Currency::EUR, RankRule::Strict).first(10).is_empty());
    }

    /// The slow and obvious way: sort, and count those with a higher total.
    fn model(totals: &[Total], ranks: RankRule) -> Vec<Standing> {
        let of = |user: UserId| *totals.iter().find(|total| total.user_id == user).unwrap();
        let standing = |(user_id, position): (UserId, u64)| {
            let own = of(user_id).total;
            let better = totals.iter().filter(|other| other.total > own).count() as u64;
            let rank = if ranks == RankRule::Shared { better + 1 } else { position + 1 };
            Standing { user_id, position, rank, total: Money::new(own, Currency::EUR).unwrap() }
        };
        ranking::order(totals.to_vec()).into_iter().zip(0..).map(standing).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        /// Few users, amounts and times, so that there are many ties.
        #[test]
        fn standings_are_those_of_sorting_in_whatever_order_purchases_are_merged(
            purchases in proptest::collection::vec((1i64..40, 1i64..4, 0i64..6), 0..250),
            split in 0usize..250,
            order in proptest::collection::vec(any::<prop::sample::Index>(), 250),
            shares in any::<bool>(),
        ) {
            let ranks = if shares { RankRule::Shared } else { RankRule::Strict };
            // Every purchase has an arrival of its own; they are merged in another order.
            let mut merged: Vec<Total> = purchases.iter().zip(0..).map(|((user, cents, at), arrival)| total(*user, *cents, *at, arrival)).collect();
            for (index, other) in order.iter().take(purchases.len()).enumerate() {
                merged.swap(index, other.index(purchases.len()));
            }
            let sums = |purchases: &[Total]| {
                let mut sums: BTreeMap<UserId, Vec<(Decimal, Reached)>> = BTreeMap::new();
                for purchase in purchases {
                    sums.entry(purchase.user_id).or_default().push((purchase.total, purchase.reached));
                }
                sums.into_iter().filter_map(|(user, purchases)| Total::of(user, purchases)).collect::<Vec<_>>()
            };
            // The first are built at once, as from the database, the others come one by one, as from the stream.
            let (stored, streamed) = merged.split_at(split.min(merged.len()));
            let mut held = standings(ranks, &sums(stored));
            let version = held.clone();
            for purchase in streamed {
                let now = held.total(purchase.user_id).map(|total| (total.total, total.reached));
                let sum = Total::of(purchase.user_id, now.into_iter().chain([(purchase.total, purchase.reached)])).unwrap();
                held.set(&sum).unwrap();
            }
            let expected = model(&sums(&merged), ranks);
            prop_assert_eq!(held.first(usize::MAX), expected.clone());
            let marks: Vec<UserId> = held.marks(7).iter().map(|mark| mark.user_id).collect();
            prop_assert_eq!(marks, expected.iter().step_by(7).map(|standing| standing.user_id).collect::<Vec<_>>());
            prop_assert_eq!(held.first(3), expected[..expected.len().min(3)].to_vec());
            for standing in &expected {
                prop_assert_eq!(held.of(standing.user_id), Some(*standing));
            }
            prop_assert_eq!(version.first(usize::MAX), model(&sums(stored), ranks));
        }
    }
}
