//! [`UtcDateTime`] as `timestamptz`: both count microseconds, so that nothing is rounded on the way.

use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo, PgValueFormat, PgValueRef};
use sqlx::{Decode, Encode, Postgres, Type};

use crate::time::UtcDateTime;

/// `timestamptz` and `timestamptz[]` in `pg_type`; the same in every PostgreSQL.
const TIMESTAMPTZ: Oid = Oid(1184);
const TIMESTAMPTZ_ARRAY: Oid = Oid(1185);
/// 2000-01-01, from which PostgreSQL counts, in microseconds of Unix time.
const POSTGRES_EPOCH: i64 = 946_684_800_000_000;

impl Type<Postgres> for UtcDateTime {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(TIMESTAMPTZ)
    }
}

impl PgHasArrayType for UtcDateTime {
    fn array_type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(TIMESTAMPTZ_ARRAY)
    }
}

impl Encode<'_, Postgres> for UtcDateTime {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        let micros = self.unix_micros().checked_sub(POSTGRES_EPOCH).ok_or("a time before PostgreSQL's range")?;
        <i64 as Encode<Postgres>>::encode(micros, buffer)
    }

    fn size_hint(&self) -> usize {
        size_of::<i64>()
    }
}

impl Decode<'_, Postgres> for UtcDateTime {
    fn decode(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
        if value.format() == PgValueFormat::Text {
            return Err("a time in text format, which no prepared statement gives".into());
        }
        let micros = <i64 as Decode<Postgres>>::decode(value)?;
        let unix = micros.checked_add(POSTGRES_EPOCH).ok_or("a time that is infinite")?;
        Ok(Self::from_unix_micros(unix)?)
    }
}
