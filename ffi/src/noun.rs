//! The nouns of the header: what the library keeps for a program, as small structs by value.

/// One running clerver: client and server at once. `{0}` is no node.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct clv_node {
    /// The handle; of no meaning outside of this process.
    pub id: u64,
}

/// A connect that was started. `{0}` is no connect.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct clv_connecting {
    /// The handle; of no meaning outside of this process.
    pub id: u64,
}

/// A session with one peer, which outlives its connections. `{0}` is no session.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct clv_session {
    /// The handle; of no meaning outside of this process.
    pub id: u64,
}

/// A channel of a session. `{0}` is no channel.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct clv_channel {
    /// The handle; of no meaning outside of this process.
    pub id: u64,
}

/// A call that was started. `{0}` is no call.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct clv_pending_call {
    /// The handle; of no meaning outside of this process.
    pub id: u64,
}

/// A call that a handler runs. Good until the handler returns or, once it is deferred, until `clv_request_finish`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct clv_request {
    /// The handle; of no meaning outside of this process.
    pub id: u64,
}

/// An object that is being embalmed. Good until the callback returns.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct clv_embalming {
    /// The handle; of no meaning outside of this process.
    pub id: u64,
}

/// An object, by its number within its session; the same at both ends.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct clv_object {
    /// The number; 0 is the registration of the peer.
    pub id: u64,
}
