//! Images of the state: every page, taken while trading goes on.
//!
//! # Contract
//! [`Market::begin_image`] asks for one. From then on every block's end takes pages of about
//! as many bytes as was said, and takes those again that changed since they were taken; the block whose end reaches the last page is the one the image
//! is of. Between blocks nothing is done, and nothing is kept while no image is asked for.
//!
//! # Format
//! ```text
//! magic 8 "wattimg1" | page...      page = len u32 | beside_len u32 | page [len] | beside [beside_len]
//! ```
//! Pages are those of the root (module `state`), in the order globals, params, profiles, accounts, groups, meters, lows,
//! turns, seats, electors, then contract by contract. What stands beside a page is what the page binds by a digest or leaves to the log:
//!
//! | beside | what |
//! |---|---|
//! | accounts | of each account, for every nonce its window remembers, the record that used it plus one |
//! | seals | the quotes of recorded reveals, bound by the commitment |
//! | deals | the 96 bytes of each deal, bound by its id |

use crate::accounts::AccountIndex;
use crate::contract::Contract;
use crate::dpos::page::{electors_page, seats_page as delegate_seats_page, turns_page};
use crate::market::Market;
use crate::page::{
    ACCOUNTS_PER_PAGE, Marks, Page, accounts_page, book_page, deals_page, groups_page, header_page, meters_page, pages,
    places_page, profile_page, readings_page, rows, seals_page, stakes_page, standing_page,
};
use crate::state::State;
use std::collections::BTreeMap;
use wattbook_types::{ContractId, Quote, Reveal};

/// Bytes of pages to take at a block's end: about a millisecond's work.
pub const PART_SIZE: usize = 1 << 20;

/// What an encoded image begins with.
pub(crate) const MAGIC: [u8; 8] = *b"wattimg1";

/// A page by contract (0: none), section and number, in the order of the format.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Place {
    contract: u64,
    section: Section,
    number: usize,
}

/// The sections that are taken page by page, then those that are one page each.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Section {
    Globals,
    Params,
    Profiles,
    Accounts,
    Groups,
    Meters,
    Lows,
    Turns,
    DelegateSeats,
    Electors,
    Header,
    Standing,
    Stakes,
    Seals,
    Places,
    Readings,
    Deals,
    Book,
}

/// The sections outside contracts, and those of a contract.
const COMMON: [Section; 10] = [
    Section::Globals,
    Section::Params,
    Section::Profiles,
    Section::Accounts,
    Section::Groups,
    Section::Meters,
    Section::Lows,
    Section::Turns,
    Section::DelegateSeats,
    Section::Electors,
];
const OF_CONTRACT: [Section; 8] = [
    Section::Header,
    Section::Standing,
    Section::Stakes,
    Section::Seals,
    Section::Places,
    Section::Readings,
    Section::Deals,
    Section::Book,
];

/// Every page of the state at one block's end.
#[derive(Clone, Debug)]
pub struct Image {
    height: u64,
    pages: BTreeMap<Place, Box<[u8]>>,
}

impl Image {
    /// The block it is of.
    pub const fn height(&self) -> u64 {
        self.height
    }

    /// Its encoding, in pieces.
    pub fn parts(&self) -> impl Iterator<Item = &[u8]> {
        core::iter::once(MAGIC.as_slice()).chain(self.pages.values().map(|page| &page[..]))
    }

    /// Its encoding.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.parts().flatten().copied().collect()
    }
}

/// An image under way.
#[derive(Clone, Debug)]
pub(crate) struct Capture {
    pages: BTreeMap<Place, Box<[u8]>>,
    /// The first page not yet taken.
    next: Place,
    part_size: usize,
}

impl Capture {
    const fn new(part_size: usize) -> Self {
        let next = Place {
            contract: 0,
            section: Section::Globals,
            number: 0,
        };
        Self {
            pages: BTreeMap::new(),
            next,
            part_size,
        }
    }

