//! `wattbook clear`, run as a process: Table 2 and Table 3 of the paper, the 300 golden rounds, a day of the Iberian market,
//! a curve of pathological steps, and every way in which a file can be wrong.

use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use wattbook_market::round::{self, Owner, RoundOrder};
use wattbook_types::units::parse_decimal;
use wattbook_types::{Energy, Ppm, Price, RangeMode, Side};

const MODES: [&str; 5] = ["off", "own", "counterparty", "mutual", "either"];

/// Root of the repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn wattbook_clear(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_wattbook"))
        .arg("clear")
        .args(args)
        .output()
        .expect("the built binary starts")
}

/// Clears two files with further arguments and parses the JSON.
fn clear_json(orders: &Path, ranks: Option<&Path>, args: &[&str]) -> Value {
    let mut all = vec!["--json", "--orders", orders.to_str().expect("path")];
    if let Some(ranks) = ranks {
        all.extend(["--ranks", ranks.to_str().expect("path")]);
    }
    all.extend(args);
    let output = wattbook_clear(&all);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// A directory with files in it.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("temporary directory"))
    }

    fn put(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, bytes).expect("temporary file");
        path
    }
}

/// The text of a JSON member.
fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key]
        .as_str()
        .unwrap_or_else(|| panic!("{key} is a string in {value}"))
}

/// A JSON member as a count of `10^-decimals`.
fn number(value: &Value, key: &str, decimals: u32) -> i128 {
    parse_decimal(text(value, key), decimals).unwrap_or_else(|error| panic!("{key} in {value}: {error:?}"))
}

fn rows<const N: usize>(value: &Value, list: &str, keys: [&str; N]) -> Vec<[String; N]> {
    let list = value[list].as_array().expect("a list");
    list.iter()
        .map(|row| keys.map(|key| text(row, key).to_owned()))
        .collect()
}

fn deals(value: &Value) -> Vec<[String; 4]> {
    rows(value, "deals", ["buyer", "seller", "price", "quantity"])
}

fn unmatched(value: &Value) -> Vec<[String; 4]> {
    rows(value, "unmatched", ["id", "side", "quantity", "reason"])
}

fn table_2(args: &[&str]) -> Value {
    let examples = root().join("docs/examples");
    clear_json(
        &examples.join("table2.csv"),
        Some(&examples.join("table2-ranks.csv")),
        args,
    )
}

#[test]
fn table_2_with_everyone_in_reach() {
    for mode in ["either", "off", "counterparty"] {
        let got = table_2(&["--range", mode]);
        assert_eq!(
            deals(&got),
            [["U2", "D2", "95", "1"], ["U1", "D3", "97", "1"]],
            "{mode}"
        );
        // Against U3's 95 stood D2's 90, against D1's 100 stood U2's 100; both are used up.
        assert_eq!(
            unmatched(&got),
            [["U3", "B", "1", "Exhausted"], ["D1", "S", "1", "Exhausted"]],
            "{mode}"
        );
        assert_eq!(got["price"], Value::Null);
        for (key, expected) in [("volume", "2"), ("welfare", "10"), ("welfare_max", "10")] {
            assert_eq!(text(&got, key), expected, "{mode} {key}");
        }
    }
    assert_eq!(
        table_2(&[]),
        table_2(&["--range", "either", "--deal-price", "midpoint"]),
        "the defaults"
    );
}

#[test]
fn table_2_with_the_choosers_range() {
    for mode in ["own", "mutual"] {
        let got = table_2(&["--range", mode]);
        assert_eq!(deals(&got), [["U2", "D2", "95", "1"]], "{mode}");
        let expected = [
            ["U1", "B", "1", "OutOfRange"],
            ["U3", "B", "1", "Exhausted"],
            ["D1", "S", "1", "Exhausted"],
            ["D3", "S", "1", "OutOfRange"],
        ];
        assert_eq!(unmatched(&got), expected, "{mode}");
        for (key, expected) in [("volume", "1"), ("welfare", "10"), ("welfare_max", "10")] {
            assert_eq!(text(&got, key), expected, "{mode} {key}");
        }
    }
}

#[test]
fn json_has_these_members_in_this_order() {
    let examples = root().join("docs/examples");
    let orders = examples.join("table2.csv");
    let output = wattbook_clear(&[
        "--json",
        "--orders",
        orders.to_str().expect("path"),
        "--deal-price",
        "uniform",
    ]);
    let expected = concat!(
        r#"{"deals":[{"buyer":"U2","seller":"D2","bid":"100","ask":"90","price":"97","quantity":"1"},"#,
        r#"{"buyer":"U1","seller":"D3","bid":"97","ask":"97","price":"97","quantity":"1"}],"#,
        r#""unmatched":[{"id":"U3","side":"B","quantity":"1","reason":"PriceNotMet"},"#,
        r#"{"id":"D1","side":"S","quantity":"1","reason":"PriceNotMet"}],"#,
        r#""price":"97","volume":"2","welfare":"10","welfare_max":"10"}"#,
        "\n",
    );
    assert_eq!(String::from_utf8(output.stdout).expect("UTF-8"), expected);
}

