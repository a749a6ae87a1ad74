//! `wattbook init`: a new chain.

use crate::chain::{self, CommitteeSpec, Member, Secrets, Spec};
use crate::keys::KEYS_DIR;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};
use wattbook_types::{Param, TimeNs};

/// Makes a chain: keys, genesis, an empty ledger.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Directory of the node; created if there is none.
    #[arg(value_name = "DIR", required_unless_present = "delegates")]
    dir: Option<PathBuf>,
    /// Make a chain that so many delegates certify, 4 at least, instead of one for a node alone.
    #[arg(long, value_name = "N", requires = "out", conflicts_with = "dir")]
    delegates: Option<usize>,
    /// Nodes that follow the delegates without a seat.
    #[arg(long, value_name = "N", default_value_t = 0, requires = "delegates")]
    observers: usize,
    /// Folder of the delegates' directories; created if there is none.
    #[arg(long, value_name = "DIR", requires = "delegates")]
    out: Option<PathBuf>,
    /// Node i takes sessions at this port + i, links of other nodes 100 above, metrics 200 above.
    #[arg(long, default_value_t = 7300, requires = "delegates")]
    port: u16,
    /// Name of the network, at most 32 bytes.
    #[arg(long, default_value = "wattbook")]
    network: String,
    /// Energy Identification Code of the delivery area, at most 16 bytes.
    #[arg(long, default_value = "")]
    eic: String,
    /// Number of the delivery area in contracts.
    #[arg(long, default_value_t = 1)]
    area: u16,
    /// A parameter that differs from its default, as `key=value` in its raw unit; may be repeated.
    #[arg(long = "param", value_name = "KEY=VALUE", value_parser = parse_param)]
    params: Vec<(Param, i64)>,
    /// Size of a ledger segment, bytes.
    #[arg(long, default_value_t = 64 << 20)]
    segment_size: u64,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

fn parse_param(text: &str) -> Result<(Param, i64), String> {
    let (key, value) = text.split_once('=').ok_or("write it as key=value")?;
    let param = Param::ALL
        .iter()
        .copied()
        .find(|param| param.key() == key)
        .ok_or_else(|| {
            let keys: Vec<&str> = Param::ALL.iter().map(|param| param.key()).collect();
            format!("no parameter is called `{key}`; there are: {}", keys.join(", "))
        })?;
    let value: i64 = value.parse().map_err(|_| format!("`{value}` is not a whole number"))?;
    let (min, max) = param.bounds();
    if (min..=max).contains(&value) {
        Ok((param, value))
    } else {
        Err(format!("{key} lies between {min} and {max}"))
    }
}

/// Runs the command.
pub fn run(args: &Args) -> ExitCode {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let spec = Spec {
        network: args.network.clone(),
        eic: args.eic.clone(),
        area: args.area,
        demo: false,
        time: TimeNs::from_secs(since.as_secs()),
        params: args.params.clone(),
        segment_size: args.segment_size,
    };
    if let (Some(delegates), Some(out)) = (args.delegates, &args.out) {
        let committee = CommitteeSpec {
            delegates,
            observers: args.observers,
            port: args.port,
        };
        let made = Secrets::random().and_then(|secrets| chain::create_committee(out, &spec, &secrets, committee));
        return match made {
            Ok((chain, members)) => show_committee(args, out, &chain.0.to_string(), &members),
            Err(error) => super::fail(&error),
        };
    }
    let dir = args.dir.as_deref().unwrap_or(Path::new("."));
    let made = Secrets::random().and_then(|secrets| {
        let chain = chain::create(dir, &spec, &secrets)?;
        Ok((chain, secrets))
    });
    let (chain, secrets) = match made {
        Ok(made) => made,
        Err(error) => return super::fail(&error),
    };
    let registrar = hex::encode(secrets.registrar().verifying_key().to_bytes());
    let log_key = hex::encode(wattbook_feed::keys::log_key(&secrets.seed).verifying_key().to_bytes());
    let accounts = [chain::REGULATOR, chain::GRID_COMPANY, chain::METER_AUTHORITY];
    let public = |i: usize| hex::encode(chain::participant_key(&secrets.accounts[i], accounts[i]).public_key());
    let keys_dir = dir.join(KEYS_DIR);
    if args.json {
        let out = json!({
            "chain_id": chain.0.to_string(), "registrar": registrar, "log_key": log_key,
            "regulator": public(0), "grid_company": public(1), "meter_authority": public(2),
            "keys": keys_dir.display().to_string(),
        });
        println!("{out}");
    } else {
        println!("chain id        {}", chain.0);
        println!("registrar       {registrar}");
        println!("log key         {log_key}");
        for (i, name) in ["regulator     1", "grid company  2", "meter auth.   3"]
            .iter()
            .enumerate()
        {
            println!("{name} {}", public(i));
        }
        println!(
            "secrets         {} (mode 600; move registrar.key and participant-*.key off this machine)",
            keys_dir.display()
        );
        println!("next            wattbook run {}", dir.display());
    }
    ExitCode::SUCCESS
}

fn show_committee(args: &Args, out: &Path, chain: &str, members: &[Member]) -> ExitCode {
    let keys_dir = out.join(KEYS_DIR);
    if args.json {
        let nodes = members.iter().map(|member| {
            json!({
                "dir": member.dir.display().to_string(), "participant": member.participant.map(|id| id.get()),
                "listen": member.listen.to_string(), "peer": member.peer.to_string(), "metrics": member.metrics.to_string(),
            })
        });
        let nodes: Vec<_> = nodes.collect();
        println!(
            "{}",
            json!({ "chain_id": chain, "keys": keys_dir.display().to_string(), "nodes": nodes })
        );
        return ExitCode::SUCCESS;
    }
    println!("chain id        {chain}");
    for member in members {
        let who = member
            .participant
            .map_or("observer".to_owned(), |id| format!("delegate {id}"));
        println!("{who:<15} {} takes sessions at {}", member.dir.display(), member.listen);
    }
    println!(
        "secrets         {} and each node's keys (mode 600; move these off this machine, and each node to its own)",
        keys_dir.display()
    );
    println!("addresses       all on loopback; change `listen` and `peers` in each wattbook.toml");
    for member in members {
        println!("next            wattbook run {}", member.dir.display());
    }
    ExitCode::SUCCESS
}
