//! Pages of the delegates' section, and their reading back (modules `state`, `image`).

use super::{Candidate, Dpos, Elector, Sitting};
use crate::accounts::Accounts;
use crate::page::Page;
use crate::restore::Fields;
use crate::state::{MINTS_ALWAYS, Supply};
use wattbook_types::ParticipantId;
use wattbook_types::committee::{Committee, SEATS_MAX, Seat};
use wattbook_types::delegate::{DelegateKeys, Offence};

/// What changes with every block.
pub(crate) fn turns_page(dpos: &Dpos, supply: &Supply) -> Page {
    let mut page = Page::new(11, 0, 0);
    for sums in [&supply.minted, &supply.minted_in_epoch] {
        sums[MINTS_ALWAYS..].iter().for_each(|sum| _ = page.i128(*sum));
    }
    if let Some(sitting) = &dpos.sitting {
        page.u64(sitting.view).len(sitting.missed.len());
        for (missed, packed) in sitting.missed.iter().zip(&sitting.packed) {
            page.u32(*missed).u64(*packed);
        }
    }
    page
}

/// What changes with elections, candidacies, failures.
pub(crate) fn seats_page(dpos: &Dpos) -> Page {
    let mut page = Page::new(12, 0, 0);
    page.len(dpos.candidates.len());
    for (id, candidate) in &dpos.candidates {
        page.u64(id.get())
            .u32(candidate.lost)
            .u32(candidate.silent)
            .u32(candidate.invalid)
            .u64(candidate.out_until)
            .flag(candidate.forfeited)
            .flag(candidate.keys.is_some());
        if let Some(keys) = &candidate.keys {
            page.bytes(&keys.peer_key).bytes(&keys.ballot_key);
        }
    }
    page.len(dpos.past.len());
    for (epoch, sat) in &dpos.past {
        page.u64(*epoch).len(sat.len());
        for (id, keys) in sat {
            page.u64(id.get()).bytes(&keys.peer_key).bytes(&keys.ballot_key);
        }
    }
    page.len(dpos.offences.len());
    for (epoch, view, rank, offence) in &dpos.offences {
        page.u64(*epoch).u64(*view).u32(*rank).u8(*offence as u8);
    }
    if let Some(sitting) = &dpos.sitting {
        page.u64(sitting.committee.epoch()).len(sitting.committee.seats().len());
        for seat in sitting.committee.seats() {
            page.u64(seat.participant.get())
                .bytes(&seat.peer_key)
                .bytes(&seat.ballot_key)
                .u64(seat.emission)
                .u64(seat.stake);
        }
        page.len(sitting.standbys.len());
        sitting.standbys.iter().for_each(|id| _ = page.u64(id.get()));
    }
    page
}

pub(crate) fn electors_page(page: &mut Page, rows: &[Elector]) {
    for elector in rows {
        let (period, grams) = elector.emission.unwrap_or_default();
        page.flag(elector.emission.is_some()).u32(period).u64(grams);
        page.u64(elector.vote.map_or(0, ParticipantId::get));
    }
}

/// View, and by rank terms missed and blocks packed; `None`: nobody sits.
pub(crate) type Turns = Option<(u64, Vec<(u32, u64)>)>;

/// Reads [`turns_page`]; the mints' sums go to `sums`.
pub(crate) fn turns(body: &mut Fields<'_>, sums: &mut [i128; 4]) -> Option<Turns> {
    for sum in sums {
        *sum = body.i128()?;
    }
    if body.is_empty() {
        return Some(None);
    }
    let view = body.u64()?;
    let ranks = (0..body.len(12)?).map(|_| Some((body.u32()?, body.u64()?)));
    Some(Some((view, ranks.collect::<Option<_>>()?)))
}

/// Reads [`seats_page`]: everything but the electors.
pub(crate) fn seats(body: &mut Fields<'_>, turns: Turns, accounts: &Accounts) -> Option<Dpos> {
    let mut dpos = Dpos::default();
    let known = |id: &ParticipantId| accounts.index(*id).is_some();
    let list = |body: &mut Fields<'_>| {
        let ids = (0..body.len(8)?).map(|_| body.participant().filter(known));
        ids.collect::<Option<Vec<_>>>()
    };
    for _ in 0..body.len(30)? {
        let id = body.participant().filter(known)?;
        let mut candidate = Candidate {
            lost: body.u32()?,
            silent: body.u32()?,
            invalid: body.u32()?,
            out_until: body.u64()?,
            forfeited: body.flag()?,
            keys: None,
        };
        if body.flag()? {
            candidate.keys = Some(DelegateKeys {
                peer_key: body.array()?,
                ballot_key: body.array()?,
            });
        }
        dpos.candidates.insert(id, candidate);
    }
    for _ in 0..body.len(16)? {
        let epoch = body.u64()?;
        let sat = (0..body.len(136)?).map(|_| {
            let id = body.participant().filter(known)?;
            let (peer_key, ballot_key) = (body.array()?, body.array()?);
            Some((id, DelegateKeys { peer_key, ballot_key }))
        });
        dpos.past.insert(epoch, sat.collect::<Option<_>>()?);
    }
    for _ in 0..body.len(21)? {
        let (epoch, view, rank) = (body.u64()?, body.u64()?, body.u32()?);
        dpos.offences
            .insert((epoch, view, rank, Offence::from_raw(body.u8()?)?));
    }
    let Some((view, ranks)) = turns else {
        return Some(dpos);
    };
    let epoch = body.u64()?;
    let len = body.len(152)?;
    (len == ranks.len() && len <= SEATS_MAX).then_some(())?;
    let seats = (0..len).map(|_| {
        Some(Seat {
            participant: body.participant().filter(known)?,
            peer_key: body.array()?,
            ballot_key: body.array()?,
            emission: body.u64()?,
            stake: body.u64()?,
        })
    });
    let committee = Committee::new(epoch, seats.collect::<Option<Vec<_>>>()?)?;
    let standbys = list(body)?;
    let mut sitting = Sitting::new(committee, standbys);
    sitting.view = view;
    (sitting.missed, sitting.packed) = ranks.into_iter().unzip();
    dpos.sitting = Some(sitting);
    Some(dpos)
}

/// Reads a row of [`electors_page`].
pub(crate) fn elector(body: &mut Fields<'_>, accounts: &Accounts) -> Option<Elector> {
    let (is_stated, period, grams) = (body.flag()?, body.u32()?, body.u64()?);
    let vote = body.participant()?;
    let is_cast = vote.get() != 0;
    (!is_cast || accounts.index(vote).is_some()).then_some(Elector {
        emission: is_stated.then_some((period, grams)),
        vote: is_cast.then_some(vote),
    })
}
