//! Who stands where, by construction: so that every answer can be judged. Purchases are reported for the lower half, which stays below the upper one
//! whatever is spent: the positions of the upper half are known, and of the lower half that they are in it.

use anyhow::{Result, ensure};

/// Spreads users over the places.
const STRIDE: u64 = 7919;
/// In cents: what lies between the two halves.
const GAP: u64 = 100_000_000_000;
/// How many positions a leaderboard has.
pub const TOP: u64 = 100;

#[derive(Debug, Clone, Copy)]
pub struct Layout {
    users: u64,
}

impl Layout {
    /// # Errors
    /// When so many users cannot be laid out.
    pub fn new(users: u64) -> Result<Self> {
        ensure!(users >= 1000, "--users is at least 1000");
        ensure!(!users.is_multiple_of(STRIDE), "--users is no multiple of {STRIDE}");
        Ok(Self { users })
    }

    pub fn users(self) -> u64 {
        self.users
    }

    /// The place of a user, from 1 to `users`, before anything is reported; counted from 0.
    pub fn place(self, user: u64) -> u64 {
        user * STRIDE % self.users
    }

    /// What who stands there has spent, in cents.
    pub fn cents(self, place: u64) -> u64 {
        let own = self.users - place;
        if place < self.half() { GAP + own } else { own }
    }

    /// The places from here on change.
    pub fn half(self) -> u64 {
        self.users / 2
    }

    /// The users of the first places, from first to last.
    pub fn first(self) -> Vec<u64> {
        let mut first = vec![0; TOP as usize];
        for user in 1..=self.users {
            if let Some(slot) = usize::try_from(self.place(user)).ok().and_then(|place| first.get_mut(place)) {
                *slot = user;
            }
        }
        first
    }

    /// The `number`th user, of all.
    pub fn any(self, number: u64) -> u64 {
        1 + mixed(number) % self.users
    }

    /// The `number`th user of the lower half.
    pub fn lower(self, number: u64) -> u64 {
        (0..).map(|attempt| self.any(number.wrapping_add(attempt << 40))).find(|user| self.place(*user) >= self.half()).unwrap_or(1)
    }

    /// Whether a position can be that of the user.
    pub fn is_right(self, user: u64, position: u64) -> bool {
        let place = self.place(user);
        if place < self.half() { position == place } else { (self.half()..self.users).contains(&position) }
    }

    /// The statement that stores it, as totals of campaign $1.
    pub fn statement(self) -> String {
        let Self { users } = self;
        let half = self.half();
        format!(
            "INSERT INTO campaign_totals (campaign_id, user_id, total, reached_at, arrival)
             SELECT $1, number, ((CASE WHEN place < {half} THEN {GAP} ELSE 0 END + {users} - place) / 100.0)::numeric(20, 2),
                 now() - number * interval '1 millisecond', number
             FROM (SELECT number, number * {STRIDE} % {users} AS place FROM generate_series(1::bigint, {users}) AS number) AS laid"
        )
    }
}

/// A number that looks like chance (the finaliser of SplitMix64).
pub fn mixed(number: u64) -> u64 {
    let mut mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_user_has_a_place_of_their_own_and_who_stands_first_has_spent_most() {
        let layout = Layout::new(5000).unwrap();
        assert_eq!((1..=5000).map(|user| layout.place(user)).collect::<BTreeSet<_>>().len(), 5000);
        assert!((1..5000).all(|place| layout.cents(place - 1) > layout.cents(place)));
        assert_eq!(layout.first().iter().map(|user| layout.place(*user)).collect::<Vec<_>>(), (0..TOP).collect::<Vec<_>>());
    }

    #[test]
    fn purchases_are_the_lower_halfs() {
        let layout = Layout::new(5000).unwrap();
        assert!((0..1000).all(|number| layout.place(layout.lower(number)) >= 2500));
    }

    #[test]
    fn a_wrong_position_is_seen() {
        let layout = Layout::new(5000).unwrap();
        for user in 1..=5000 {
            let place = layout.place(user);
            assert!(layout.is_right(user, place));
            assert!(!layout.is_right(user, if place < 2500 { place + 1 } else { place - 2500 }));
        }
    }

    #[test]
    fn what_cannot_be_laid_out_is_refused() {
        assert!(Layout::new(999).is_err() && Layout::new(7919).is_err());
    }
}
