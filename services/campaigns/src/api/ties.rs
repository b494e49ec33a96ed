//! What a campaign does with ties, as the API writes it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::{PrizeRule, RankRule, TieRules};

/// How equal totals are ranked: `strict`, by who reached the total first (1, 2, 3, 4); `shared`, alike (1, 2, 2, 4). Positions are the same in
/// both.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = RankRule)]
pub(super) enum RankRuleName {
    #[default]
    Strict,
    Shared,
}

/// Who gets the prize: `first`, the user at the first position; `shared`, in equal parts, all whose total is the highest.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = PrizeRule)]
pub(super) enum PrizeRuleName {
    #[default]
    First,
    Shared,
}

pub(super) fn tie_rules(ranks: RankRuleName, prize: PrizeRuleName) -> TieRules {
    TieRules {
        ranks: match ranks {
            RankRuleName::Strict => RankRule::Strict,
            RankRuleName::Shared => RankRule::Shared,
        },
        prize: match prize {
            PrizeRuleName::First => PrizeRule::First,
            PrizeRuleName::Shared => PrizeRule::Shared,
        },
    }
}

pub(super) fn tie_rule_names(ties: TieRules) -> (RankRuleName, PrizeRuleName) {
    let ranks = match ties.ranks {
        RankRule::Strict => RankRuleName::Strict,
        RankRule::Shared => RankRuleName::Shared,
    };
    let prize = match ties.prize {
        PrizeRule::First => PrizeRuleName::First,
        PrizeRule::Shared => PrizeRuleName::Shared,
    };
    (ranks, prize)
}
