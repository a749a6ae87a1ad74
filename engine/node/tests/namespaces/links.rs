//! The links between the namespaces, by iproute2.
#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use super::SEATS;
use std::net::Ipv4Addr;
use std::process::Command;

/// Runs a command that must succeed; what it says.
pub(crate) fn done(program: &str, line: &str) -> String {
    let output = Command::new(program).args(line.split_whitespace()).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {line}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Where a delegate is in the network of the test.
pub(crate) const fn address(rank: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 83, 0, rank as u8 + 1)
}

/// A bridge in this namespace, and a namespace with a link to it for each delegate.
pub(crate) fn lay_links() {
    done("ip", "link set lo up");
    done("ip", "link add town type bridge");
    done("ip", "addr add 10.83.0.254/24 dev town");
    done("ip", "link set town up");
    for rank in 0..SEATS {
        done("ip", &format!("netns add node{rank}"));
        done(
            "ip",
            &format!("link add to{rank} type veth peer name eth0 netns node{rank}"),
        );
        done("ip", &format!("link set to{rank} master town up"));
        done("ip", &format!("-n node{rank} addr add {}/24 dev eth0", address(rank)));
        done("ip", &format!("-n node{rank} link set lo up"));
        done("ip", &format!("-n node{rank} link set eth0 up"));
    }
}

/// Takes a delegate's link down.
pub(crate) fn cut(rank: usize) {
    done("ip", &format!("link set to{rank} down"));
}

/// Puts it up again.
pub(crate) fn join(rank: usize) {
    done("ip", &format!("link set to{rank} up"));
}

/// Drops about every twelfth packet that a delegate sends; false where this kernel has no way to.
pub(crate) fn lose(rank: usize) -> bool {
    let tc = |line: &str, more: &[&str]| {
        let mut command = Command::new("tc");
        command
            .args(["-n", &format!("node{rank}")])
            .args(line.split_whitespace());
        command.args(more).output().is_ok_and(|output| output.status.success())
    };
    if tc("qdisc add dev eth0 root netem loss 8%", &[]) {
        return true;
    }
    // Without netem: a class whose queue has no room takes the packets that a filter draws, with a random word below 2^32 / 12.
    let program = "4,32 0 0 4294963256,53 1 0 357913941,6 0 0 4294967295,6 0 0 0";
    tc("qdisc add dev eth0 root handle 1: htb r2q 10000", &[])
        && tc("class add dev eth0 parent 1: classid 1:1 htb rate 1gbit", &[])
        && tc("qdisc add dev eth0 parent 1:1 handle 2: pfifo limit 0", &[])
        && tc(
            "filter add dev eth0 parent 1: protocol all prio 1 bpf bytecode",
            &[program, "flowid", "1:1"],
        )
}

/// Lets every packet through again; how many were dropped.
pub(crate) fn spare(rank: usize) -> u64 {
    let shown = done("tc", &format!("-n node{rank} -s qdisc show dev eth0 root"));
    done("tc", &format!("-n node{rank} qdisc del dev eth0 root"));
    let mut words = shown.split_whitespace();
    words.find(|word| *word == "(dropped").unwrap();
    words.next().unwrap().trim_end_matches(',').parse().unwrap()
}