    /// Takes a part at a block's end, before the marks come off; `true` once every page has been taken as it is.
    fn take_part(&mut self, state: &State) -> bool {
        for (contract, section) in sections(state) {
            let mut again = |number: usize| {
                let place = Place {
                    contract: contract.map_or(0, |c| c.id.get()),
                    section,
                    number,
                };
                if place < self.next {
                    self.pages.insert(place, encode(state, contract, section, number));
                }
            };
            match marks(state, contract, section) {
                Some(marks) => marks.list().iter().for_each(|number| again(*number as usize)),
                None if section_len(state, contract, section) != 0 => again(0),
                None => {}
            }
        }
        let mut size = 0;
        for (contract, section) in sections(state) {
            let place = |number| Place {
                contract: contract.map_or(0, |c| c.id.get()),
                section,
                number,
            };
            for number in 0..section_len(state, contract, section) {
                let place = place(number);
                if place < self.next {
                    continue;
                }
                if size >= self.part_size {
                    self.next = place;
                    return false;
                }
                let page = encode(state, contract, section, number);
                size += page.len();
                self.pages.insert(place, page);
            }
        }
        let is_there = |place: &Place| {
            let contract = match place.contract {
                0 => None,
                id => match state.contracts.get(&ContractId::from_raw(id)) {
                    None => return false,
                    found => found,
                },
            };
            place.number < section_len(state, contract, place.section)
        };
        self.pages.retain(|place, _| is_there(place));
        true
    }
}

impl State {
    /// Takes a part of the image under way, if there is one; whole, it is there to be fetched.
    pub(crate) fn take_image_part(&mut self) {
        let Some(mut capture) = self.capture.take() else {
            return;
        };
        if capture.take_part(self) {
            self.image = Some(Image {
                height: self.height,
                pages: capture.pages,
            });
        } else {
            self.capture = Some(capture);
        }
    }
}

impl Market {
    /// Asks for an image of the state, of which a block's end takes about `part_size` bytes; nothing happens while one is
    /// under way.
    pub fn begin_image(&mut self, part_size: usize) {
        if self.state.capture.is_none() {
            self.state.capture = Some(Box::new(Capture::new(part_size)));
        }
    }

    /// The image that the last root completed.
    pub fn take_image(&mut self) -> Option<Image> {
        self.state.image.take()
    }
}

fn sections(state: &State) -> impl Iterator<Item = (Option<&Contract>, Section)> {
    let common = COMMON.into_iter().map(|section| (None, section));
    let contracts = state.contracts.values();
    common.chain(contracts.flat_map(|contract| OF_CONTRACT.map(|section| (Some(contract), section))))
}

/// Pages of a section.
fn section_len(state: &State, contract: Option<&Contract>, section: Section) -> usize {
    match (section, contract) {
        (Section::Profiles, _) => state.accounts.len(),
        (Section::Accounts, _) => state.accounts.len().div_ceil(ACCOUNTS_PER_PAGE),
        (Section::Groups, _) => pages(state.groups.len()),
        (Section::Meters, _) => pages(state.meters.list().len()),
        (Section::Turns | Section::DelegateSeats, _) => usize::from(state.dpos.is_some()),
        (Section::Electors, _) => state.dpos.as_deref().map_or(0, |dpos| pages(dpos.electors.len())),
        (Section::Standing, Some(c)) => pages(c.standing_by_account().len()),
        (Section::Stakes, Some(c)) => pages(c.stakes().len()),
        (Section::Deals, Some(c)) => pages(c.deals.len()),
        (Section::Book, Some(c)) => pages(c.book.rows()),
        _ => 1,
    }
}

/// The marks of a section of many pages; a single page may change with every block.
fn marks<'a>(state: &'a State, contract: Option<&'a Contract>, section: Section) -> Option<&'a Marks> {
    Some(match (section, contract) {
        (Section::Profiles, _) => &state.accounts.profiles,
        (Section::Accounts, _) => &state.accounts.changed,
        (Section::Groups, _) => &state.groups.changed,
        (Section::Meters, _) => &state.meters.changed,
        (Section::Electors, _) => return state.dpos.as_deref().map(|dpos| &dpos.changed),
        (Section::Standing, Some(c)) => &c.changed.standing,
        (Section::Stakes, Some(c)) => &c.changed.stakes,
        (Section::Deals, Some(c)) => &c.changed.deals,
        (Section::Book, Some(c)) => &c.book.changed,
        _ => return None,
    })
}

