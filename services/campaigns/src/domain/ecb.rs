//! The euro reference rates as the European Central Bank publishes them in CSV: `eurofxref.csv`, one day, and `eurofxref-hist.csv`, every
//! day since 1999. A row is a day, a column a currency, a cell the units of that currency for one euro, or `N/A`; rows end with a comma.
//! <https://www.ecb.europa.eu/stats/policy_and_exchange_rates/euro_reference_exchange_rates/>

use std::collections::HashSet;

use csv::{ReaderBuilder, StringRecord, Trim};
use tenantry_kit::currency::Currency;
use tenantry_kit::date::Date;

use super::rates::{DatedRate, DatedRateError, RateError};

/// What the files have columns for and ISO 4217 no codes any more: left out, as no purchase can be in them.
const WITHDRAWN: [&str; 11] = ["BGN", "CYP", "EEK", "HRK", "LTL", "LVL", "MTL", "ROL", "SIT", "SKK", "TRL"];
const NOT_AVAILABLE: &str = "N/A";

/// The rates of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReferenceRates {
    /// All that there are, in the file's order.
    pub rates: Vec<DatedRate>,
    /// The columns that were left out: currencies that are no more.
    pub left_out: Vec<&'static str>,
}

/// Why a file is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceRatesError {
    /// It is not CSV.
    #[error("the file is not CSV as the ECB writes it: {0}")]
    NotCsv(String),
    /// The header does not begin as it should.
    #[error("the first line must be the header `Date,USD,JPY,…`, its first column is {0:?}")]
    NoDateColumn(String),
    /// There are no currencies.
    #[error("the header names no currency after Date: send the file as the ECB publishes it")]
    NoCurrencies,
    /// A column is of nothing that is known.
    #[error("column {number} of the header is {name:?}, which is no currency of ISO 4217: correct it, or leave the column out")]
    UnknownCurrency {
        /// Counted from 1.
        number: usize,
        /// What is there.
        name: String,
    },
    /// A column comes twice.
    #[error("the header has {0} twice: send each currency once")]
    DuplicateCurrency(String),
    /// There is nothing but a header.
    #[error("the file has no day: at least one line must follow the header")]
    NoDays,
    /// A line has not as many cells as the header.
    #[error("line {line} has {found} cells and the header {expected}: every column needs one, `N/A` where there is no rate")]
    CellsMissing {
        /// Counted from 1.
        line: u64,
        /// The header's.
        expected: usize,
        /// The line's.
        found: usize,
    },
    /// The first cell of a line is no date.
    #[error("line {line} begins with {found:?}: write the date as 2026-11-20 or as 20 November 2026")]
    NotADate {
        /// Counted from 1.
        line: u64,
        /// What is there.
        found: String,
    },
    /// A day comes twice.
    #[error("line {line} is of {date}, as a line before: send each day once")]
    DuplicateDate {
        /// Counted from 1.
        line: u64,
        /// The day.
        date: Date,
    },
    /// A cell is no rate.
    #[error("line {line}, {currency}: {error}; {NOT_AVAILABLE} where there is none")]
    NotARate {
        /// Counted from 1.
        line: u64,
        /// The column.
        currency: Currency,
        /// Why.
        error: RateError,
    },
    /// A rate cannot be of that day.
    #[error("line {line}: {error}")]
    NotOfThatDay {
        /// Counted from 1.
        line: u64,
        /// Why.
        error: DatedRateError,
    },
}

