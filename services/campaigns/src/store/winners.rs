//! Completing campaigns: fixing their winners, once nothing that could change them is left.

use rust_decimal::Decimal;
use sqlx::PgConnection;
use tenantry_kit::currency::Currency;
use tenantry_kit::money::Money;
use tenantry_kit::time::UtcDateTime;

use super::rows::{campaign_id, currency, invalid, money, prize_rule, user_id};
use super::{QUALIFICATION_GROUP, RESULTS_GROUP, Store, StoreError, payments};
use crate::domain::payment::Prizes;
use crate::domain::{CampaignId, PrizeRule, UserId, Winner, winners};

/// The most campaigns completed in one transaction.
const BATCH: i64 = 50;
/// The most users who share a prize: of more with the same highest total, those who stand first.
const MOST_WINNERS: i64 = 100_000;
/// A purchase is accepted at the moment at which its event is appended, and seen when its transaction commits: at most so much later, since the
/// database ends sessions before that.
pub(super) const UNSEEN_SECONDS: f64 = 60.0;

/// A campaign whose time is over and for which no purchase waits.
#[derive(sqlx::FromRow)]
struct Due {
    id: i64,
    currency: String,
    prize: Decimal,
    prize_currency: String,
    prize_rule: String,
}

/// A winner of a campaign that is completed; all but the campaign's currency are absent if there is none.
#[derive(sqlx::FromRow)]
struct WinnerRow {
    currency: String,
    user_id: Option<i64>,
    position: Option<i32>,
    total: Option<Decimal>,
    prize: Option<Decimal>,
    prize_currency: Option<String>,
}

impl WinnerRow {
    fn winner(self) -> Result<Option<Winner>, StoreError> {
        let (Some(user), Some(position), Some(total)) = (self.user_id, self.position, self.total) else { return Ok(None) };
        let (Some(prize), Some(prize_currency)) = (self.prize, self.prize_currency) else { return Ok(None) };
        Ok(Some(Winner {
            user_id: user_id(user)?,
            position: usize::try_from(position).map_err(invalid("a position"))?,
            total: money(total, currency(&self.currency)?)?,
            prize: money(prize, currency(&prize_currency)?)?,
        }))
    }
}

impl Store {
    /// Completes the campaigns that ended more than `grace_seconds` ago, by the database's clock, and whose purchases have all been counted; how
    /// many. Their prizes are held, or enqueued in the same transaction. One that was cancelled has no winner and is never completed. Those that another worker is completing are left to it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn complete_due(&self, grace_seconds: u32, prizes: Prizes) -> Result<usize, StoreError> {
        let mut transaction = self.database.begin().await?;
        let mut due: Vec<Due> = sqlx::query_as(
            "SELECT id, currency, prize, prize_currency, prize_rule FROM campaigns
             WHERE completed_at IS NULL AND cancelled_at IS NULL AND end_announced_at IS NOT NULL AND ends_at <= tenantry_now() - make_interval(secs => $1)
               AND NOT EXISTS (SELECT FROM parked_purchases WHERE campaign_id = campaigns.id)
             ORDER BY ends_at LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED",
        )
        .bind(f64::from(grace_seconds) + UNSEEN_SECONDS)
        .bind(BATCH)
        .fetch_all(&mut *transaction)
        .await?;
        // Results are locked in the order of their ids, as by those who count.
        due.sort_by_key(|campaign| campaign.id);
        let mut completed = 0;
        for campaign in due {
            if is_settled(&mut transaction, campaign.id, f64::from(grace_seconds)).await? {
                let (won_at, winners) = complete(&mut transaction, &campaign).await?;
                if prizes == Prizes::Paid {
                    payments::enqueue(&mut transaction, &self.prize_payments, campaign_id(campaign.id)?, won_at, &winners).await?;
                }
                completed += 1;
            }
        }
        transaction.commit().await?;
        Ok(completed)
    }

    /// The winners of a campaign, in the order of their positions; none of one that was cancelled. `None` until they are fixed, or if there is no
    /// such campaign.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn winners(&self, id: CampaignId) -> Result<Option<Vec<Winner>>, StoreError> {
        let mut connection = self.database.acquire().await?;
        let rows: Vec<WinnerRow> = sqlx::query_as(
            "SELECT campaigns.currency, winner.user_id, winner.position, winner.total, winner.prize, winner.prize_currency
             FROM campaigns LEFT JOIN campaign_winners winner ON winner.campaign_id = campaigns.id
             WHERE campaigns.id = $1 AND (campaigns.completed_at IS NOT NULL OR campaigns.cancelled_at IS NOT NULL) ORDER BY winner.position",
        )
        .bind(id.get())
        .fetch_all(&mut *connection)
        .await?;
        let is_decided = !rows.is_empty();
        let winners = rows.into_iter().filter_map(|row| row.winner().transpose()).collect::<Result<_, _>>()?;
        Ok(is_decided.then_some(winners))
    }
}

