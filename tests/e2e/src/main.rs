//! The helper process of the tests: does with Clerver what the lines on its standard input say.
//!
//! See the library for the form of the lines; the verbs are in the modules of `peer`. When its input ends it ends at
//! once, so that no test leaves one behind.

mod peer;

use std::io::BufRead;
use std::sync::Arc;

fn main() {
    let peer = Arc::new(peer::Peer::default());
    for line in std::io::stdin().lock().lines() {
        let Ok(line) = line else { break };
        let words: Vec<String> = line.split_whitespace().map(clerver_e2e::words::unquote).collect();
        let Some((number, words)) = words.split_first() else { continue };
        let (peer, number, words) = (Arc::clone(&peer), number.clone(), words.to_vec());
        let run = move || peer::answer(&peer, &number, &words);
        if std::thread::Builder::new().name("command".into()).spawn(run).is_err() {
            peer::say("! no thread for a command");
        }
    }
    // Not `return`: that would wait for nothing, but also run no destructor on purpose.
    std::process::exit(0);
}
