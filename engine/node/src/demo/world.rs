//! The world of the demonstration: one real day of one real low-voltage grid (SimBench `1-LV-rural1--1-sw`, 2016-06-14),
//! from the CSV files under `engine/node/data`. Integers from the first digit on.

use csv::StringRecord;
use wattbook_types::units::parse_decimal;
use wattbook_types::{Energy, TimeNs};

const LOADS: &str = include_str!("../../data/simbench/load.csv");
const PLANTS: &str = include_str!("../../data/simbench/sgen.csv");
const BATTERIES: &str = include_str!("../../data/simbench/storage.csv");
const WEEK_LOAD: &str = include_str!("../../data/simbench/week_load_kw.csv");
const WEEK_PV: &str = include_str!("../../data/simbench/week_pv_kw.csv");
/// The day, as the profiles name it.
const DAY: &str = "2016-06-14T";
/// Delivery periods in the day.
pub const PERIODS: usize = 96;
/// First delivery period: 2016-06-14T00:00Z in quarter hours since 1970.
pub const FIRST_PERIOD: u32 = 1_628_736;
/// Decimals of the profiles' kW.
const KW_DECIMALS: u32 = 5;
/// Energy of the profiles' unit (10 mW) over a quarter hour, in 1/400 Wh: a kW for 15 minutes is 250 Wh.
const UNITS_PER_WH: i128 = 400;

/// What stands at a metering point.
#[derive(Clone, Debug)]
pub enum Device {
    /// Consumption by period.
    Load(Vec<Energy>),
    /// Generation by period.
    Plant(Vec<Energy>),
    /// A battery.
    Battery {
        /// What it holds at most.
        capacity: Energy,
    },
}

/// A participant of the grid.
#[derive(Clone, Debug)]
pub struct Site {
    /// Its name in the grid data.
    pub name: String,
    /// What it is.
    pub device: Device,
    /// Greatest energy per period in either direction.
    pub rating: Energy,
}

/// The grid over the day.
#[derive(Clone, Debug)]
pub struct World {
    /// Loads, plants, batteries, in this order.
    pub sites: Vec<Site>,
}

/// Start of a period's delivery, counted from the first.
pub fn delivery_start(period: usize) -> TimeNs {
    TimeNs::from_secs((u64::from(FIRST_PERIOD) + period as u64) * 900)
}

fn rows(text: &str) -> Vec<StringRecord> {
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    reader
        .records()
        .map(|row| row.expect("the data shipped is well-formed"))
        .collect()
}

/// A decimal of the data shipped, in `10^-decimals` of its unit; digits beyond are cut.
fn number(text: &str, decimals: u32) -> i128 {
    let end = text
        .find('.')
        .map_or(text.len(), |dot| text.len().min(dot + 1 + decimals as usize));
    let cut = text[..end].trim_end_matches('.');
    parse_decimal(cut, decimals).expect("the data shipped holds plain decimals")
}

/// Column `column` of a profile over the day, as energy per period; never negative.
fn profile(week: &[StringRecord], column: usize) -> Vec<Energy> {
    let day = week.iter().filter(|row| row[0].starts_with(DAY));
    day.map(|row| {
        let units = number(&row[column], KW_DECIMALS).max(0);
        Energy::new(((units + UNITS_PER_WH / 2) / UNITS_PER_WH) as u64)
    })
    .collect()
}

/// Energy of a MW or MWh figure: per quarter hour, or as it stands.
fn energy(text: &str, per_period: bool) -> Energy {
    let watts = number(text, 6) as u64;
    Energy::new(if per_period { watts / 4 } else { watts })
}

impl World {
    /// Reads the data shipped.
    ///
    /// # Panics
    /// If the data shipped is damaged, which a test rules out.
    pub fn load() -> Self {
        let (week_load, week_pv) = (rows(WEEK_LOAD), rows(WEEK_PV));
        let greatest = |list: &[Energy]| list.iter().copied().max().unwrap_or(Energy::ZERO);
        let mut sites = Vec::new();
        for (i, row) in rows(LOADS).iter().enumerate() {
            let energy_by_period = profile(&week_load, i + 1);
            let rating = energy(&row[5], true).max(greatest(&energy_by_period));
            sites.push(Site {
                name: row[1].to_owned(),
                device: Device::Load(energy_by_period),
                rating,
            });
        }
        for (i, row) in rows(PLANTS).iter().enumerate() {
            let energy_by_period = profile(&week_pv, i + 1);
            let rating = energy(&row[5], true).max(greatest(&energy_by_period));
            sites.push(Site {
                name: row[1].to_owned(),
                device: Device::Plant(energy_by_period),
                rating,
            });
        }
        for row in rows(BATTERIES) {
            let (rating, capacity) = (energy(&row[4], true), energy(&row[5], false));
            sites.push(Site {
                name: row[1].to_owned(),
                device: Device::Battery { capacity },
                rating,
            });
        }
        Self { sites }
    }

    /// All consumption of a period.
    pub fn total_load(&self, period: usize) -> Energy {
        self.total(|device| {
            if let Device::Load(profile) = device {
                profile[period]
            } else {
                Energy::ZERO
            }
        })
    }

    /// All generation of a period.
    pub fn total_generation(&self, period: usize) -> Energy {
        self.total(|device| {
            if let Device::Plant(profile) = device {
                profile[period]
            } else {
                Energy::ZERO
            }
        })
    }

    /// Ratings of all batteries.
    pub fn battery_rating(&self) -> Energy {
        let ratings = self
            .sites
            .iter()
            .filter(|site| matches!(site.device, Device::Battery { .. }));
        Energy::new(ratings.map(|site| site.rating.get()).sum())
    }

    fn total(&self, of: impl Fn(&Device) -> Energy) -> Energy {
        Energy::new(self.sites.iter().map(|site| of(&site.device).get()).sum())
    }

    /// The third of the day's periods in which load exceeds generation most: when batteries sell.
    pub fn peak_periods(&self) -> Vec<bool> {
        let residual = |p: usize| i128::from(self.total_load(p).get()) - i128::from(self.total_generation(p).get());
        let mut by_need: Vec<usize> = (0..PERIODS).collect();
        by_need.sort_by_key(|&p| (std::cmp::Reverse(residual(p)), p));
        let mut peak = vec![false; PERIODS];
        for &period in &by_need[..PERIODS / 3] {
            peak[period] = residual(period) > 0;
        }
        peak
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_day_is_complete() {
        let world = World::load();
        let count = |f: fn(&Device) -> bool| world.sites.iter().filter(|site| f(&site.device)).count();
        assert_eq!(count(|d| matches!(d, Device::Load(p) if p.len() == PERIODS)), 14);
        assert_eq!(count(|d| matches!(d, Device::Plant(p) if p.len() == PERIODS)), 8);
        assert_eq!(count(|d| matches!(d, Device::Battery { .. })), 4);
        // 45 of the 96 periods have no sun (the issue's own count).
        assert_eq!(
            (0..PERIODS).filter(|&p| world.total_generation(p).is_zero()).count(),
            45
        );
        assert_eq!(delivery_start(0), TimeNs::from_secs(1_465_862_400));
        assert!(world.peak_periods().iter().filter(|peak| **peak).count() > 20);
    }
}
