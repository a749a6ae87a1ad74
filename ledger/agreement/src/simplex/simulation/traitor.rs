//! A seat that breaks the rule of voting at every turn, in the first epoch.

use super::super::{Digest, PeerKey, Scheme, seats::Seats, wire::digest};
use commonware_codec::{DecodeExt, Encode};
use commonware_consensus::simplex::types::{Finalize, Notarize, Nullify, Vote};
use commonware_p2p::{Receiver, Recipients, Sender, utils::mux::Muxer};
use commonware_runtime::{Metrics, Spawner};
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
