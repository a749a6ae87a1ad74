//! docs/rejects.md lists every code of [`Reject`], as it stands in the table; `WATTBOOK_BLESS=1` rewrites the page.
#![allow(clippy::unwrap_used, reason = "a failed step fails the test")]

use std::fmt::Write;
use std::path::Path;
use wattbook_types::Reject;

const INTRO: &str = "\
# Rejects

A reject is a normal answer to a participant: the node understood what was wrong and did not do it. Numbers and names are on
the wire for ever; a code is never given a second meaning. Where several hold, the first of the list is given, within what
is checked together: the session and the signatures at once, the market's part when the message is sequenced.

* **Message level** (1 to 59): the message is refused whole, is answered `RejectedMessage`, and is not recorded. Where the
  text says that the session is closed, it ends with that answer; otherwise it goes on. A refused envelope burns no nonce.
* **Item level** (60 to 99, and 120 to 149): the envelope is recorded and its nonce burned; this one item is answered `Rejected`,
  its neighbours stand for themselves.
* **Reveal level** (100 to 109): 100 to 104 refuse a reveal whole, as at message level; 105 to 109 say, when REVEAL closes,
  why a seal or a revealed quote came to nothing (`BondBurned`, `QuoteVoided`).
* **Evidence level** (150 on): evidence against a delegate is refused whole and not recorded.

A code may be given on another level than its own where the same thing is wrong there: `UnknownParticipant`,
`UnknownContract`, `WrongRound` and `MalformedMessage` refuse reveals too, `UnknownParticipant` an order of the regulator or
an emission, `KeyTaken` a candidacy,
`NoBalance` a seal when SEAL closes, and the checks of a quote's terms void revealed quotes.

The table is generated from `engine/types/src/reject.rs`; `WATTBOOK_BLESS=1 cargo test -p wattbook-node --test rejects_page`
writes it again.
";

/// Where a code belongs.
fn level(code: u16) -> &'static str {
    match code {
        1..60 => "message",
        60..100 | 120..150 => "item",
        150.. => "evidence",
        _ => "reveal",
    }
}

fn page() -> String {
    let mut page = format!("{INTRO}\n| code | name | level | what it means |\n|---|---|---|---|\n");
    for reject in Reject::ALL {
        let (code, text) = (reject.code(), reject.text());
        assert!(!text.contains('|'), "a bar ends the cell");
        writeln!(page, "| {code} | `{}` | {} | {text} |", reject.name(), level(code)).unwrap();
    }
    page
}

#[test]
fn the_page_lists_every_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/rejects.md");
    let page = page();
    if std::env::var_os("WATTBOOK_BLESS").is_some_and(|bless| bless == "1") {
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    for (line, (is, should)) in written.lines().zip(page.lines()).enumerate() {
        assert_eq!(
            is,
            should,
            "line {} of docs/rejects.md; WATTBOOK_BLESS=1 writes it again",
            line + 1
        );
    }
    assert_eq!(
        written.len(),
        page.len(),
        "docs/rejects.md ends elsewhere; WATTBOOK_BLESS=1 writes it again"
    );
}
