//! Exchange rates: how many units of a currency one euro was worth on a day. Converting by them is exact until the result is rounded, once:
//! half to even, to the decimals of the currency that it is in.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::str::FromStr;

use num_bigint::BigUint;
use rust_decimal::Decimal;
use tenantry_kit::currency::Currency;
use tenantry_kit::date::Date;
use tenantry_kit::money::{Money, MoneyError, parse_decimal};

use super::PurchaseRules;

/// Units of a currency for one euro: from 0.000001 to a billion, with at most 12 decimals. No currency has come near either end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate(Decimal);

/// A text or number that is not a rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RateError {
    /// It is not a plain decimal number.
    #[error("a rate is a plain decimal number such as \"1.1532\": no exponent, no leading plus or zero, a point before the decimals")]
    NotADecimal,
    /// It has too many decimals.
    #[error("a rate has at most {} decimals: round it first", Rate::MAX_DECIMALS)]
    TooManyDecimals,
    /// One euro would be worth nothing, or less.
    #[error("a rate is more than zero: so many units of the currency for one euro")]
    NotPositive,
    /// It cannot be meant.
    #[error("a rate is from {} to {}: so many units of the currency for one euro, not the other way about", Rate::SMALLEST, Rate::LARGEST)]
    OutOfRange,
}

impl Rate {
    /// The smallest rate.
    pub const SMALLEST: Decimal = Decimal::from_parts(1, 0, 0, false, 6);
    /// The largest rate.
    pub const LARGEST: Decimal = Decimal::from_parts(1_000_000_000, 0, 0, false, 0);
    /// The most decimals.
    pub const MAX_DECIMALS: u32 = 12;
    /// One euro for one euro.
    const EURO: Self = Self(Decimal::ONE);

    /// A rate of `per_euro` units for one euro.
    ///
    /// # Errors
    /// When it is not positive, out of range, or has too many decimals.
    pub fn new(per_euro: Decimal) -> Result<Self, RateError> {
        if per_euro <= Decimal::ZERO {
            return Err(RateError::NotPositive);
        }
        if per_euro < Self::SMALLEST || per_euro > Self::LARGEST {
            return Err(RateError::OutOfRange);
        }
        let per_euro = per_euro.normalize();
        if per_euro.scale() > Self::MAX_DECIMALS { Err(RateError::TooManyDecimals) } else { Ok(Self(per_euro)) }
    }

    /// The units for one euro, without trailing zeros.
    pub fn per_euro(self) -> Decimal {
        self.0
    }
}

impl FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        let whole_digits = text.split('.').next().unwrap_or_default().len();
        match parse_decimal(text) {
            Ok(per_euro) => Self::new(per_euro),
            Err(MoneyError::NotADecimal) => Err(RateError::NotADecimal),
            Err(_) if text.starts_with('-') => Err(RateError::NotPositive),
            Err(_) if whole_digits > 10 => Err(RateError::OutOfRange),
            Err(_) => Err(RateError::TooManyDecimals),
        }
    }
}

/// A currency's rate on a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DatedRate {
    /// The day.
    pub date: Date,
    /// The currency; not the euro.
    pub currency: Currency,
    /// Its units for one euro.
    pub rate: Rate,
}

/// Why a rate of a day is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DatedRateError {
    /// It is of the euro.
    #[error("the euro has no rate, all others are in euros: leave it out")]
    Euro,
    /// There was no euro on that day.
    #[error("there was no euro on {0}: the first rates are of 1999")]
    BeforeTheEuro(Date),
    /// The day has not come.
    #[error("{date} is in the future, it is {today} now in UTC: put a rate when it is known")]
    InTheFuture {
        /// The rate's day.
        date: Date,
        /// The day by the database's clock.
        today: Date,
    },
    /// The day and currency came before.
    #[error("{currency} has a rate for {date} already: send each day once")]
    Duplicate {
        /// The day.
        date: Date,
        /// The currency.
        currency: Currency,
    },
}

