//! Who stands before whom. The document leaves ties open; here the rule is: the highest total first; of equal totals, who
//! reached it first, by the purchases' own times, then by their arrival; then the smaller user id. [`order`] is the slow and obvious
//! way, against which [`super::Standings`] are tested.

use std::cmp::{Ordering, Reverse};

use rust_decimal::Decimal;
use tenantry_kit::money::Money;
use tenantry_kit::time::UtcDateTime;

use super::UserId;

/// The moment at which a user reached their total: the latest of the purchases that count, by their own time and then by
/// arrival. As every purchase adds, the total stands from that one on, in whatever order they were processed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reached {
    /// The purchase's own time.
    pub at: UtcDateTime,
    /// The purchase's number in the order of acceptance.
    pub arrival: i64,
}

/// What a user has spent in a campaign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Total {
    /// Who.
    pub user_id: UserId,
    /// How much, in the campaign's currency.
    pub total: Decimal,
    /// Since when.
    pub reached: Reached,
}

impl Total {
    /// The total of a user's purchases, in any order; `None` without purchases.
    pub fn of(user_id: UserId, purchases: impl IntoIterator<Item = (Decimal, Reached)>) -> Option<Self> {
        purchases.into_iter().map(|(total, reached)| Self { user_id, total, reached }).reduce(|sum, next| Self {
            total: sum.total + next.total,
            reached: sum.reached.max(next.reached),
            user_id,
        })
    }

    /// Whether this one stands before the other: `Less` is better.
    pub fn compare(&self, other: &Self) -> Ordering {
        let key = |total: &Self| (Reverse(total.total), total.reached, total.user_id);
        key(self).cmp(&key(other))
    }
}

/// A user's place in a campaign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Who.
    pub user_id: UserId,
    /// Counted from 0, as in the document's samples; everybody has another one.
    pub position: u64,
    /// Counted from 1, for people; equal totals may share one, by the campaign's choice.
    pub rank: u64,
    /// What the user has spent.
    pub total: Money,
}

/// The users of `totals` from first to last.
pub fn order(mut totals: Vec<Total>) -> Vec<UserId> {
    totals.sort_by(Total::compare);
    totals.into_iter().map(|total| total.user_id).collect()
}

/// How many positions of a leaderboard are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopCount(u16);

/// A number of positions that is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the number of positions is from 1 to {}", TopCount::MAX)]
pub struct TopCountError;

impl TopCount {
    /// The most positions in one answer.
    pub const MAX: u16 = 1000;

    /// A number from 1 to [`Self::MAX`].
    ///
    /// # Errors
    /// When the number is outside.
    pub fn new(count: i64) -> Result<Self, TopCountError> {
        u16::try_from(count).ok().filter(|count| (1..=Self::MAX).contains(count)).map(Self).ok_or(TopCountError)
    }

    /// The number.
    pub fn get(self) -> u16 {
        self.0
    }
}

impl std::str::FromStr for TopCount {
    type Err = TopCountError;

    fn from_str(text: &str) -> Result<Self, TopCountError> {
        text.parse().map_err(|_| TopCountError).and_then(Self::new)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn user(id: i64) -> UserId {
        UserId::new(id).unwrap()
    }

    fn total(id: i64, cents: i64, at: i64, arrival: i64) -> Total {
        let reached = Reached { at: UtcDateTime::from_unix_micros(at).unwrap(), arrival };
        Total { user_id: user(id), total: Decimal::new(cents, 2), reached }
    }

    #[test]
    fn the_highest_total_stands_first() {
        assert_eq!(order(vec![total(1, 100, 0, 0), total(2, 200, 9, 9)]), [user(2), user(1)]);
    }

    #[test]
    fn of_equal_totals_the_one_reached_first_stands_first_then_arrival_then_user_id() {
        assert_eq!(order(vec![total(1, 100, 2, 1), total(2, 100, 1, 2)]), [user(2), user(1)]);
        assert_eq!(order(vec![total(1, 100, 1, 2), total(2, 100, 1, 1)]), [user(2), user(1)]);
        assert_eq!(order(vec![total(2, 100, 1, 1), total(1, 100, 1, 1)]), [user(1), user(2)]);
    }

    #[test]
    fn counts_outside_of_1_to_1000_are_refused() {
        for text in ["0", "-1", "1001", "10000000", "", "x", "99999999999999999999"] {
            assert_eq!(text.parse::<TopCount>(), Err(TopCountError), "{text}");
        }
        assert_eq!("1000".parse::<TopCount>().map(TopCount::get), Ok(1000));
    }

    proptest! {
        #[test]
        fn a_total_does_not_depend_on_the_order_of_purchases(
            purchases in proptest::collection::vec((1i64..1_000_000, 0i64..5, 0i64..5), 1..20),
            seed in any::<u64>(),
        ) {
            let of = |purchases: &[(i64, i64, i64)]| Total::of(user(1), purchases.iter().map(|(cents, at, arrival)| {
                (Decimal::new(*cents, 2), Reached { at: UtcDateTime::from_unix_micros(*at).unwrap(), arrival: *arrival })
            }));
            let mut shuffled = purchases.clone();
            let places = shuffled.len() as u64;
            for index in 0..shuffled.len() {
                shuffled.swap(index, (seed.rotate_left(index as u32) % places) as usize);
            }
            prop_assert_eq!(of(&purchases), of(&shuffled));
        }

        #[test]
        fn everybody_has_one_place_whatever_the_order_of_totals(rows in proptest::collection::vec((1i64..5, 0i64..3, 0i64..3), 0..30)) {
            let totals: Vec<Total> = rows.iter().zip(1..).map(|((cents, at, arrival), id)| total(id, *cents, *at, *arrival)).collect();
            let reversed: Vec<Total> = totals.iter().rev().copied().collect();
            let ordered = order(totals.clone());
            prop_assert_eq!(ordered.len(), totals.len());
            prop_assert_eq!(ordered, order(reversed));
        }
    }
}