/// A page and what stands beside it.
fn encode(state: &State, contract: Option<&Contract>, section: Section, number: usize) -> Box<[u8]> {
    let (mut page, mut beside) = (Page(Vec::new()), Page(Vec::new()));
    if let Some(dpos) = state.dpos.as_deref() {
        match section {
            Section::Turns => page = turns_page(dpos, &state.supply),
            Section::DelegateSeats => page = delegate_seats_page(dpos),
            Section::Electors => electors_page(page.begin(13, 0, number), rows(&dpos.electors, number)),
            _ => {}
        }
    }
    match (section, contract) {
        (Section::Turns | Section::DelegateSeats | Section::Electors, _) => {}
        (Section::Params, _) => page = state.params_page(),
        (Section::Profiles, _) => profile_page(&mut page, number, &state.accounts),
        (Section::Accounts, _) => {
            accounts_page(&mut page, number, &state.accounts);
            let from = number * ACCOUNTS_PER_PAGE;
            for at in from..state.accounts.len().min(from + ACCOUNTS_PER_PAGE) {
                let nonces = &state.accounts.at(AccountIndex::new(at as u32)).nonces;
                let remembered = nonces.remembered();
                beside.u16(remembered.len() as u16);
                let mut last = 0u64;
                for record in remembered {
                    put_varint(&mut beside, zigzag(record.wrapping_sub(last)));
                    last = record;
                }
            }
        }
        (Section::Groups, _) => groups_page(&mut page, number, rows(state.groups.list(), number)),
        (Section::Meters, _) => meters_page(&mut page, number, rows(state.meters.list(), number)),
        (Section::Lows, _) => page = state.lows_page(),
        (Section::Header, Some(c)) => page = header_page(c),
        (Section::Standing, Some(c)) => standing_page(
            page.begin(17, c.id.get(), number),
            rows(c.standing_by_account(), number),
        ),
        (Section::Stakes, Some(c)) => stakes_page(page.begin(18, c.id.get(), number), rows(c.stakes(), number)),
        (Section::Seals, Some(c)) => {
            page = seals_page(c);
            c.seals
                .values()
                .filter_map(|seal| seal.reveal.as_ref())
                .for_each(|reveal| put_reveal(&mut beside, reveal));
        }
        (Section::Places, Some(c)) => page = places_page(c),
        (Section::Readings, Some(c)) => page = readings_page(c),
        (Section::Deals, Some(c)) => {
            let deals = rows(&c.deals, number);
            deals_page(page.begin(23, c.id.get(), number), deals);
            deals.iter().for_each(|state| _ = beside.bytes(&state.deal.to_bytes()));
        }
        (Section::Book, Some(c)) => book_page(page.begin(22, c.id.get(), number), number, &c.book),
        _ => page = state.globals_page(),
    }
    // BOUND: pages of many rows have at most 64; a page that stands alone stays far below 2^32 bytes.
    let lens = [page.0.len() as u32, beside.0.len() as u32].map(u32::to_le_bytes);
    let whole = [lens.as_flattened(), page.0.as_slice(), beside.0.as_slice()].concat();
    whole.into_boxed_slice()
}

fn put_reveal(page: &mut Page, reveal: &Reveal) {
    page.u32(reveal.round).u32(reveal.quotes.len() as u32);
    for quote in &reveal.quotes {
        match quote {
            Ok(quote) => put_quote(page.u16(0), quote),
            Err(reject) => _ = page.u16(reject.code()),
        }
    }
}

fn put_quote(page: &mut Page, quote: &Quote) {
    page.u64(quote.contract.get())
        .u64(quote.client_order_id)
        .u16(quote.round)
        .u8(quote.side as u8)
        .u8(quote.time_in_force as u8)
        .price(quote.price)
        .bytes(&quote.charge_cap.to_le_bytes())
        .u64(quote.energy.get())
        .u64(quote.min_fill.get())
        .u32(quote.valid_until_s)
        .u64(quote.display.get())
        .flag(quote.market_to_limit)
        .u8(quote.self_trade as u8);
}

/// A signed difference as an unsigned number, small where it is small.
const fn zigzag(difference: u64) -> u64 {
    (difference << 1) ^ ((difference as i64 >> 63) as u64)
}

/// The difference behind [`zigzag`].
pub(crate) const fn unzigzag(number: u64) -> u64 {
    (number >> 1) ^ (number & 1).wrapping_neg()
}

/// Seven bits a byte, lowest first; the last byte has no high bit.
fn put_varint(page: &mut Page, mut value: u64) {
    while value >= 0x80 {
        page.u8(value as u8 | 0x80);
        value >>= 7;
    }
    page.u8(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_come_back() {
        for value in [0, 1, 2, u64::MAX, u64::MAX - 1, 1 << 63, 77, 1u64.wrapping_neg()] {
            assert_eq!(unzigzag(zigzag(value)), value);
        }
        assert!(zigzag(3u64.wrapping_neg()) < 8);
    }
}
