//! What the helper process and the tests that drive it have in common: quoting of words, and patterns of bytes.
//!
//! The helper (`clerver-e2e-peer`) reads commands from its standard input, one per line: a number, a verb, arguments.
//! Each runs on a thread of its own, so that a blocking one holds up nobody. It answers on its standard output:
//! `= NUMBER ok TEXT` or `= NUMBER err CODE class MESSAGE REMEDY`. Between the answers stand events, `! ...`, and lines
//! of the node's log, `# level text`.

pub mod pattern;
pub mod words;
