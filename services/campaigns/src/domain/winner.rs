//! Who wins a campaign, and how much.

use tenantry_kit::money::Money;

use super::UserId;

/// Somebody who has won.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Winner {
    /// Who.
    pub user_id: UserId,
    /// The place on the leaderboard, counted from 0.
    pub position: usize,
    /// What the user has spent, in the campaign's currency.
    pub total: Money,
    /// What the user gets.
    pub prize: Money,
}

/// The winners: of `leaders`, who have the highest total and come in the order of their positions, as many as there are `shares` of the prize,
/// each with the share at the same place: see [`PrizeRule::shares`](super::PrizeRule::shares).
pub fn winners(leaders: &[(UserId, Money)], shares: &[Money]) -> Vec<Winner> {
    let winner = |(position, ((user_id, total), prize)): (usize, (&(UserId, Money), &Money))| Winner {
        user_id: *user_id,
        position,
        total: *total,
        prize: *prize,
    };
    leaders.iter().zip(shares).enumerate().map(winner).collect()
}

#[cfg(test)]
mod tests {
    use rust_decimal::Decimal;
    use tenantry_kit::currency::Currency;

    use super::*;

    fn euros(cents: i64) -> Money {
        Money::new(Decimal::new(cents, 2), Currency::EUR).unwrap()
    }

    #[test]
    fn the_first_of_those_with_the_highest_total_wins_a_prize_that_is_not_shared() {
        let leaders = [7, 3].map(|user| (UserId::new(user).unwrap(), euros(5000)));
        let winners = winners(&leaders, &[euros(1000)]);
        assert_eq!(
            winners.iter().map(|winner| (winner.user_id.get(), winner.position, winner.prize)).collect::<Vec<_>>(),
            [(7, 0, euros(1000))]
        );
    }

    #[test]
    fn shares_go_to_the_leaders_in_their_order_and_nobody_wins_without_purchases() {
        let leaders = [7, 3, 5].map(|user| (UserId::new(user).unwrap(), euros(5000)));
        let prizes: Vec<_> = winners(&leaders, &[euros(334), euros(333), euros(333)]).iter().map(|winner| winner.prize).collect();
        assert_eq!(prizes, [euros(334), euros(333), euros(333)]);
        assert_eq!(winners(&[], &[euros(1000)]), []);
    }
}
