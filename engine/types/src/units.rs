//! Integer units (MARKET 1). Arithmetic across units exists only where the market defines it.

use core::fmt;

macro_rules! unit {
    ($(#[$doc:meta])* $name:ident($int:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
        #[repr(transparent)]
        pub struct $name($int);

        impl $name {
            /// The zero of this unit.
            pub const ZERO: Self = Self(0);

            /// Wraps a raw count of this unit.
            #[inline]
            pub const fn new(raw: $int) -> Self {
                Self(raw)
            }

            /// The raw count of this unit.
            #[inline]
            pub const fn get(self) -> $int {
                self.0
            }

            /// Sum, or `None` on overflow.
            #[inline]
            pub const fn checked_add(self, other: Self) -> Option<Self> {
                match self.0.checked_add(other.0) {
                    Some(raw) => Some(Self(raw)),
                    None => None,
                }
            }

            /// Sum.
            ///
            /// # Panics
            /// On overflow: the core bounds every amount long before.
            #[inline]
            #[track_caller]
            pub const fn plus(self, other: Self) -> Self {
                match self.0.checked_add(other.0) {
                    Some(raw) => Self(raw),
                    None => panic!("INVARIANT: a sum of amounts overflowed"),
                }
            }

            /// Difference.
            ///
            /// # Panics
            /// On overflow: the core takes no more than is there.
            #[inline]
            #[track_caller]
            pub const fn minus(self, other: Self) -> Self {
                match self.0.checked_sub(other.0) {
                    Some(raw) => Self(raw),
                    None => panic!("INVARIANT: a difference of amounts overflowed"),
                }
            }

            /// Difference, or `None` on overflow.
            #[inline]
            pub const fn checked_sub(self, other: Self) -> Option<Self> {
                match self.0.checked_sub(other.0) {
                    Some(raw) => Some(Self(raw)),
                    None => None,
                }
            }
        }
    };
}

unit! {
    /// Limit price in ticks of 0.01 point/MWh; may be negative.
    Price(i32)
}
unit! {
    /// Deal price in half ticks (0.005 point/MWh), so that a midpoint is exact.
    DealPrice(i64)
}
unit! {
    /// Price in micro-point/MWh, the unit of the competitive equilibrium price.
    MicroPrice(i64)
}
unit! {
    /// Energy in Wh.
    Energy(u64)
}
unit! {
    /// Money in nano-points (1e-9 point).
    Money(i64)
}
unit! {
    /// Time in ns since the Unix epoch.
    TimeNs(u64)
}
unit! {
    /// Share in parts per million: reputation, percentile, rates.
    Ppm(u32)
}

/// Nano-points per tick-Wh: 0.01 point/MWh x 1 Wh = 1e-8 point.
pub const NANO_PER_TICK_WH: i64 = 10;
/// Nano-points per half-tick-Wh.
pub const NANO_PER_HALF_TICK_WH: i64 = 5;
/// Micro-point/MWh per half tick.
pub const MICRO_PER_HALF_TICK: i64 = 5_000;
/// Nanoseconds in a second.
pub const NS_PER_S: u64 = 1_000_000_000;
/// Nano-points in one point.
pub const NANO_PER_POINT: i64 = 1_000_000_000;
/// One in parts per million.
pub const PPM_ONE: u32 = 1_000_000;

impl Price {
    /// This limit as a deal price.
    #[inline]
    pub const fn to_deal_price(self) -> DealPrice {
        DealPrice(2 * self.0 as i64)
    }
}

impl DealPrice {
    /// Midpoint of a bid and an ask, exact in half ticks.
    #[inline]
    pub const fn midpoint(bid: Price, ask: Price) -> Self {
        Self(bid.0 as i64 + ask.0 as i64)
    }

    /// This price in micro-point/MWh.
    #[inline]
    pub const fn to_micro(self) -> MicroPrice {
        MicroPrice(self.0 * MICRO_PER_HALF_TICK)
    }
}

impl Energy {
    /// `self - other`, at least zero.
    #[inline]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// The smaller of two energies.
    #[inline]
    pub const fn min(self, other: Self) -> Self {
        if self.0 < other.0 { self } else { other }
    }

    /// Whether there is none.
    #[inline]
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }
}

impl Money {
    /// `price x energy` for a price in ticks; `None` beyond `i64`.
    pub fn of_ticks(ticks: i64, energy: Energy) -> Option<Self> {
        let nano = i128::from(ticks) * i128::from(NANO_PER_TICK_WH) * i128::from(energy.0);
        i64::try_from(nano).ok().map(Self)
    }

    /// `price x energy` for a price in half ticks; `None` beyond `i64`.
    pub fn of_half_ticks(half_ticks: i64, energy: Energy) -> Option<Self> {
        let nano = i128::from(half_ticks) * i128::from(NANO_PER_HALF_TICK_WH) * i128::from(energy.0);
        i64::try_from(nano).ok().map(Self)
    }

