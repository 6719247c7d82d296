//! The text form of a host id: read or refused; what is read prints as one text; a mistyped or swapped character shows.
#![no_main]

use arbitrary::Arbitrary;
use clerver_proto::id::HostId;
use libfuzzer_sys::fuzz_target;

#[derive(Debug, Arbitrary)]
enum Input<'a> {
    Any(&'a str),
    Mistyped { id: [u8; 32], at: u8, letter: char },
    Swapped { id: [u8; 32], at: u8 },
}

fn letters(id: [u8; 32]) -> Vec<char> {
    HostId(id).to_string().chars().filter(|letter| *letter != '-').collect()
}

fn read(letters: &[char]) -> Option<HostId> {
    letters.iter().collect::<String>().parse().ok()
}

fuzz_target!(|input: Input| {
    match input {
        Input::Any(text) => {
            if let Ok(id) = text.parse::<HostId>() {
                assert_eq!(id.to_string().parse(), Ok(id));
            }
        }
        Input::Mistyped { id, at, letter } => {
            let mut wrong = letters(id);
            let at = usize::from(at) % wrong.len();
            wrong[at] = letter;
            // Another way to write the same letter, or a space, which means nothing, is no mistake to be caught.
            let read = read(&wrong);
            assert!(read.is_none() || read == Some(HostId(id)), "'{letter}' at {at} was not caught");
        }
        Input::Swapped { id, at } => {
            let right = letters(id);
            let mut wrong = right.clone();
            let at = usize::from(at) % (wrong.len() - 1);
            wrong.swap(at, at + 1);
            assert!(wrong == right || read(&wrong).is_none(), "a swap at {at} was not caught");
        }
    }
});