/// Whether every purchase that was accepted in time has been qualified, and what qualified for this campaign counted. One statement, and so one
/// state: a purchase moves from the one stream to the other, and from there into a total or among the parked, in one transaction each.
/// The campaign's results stay locked, so that nothing is counted meanwhile.
async fn is_settled(connection: &mut PgConnection, campaign: i64, grace_seconds: f64) -> Result<bool, StoreError> {
    sqlx::query("SELECT FROM campaign_results WHERE campaign_id = $1 FOR UPDATE").bind(campaign).execute(&mut *connection).await?;
    // Of a partition's purchases the first that is not qualified yet was accepted first, but for those that waited for others to commit.
    Ok(sqlx::query_scalar(
        "SELECT NOT EXISTS (
             SELECT FROM campaigns CROSS JOIN stream_positions own JOIN stream_topics topic ON topic.id = own.topic_id
             CROSS JOIN LATERAL (
                 SELECT appended_at FROM stream_events event
                 WHERE event.topic_id = own.topic_id AND event.partition = own.partition AND event.position > own.position
                 ORDER BY event.position LIMIT 1
             ) waiting
             WHERE campaigns.id = $1 AND topic.name = $2 AND own.consumer_group = $3
               AND waiting.appended_at < campaigns.ends_at + make_interval(secs => $6 + $7)
         ) AND NOT EXISTS (
             SELECT FROM stream_positions own JOIN stream_topics topic ON topic.id = own.topic_id
             JOIN stream_events event
               ON event.topic_id = own.topic_id AND event.partition = own.partition AND event.position > own.position
             WHERE topic.name = $4 AND own.consumer_group = $5 AND event.payload ->> 'campaignId' = $1::text
         ) AND NOT EXISTS (SELECT FROM parked_purchases WHERE campaign_id = $1)",
    )
    .bind(campaign)
    .bind("purchase_events")
    .bind(QUALIFICATION_GROUP)
    .bind("qualified_purchase_events")
    .bind(RESULTS_GROUP)
    .bind(grace_seconds)
    .bind(UNSEEN_SECONDS)
    .persistent(false)
    .fetch_one(connection)
    .await?)
}

/// The winners of a campaign, in the order of their positions, who have no payment yet.
pub(super) async fn winners_unpaid(connection: &mut PgConnection, campaign: CampaignId) -> Result<Vec<Winner>, StoreError> {
    let rows: Vec<WinnerRow> = sqlx::query_as(
        "SELECT campaigns.currency, winner.user_id, winner.position, winner.total, winner.prize, winner.prize_currency
         FROM campaigns JOIN campaign_winners winner ON winner.campaign_id = campaigns.id
         WHERE campaigns.id = $1 AND NOT EXISTS (
             SELECT FROM prize_payments payment WHERE payment.campaign_id = campaigns.id AND payment.user_id = winner.user_id)
         ORDER BY winner.position",
    )
    .bind(campaign.get())
    .fetch_all(connection)
    .await?;
    rows.into_iter().filter_map(|row| row.winner().transpose()).collect()
}

/// Fixes the winners: when, and who they are.
async fn complete(connection: &mut PgConnection, campaign: &Due) -> Result<(UtcDateTime, Vec<Winner>), StoreError> {
    let rule = prize_rule(&campaign.prize_rule)?;
    let prize: Money = money(campaign.prize, currency(&campaign.prize_currency)?)?;
    let leaders = leaders(connection, campaign.id, currency(&campaign.currency)?, rule).await?;
    let winners = winners(&leaders, &rule.shares(prize, leaders.len()));
    sqlx::query(
        "INSERT INTO campaign_winners (campaign_id, user_id, position, total, prize, prize_currency)
         SELECT $1, winner.user_id, winner.ordinal - 1, winner.total, winner.prize, $5
         FROM unnest($2::bigint[], $3::numeric[], $4::numeric[]) WITH ORDINALITY AS winner (user_id, total, prize, ordinal)",
    )
    .bind(campaign.id)
    .bind(winners.iter().map(|winner| winner.user_id.get()).collect::<Vec<_>>())
    .bind(winners.iter().map(|winner| winner.total.value()).collect::<Vec<_>>())
    .bind(winners.iter().map(|winner| winner.prize.value()).collect::<Vec<_>>())
    .bind(prize.currency().code())
    .execute(&mut *connection)
    .await?;
    let won_at = sqlx::query_scalar("UPDATE campaigns SET completed_at = tenantry_now() WHERE id = $1 RETURNING completed_at");
    Ok((won_at.bind(campaign.id).fetch_one(connection).await?, winners))
}

/// Who has the highest total, in the order of the leaderboard: as many as can win by the campaign's rule for the prize.
async fn leaders(
    connection: &mut PgConnection,
    campaign: i64,
    currency: Currency,
    rule: PrizeRule,
) -> Result<Vec<(UserId, Money)>, StoreError> {
    let most = match rule {
        PrizeRule::First => 1,
        PrizeRule::Shared => MOST_WINNERS,
    };
    let rows: Vec<(i64, Decimal)> = sqlx::query_as(
        "SELECT user_id, total FROM campaign_totals
         WHERE campaign_id = $1 AND total = (SELECT max(total) FROM campaign_totals WHERE campaign_id = $1)
         ORDER BY reached_at, arrival, user_id LIMIT $2",
    )
    .bind(campaign)
    .bind(most)
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(|(user, total)| Ok((user_id(user)?, money(total, currency)?))).collect()
}
