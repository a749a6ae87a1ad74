//! Receipts by themselves: what binds, what does not, what convicts, and what an honest leader can never be shown to have signed.

#![allow(clippy::unwrap_used, reason = "a test fails where it has nothing to unwrap")]

use super::*;

const CHAIN: ChainId = ChainId(Hash([9; 32]));

fn key() -> SigningKey {
    SigningKey::from_bytes(&[5; 32])
}

fn public() -> [u8; 32] {
    key().verifying_key().to_bytes()
}

fn names(of: core::ops::Range<u16>) -> Vec<Hash> {
    of.map(|at| wattbook_types::sha256(&[&at.to_le_bytes()])).collect()
}

/// Receipts for these, one after another.
fn told(batches: &[Vec<Hash>]) -> Vec<Receipt> {
    let mut taking = Taking::new(3, 2);
    let sign = |batch: &Vec<Hash>| {
        taking.untold.extend(batch);
        taking.sign(CHAIN, &key())
    };
    batches.iter().flat_map(sign).collect()
}

fn hear(order: &mut Order, receipt: &Receipt) -> Result<Option<Contradiction>, NotSigned> {
    order.hear(CHAIN, &public(), receipt.clone(), 1_000)
}

#[test]
fn blocks_stand_in_the_order_of_receipts() {
    let receipts = told(&[names(0..3), names(3..4), names(4..300)]);
    // No receipt names more than its bound.
    assert_eq!(receipts.len(), 4);
    let mut order = Order::default();
    // They may come in any order, and twice.
    for at in [2, 0, 3, 0, 1] {
        assert_eq!(hear(&mut order, &receipts[at]), Ok(None));
    }
    let block = |of: &[u16]| -> Vec<Hash> { of.iter().map(|at| names(*at..*at + 1)[0]).collect() };
    assert_eq!(order.check(&block(&[0, 1, 2, 3, 299]), 0), Ok(()));
    assert_eq!(
        order.check(&block(&[0, 2, 250]), 0),
        Ok(()),
        "what the market refused is not there"
    );
    assert_eq!(order.check(&block(&[0, 2, 1]), 0), Err([3, 2]));
    assert_eq!(order.check(&block(&[5, 5]), 0), Err([6, 6]));
    assert_eq!(
        order.check(&block(&[999, 4, 998, 5]), 0),
        Ok(()),
        "what no receipt names is in no order"
    );
    assert_eq!(order.unknown(&block(&[999, 4, 998, 5])), 2);
    let last = order.last_of(&block(&[2, 3]), 0);
    assert_eq!(
        (last, order.check(&block(&[1]), last)),
        (4, Err([4, 2])),
        "nor behind a later block"
    );
    assert_eq!(order.receipt_of(2), Some(&receipts[0]));
    order.pack(&block(&[2, 3]));
    assert_eq!(order.packed(), 4);
    assert_eq!(order.check(&block(&[1]), order.packed()), Err([4, 2]));
    order.forget(&block(&[1])[0]);
    assert_eq!(order.check(&block(&[1, 2, 3]), order.packed()), Ok(()), "gone");
}

#[test]
fn two_orders_convict_wherever_their_receipts_end() {
    let mut other = names(0..10);
    other.swap(2, 6);
    let cuts = [vec![10], vec![1, 9], vec![3, 7], vec![5, 5], vec![2, 2, 6], vec![7, 3]];
    let batches = |names: &[Hash], cut: &[usize]| -> Vec<Vec<Hash>> {
        let mut from = 0;
        cut.iter()
            .map(|len| {
                from += len;
                names[from - len..from].to_vec()
            })
            .collect()
    };
    for one in &cuts {
        for two in &cuts {
            let mut order = Order::default();
            let honest = told(&batches(&names(0..10), one));
            // The same order in other pieces is no offence, though an honest leader cuts but one way.
            for receipt in told(&batches(&names(0..10), two)) {
                assert_eq!(hear(&mut order, &receipt), Ok(None));
            }
            for receipt in &honest {
                assert_eq!(hear(&mut order, receipt), Ok(None), "{one:?} {two:?}");
            }
            let found = told(&batches(&other, two))
                .iter()
                .find_map(|receipt| hear(&mut order, receipt).unwrap());
            let found = found.unwrap_or_else(|| panic!("{one:?} {two:?}"));
            assert!(found.is_of(CHAIN, &public()));
            assert_eq!(hear(&mut order, &told(&[other.clone()])[0]), Ok(None), "said once");
            assert_eq!(Contradiction::decode(&found.encode()), Ok(found.clone()));
            assert!(!found.is_of(ChainId(Hash([8; 32])), &public()), "on another chain");
            assert!(!found.is_of(CHAIN, &SigningKey::from_bytes(&[6; 32]).verifying_key().to_bytes()));
        }
    }
}

