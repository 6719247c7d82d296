//! What was started, and what handlers left for later.

use super::*;

pub(crate) fn on_connects(a: &mut Arguments<'_, '_>, wait: i64, is_null: bool) -> Result<()> {
    let connecting = clv_connecting { id: a.handle()? };
    let mut session = clv_session { id: UNWRITTEN };
    match a.input.int_in_range(0..=5u8)? {
        0..=2 => {
            let out = if is_null { null_mut() } else { &raw mut session };
            // SAFETY: NULL or good, as the header asks.
            let status = check(unsafe { clv_connecting_take(connecting, wait, out) });
            a.made(status, session.id);
        }
        3 => drop(check(clv_connecting_watch(connecting, a.input.arbitrary()?))),
        4 => drop(check(clv_connecting_cancel(connecting))),
        _ => drop(check(clv_connecting_close(connecting))),
    }
    Ok(())
}

/// A request that a handler left for later, in any state.
pub(crate) fn finish_deferred(a: &mut Arguments<'_, '_>) -> Result<()> {
    let deferred = deferred();
    if deferred.is_empty() {
        return Ok(());
    }
    let at = a.input.int_in_range(0..=deferred.len() - 1)?;
    let request = clv_request { id: deferred[at] };
    drop(deferred);
    let data = a.data()?;
    match a.input.int_in_range(0..=4u8)? {
        0 => drop(check(clv_request_watch(request, a.input.arbitrary()?))),
        // SAFETY: NULL or good, as the header asks.
        1 => drop(check(unsafe { clv_reply_part(request, bytes(&data), data.len()) })),
        // SAFETY: NULL or good, as the header asks.
        2 => drop(check(unsafe { clv_reply(request, bytes(&data), data.len()) })),
        3 => drop(check(clv_request_defer(request))),
        _ => drop(check(clv_request_finish(request, *a.input.choose(&[CLV_OK, CLV_E_BUSY, CLV_E_BUG, 7])?))),
    }
    Ok(())
}
