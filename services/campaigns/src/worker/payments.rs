//! Has winners paid: takes payments from the queue and sends them to the webhook, until the receiver has taken them or they are dead letters.
//!
//! A payment is sent with its message's id, the same at every try, so that a receiver pays once what it is told several times. That it was taken
//! is recorded in the transaction that completes the message. Without a credential that can be used nothing is taken from the queue: no try is used up by
//! a Secret that is missing or wrong.

mod metrics;

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use sqlx::PgConnection;
use tenantry_contract::Identity;
use tenantry_kit::money::Money;
use tenantry_kit::queue::{Backoff, Consumer, DeadLetterReason, Handler, HandlerError, LockedMessage, MessageId, QueueMetrics};
use tenantry_kit::service::Context;
use tenantry_kit::telemetry::Metrics;
use tenantry_kit::time::UtcDateTime;
use tenantry_kit::webhook::{Undelivered, Webhook, WebhookCredential};
use tokio_util::sync::CancellationToken;

use super::{WorkerError, pause};
use crate::domain::payment::{PaymentOrder, REFUSED};
use crate::domain::{CampaignId, UserId};
use crate::settings::Settings;
use crate::store::{Store, StoreError, prize_payments_queue, record_paid};
use metrics::PaymentMetrics;

/// The credential of the webhook: its keys, and who may vouch for its receiver.
pub const WEBHOOK_CREDENTIAL: &str = "webhook";

/// Between a try that failed and the next: seconds at first, an hour in the end.
const BACKOFF: Backoff = Backoff::new(Duration::from_secs(5), Duration::from_secs(3600));
/// How many payments are on the way at a time, in one process.
const CONCURRENCY: usize = 8;
/// How often a credential is looked at that cannot be used, and how often the queue is tended.
const INTERVAL: Duration = Duration::from_secs(5);
/// How long a payment is left alone that could not be sent for want of a credential.
const CREDENTIAL_PAUSE: Duration = Duration::from_secs(10);
/// More than the receiver's time, for the rest of a try.
const TRY_MARGIN: Duration = Duration::from_secs(5);

/// The stage that pays.
#[derive(Debug)]
pub struct Payments {
    channel: Option<Channel>,
    metrics: PaymentMetrics,
    queues: QueueMetrics,
}

/// By what is paid.
#[derive(Debug)]
struct Channel {
    webhook: Arc<Webhook>,
    identity: Arc<Identity>,
    delivery_limit: u32,
    time_limit: Duration,
}

impl Payments {
    /// Pays by the webhook that the settings name; or pays nothing.
    pub(super) fn of(context: &Context<Settings>) -> Result<Self, WorkerError> {
        let channel = |settings: &crate::settings::PrizeWebhook| {
            let credential = WebhookCredential::new(context.credentials.of_tenant(WEBHOOK_CREDENTIAL));
            let timeout = Duration::from_secs(settings.timeout_seconds.into());
            Ok::<_, WorkerError>(Channel {
                webhook: Arc::new(Webhook::new(settings.url.clone(), credential, timeout)?),
                identity: Arc::clone(&context.identity),
                delivery_limit: settings.delivery_limit,
                time_limit: timeout + TRY_MARGIN,
            })
        };
        Ok(Self {
            channel: context.settings.prize_webhook.as_ref().map(channel).transpose()?,
            metrics: PaymentMetrics::register(&context.metrics),
            queues: QueueMetrics::register(&context.metrics),
        })
    }

    /// Pays nothing.
    #[must_use]
    pub fn held() -> Self {
        Self { channel: None, metrics: PaymentMetrics::default(), queues: QueueMetrics::register(&Metrics::new()) }
    }

    /// Runs until `shutdown`.
    pub(super) async fn run(self, store: Store, shutdown: CancellationToken) {
        let Self { channel, metrics, queues } = self;
        let pay = async {
            if let Some(channel) = channel {
                channel.run(&store, &queues, &metrics, &shutdown).await;
            }
        };
        tokio::join!(pay, tend(&store, &queues, &shutdown));
    }
}