#[test]
fn every_bit_of_a_contradiction_counts() {
    let mut other = names(0..4);
    other.swap(0, 1);
    let mut order = Order::default();
    hear(&mut order, &told(&[names(0..2)])[0]).unwrap();
    let found = hear(&mut order, &told(&[other])[0]).unwrap().unwrap();
    assert_eq!(found.names.len(), 2);
    let bytes = found.encode();
    for len in 0..bytes.len() {
        assert_eq!(
            Contradiction::decode(&bytes[..len]),
            Err(wattbook_types::Reject::ShortFrame)
        );
    }
    assert!(Contradiction::decode(&[&bytes[..], &[0]].concat()).is_err());
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let stands = Contradiction::decode(&flipped).is_ok_and(|other| {
            // The rank is not signed: whose key it is decides.
            other.rank == found.rank && other.is_of(CHAIN, &public())
        });
        assert!(!stands, "bit {bit}");
    }
    // One receipt twice, and receipts of two terms, are none.
    let twice = Contradiction {
        halves: [found.halves[0]; 2],
        ..found.clone()
    };
    assert!(!twice.is_of(CHAIN, &public()));
    assert!(!Contradiction { term: 3, ..found }.is_of(CHAIN, &public()));
}

#[test]
fn nobody_else_binds_a_leader() {
    let receipt = told(&[names(0..3)]).remove(0);
    let mut swapped = receipt.clone();
    swapped.names.swap(0, 1);
    let forged = [
        swapped,
        Receipt {
            seq: 4,
            ..receipt.clone()
        },
        Receipt {
            term: 3,
            ..receipt.clone()
        },
        Receipt {
            epoch: 4,
            ..receipt.clone()
        },
        Receipt {
            before: Hash([1; 32]),
            ..receipt.clone()
        },
        Receipt {
            names: names(0..2),
            ..receipt.clone()
        },
    ];
    let mut order = Order::default();
    for forged in forged {
        assert_eq!(hear(&mut order, &forged), Err(NotSigned));
    }
    let other_chain = order.hear(ChainId(Hash([8; 32])), &public(), receipt.clone(), 1_000);
    assert_eq!(other_chain, Err(NotSigned));
    assert_eq!(order.unknown(&names(0..3)), 3, "nothing of it is kept");
    let mut bytes = Vec::new();
    receipt.put(&mut bytes);
    assert_eq!(Receipt::read(&bytes, 3), Some((receipt, &[][..])));
    for len in 0..bytes.len() {
        assert_eq!(Receipt::read(&bytes[..len], 3), None, "cut at {len}");
    }
    for n in [0, RECEIPT_LEN_MAX as u16 + 1] {
        assert_eq!(Receipt::read(&[255; 1 << 16], n), None);
    }
    assert_eq!(Receipt::read(&[0; 1 << 16], 1), None, "it counts fewer than it names");
    // What is kept is bounded.
    let mut small = Order::default();
    for receipt in told(&[names(0..3), names(3..6), names(6..9)]) {
        assert_eq!(small.hear(CHAIN, &public(), receipt, 2), Ok(None));
    }
    assert_eq!((small.unknown(&names(0..9)), small.receipt_of(1)), (7, None));
}

#[test]
fn a_term_is_led_by_one_process() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("receipts");
    let mut promise = Promise::open(path.clone()).unwrap();
    assert!(promise.make(0, 1).unwrap() && promise.make(0, 1).unwrap());
    assert!(promise.make(0, 5).unwrap());
    assert!(!promise.make(0, 1).unwrap(), "nor again behind a later one");
    let mut again = Promise::open(path.clone()).unwrap();
    assert!(!again.make(0, 1).unwrap() && !again.make(0, 5).unwrap());
    assert!(again.make(0, 6).unwrap() && again.make(1, 1).unwrap());
    assert!(!Promise::open(path.clone()).unwrap().make(1, 1).unwrap());
    // A file that is none ends the node rather than its honesty.
    for damage in [&[][..], &[1; 9], &[1; 17]] {
        std::fs::write(&path, damage).unwrap();
        assert!(Promise::open(path.clone()).is_err());
    }
}