impl DatedRate {
    /// Checks the day and the currency on the day `today` by the database's clock.
    ///
    /// # Errors
    /// With the rule that is broken.
    pub fn check(&self, today: Date) -> Result<(), DatedRateError> {
        if self.currency == Currency::EUR {
            return Err(DatedRateError::Euro);
        }
        if self.date > today {
            return Err(DatedRateError::InTheFuture { date: self.date, today });
        }
        if Date::new(1999, 1, 1).is_ok_and(|first| self.date < first) {
            return Err(DatedRateError::BeforeTheEuro(self.date));
        }
        Ok(())
    }

    /// What it is the rate of.
    pub fn key(&self) -> RateKey {
        RateKey { currency: self.currency, date: self.date }
    }
}

/// A currency and a day for which a rate is given, or needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RateKey {
    /// The currency.
    pub currency: Currency,
    /// The day.
    pub date: Date,
}

/// A rate that purchases wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateGap {
    /// Which one.
    pub key: RateKey,
    /// How many wait, as far as 100,000 for each pair of currencies.
    pub purchases: u64,
}

/// The rates that it takes to convert from one currency to another on a day: none within a currency, one to or from the euro,
/// two otherwise.
pub fn rates_needed(from: Currency, to: Currency, date: Date) -> impl Iterator<Item = RateKey> {
    [from, to].into_iter().filter(move |currency| from != to && *currency != Currency::EUR).map(move |currency| RateKey { currency, date })
}

/// For each currency and day that was asked for, the rate to convert by, as far as there is one.
#[derive(Debug, Clone, Default)]
pub struct Rates(HashMap<RateKey, Rate>);

impl FromIterator<(RateKey, Rate)> for Rates {
    fn from_iter<I: IntoIterator<Item = (RateKey, Rate)>>(rates: I) -> Self {
        Self(rates.into_iter().collect())
    }
}

/// Why an amount has no counterpart in another currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConversionError {
    /// A rate is missing; the amount can be converted when it is there.
    #[error("there is no rate of {} for {}", .0.currency, .0.date)]
    MissingRate(RateKey),
    /// It is less than half of the currency's smallest unit.
    #[error("the amount is worth nothing in {0}: less than half of its smallest unit")]
    WorthNothing(Currency),
    /// Totals of such amounts could not be kept exactly.
    #[error("the amount is worth more than {max} {0}", max = PurchaseRules::MAX_AMOUNT)]
    TooLarge(Currency),
}

impl Rates {
    /// What `amount`, more than zero, was worth in `currency` on the day `date`. An amount that is in that currency stays as it is.
    ///
    /// # Errors
    /// When a rate is missing, or the result is nothing or beyond [`PurchaseRules::MAX_AMOUNT`].
    pub fn convert(&self, amount: Money, date: Date, currency: Currency) -> Result<Money, ConversionError> {
        if amount.currency() == currency {
            return Ok(amount);
        }
        let rate = |currency| match currency {
            Currency::EUR => Ok(Rate::EURO),
            currency => {
                let key = RateKey { currency, date };
                self.0.get(&key).copied().ok_or(ConversionError::MissingRate(key))
            }
        };
        convert(amount, rate(amount.currency())?, rate(currency)?, currency)
    }
}