#[test]
fn the_table_for_readers() {
    let examples = root().join("docs/examples");
    let (orders, ranks) = (examples.join("table2.csv"), examples.join("table2-ranks.csv"));
    let args = [
        "--orders",
        orders.to_str().expect("path"),
        "--ranks",
        ranks.to_str().expect("path"),
    ];
    let output = wattbook_clear(&args);
    assert!(output.status.success() && output.stderr.is_empty());
    let expected = "\
Deals, points/MWh and MWh
  buyer  seller  bid  ask  price  quantity
  U2     D2      100   90     95         1
  U1     D3       97   97     97         1

Unmatched, MWh
  id  side  quantity  reason
  U3  B            1  Exhausted  nothing it could trade with is left
  D1  S            1  Exhausted  nothing it could trade with is left

Totals
  volume   2 MWh
  welfare  10 points of at most 10
";
    assert_eq!(String::from_utf8(output.stdout).expect("UTF-8"), expected);
    let output = wattbook_clear(&[&args[..], &["--range", "own", "--deal-price", "uniform"]].concat());
    let table = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(
        table.contains("  uniform price  97 points/MWh, 2 MWh before ranges\n"),
        "{table}"
    );
    assert!(
        table.contains("  D1  S            1  PriceNotMet  no opposite price closes with this limit\n"),
        "{table}"
    );
}

/// The participants of Table 2, in the order of the example file: id, bid or ask, price in points/MWh, percentile in ppm.
const TABLE_2: [(&str, Side, i32, u32); 6] = [
    ("U1", Side::Buy, 97, 600_000),
    ("U2", Side::Buy, 100, 100_000),
    ("U3", Side::Buy, 95, 300_000),
    ("D1", Side::Sell, 100, 100_000),
    ("D2", Side::Sell, 90, 600_000),
    ("D3", Side::Sell, 97, 300_000),
];

/// Whom each participant may trade with by Table 3; docs/paper.md says what of this is printed and what inferred.
const TABLE_3: [(&str, &[&str]); 6] = [
    ("U1", &["D2", "D3"]),
    ("U2", &["D1", "D2", "D3"]),
    ("U3", &["D2"]),
    ("D1", &["U2"]),
    ("D2", &["U1", "U2", "U3"]),
    ("D3", &["U1", "U3"]),
];

/// The list a row would have under `mode`: its owner chooses, and bid >= ask closes.
fn table_3_row(mode: RangeMode, row: usize) -> Vec<&'static str> {
    let owners: Vec<Owner> = (0..6)
        .map(|i| Owner {
            priority: i as u32,
            percentile: Ppm::new(TABLE_2[i].3),
            group: i as u32,
        })
        .collect();
    let orders: Vec<RoundOrder> = (0..6)
        .map(|i| RoundOrder {
            owner: i as u32,
            side: TABLE_2[i].1,
            price: Price::new(100 * TABLE_2[i].2),
            energy: Energy::new(1_000_000),
            min_fill: Energy::ZERO,
            index: 0,
            spare_rank: i as u32,
            charge_covered: true,
        })
        .collect();
    let places = round::rank(&owners, &orders);
    let place = |i: usize| places[i][orders[i].side.index()].expect("every participant has an order");
    let (chooser, side) = (place(row), orders[row].side);
    (0..6)
        .filter(|&i| orders[i].side != side)
        .filter(|&i| side.concedes(orders[row].price, orders[i].price))
        .filter(|&i| mode.allows(place(i).pos <= chooser.range, chooser.pos <= place(i).range))
        .map(|i| TABLE_2[i].0)
        .collect()
}

#[test]
fn table_3_row_by_row() {
    let wrong = |mode: RangeMode| -> Vec<&str> {
        let rows = TABLE_3.iter().enumerate();
        rows.filter(|(i, (_, list))| table_3_row(mode, *i) != *list)
            .map(|(_, (id, _))| *id)
            .collect()
    };
    assert_eq!(wrong(RangeMode::Off), ["D3"]);
    assert_eq!(wrong(RangeMode::Either), ["D3"]);
    assert_eq!(wrong(RangeMode::Own), ["U1", "D2", "D3"]);
    assert_eq!(wrong(RangeMode::Counterparty), ["U1", "U3", "D3"]);
    assert_eq!(wrong(RangeMode::Mutual), ["U1", "U3", "D2", "D3"]);
    // Row D3 fails in every mode, whether the paper's row holds U1 or not: no mode lists U3, whose 95 does not close with 97.
    for mode in RangeMode::ALL {
        assert!(!table_3_row(mode, 5).contains(&"U3"), "{}", mode.name());
    }
    assert_eq!(table_3_row(RangeMode::Off, 5), ["U1", "U2"]);
}

