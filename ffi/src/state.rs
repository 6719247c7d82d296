//! States of a session, as numbers.

use clerver::SessionState;

/// State of a session, one of CLV_STATE_...
pub type clv_state = i32;

/// Being made.
pub const CLV_STATE_REGISTERING: clv_state = 1;
/// The peer gave a sign of life within three beats.
pub const CLV_STATE_LIVE: clv_state = 2;
/// No connection gives a sign of life; everything is kept, and the library redials.
pub const CLV_STATE_SUSPENDED: clv_state = 3;
/// Kept past its TTL.
pub const CLV_STATE_EMBALMED: clv_state = 4;
/// Being brought back.
pub const CLV_STATE_REVIVING: clv_state = 5;
/// One side asked for the end; data still flows.
pub const CLV_STATE_CLOSING: clv_state = 6;
/// Ended in good order. Final.
pub const CLV_STATE_CLOSED: clv_state = 7;
/// Continuity is broken. Final.
pub const CLV_STATE_LOST: clv_state = 8;

pub(crate) fn state_number(state: SessionState) -> clv_state {
    match state {
        SessionState::Registering => CLV_STATE_REGISTERING,
        SessionState::Live => CLV_STATE_LIVE,
        SessionState::Suspended => CLV_STATE_SUSPENDED,
        SessionState::Embalmed => CLV_STATE_EMBALMED,
        SessionState::Reviving => CLV_STATE_REVIVING,
        SessionState::Closing => CLV_STATE_CLOSING,
        SessionState::Closed => CLV_STATE_CLOSED,
        SessionState::Lost => CLV_STATE_LOST,
    }
}
