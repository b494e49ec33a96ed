//! [`Date`] as `date`: both count days.

use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo, PgValueFormat, PgValueRef};
use sqlx::{Decode, Encode, Postgres, Type};

use crate::date::Date;

/// `date` and `date[]` in `pg_type`; the same in every PostgreSQL.
const DATE: Oid = Oid(1082);
const DATE_ARRAY: Oid = Oid(1182);

impl Type<Postgres> for Date {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(DATE)
    }
}

impl PgHasArrayType for Date {
    fn array_type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(DATE_ARRAY)
    }
}

impl Encode<'_, Postgres> for Date {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        <i32 as Encode<Postgres>>::encode(self.days_since_2000(), buffer)
    }

    fn size_hint(&self) -> usize {
        size_of::<i32>()
    }
}

impl Decode<'_, Postgres> for Date {
    fn decode(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
        if value.format() == PgValueFormat::Text {
            return Err("a date in text format, which no prepared statement gives".into());
        }
        Ok(Self::from_days_since_2000(<i32 as Decode<Postgres>>::decode(value)?)?)
    }
}