#[test]
fn the_example_files_are_table_2() {
    let read = |name: &str| std::fs::read_to_string(root().join("docs/examples").join(name)).expect("example");
    let (mut orders, mut ranks) = ("id,side,price,quantity\n".to_owned(), "id,percentile\n".to_owned());
    for (id, side, price, ppm) in TABLE_2 {
        let side = if side == Side::Buy { "B" } else { "S" };
        writeln!(orders, "{id},{side},{price},1").expect("string");
        writeln!(ranks, "{id},0.{}", ppm / 100_000).expect("string");
    }
    assert_eq!(read("table2.csv"), orders);
    assert_eq!(read("table2-ranks.csv"), ranks);
}

#[test]
fn the_golden_rounds_from_files() {
    let path = root().join("engine/market/tests/golden/rounds.json");
    let cases: Vec<Value> = serde_json::from_slice(&std::fs::read(path).expect("golden rounds")).expect("JSON");
    assert_eq!(cases.len(), 300);
    let files = Files::new();
    for (i, case) in cases.iter().enumerate() {
        let (mut orders, mut ranks) = ("id,side,price,quantity\n".to_owned(), "id,percentile\n".to_owned());
        for order in case["orders"].as_array().expect("orders") {
            let (id, side) = (order[0].as_str().expect("id"), order[1].as_str().expect("side"));
            let (price, energy) = (order[2].as_i64().expect("price"), order[3].as_u64().expect("energy"));
            let ppm = order[4].as_u64().expect("percentile");
            let (price, energy) = (fixed(price.into(), 2), fixed(energy.into(), 6));
            writeln!(orders, "{id},{side},{price},{energy}").expect("string");
            writeln!(ranks, "{id},{}", fixed(ppm.into(), 6)).expect("string");
        }
        let (orders, ranks) = (files.put("orders.csv", orders), files.put("ranks.csv", ranks));
        let mut args = vec!["--range", text(case, "mode"), "--deal-price", text(case, "deal_price")];
        let reference = case["reference"].as_i64().map(|ticks| fixed(ticks.into(), 2));
        if let Some(reference) = &reference {
            args.extend(["--reference", reference]);
        }
        let got = clear_json(&orders, Some(&ranks), &args);
        let expected = &case["result"];
        let list = got["deals"].as_array().expect("deals").iter();
        let deals: Vec<Value> = list
            .map(|d| {
                let half_ticks = number(d, "price", 3) / 5;
                let price = i64::try_from(half_ticks).expect("price");
                let energy = u64::try_from(number(d, "quantity", 6)).expect("energy");
                serde_json::json!([text(d, "buyer"), text(d, "seller"), price, energy])
            })
            .collect();
        assert_eq!(Value::from(deals), expected["deals"], "case {i}");
        let price = (!got["price"].is_null()).then(|| i64::try_from(number(&got, "price", 2)).expect("price"));
        assert_eq!(serde_json::json!(price), expected["price"], "case {i}");
        assert_eq!(
            Some(number(&got, "volume", 6)),
            expected["volume"].as_u64().map(i128::from),
            "case {i}"
        );
    }
}

#[test]
fn a_day_of_the_iberian_market() {
    let data = root().join("../shared/data/mibel_20250621");
    let read = |name: &str| std::fs::read_to_string(data.join(name));
    let (Ok(curves), Ok(published)) = (read("curves.csv"), read("published_prices.csv")) else {
        // The data may not be copied, so its absence is no failure, not even with CI=true. Written past the test harness,
        // which keeps what passing tests print, and on a line of its own, so that it can be counted.
        let why = "mibel_20250621 is not beside the repository (local data, not to be copied)";
        writeln!(std::io::stderr(), "\nSKIPPED: a_day_of_the_iberian_market: {why}").expect("stderr");
        return;
    };
    let mut hours: BTreeMap<u32, String> = BTreeMap::new();
    for (i, line) in curves.lines().enumerate().skip(1) {
        let [period, side, price, quantity] = line.split(',').collect::<Vec<_>>()[..] else {
            panic!("line {line}")
        };
        let hour = hours
            .entry(period.parse().expect("hour"))
            .or_insert_with(|| "id,side,price,quantity\n".into());
        writeln!(hour, "L{},{side},{price},{quantity}", i + 1).expect("string");
    }
    assert_eq!(hours.len(), 24);
    let files = Files::new();
    let (mut exact, mut inside) = (Vec::new(), Vec::new());
    for line in published.lines().skip(1) {
        let cells: Vec<&str> = line.split(',').collect();
        let hour: u32 = cells[0].parse().expect("hour");
        let ticks = |cell: usize| parse_decimal(cells[cell], 2).expect("price");
        let got = clear_json(
            &files.put("hour.csv", &hours[&hour]),
            None,
            &["--deal-price", "uniform"],
        );
        let price = number(&got, "price", 2);
        if price == ticks(1) {
            exact.push(hour);
        }
        if (ticks(2)..=ticks(3)).contains(&price) {
            inside.push(hour);
        }
        assert_eq!(text(&got, "welfare"), text(&got, "welfare_max"), "hour {hour}");
    }
    assert!(exact.starts_with(&(1..=12).collect::<Vec<_>>()), "{exact:?}");
    // In hour 22 the French price decided.
    assert_eq!(inside, (1..=24).filter(|&hour| hour != 22).collect::<Vec<_>>());
}