/// `amount` / `from` * `to`, in whole numbers: no digit is lost before the rounding.
fn convert(amount: Money, from: Rate, to: Rate, currency: Currency) -> Result<Money, ConversionError> {
    let mantissa = |value: Decimal| BigUint::from(value.mantissa().unsigned_abs());
    let power = |exponent: u32| BigUint::from(10_u32).pow(exponent);
    let (value, from, to) = (amount.value(), from.per_euro(), to.per_euro());
    let numerator = mantissa(value) * mantissa(to) * power(from.scale() + currency.decimals());
    let denominator = mantissa(from) * power(value.scale() + to.scale());
    let (quotient, remainder) = (&numerator / &denominator, &numerator % &denominator);
    let units = match (remainder * 2_u32).cmp(&denominator) {
        Ordering::Less => quotient,
        Ordering::Equal => &quotient + u32::from(quotient.bit(0)),
        Ordering::Greater => quotient + 1_u32,
    };
    let too_large = ConversionError::TooLarge(currency);
    let units = i128::try_from(&units).map_err(|_| too_large)?;
    let value = Decimal::try_from_i128_with_scale(units, currency.decimals()).map_err(|_| too_large)?;
    if value.is_zero() {
        return Err(ConversionError::WorthNothing(currency));
    }
    if value > PurchaseRules::MAX_AMOUNT {
        return Err(too_large);
    }
    Money::new(value, currency).map_err(|_| too_large)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn currency(code: &str) -> Currency {
        code.parse().unwrap()
    }

    fn money(value: &str, code: &str) -> Money {
        Money::new(value.parse().unwrap(), currency(code)).unwrap()
    }

    fn day() -> Date {
        "2026-11-20".parse().unwrap()
    }

    fn rates(rates: &[(&str, &str)]) -> Rates {
        rates.iter().map(|(code, rate)| (RateKey { currency: currency(code), date: day() }, rate.parse().unwrap())).collect()
    }

    fn converted(value: &str, from: &str, to: &str, at: &[(&str, &str)]) -> Result<String, ConversionError> {
        rates(at).convert(money(value, from), day(), currency(to)).map(|money| money.to_string())
    }

    #[test]
    fn an_amount_is_converted_from_to_and_across_the_euro() {
        assert_eq!(converted("115.32", "USD", "EUR", &[("USD", "1.1532")]), Ok("100.00 EUR".to_owned()));
        assert_eq!(converted("100.00", "EUR", "JPY", &[("JPY", "167.86")]), Ok("16786 JPY".to_owned()));
        assert_eq!(converted("1.00", "USD", "GBP", &[("USD", "1.25"), ("GBP", "0.85")]), Ok("0.68 GBP".to_owned()));
        assert_eq!(converted("1.000", "KWD", "JPY", &[("KWD", "0.35"), ("JPY", "170")]), Ok("486 JPY".to_owned()));
    }

    #[test]
    fn an_amount_in_the_same_currency_needs_no_rate() {
        assert_eq!(converted("12.30", "USD", "USD", &[]), Ok("12.30 USD".to_owned()));
        assert_eq!(rates_needed(currency("USD"), currency("USD"), day()).count(), 0);
    }

    #[test]
    fn halves_are_rounded_to_even_and_nothing_before_the_end() {
        let at = [("USD", "2")];
        for (dollars, euros) in
            [("0.01", None), ("0.03", Some("0.02")), ("0.05", Some("0.02")), ("0.07", Some("0.04")), ("0.02", Some("0.01"))]
        {
            assert_eq!(converted(dollars, "USD", "EUR", &at).ok(), euros.map(|euros| format!("{euros} EUR")), "{dollars}");
        }
        // 1 / 3 * 4.5 is 1.5 exactly; a third that is cut after any number of digits makes it less
        assert_eq!(converted("1.00", "USD", "JPY", &[("USD", "3"), ("JPY", "4.5")]), Ok("2 JPY".to_owned()));
        assert_eq!(converted("1.00", "USD", "JPY", &[("USD", "3"), ("JPY", "7.5")]), Ok("2 JPY".to_owned()));
    }

    #[test]
    fn the_missing_rate_is_named() {
        let missing = |code| Err(ConversionError::MissingRate(RateKey { currency: currency(code), date: day() }));
        assert_eq!(converted("1.00", "USD", "GBP", &[("GBP", "0.85")]), missing("USD"));
        assert_eq!(converted("1.00", "USD", "GBP", &[("USD", "1.25")]), missing("GBP"));
        let needed: Vec<_> = rates_needed(currency("USD"), currency("GBP"), day()).map(|key| key.currency.code()).collect();
        assert_eq!(needed, ["USD", "GBP"]);
    }

    #[test]
    fn an_amount_worth_nothing_or_too_much_is_refused() {
        assert_eq!(converted("0.01", "IDR", "EUR", &[("IDR", "17876.32")]), Err(ConversionError::WorthNothing(Currency::EUR)));
        assert_eq!(converted("1000000000000000.00", "EUR", "IDR", &[("IDR", "17876.32")]), Err(ConversionError::TooLarge(currency("IDR"))));
        assert_eq!(
            converted("1000000000000000.00", "EUR", "IDR", &[("IDR", "1000000000")]),
            Err(ConversionError::TooLarge(currency("IDR")))
        );
    }

    #[test]
    fn rates_of_zero_negative_or_absurd_size_are_refused() {
        let parsed = |text: &str| text.parse::<Rate>();
        assert_eq!(
            (parsed("0"), parsed("0.000"), parsed("-1.5")),
            (Err(RateError::NotPositive), Err(RateError::NotPositive), Err(RateError::NotPositive))
        );
        assert_eq!((parsed("1000000000.1"), parsed("0.0000009")), (Err(RateError::OutOfRange), Err(RateError::OutOfRange)));
        assert_eq!(
            (parsed(&"9".repeat(40)), parsed(&format!("0.{}", "1".repeat(40)))),
            (Err(RateError::OutOfRange), Err(RateError::TooManyDecimals))
        );
        assert_eq!(parsed("1.0000000000001"), Err(RateError::TooManyDecimals));
        for text in ["", "1e3", "1,15", "N/A", "+1", ".5", "NaN"] {
            assert_eq!(parsed(text), Err(RateError::NotADecimal), "{text}");
        }
        assert_eq!(parsed("1.15320").map(|rate| rate.per_euro().to_string()), Ok("1.1532".to_owned()));
    }

    #[test]
    fn a_rate_of_the_euro_or_of_a_day_that_cannot_be_is_refused() {
        let check = |code: &str, date: &str| {
            DatedRate { date: date.parse().unwrap(), currency: currency(code), rate: "1.1".parse().unwrap() }.check(day())
        };
        assert_eq!(check("USD", "2026-11-20"), Ok(()));
        assert_eq!(check("EUR", "2026-11-20"), Err(DatedRateError::Euro));
        assert!(matches!(check("USD", "2026-11-21"), Err(DatedRateError::InTheFuture { .. })));
        assert!(matches!(check("USD", "1998-12-31"), Err(DatedRateError::BeforeTheEuro(_))));
    }

    proptest! {
        /// The nearest whole number of cents: no other is nearer, and of two equally near ones it is the even one.
        #[test]
        fn a_converted_amount_is_the_nearest(cents in 1_i128..1_000_000_000, from in 1_i128..1_000_000, to in 1_i128..1_000_000) {
            let rate = |ten_thousandths| Rate(Decimal::from_i128_with_scale(ten_thousandths, 4));
            let amount = Money::new(Decimal::from_i128_with_scale(cents, 2), currency("USD")).unwrap();
            let result = match convert(amount, rate(from), rate(to), currency("GBP")) {
                Ok(money) => money.value().mantissa(),
                Err(ConversionError::WorthNothing(_)) => 0,
                Err(error) => return Err(TestCaseError::fail(error.to_string())),
            };
            let distance = (result * from - cents * to).abs() * 2;
            prop_assert!(distance < from || (distance == from && result % 2 == 0), "{result}");
        }

        #[test]
        fn a_rate_that_is_written_is_read_back(mantissa in 1_i64..1_000_000_000_000, scale in 0_u32..=6) {
            if let Ok(rate) = Rate::new(Decimal::new(mantissa, scale)) {
                prop_assert_eq!(rate.per_euro().to_string().parse(), Ok(rate));
            }
        }
    }
}
