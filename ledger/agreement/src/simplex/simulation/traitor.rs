//! Seats that do not run the product's code: one breaks the rule of voting at every turn, in the first epoch, one floods the
//! others with noise and with their own messages.

use super::super::{Digest, PeerKey, Scheme, seats::Seats, wire::digest};
use commonware_codec::{DecodeExt, Encode};
use commonware_consensus::simplex::types::{Finalize, Notarize, Nullify, Vote};
use commonware_p2p::{Receiver, Recipients, Sender, utils::mux::Muxer};
use commonware_runtime::{Clock, Metrics, Spawner};
use core::time::Duration;
use rand_core::Rng;
use std::{collections::BTreeSet, sync::Arc};
use wattbook_types::sha256;

/// Signs, for every block it hears a vote on, that block and another; in every other view it gives up as well.
pub(super) async fn run<E, Tx, Rx>(context: E, seats: Arc<Seats>, (sender, receiver): (Tx, Rx))
where
    E: Spawner + Metrics,
    Tx: Sender<PublicKey = PeerKey>,
    Rx: Receiver<PublicKey = PeerKey>,
{
    let (mux, mut votes) = Muxer::new(context.child("mux"), sender, receiver);
    mux.start();
    let (mut sender, mut receiver) = votes.register(0).await.expect("the first epoch's channel");
    let scheme: &Scheme = &seats.scheme;
    let mut betrayed = BTreeSet::new();
    while let Ok((_, message)) = receiver.recv().await {
        let Ok(Vote::<Scheme, Digest>::Notarize(heard)) = Vote::decode(message) else {
            continue;
        };
        let view = heard.proposal.round.view().get();
        if !betrayed.insert(view) {
            continue;
        }
        let mut other = heard.proposal.clone();
        other.payload = digest(sha256(&[&other.payload.0]));
        let mut say = |vote: Option<Vote<Scheme, Digest>>| {
            if let Some(vote) = vote {
                sender.send(Recipients::All, vote.encode(), true);
            }
        };
        if view % 2 == 0 {
            say(Notarize::sign(scheme, heard.proposal.clone()).map(Vote::Notarize));
            say(Notarize::sign(scheme, other).map(Vote::Notarize));
        } else {
            say(Finalize::sign(scheme, heard.proposal.clone()).map(Vote::Finalize));
            say(Nullify::sign::<Digest>(scheme, heard.proposal.round).map(Vote::Nullify));
        }
    }
}

/// Noise on every channel, so many times a second, and whatever is heard there once more, to everybody.
pub(super) async fn flood<E, Tx, Rx>(mut context: E, channels: Vec<(Tx, Rx)>)
where
    E: Spawner + Metrics + Clock + Rng,
    Tx: Sender<PublicKey = PeerKey>,
    Rx: Receiver<PublicKey = PeerKey>,
{
    const EVERY: Duration = Duration::from_millis(20);
    const NOISE_SIZE_MAX: u64 = 512;
    let mut senders = Vec::new();
    for (sender, mut receiver) in channels {
        let mut echo = sender.clone();
        senders.push(sender);
        context.child("echo").spawn(move |_| async move {
            while let Ok((_, message)) = receiver.recv().await {
                echo.send(Recipients::All, message, false);
            }
        });
    }
    loop {
        context.sleep(EVERY).await;
        for sender in &mut senders {
            let mut noise = vec![0; (context.next_u64() % NOISE_SIZE_MAX) as usize];
            context.fill_bytes(&mut noise);
            sender.send(Recipients::All, noise, true);
        }
    }
}