/// SplitMix64: the same steps on every machine.
struct Steps(u64);

impl Steps {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }
}

/// A step of a curve: ticks and Wh.
type Step = (Side, i128, i128);

/// 600 steps: the ends of the price type, negative, zero and many equal prices; 1 Wh, 6,842.6 MWh and 1e18 Wh.
fn pathological_curve(seed: u64) -> Vec<Step> {
    let mut rng = Steps(seed);
    (0..600)
        .map(|i| {
            let side = if i % 2 == 0 { Side::Buy } else { Side::Sell };
            let price = match rng.next(12) {
                0 => i32::MIN.into(),
                1 => i32::MAX.into(),
                2 => -49_900,
                3 => 400_000,
                4 | 5 => 0,
                6 | 7 => 4_000,
                _ => i128::from(rng.next(20_000)) - 5_000,
            };
            let energy = match rng.next(10) {
                0 => 1,
                1 | 2 => 6_842_600_000,
                3 if i < 2 => 1_000_000_000_000_000_000,
                _ => 1 + i128::from(rng.next(900_000_007)),
            };
            (side, price, energy)
        })
        .collect()
}

/// `raw / 10^decimals` with all its decimals.
fn fixed(raw: i128, decimals: u32) -> String {
    let scale = 10u128.pow(decimals);
    let (sign, raw) = (if raw < 0 { "-" } else { "" }, raw.unsigned_abs());
    format!(
        "{sign}{}.{:0width$}",
        raw / scale,
        raw % scale,
        width = decimals as usize
    )
}

/// Demand at or above a price, supply at or below it.
fn curves_at(curve: &[Step], price: i128) -> (i128, i128) {
    let sum = |side: Side, open: &dyn Fn(i128) -> bool| -> i128 {
        curve
            .iter()
            .filter(|step| step.0 == side && open(step.1))
            .map(|step| step.2)
            .sum()
    };
    (sum(Side::Buy, &|p| p >= price), sum(Side::Sell, &|p| p <= price))
}