    /// The larger of two amounts.
    #[inline]
    pub const fn max(self, other: Self) -> Self {
        if self.0 > other.0 { self } else { other }
    }

    /// The smaller of two amounts.
    #[inline]
    pub const fn min(self, other: Self) -> Self {
        if self.0 < other.0 { self } else { other }
    }
}

impl TimeNs {
    /// The instant `seconds` after the Unix epoch; saturates at the end of time.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(seconds.saturating_mul(NS_PER_S))
    }

    /// This instant moved by a signed number of seconds; saturates at the ends of time.
    pub const fn plus_secs(self, seconds: i64) -> Self {
        let delta = seconds.unsigned_abs().saturating_mul(NS_PER_S);
        if seconds < 0 {
            Self(self.0.saturating_sub(delta))
        } else {
            Self(self.0.saturating_add(delta))
        }
    }
}

/// Writes `raw / 10^decimals` without trailing zeros.
struct Decimal {
    raw: i128,
    decimals: u32,
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scale = 10u128.pow(self.decimals);
        let magnitude = self.raw.unsigned_abs();
        let (whole, part) = (magnitude / scale, magnitude % scale);
        let sign = if self.raw < 0 { "-" } else { "" };
        if part == 0 {
            return write!(f, "{sign}{whole}");
        }
        let digits = format!("{part:0width$}", width = self.decimals as usize);
        write!(f, "{sign}{whole}.{}", digits.trim_end_matches('0'))
    }
}

/// `raw / 10^decimals` as a decimal string without trailing zeros.
pub fn decimal(raw: i128, decimals: u32) -> String {
    Decimal { raw, decimals }.to_string()
}

/// Why a decimal string was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DecimalError {
    /// Not a plain decimal number.
    Syntax,
    /// More digits after the point than the unit has.
    TooManyDecimals,
    /// Does not fit the unit.
    Overflow,
}

/// Parses a plain decimal (`-12.5`) into `value x 10^decimals`, exactly.
pub fn parse_decimal(text: &str, decimals: u32) -> Result<i128, DecimalError> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let plain = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !plain(whole) || !plain(part) || (digits.contains('.') && part.is_empty()) {
        return Err(DecimalError::Syntax);
    }
    let kept = part.trim_end_matches('0');
    if kept.len() > decimals as usize {
        return Err(DecimalError::TooManyDecimals);
    }
    let padded = format!("{whole}{kept:0<width$}", width = decimals as usize);
    let magnitude: i128 = padded.parse().map_err(|_| DecimalError::Overflow)?;
    Ok(if negative { -magnitude } else { magnitude })
}

impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Decimal {
            raw: self.0.into(),
            decimals: 2,
        }
        .fmt(f)
    }
}

impl fmt::Display for DealPrice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Decimal {
            raw: i128::from(self.0) * 5,
            decimals: 3,
        }
        .fmt(f)
    }
}

impl fmt::Display for MicroPrice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Decimal {
            raw: self.0.into(),
            decimals: 6,
        }
        .fmt(f)
    }
}

impl fmt::Display for Energy {
    /// In MWh.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Decimal {
            raw: self.0.into(),
            decimals: 6,
        }
        .fmt(f)
    }
}

impl fmt::Display for Money {
    /// In points.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Decimal {
            raw: self.0.into(),
            decimals: 9,
        }
        .fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn midpoint_times_energy_is_exact() {
        let price = DealPrice::midpoint(Price::new(9700), Price::new(9001));
        assert_eq!(
            Money::of_half_ticks(price.get(), Energy::new(3)),
            Some(Money::new(18_701 * 5 * 3))
        );
        assert_eq!(price.to_string(), "93.505");
    }

    #[test]
    fn decimals_print_without_trailing_zeros() {
        assert_eq!(Price::new(-5).to_string(), "-0.05");
        assert_eq!(Energy::new(6_842_600_000).to_string(), "6842.6");
        assert_eq!(Money::new(0).to_string(), "0");
    }

    #[test]
    fn bad_decimals_are_refused() {
        for (text, error) in [
            ("", DecimalError::Syntax),
            ("-", DecimalError::Syntax),
            ("1.", DecimalError::Syntax),
            (".5", DecimalError::Syntax),
            ("+1", DecimalError::Syntax),
            ("1e3", DecimalError::Syntax),
            ("1.234", DecimalError::TooManyDecimals),
        ] {
            assert_eq!(parse_decimal(text, 2), Err(error), "{text}");
        }
        assert_eq!(parse_decimal("1.2300", 2), Ok(123));
        assert_eq!(parse_decimal(&"9".repeat(60), 2), Err(DecimalError::Overflow));
    }

    proptest! {
        #[test]
        fn decimal_round_trips(raw in any::<i64>(), decimals in 0u32..9) {
            prop_assert_eq!(parse_decimal(&decimal(raw.into(), decimals), decimals), Ok(raw.into()));
        }
    }
}
