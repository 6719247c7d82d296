//! Bytes that both ends can make for themselves, different at every place: what came is checked without a second copy.

use bytes::Bytes;

/// splitmix64 of the place, so that any part can be made alone.
fn word_at(seed: u64, index: u64) -> [u8; 8] {
    let mut word = seed.wrapping_add(index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (word ^ (word >> 31)).to_le_bytes()
}

/// `length` bytes of the pattern from `offset`.
pub fn make(seed: u64, offset: u64, length: usize) -> Bytes {
    let skip = (offset % 8) as usize;
    let words = (skip + length).div_ceil(8) as u64;
    let mut bytes = Vec::with_capacity(words as usize * 8);
    (0..words).for_each(|index| bytes.extend_from_slice(&word_at(seed, offset / 8 + index)));
    Bytes::from(bytes).slice(skip..skip + length)
}

/// The place of the first byte that is not as it should be.
pub fn first_wrong(seed: u64, offset: u64, bytes: &[u8]) -> Option<u64> {
    let wanted = make(seed, offset, bytes.len());
    let index = wanted.iter().zip(bytes).position(|(wanted, byte)| wanted != byte)?;
    Some(offset + index as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_join_and_a_wrong_byte_is_found() {
        let whole = make(7, 0, 1000);
        for cut in [0, 1, 7, 8, 9, 500, 999] {
            assert_eq!(make(7, cut, 1000 - cut as usize), whole.slice(cut as usize..));
        }
        let mut wrong = whole.to_vec();
        assert_eq!(first_wrong(7, 0, &wrong), None);
        wrong[321] ^= 1;
        assert_eq!(first_wrong(7, 0, &wrong), Some(321));
        assert_eq!(first_wrong(7, 321, &wrong[321..]), Some(321));
        assert_eq!(first_wrong(8, 0, &whole), Some(0));
    }
}