#[test]
fn a_pathological_curve_of_600_steps() {
    let files = Files::new();
    for (seed, reference) in [(1, None), (2, Some(-3_999)), (3, Some(4_100)), (4, None)] {
        let curve = pathological_curve(seed);
        let (mut orders, mut ranks) = ("id,side,price,quantity\n".to_owned(), "id,percentile\n".to_owned());
        for (i, (side, price, energy)) in curve.iter().enumerate() {
            let side = if *side == Side::Buy { "B" } else { "S" };
            writeln!(orders, "{i},{side},{},{}", fixed(*price, 2), fixed(*energy, 6)).expect("string");
            writeln!(ranks, "{i},{}", fixed((i as i128 * 7_919_000_003) % 1_000_001, 6)).expect("string");
        }
        let (orders, ranks) = (files.put("orders.csv", orders), files.put("ranks.csv", ranks));

        // The price by its definition, over every limit.
        let mut limits: Vec<i128> = curve.iter().map(|step| step.1).collect();
        limits.sort_unstable();
        limits.dedup();
        let merit = |p: i128| {
            let (demand, supply) = curves_at(&curve, p);
            (
                -demand.min(supply),
                (demand - supply).abs(),
                reference.map_or(0, |r: i128| (p - r).abs()),
                p,
            )
        };
        let price = limits.iter().copied().min_by_key(|&p| merit(p)).expect("limits");
        let volume = -merit(price).0;
        // The area between the curves: at every tick the smaller of what is wanted above and offered below it.
        let area: i128 = limits
            .windows(2)
            .map(|pair| (pair[1] - pair[0]) * curves_at(&curve, pair[1]).0.min(curves_at(&curve, pair[0]).1))
            .sum();

        for mode in MODES {
            let mut args = vec!["--deal-price", "uniform", "--range", mode];
            let given = reference.map(|r| fixed(r, 2));
            if let Some(given) = &given {
                args.extend(["--reference", given]);
            }
            let got = clear_json(&orders, Some(&ranks), &args);
            assert_eq!(number(&got, "price", 2), price, "seed {seed} {mode}");
            let (mut filled, mut welfare) = (vec![0i128; curve.len()], 0);
            for deal in got["deals"].as_array().expect("deals") {
                let index = |key: &str| text(deal, key).parse::<usize>().expect("id");
                let (buy, sell, energy) = (index("buyer"), index("seller"), number(deal, "quantity", 6));
                assert!(curve[buy].0 == Side::Buy && curve[sell].0 == Side::Sell && energy > 0);
                assert_eq!(
                    (number(deal, "bid", 2), number(deal, "ask", 2)),
                    (curve[buy].1, curve[sell].1)
                );
                assert!(
                    curve[buy].1 >= price && price >= curve[sell].1,
                    "seed {seed} {mode}: {deal}"
                );
                assert_eq!(number(deal, "price", 2), price);
                filled[buy] += energy;
                filled[sell] += energy;
                welfare += energy * (curve[buy].1 - curve[sell].1);
            }
            let mut rest: Vec<i128> = curve.iter().map(|step| step.2).collect();
            for left in got["unmatched"].as_array().expect("unmatched") {
                let i: usize = text(left, "id").parse().expect("id");
                let energy = number(left, "quantity", 6);
                assert!(
                    energy > 0 && filled[i] + energy == curve[i].2,
                    "seed {seed} {mode}: {left}"
                );
                let worse = if curve[i].0 == Side::Buy {
                    curve[i].1 < price
                } else {
                    curve[i].1 > price
                };
                assert_eq!(
                    text(left, "reason") == "PriceNotMet",
                    worse,
                    "seed {seed} {mode}: {left}"
                );
                rest[i] -= energy;
            }
            assert_eq!(rest, filled, "seed {seed} {mode}: every remainder is listed");
            assert_eq!(number(&got, "welfare", 8), welfare, "seed {seed} {mode}");
            assert_eq!(number(&got, "welfare_max", 8), area, "seed {seed} {mode}");
            let traded = number(&got, "volume", 6);
            assert_eq!(traded, filled.iter().sum::<i128>() / 2, "seed {seed} {mode}");
            if mode == "off" {
                assert_eq!((traded, welfare), (volume, area), "seed {seed}");
            }
            assert!(traded <= volume && welfare <= area, "seed {seed} {mode}");
        }
    }
}

#[test]
fn prices_by_rule() {
    let files = Files::new();
    let orders = files.put("orders.csv", "id,side,price,quantity\na,B,-1.05,0.000003\nb,S,-2.1,2\n");
    for (rule, price) in [("midpoint", "-1.575"), ("pay-as-bid", "-1.05"), ("pay-as-ask", "-2.1")] {
        let got = clear_json(&orders, None, &["--deal-price", rule]);
        assert_eq!(deals(&got), [["a", "b", price, "0.000003"]], "{rule}");
        assert_eq!(got["price"], Value::Null);
        assert_eq!(unmatched(&got), [["b", "S", "1.999997", "Exhausted"]]);
        assert_eq!(
            (text(&got, "welfare"), text(&got, "welfare_max")),
            ("0.00000315", "0.00000315")
        );
    }
    // 3 Wh clear at both limits: the nearer one to the reference, in micro-points, else the lower.
    for (reference, price) in [
        ("-1.575", "-2.1"),
        ("-1.574999", "-1.05"),
        ("-1.575001", "-2.1"),
        ("900", "-1.05"),
    ] {
        let orders = files.put(
            "even.csv",
            "id,side,price,quantity\na,B,-1.05,0.000003\nb,S,-2.1,0.000003\n",
        );
        let got = clear_json(&orders, None, &["--deal-price", "uniform", "--reference", reference]);
        assert_eq!(text(&got, "price"), price, "{reference}");
        assert_eq!(text(&got, "volume"), "0.000003");
    }
}

#[test]
fn ties_go_by_percentile_then_by_the_order_of_the_file() {
    let files = Files::new();
    let orders = files.put(
        "orders.csv",
        "id,side,price,quantity\ns1,S,5,1\ns2,S,5,1\ns3,S,5,1\nb,B,5,2\n",
    );
    let sellers = |got: &Value| deals(got).into_iter().map(|d| d[1].clone()).collect::<Vec<_>>();
    assert_eq!(sellers(&clear_json(&orders, None, &["--range", "off"])), ["s1", "s2"]);
    let ranks = files.put("ranks.csv", "id,percentile\nb,0\ns1,1\ns2,0.5\ns3,0.499999\n");
    assert_eq!(
        sellers(&clear_json(&orders, Some(&ranks), &["--range", "off"])),
        ["s3", "s2"]
    );
    // Spare Wh of a uniform price go by the file alone: 2 Wh over three equal asks.
    let orders = files.put(
        "spare.csv",
        "id,side,price,quantity\ns1,S,5,0.000001\ns2,S,5,0.000001\ns3,S,5,0.000001\nb,B,5,0.000002\n",
    );
    let got = clear_json(&orders, Some(&ranks), &["--range", "off", "--deal-price", "uniform"]);
    assert_eq!(
        sellers(&got),
        ["s2", "s1"],
        "s1 and s2 hold the spare Wh, s2 ranks first"
    );
}