/// What is to be done whether or not anything can be paid.
async fn tend(store: &Store, queues: &QueueMetrics, shutdown: &CancellationToken) {
    while !shutdown.is_cancelled() {
        if let Err(error) = store.tend_payments(queues).await {
            tracing::warn!(%error, "the queue of payments cannot be tended");
        }
        pause(INTERVAL, shutdown).await;
    }
}

impl Channel {
    /// Consumes the queue whenever the credential can be used.
    async fn run(&self, store: &Store, queues: &QueueMetrics, metrics: &PaymentMetrics, shutdown: &CancellationToken) {
        while !shutdown.is_cancelled() {
            let credential = self.webhook.credential().check();
            metrics.credential_is_usable(credential.is_ok());
            if let Err(error) = credential {
                tracing::error!(%error, credential = WEBHOOK_CREDENTIAL, "prizes are not paid until the credential can be used");
                pause(INTERVAL, shutdown).await;
                continue;
            }
            let has_credential = shutdown.child_token();
            let queue = Arc::new(prize_payments_queue().with_delivery_limit(self.delivery_limit));
            let consumer = Consumer::new(store.database().clone(), queue, queues)
                .with_concurrency(CONCURRENCY)
                .with_backoff(BACKOFF)
                .with_time_limit(self.time_limit);
            let payer = Payer {
                webhook: Arc::clone(&self.webhook),
                identity: Arc::clone(&self.identity),
                metrics: metrics.clone(),
                has_credential: has_credential.clone(),
            };
            consumer.run(payer, has_credential).await;
        }
    }
}

/// Makes one payment.
struct Payer {
    webhook: Arc<Webhook>,
    identity: Arc<Identity>,
    metrics: PaymentMetrics,
    /// Cancelled when there is none any more that can be used.
    has_credential: CancellationToken,
}

impl Handler for Payer {
    type Effect = ();

    async fn handle(&self, message: &LockedMessage) -> Result<(), HandlerError> {
        let order: PaymentOrder = message.decode()?;
        let id = message.id();
        let body = serde_json::to_vec(&PaymentRequest::new(id, order, &self.identity)).map_err(HandlerError::again)?;
        let sent = self.webhook.send(&id.to_string(), body.into()).await;
        self.metrics.tried(&sent);
        sent.map_err(|error| match &error {
            Undelivered::Credential(_) => {
                self.has_credential.cancel();
                HandlerError::again_after(&error, CREDENTIAL_PAUSE)
            }
            Undelivered::Later { after: Some(after), .. } => HandlerError::again_after(&error, *after),
            Undelivered::Later { after: None, .. } | Undelivered::Unreachable(_) | Undelivered::TimedOut(_) => HandlerError::again(&error),
            Undelivered::Refused { .. } => HandlerError::permanent(REFUSED, &error),
        })
    }

    async fn record(&self, transaction: &mut PgConnection, message: &LockedMessage, (): &()) -> Result<(), HandlerError> {
        match record_paid(transaction, message.id()).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(HandlerError::permanent(DeadLetterReason::UNREADABLE, "no winner is to be paid by this message")),
            Err(StoreError::Database(error)) => Err(error.into()),
            Err(error) => Err(HandlerError::again(error)),
        }
    }
}

/// The body of the request: the same bytes at every try.
#[derive(Debug, Serialize)]
struct PaymentRequest<'a> {
    r#type: &'static str,
    timestamp: UtcDateTime,
    data: PaymentData<'a>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PaymentData<'a> {
    payment_id: MessageId,
    group: &'a str,
    slot: &'a str,
    campaign_id: CampaignId,
    user_id: UserId,
    position: usize,
    prize: Money,
}

impl<'a> PaymentRequest<'a> {
    fn new(payment_id: MessageId, order: PaymentOrder, identity: &'a Identity) -> Self {
        let PaymentOrder { campaign_id, won_at, user_id, position, prize } = order;
        let Identity { group, slot, .. } = identity;
        Self {
            r#type: "prize.won",
            timestamp: won_at,
            data: PaymentData { payment_id, group, slot, campaign_id, user_id, position, prize },
        }
    }
}