/// What a column after the first is of.
#[derive(Debug, Clone, Copy)]
enum Column {
    Of(Currency),
    LeftOut(&'static str),
    /// What stands after the comma at the end of a line.
    Nameless,
}

/// Reads a file on the day `today` by the database's clock.
///
/// # Errors
/// With the first line that is wrong; nothing of the file is to be taken then.
pub fn reference_rates(text: &str, today: Date) -> Result<ReferenceRates, ReferenceRatesError> {
    let mut reader = ReaderBuilder::new().has_headers(false).flexible(true).trim(Trim::All).from_reader(text.as_bytes());
    let mut records = reader.records().map(|record| record.map_err(|error| ReferenceRatesError::NotCsv(error.to_string())));
    let columns = columns(&records.next().transpose()?.unwrap_or_default())?;
    let (mut rates, mut dates) = (Vec::new(), HashSet::new());
    for record in records {
        let record = record?;
        let line = record.position().map_or(0, csv::Position::line);
        let date = date(&record, line)?;
        if !dates.insert(date) {
            return Err(ReferenceRatesError::DuplicateDate { line, date });
        }
        read_day(&record, line, &columns, date, today, &mut rates)?;
    }
    if dates.is_empty() {
        return Err(ReferenceRatesError::NoDays);
    }
    let left_out = columns.iter().filter_map(|column| if let Column::LeftOut(code) = column { Some(*code) } else { None }).collect();
    Ok(ReferenceRates { rates, left_out })
}

fn columns(header: &StringRecord) -> Result<Vec<Column>, ReferenceRatesError> {
    let first = header.get(0).unwrap_or_default();
    if first != "Date" {
        return Err(ReferenceRatesError::NoDateColumn(first.to_owned()));
    }
    let mut seen = HashSet::new();
    let column = |(index, name): (usize, &str)| {
        let withdrawn = || WITHDRAWN.iter().find(|code| **code == name).copied();
        if !seen.insert(name.to_owned()) {
            return Err(ReferenceRatesError::DuplicateCurrency(name.to_owned()));
        }
        match name.parse() {
            Ok(currency) => Ok(Column::Of(currency)),
            Err(_) if name.is_empty() && index + 1 == header.len() => Ok(Column::Nameless),
            Err(_) => withdrawn()
                .map(Column::LeftOut)
                .ok_or_else(|| ReferenceRatesError::UnknownCurrency { number: index + 1, name: name.to_owned() }),
        }
    };
    let columns: Vec<Column> = header.iter().enumerate().skip(1).map(column).collect::<Result<_, _>>()?;
    if columns.iter().any(|column| !matches!(column, Column::Nameless)) { Ok(columns) } else { Err(ReferenceRatesError::NoCurrencies) }
}

/// The file of one day writes `20 November 2026`, the file of all days `2026-11-20`.
fn date(record: &StringRecord, line: u64) -> Result<Date, ReferenceRatesError> {
    let text = record.get(0).unwrap_or_default();
    text.parse()
        .or_else(|_| Date::parse_as("%d %B %Y", text))
        .map_err(|_| ReferenceRatesError::NotADate { line, found: text.chars().take(40).collect() })
}

fn read_day(
    record: &StringRecord,
    line: u64,
    columns: &[Column],
    date: Date,
    today: Date,
    rates: &mut Vec<DatedRate>,
) -> Result<(), ReferenceRatesError> {
    if record.len() != columns.len() + 1 {
        return Err(ReferenceRatesError::CellsMissing { line, expected: columns.len() + 1, found: record.len() });
    }
    for (column, cell) in columns.iter().zip(record.iter().skip(1)) {
        let Column::Of(currency) = *column else { continue };
        if cell == NOT_AVAILABLE {
            continue;
        }
        let rate = cell.parse().map_err(|error| ReferenceRatesError::NotARate { line, currency, error })?;
        let rate = DatedRate { date, currency, rate };
        rate.check(today).map_err(|error| ReferenceRatesError::NotOfThatDay { line, error })?;
        rates.push(rate);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE_DAY: &str = "Date, USD, JPY, BGN, CZK, ZAR, \n20 November 2026, 1.1532, 167.86, 1.9558, 24.810, 20.7475, \n";
    const HISTORY: &str = "Date,USD,JPY,CYP,EEK,CZK,ZAR,\n2026-11-20,1.1532,167.86,N/A,N/A,24.810,20.7475,\n\
                           1999-01-04,1.1789,133.73,0.58231,15.6466,35.107,N/A,\n";

    fn read(text: &str) -> Result<ReferenceRates, ReferenceRatesError> {
        reference_rates(text, "2026-11-20".parse().unwrap())
    }

    fn refused(text: &str) -> String {
        read(text).unwrap_err().to_string()
    }

    #[test]
    fn the_file_of_one_day_is_read() {
        let file = read(ONE_DAY).unwrap();
        let dollar = DatedRate { date: "2026-11-20".parse().unwrap(), currency: "USD".parse().unwrap(), rate: "1.1532".parse().unwrap() };
        assert!(file.rates.contains(&dollar));
        assert!((4..=5).contains(&file.rates.len()), "the lev was replaced by the euro in 2026: {file:?}");
    }

    #[test]
    fn the_file_of_all_days_is_read_without_what_is_not_available_or_no_more() {
        let file = read(HISTORY).unwrap();
        let read: Vec<String> = file.rates.iter().map(|rate| format!("{} {} {}", rate.date, rate.currency, rate.rate.per_euro())).collect();
        assert_eq!(
            read,
            [
                "2026-11-20 USD 1.1532",
                "2026-11-20 JPY 167.86",
                "2026-11-20 CZK 24.81",
                "2026-11-20 ZAR 20.7475",
                "1999-01-04 USD 1.1789",
                "1999-01-04 JPY 133.73",
                "1999-01-04 CZK 35.107"
            ]
        );
        assert_eq!(file.left_out, ["CYP", "EEK"]);
    }

    #[test]
    fn a_wrong_header_is_refused() {
        assert!(refused("").contains("its first column is \"\""));
        assert!(refused("USD,JPY\n1.1,160\n").contains("its first column is \"USD\""));
        assert!(refused("<html><body>").contains("must be the header"));
        assert!(refused("Date,\n2026-11-20,\n").contains("names no currency"));
        assert!(refused("Date,USD,XYZ\n2026-11-20,1,1\n").contains("column 3 of the header is \"XYZ\""));
        assert!(refused("Date,USD,,JPY\n2026-11-20,1,1,1\n").contains("column 3 of the header is \"\""));
        assert!(refused("Date,USD,USD\n2026-11-20,1,1\n").contains("USD twice"));
        assert!(refused("Date,USD\n").contains("no day"));
    }

    #[test]
    fn a_line_with_a_missing_column_is_refused() {
        assert!(refused("Date,USD,JPY,\n2026-11-20,1.1532,\n").contains("line 2 has 3 cells and the header 4"));
        assert!(refused("Date,USD,JPY\n2026-11-20,1.1532,167,1\n").contains("line 2 has 4 cells and the header 3"));
        assert!(refused("Date,USD,JPY\n2026-11-20,1.1532,\n").contains("line 2, JPY: a rate is a plain decimal number"));
    }

    #[test]
    fn a_date_that_is_wrong_in_the_future_or_there_already_is_refused() {
        assert!(refused("Date,USD\n20.11.2026,1.1532\n").contains("line 2 begins with \"20.11.2026\""));
        assert!(refused("Date,USD\n2026-11-21,1.1532\n").contains("2026-11-21 is in the future"));
        assert!(refused("Date,USD\n1998-12-31,1.1532\n").contains("no euro on 1998-12-31"));
        assert!(refused("Date,USD\n2026-11-20,1.1532\n2026-11-20,1.1532\n").contains("line 3 is of 2026-11-20, as a line before"));
    }

    #[test]
    fn rates_that_are_none_are_refused_with_line_and_column() {
        for (cell, why) in
            [("0", "more than zero"), ("-1.1", "more than zero"), ("1e9", "plain decimal"), ("99999999999", "from 0.000001 to 1000000000")]
        {
            let refusal = refused(&format!("Date,USD,JPY\n2026-11-19,1.1,160\n2026-11-20,1.1,{cell}\n"));
            assert!(refusal.contains("line 3, JPY") && refusal.contains(why), "{refusal}");
        }
        assert!(refused("Date,EUR\n2026-11-20,1\n").contains("the euro has no rate"));
    }
}