#[test]
fn rounds_without_deals() {
    let files = Files::new();
    let none = files.put("none.csv", "id,side,price,quantity\n");
    let got = clear_json(&none, None, &["--deal-price", "uniform"]);
    let empty = r#"{"deals":[],"unmatched":[],"price":null,"volume":"0","welfare":"0","welfare_max":"0"}"#;
    assert_eq!(got, serde_json::from_str::<Value>(empty).expect("JSON"));
    let output = wattbook_clear(&["--orders", none.to_str().expect("path")]);
    let table = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(
        table.starts_with("Deals, points/MWh and MWh\n  none\n\nUnmatched, MWh\n  none\n\nTotals\n"),
        "{table}"
    );

    let one_side = files.put("one.csv", "id,side,price,quantity\na,B,1,1\n");
    let got = clear_json(&one_side, None, &[]);
    assert_eq!(unmatched(&got), [["a", "B", "1", "NoCounterparty"]]);
    let apart = files.put("apart.csv", "id,side,price,quantity\na,B,1,1\nb,S,1.01,1\n");
    for rule in ["midpoint", "uniform"] {
        let got = clear_json(&apart, None, &["--deal-price", rule]);
        assert_eq!(
            unmatched(&got),
            [["a", "B", "1", "PriceNotMet"], ["b", "S", "1", "PriceNotMet"]],
            "{rule}"
        );
        assert_eq!(got["price"], Value::Null);
    }
}

#[test]
fn tolerated_forms() {
    let files = Files::new();
    let plain = clear_json(&root().join("docs/examples/table2.csv"), None, &[]);
    let source = std::fs::read_to_string(root().join("docs/examples/table2.csv")).expect("example");
    let forms = [
        ("mark", format!("\u{feff}{source}")),
        ("carriage returns", source.replace('\n', "\r\n")),
        ("both", format!("\u{feff}{}", source.replace('\n', "\r\n"))),
        ("blank lines", format!("\n\n{}\n\n", source.replace("\nU3", "\n\nU3"))),
        ("spaces", source.replace(',', " , ")),
        ("quotes", source.replace("U1", "\"U1\"").replace("97", "\"97\"")),
        ("no last line end", source.trim_end().to_owned()),
        ("trailing zeros", source.replace(",97,1\n", ",97.0000,1.00000000\n")),
        (
            "other columns order",
            source
                .lines()
                .map(|l| l.split(',').rev().collect::<Vec<_>>().join(",") + "\n")
                .collect(),
        ),
    ];
    for (name, form) in forms {
        assert_eq!(clear_json(&files.put("orders.csv", form), None, &[]), plain, "{name}");
    }
    let ids = files.put(
        "ids.csv",
        "id,side,price,quantity\n\"a,\"\"b\"\"\",B,1,1\nпокупатель,B,1,1\n",
    );
    assert_eq!(
        unmatched(&clear_json(&ids, None, &[]))
            .iter()
            .map(|row| &row[0])
            .collect::<Vec<_>>(),
        ["a,\"b\"", "покупатель"]
    );
}

/// Runs `clear`, which must fail with exactly one line on stderr; `FILES/` in `expected` is the directory of the files.
fn refused(files: &Files, args: &[&str], expected: &str) {
    let output = wattbook_clear(args);
    let stderr = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(
        stderr,
        expected.replace("FILES", files.0.path().to_str().expect("path")) + "\n"
    );
    assert_eq!(output.status.code(), Some(1), "{expected}");
    assert!(output.stdout.is_empty(), "{expected}");
}

#[test]
fn malformed_orders() {
    const HEAD: &str = "id,side,price,quantity\n";
    let long = "9".repeat(70);
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (
            vec![],
            "1: the file is empty; its first line names the columns id,side,price,quantity",
        ),
        (
            b"\xef\xbb\xbf\r\n".to_vec(),
            "1: the file is empty; its first line names the columns id,side,price,quantity",
        ),
        (
            b"id,side,quantity\na,B,1\n".to_vec(),
            "1: there is no column \"price\"; the columns are id,side,price,quantity",
        ),
        (
            b"id,side,price,quantity,note\na,B,1,1,x\n".to_vec(),
            "1: column 5 (note): no such column; the columns are id,side,price,quantity",
        ),
        (
            b"a,B,1,1\n".to_vec(),
            "1: column 1 (a): no such column; the columns are id,side,price,quantity",
        ),
        (
            b"id,side,price,quantity,price\n".to_vec(),
            "1: column 5 (price): the column is named twice; keep one",
        ),
        (
            b"id,side,pr\xffice,quantity\n".to_vec(),
            "1: column 3 (header): not UTF-8; save the file as UTF-8",
        ),
        (
            format!("{HEAD}a,B,1\n").into(),
            "2: expected 4 fields, found 3; check commas and quotes",
        ),
        (
            format!("{HEAD}a,B,1,1\nb,S,1,000,1\n").into(),
            "3: expected 4 fields, found 5; check commas and quotes",
        ),
        (
            format!("{HEAD},B,1,1\n").into(),
            "2: column 1 (id): the id is empty; every order needs one",
        ),
        (
            format!("{HEAD}  ,B,1,1\n").into(),
            "2: column 1 (id): the id is empty; every order needs one",
        ),
        (
            format!("{HEAD}\"a\nb\",B,1,1\n").into(),
            "2: column 1 (id): \"a\\nb\" contains a control character; use plain text",
        ),
        (
            format!("{HEAD}a,B,1,1\n\n\nb,B,1,1\na,S,1,1\n").into(),
            "6: column 1 (id): \"a\" is taken by line 2; ids are unique, one participant each",
        ),
        (
            format!("{HEAD}a,B,1,1\nb,buy,1,1\n").into(),
            "3: column 2 (side): \"buy\" is neither B nor S; write B for a bid, S for an ask",
        ),
        (
            format!("{HEAD}a,b,1,1\n").into(),
            "2: column 2 (side): \"b\" is neither B nor S; write B for a bid, S for an ask",
        ),
        (
            format!("{HEAD}1,B,1,1\n2,B,1,1\n3,B,1,1\n4,B,1,1\n5,B,1,1\n6,B,12.345,1\n").into(),
            "7: column 3 (price): \"12.345\" has more than 2 decimals; round it",
        ),
        (
            format!("{HEAD}a,B,1e3,1\n").into(),
            "2: column 3 (price): \"1e3\" is no plain decimal number; write it like 12.5",
        ),
        (
            format!("{HEAD}a,B,,1\n").into(),
            "2: column 3 (price): \"\" is no plain decimal number; write it like 12.5",
        ),
        (
            format!("{HEAD}a,B,21474836.48,1\n").into(),
            "2: column 3 (price): \"21474836.48\" is out of range; write a value from -21474836.48 to 21474836.47",
        ),
        (
            format!("{HEAD}a,B,-21474836.49,1\n").into(),
            "2: column 3 (price): \"-21474836.49\" is out of range; write a value from -21474836.48 to 21474836.47",
        ),
        (
            format!("{HEAD}a,B,{long},1\n").into(),
            "2: column 3 (price): \"9999999999999999999999999999999999999999...\" is out of range; \
             write a value from -21474836.48 to 21474836.47",
        ),
        (
            format!("{HEAD}a,B,1,0.0000001\n").into(),
            "2: column 4 (quantity): \"0.0000001\" has more than 6 decimals; round it",
        ),
        (
            format!("{HEAD}a,B,1,one\n").into(),
            "2: column 4 (quantity): \"one\" is no plain decimal number; write it like 12.5",
        ),
        (
            format!("{HEAD}a,B,1,0.000\n").into(),
            "2: column 4 (quantity): \"0.000\" is out of range; write a value from 0.000001 to 18446744073709.551615",
        ),
        (
            format!("{HEAD}a,B,1,-1\n").into(),
            "2: column 4 (quantity): \"-1\" is out of range; write a value from 0.000001 to 18446744073709.551615",
        ),
        (
            format!("{HEAD}a,B,1,18446744073709.551616\n").into(),
            "2: column 4 (quantity): \"18446744073709.551616\" is out of range; \
             write a value from 0.000001 to 18446744073709.551615",
        ),
        (
            format!("{HEAD}a,B,1,18446744073709.551615\nb,S,1,1\nc,B,1,0.000001\n").into(),
            "4: column 4 (quantity): the quantities of this side add up to more than 18446744073709.551615 MWh here; \
             split the round",
        ),
        (
            [HEAD.as_bytes(), b"a,B,1,1\nb\xff,S,1,1\n"].concat(),
            "3: column 1 (id): not UTF-8; save the file as UTF-8",
        ),
        (
            format!("\u{feff}\r\n{}\r\n\r\na,B,1,1\r\n\r\nb,S,x,1\r\n", HEAD.trim_end()).into(),
            "6: column 3 (price): \"x\" is no plain decimal number; write it like 12.5",
        ),
        (
            b"quantity,price,side,id\n1,x,B,a\n".to_vec(),
            "2: column 2 (price): \"x\" is no plain decimal number; write it like 12.5",
        ),
        (
            format!("{HEAD}\"a,B,1,1\nb,S,1,1\n").into(),
            "2: expected 4 fields, found 1; check commas and quotes",
        ),
    ];
    let files = Files::new();
    for (bytes, expected) in cases {
        let path = files.put("orders.csv", bytes);
        let expected = format!("FILES/orders.csv:{expected}");
        refused(&files, &["--orders", path.to_str().expect("path")], &expected);
        refused(&files, &["--json", "--orders", path.to_str().expect("path")], &expected);
    }
}

#[test]
fn the_ends_of_the_ranges_are_taken() {
    let files = Files::new();
    let orders =
        "id,side,price,quantity\na,B,21474836.47,18446744073709.551615\nb,S,-21474836.48,18446744073709.551615\n";
    let orders = files.put("orders.csv", orders);
    for rule in ["midpoint", "uniform"] {
        let got = clear_json(&orders, None, &["--deal-price", rule]);
        let price = if rule == "midpoint" { "-0.005" } else { "-21474836.48" };
        assert_eq!(deals(&got), [["a", "b", price, "18446744073709.551615"]]);
        // (2^32 - 1) tick x (2^64 - 1) Wh at 1e-8 point.
        assert_eq!(text(&got, "welfare"), "792281624958175935155.39431425");
    }
}

#[test]
fn malformed_ranks() {
    let files = Files::new();
    let orders = files.put("orders.csv", "id,side,price,quantity\na,B,1,1\nb,S,1,1\n");
    let orders = orders.to_str().expect("path");
    let cases = [
        (
            "",
            "1: the file is empty; its first line names the columns id,percentile",
        ),
        (
            "id,rank\n",
            "1: column 2 (rank): no such column; the columns are id,percentile",
        ),
        (
            "id\n",
            "1: there is no column \"percentile\"; the columns are id,percentile",
        ),
        (
            "id,percentile\na\n",
            "2: expected 2 fields, found 1; check commas and quotes",
        ),
        (
            "id,percentile\n,0\n",
            "2: column 1 (id): the id is empty; every order needs one",
        ),
        (
            "id,percentile\na,0\na,0\n",
            "3: column 1 (id): \"a\" is taken by line 2; ids are unique, one participant each",
        ),
        (
            "id,percentile\na,0\nc,0\nb,0\n",
            "3: column 1 (id): \"c\" has no order in the order file; remove the row or correct the id",
        ),
        (
            "id,percentile\na,1.000001\n",
            "2: column 2 (percentile): \"1.000001\" is out of range; write a value from 0 to 1",
        ),
        (
            "id,percentile\na,-0.1\n",
            "2: column 2 (percentile): \"-0.1\" is out of range; write a value from 0 to 1",
        ),
        (
            "id,percentile\na,0.1234567\n",
            "2: column 2 (percentile): \"0.1234567\" has more than 6 decimals; round it",
        ),
        (
            "id,percentile\na,10%\n",
            "2: column 2 (percentile): \"10%\" is no plain decimal number; write it like 12.5",
        ),
    ];
    for (text, expected) in cases {
        let ranks = files.put("ranks.csv", text);
        let args = ["--orders", orders, "--ranks", ranks.to_str().expect("path")];
        refused(&files, &args, &format!("FILES/ranks.csv:{expected}"));
    }
    let ranks = files.put("ranks.csv", "id,percentile\na,0\n");
    refused(
        &files,
        &["--orders", orders, "--ranks", ranks.to_str().expect("path")],
        "FILES/ranks.csv: no percentile for id \"b\" of FILES/orders.csv:3; add a row for it or leave out --ranks",
    );
}

#[test]
fn files_that_are_not_there() {
    let files = Files::new();
    let orders = files.put("orders.csv", "id,side,price,quantity\n");
    let missing = files.0.path().join("missing.csv");
    let why = "FILES/missing.csv: cannot be read: No such file or directory (os error 2); check the path";
    refused(&files, &["--orders", missing.to_str().expect("path")], why);
    let args = [
        "--orders",
        orders.to_str().expect("path"),
        "--ranks",
        missing.to_str().expect("path"),
    ];
    refused(&files, &args, why);
}

#[test]
fn arguments_are_checked_before_files_are_read() {
    for (args, expected) in [
        (
            ["--range", "all"],
            "possible values: off, own, counterparty, mutual, either",
        ),
        (
            ["--deal-price", "vwap"],
            "possible values: midpoint, pay-as-bid, pay-as-ask, uniform",
        ),
        (["--reference", "1.1234567"], "at most 6 decimals are compared"),
        (["--reference", "-"], "write points/MWh as a plain decimal, like -12.5"),
        (["--reference", "9999999999999999"], "no price is that large"),
    ] {
        let output = wattbook_clear(&[&["--orders", "missing.csv"][..], &args].concat());
        let stderr = String::from_utf8(output.stderr).expect("UTF-8");
        assert!(stderr.contains(expected), "{stderr}");
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(output.stdout.is_empty());
    }
}
