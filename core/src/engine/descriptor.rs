//! The few system calls that no safe crate offers: the only module with `unsafe`.
//!
//! Not here: sockets (std, socket2) and epoll (mio). Invariants: every descriptor made here is closed on
//! exec; a call returns the system's error and decides nothing.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Nanoseconds since boot, time asleep included.
pub(crate) fn boot_time_nanos() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid timespec for the duration of the call, which writes nothing else. It cannot
    // fail: the clock exists since Linux 2.6.39, and a zero result would only make deadlines late.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) };
    (time.tv_sec as u64).saturating_mul(1_000_000_000).saturating_add(time.tv_nsec as u64)
}

/// Turns the result of a system call that makes a descriptor into its owner.
fn owned(result: RawFd) -> io::Result<OwnedFd> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the system just made this descriptor for us, and nobody else knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(result) })
}

/// A timer that counts sleep, readable from its moment on.
#[derive(Debug)]
pub(crate) struct TimerFd(File);

impl TimerFd {
    /// A timer that is not set.
    pub(crate) fn new() -> io::Result<TimerFd> {
        // SAFETY: takes no pointers.
        let result =
            unsafe { libc::timerfd_create(libc::CLOCK_BOOTTIME, libc::TFD_CLOEXEC | libc::TFD_NONBLOCK) };
        owned(result).map(|fd| TimerFd(File::from(fd)))
    }

    /// Sets it to an instant in nanoseconds since boot; 0 clears it.
    pub(crate) fn set(&self, at_nanos: u64) -> io::Result<()> {
        let zero = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        let value = libc::timespec {
            tv_sec: i64::try_from(at_nanos / 1_000_000_000).unwrap_or(i64::MAX) as libc::time_t,
            tv_nsec: (at_nanos % 1_000_000_000) as libc::c_long,
        };
        let timer = libc::itimerspec { it_interval: zero, it_value: value };
        // SAFETY: `timer` is a valid itimerspec during the call, the old value is not asked for, and the
        // descriptor is open as long as `self`.
        let result = unsafe {
            libc::timerfd_settime(
                self.0.as_raw_fd(),
                libc::TFD_TIMER_ABSTIME,
                &raw const timer,
                std::ptr::null_mut(),
            )
        };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Makes it unreadable until it is due again.
    pub(crate) fn acknowledge(&self) {
        // Nothing to read means that it was set again meanwhile.
        let _ = (&self.0).read(&mut [0; 8]);
    }
}

impl AsRawFd for TimerFd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// A descriptor that is readable while it is raised.
#[derive(Debug)]
pub(crate) struct EventFd(File);

impl EventFd {
    /// One that is not raised.
    pub(crate) fn new() -> io::Result<EventFd> {
        // SAFETY: takes no pointers.
        let result = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        owned(result).map(|fd| EventFd(File::from(fd)))
    }

    /// Makes it readable.
    pub(crate) fn raise(&self) {
        // It can only be full, and then it is readable already.
        let _ = (&self.0).write(&1u64.to_ne_bytes());
    }

    /// Makes it unreadable.
    pub(crate) fn lower(&self) {
        // It can only be lowered already.
        let _ = (&self.0).read(&mut [0; 8]);
    }
}

impl AsFd for EventFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Borrows the descriptor of a source that offers only its number.
pub(crate) fn borrow<T: AsRawFd>(source: &T) -> BorrowedFd<'_> {
    // SAFETY: `source` owns an open descriptor, and is borrowed for as long as the result.
    unsafe { BorrowedFd::borrow_raw(source.as_raw_fd()) }
}

/// Receives into the unused capacity of `into`, which std can do only after zeroing it. 0 is the end. With `may_wait`
/// a socket that blocks is waited for, as long as its own time-out says.
pub(crate) fn receive(socket: BorrowedFd<'_>, into: &mut Vec<u8>, may_wait: bool) -> io::Result<usize> {
    let flags = if may_wait { 0 } else { libc::MSG_DONTWAIT };
    let room = into.spare_capacity_mut();
    // SAFETY: the pointer and length are those of memory that we hold exclusively during the call.
    let result = unsafe { libc::recv(socket.as_raw_fd(), room.as_mut_ptr().cast(), room.len(), flags) };
    let Ok(size) = usize::try_from(result) else { return Err(io::Error::last_os_error()) };
    // SAFETY: the system wrote `size` bytes, no more than the spare capacity, right behind the old length.
    unsafe { into.set_len(into.len() + size) };
    Ok(size)
}

/// Waits until a socket or a second descriptor can be read, or has failed, for at most `left`. A signal ends the
/// wait early.
pub(crate) fn wait_for_either(socket: BorrowedFd<'_>, other: BorrowedFd<'_>, left: Duration) -> (bool, bool) {
    let entry = |fd: BorrowedFd<'_>| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let mut entries = [entry(socket), entry(other)];
    let time = libc::timespec {
        tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX) as libc::time_t,
        tv_nsec: left.subsec_nanos().into(),
    };
    // SAFETY: the pointers are those of two valid entries and a valid time for the duration of the call.
    let result = unsafe { libc::ppoll(entries.as_mut_ptr(), 2, &raw const time, std::ptr::null()) };
    let happened = |entry: &libc::pollfd| result > 0 && entry.revents != 0;
    (happened(&entries[0]), happened(&entries[1]))
}

/// Changes what an epoll watches a descriptor for, which mio cannot: neither reading nor writing is possible here.
/// The system looks at the descriptor again, so what it is ready for already is told too.
pub(crate) fn watch(
    epoll: &impl AsRawFd,
    fd: RawFd,
    token: u64,
    reading: bool,
    writing: bool,
) -> io::Result<()> {
    let reading = if reading { libc::EPOLLIN | libc::EPOLLRDHUP } else { 0 };
    let writing = if writing { libc::EPOLLOUT } else { 0 };
    let mut event = libc::epoll_event { events: (libc::EPOLLET | reading | writing) as u32, u64: token };
    // SAFETY: `event` is valid for the duration of the call; the system looks at nothing else.
    let result = unsafe { libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_MOD, fd, &raw mut event) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// For `send`: a full socket is an error, whether it blocks or not, and so is a peer that is gone.
pub(crate) const NO_WAIT: libc::c_int = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
/// For `send`: a peer that is gone is an error and no SIGPIPE.
pub(crate) const NO_SIGNAL: libc::c_int = libc::MSG_NOSIGNAL;

/// Which signals a thread has blocked: a bit for each, the first signal lowest. The system's own form has room for a
/// thousand more.
#[derive(Clone, Copy)]
pub(crate) struct SignalMask(u64);

impl SignalMask {
    /// Every signal.
    pub(crate) fn all() -> SignalMask {
        SignalMask(u64::MAX)
    }

    fn signals() -> impl Iterator<Item = (u64, libc::c_int)> {
        (0..64).map(|bit| (1 << bit, bit + 1))
    }

    /// That of this thread.
    pub(crate) fn current() -> SignalMask {
        // SAFETY: a set of signals is plain numbers, for which zeros are a value.
        let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
        // SAFETY: the set is valid during the call, and nothing is changed.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, std::ptr::null(), &raw mut set) };
        // SAFETY: the set is valid during the call.
        let is_blocked = |signal| unsafe { libc::sigismember(&raw const set, signal) == 1 };
        let blocked = SignalMask::signals().filter(|&(_, signal)| is_blocked(signal));
        SignalMask(blocked.fold(0, |mask, (bit, _)| mask | bit))
    }

    /// Makes it the mask of this thread.
    pub(crate) fn apply(&self) {
        // SAFETY: as above.
        let mut set: libc::sigset_t = unsafe { std::mem::zeroed() };
        for (_, signal) in SignalMask::signals().filter(|(bit, _)| self.0 & bit != 0) {
            // SAFETY: the set is valid during the call, which refuses what the C library keeps for itself.
            unsafe { libc::sigaddset(&raw mut set, signal) };
        }
        // SAFETY: the set is valid, and the old one is not asked for. It fails only for an unknown action.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const set, std::ptr::null_mut()) };
    }
}

/// How the system schedules this thread, where it tells.
fn scheduling() -> Option<libc::sched_attr> {
    // SAFETY: these are plain numbers, for which zeros are a value.
    let mut now: libc::sched_attr = unsafe { std::mem::zeroed() };
    let size = size_of::<libc::sched_attr>();
    // SAFETY: `now` is valid during the call, which writes no more than `size` bytes. 0 is this thread.
    (unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut now, size, 0) } == 0).then_some(now)
}

/// How long a thread may run before another is due, in nanoseconds; 0 where that is not known. Shorter turns come
/// sooner: on a busy processor a thread that has slept waits for the others' turns to end (EEVDF, Linux 6.12). Threads
/// and processes inherit them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Turns(pub(crate) u64);

impl Turns {
    /// Those of this thread. Not known on older systems, for real-time threads, and under a seccomp filter, which may
    /// take the question for a crime.
    pub(crate) fn current() -> Turns {
        Turns(Turns::scheduling().map_or(0, |now| now.sched_runtime))
    }

    /// Makes them those of this thread, if something is known of both.
    pub(crate) fn apply(self) {
        let Some(mut wanted) = Turns::scheduling() else { return };
        if self == Turns(0) || [0, self.0].contains(&wanted.sched_runtime) {
            return;
        }
        wanted.sched_runtime = self.0;
        // SAFETY: `wanted` is valid during the call, which changes nothing but the turns.
        unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const wanted, 0) };
    }

    /// As the function, where turns may be asked for and changed.
    fn scheduling() -> Option<libc::sched_attr> {
        // SAFETY: takes no pointers.
        let is_filtered = unsafe { libc::prctl(libc::PR_GET_SECCOMP, 0, 0, 0, 0) } != 0;
        let known = if is_filtered { None } else { scheduling() };
        known.filter(|now| now.sched_policy == libc::SCHED_OTHER as u32)
    }
}

/// The mark of this process: never 0, and a higher one in each child of a fork. For bindings, which keep
/// handles of their own. Any thread; a load from memory.
pub fn process_mark() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let Some(page) = fork_page() else { return u64::from(std::process::id()) };
    match page.load(Ordering::Relaxed) {
        0 => {
            // A child counts on from its parent's value, so marks differ along the whole line of forks.
            let mark = NEXT.fetch_add(1, Ordering::Relaxed);
            page.compare_exchange(0, mark, Ordering::Relaxed, Ordering::Relaxed)
                .map_or_else(|old| old, |_| mark)
        }
        mark => mark,
    }
}

/// A word that the system sets to 0 in the child of a fork; `None` where it cannot (Linux before 4.14).
fn fork_page() -> Option<&'static AtomicU64> {
    static PAGE: OnceLock<Option<&'static AtomicU64>> = OnceLock::new();
    *PAGE.get_or_init(|| {
        const BYTES: usize = 4096;
        let (protection, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        // SAFETY: a fresh anonymous mapping touches no memory that exists.
        let page = unsafe { libc::mmap(std::ptr::null_mut(), BYTES, protection, flags, -1, 0) };
        if page == libc::MAP_FAILED {
            return None;
        }
        // SAFETY: the range is exactly the mapping made above.
        if unsafe { libc::madvise(page, BYTES, libc::MADV_WIPEONFORK) } != 0 {
            return None;
        }
        // SAFETY: the mapping is zeroed, aligned to a page, never unmapped, and only used through this
        // atomic.
        Some(unsafe { &*page.cast::<AtomicU64>() })
    })
}

/// Runs `run` in a child of a fork and answers what it answered.
#[cfg(test)]
pub(crate) fn in_forked_child(run: impl FnOnce() -> bool) -> bool {
    // SAFETY: the child runs on memory of its own, starts no thread, and leaves without running exit
    // handlers.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "fork: {}", io::Error::last_os_error());
    if child == 0 {
        let is_good = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).unwrap_or(false);
        // SAFETY: takes no pointers and does not return.
        unsafe { libc::_exit(i32::from(!is_good)) };
    }
    let mut status = 0;
    // SAFETY: `status` is valid during the call.
    let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
    waited == child && libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clock_advances_and_the_mark_stays() {
        let earlier = boot_time_nanos();
        assert!(earlier > 0 && boot_time_nanos() >= earlier);
        assert_ne!(process_mark(), 0);
        assert_eq!(process_mark(), process_mark());
    }

    #[test]
    fn a_child_has_another_mark_and_so_has_its_child() {
        let mark = process_mark();
        assert!(in_forked_child(|| {
            let of_child = process_mark();
            of_child != mark && of_child == process_mark() && in_forked_child(|| process_mark() != of_child)
        }));
        assert_eq!(process_mark(), mark);
    }

    #[test]
    fn a_mask_of_signals_is_applied_to_one_thread_and_can_be_put_back() {
        let blocked = || {
            let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
            let line =
                status.lines().find_map(|line| line.strip_prefix("SigBlk:")).unwrap().trim().to_owned();
            u64::from_str_radix(&line, 16).unwrap()
        };
        let (before, mask) = (blocked(), SignalMask::current());
        std::thread::spawn(move || {
            SignalMask::all().apply();
            let bit = |signal: libc::c_int| 1 << (signal - 1);
            for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGUSR1, libc::SIGCHLD, libc::SIGALRM] {
                assert_ne!(blocked() & bit(signal), 0, "signal {signal}");
            }
            mask.apply();
            assert_eq!(blocked(), before);
        })
        .join()
        .unwrap();
        assert_eq!(blocked(), before);
    }

    #[test]
    fn turns_become_shorter_and_can_be_put_back() {
        let attributes = || {
            let now = scheduling().unwrap();
            (now.sched_runtime, (now.sched_policy, now.sched_nice, now.sched_flags))
        };
        std::thread::spawn(move || {
            let (before, (turn_before, others)) = (Turns::current(), attributes());
            Turns(300_000).apply();
            let (turn, after) = attributes();
            // An older system knows no turns, and one with a filter is not asked.
            assert!(turn == 300_000 || before == Turns(0) && turn == turn_before, "{turn}");
            assert_eq!(after, others);
            before.apply();
            assert_eq!(attributes(), (turn_before, others));
        })
        .join()
        .unwrap();
    }

    #[test]
    fn descriptors_are_closed_on_exec() {
        let (timer, event) = (TimerFd::new().unwrap(), EventFd::new().unwrap());
        for fd in [timer.as_raw_fd(), event.as_fd().as_raw_fd()] {
            let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap();
            let flags = info.lines().find_map(|line| line.strip_prefix("flags:")).unwrap().trim().to_string();
            assert_ne!(i32::from_str_radix(&flags, 8).unwrap() & libc::O_CLOEXEC, 0);
        }
    }

    #[test]
    fn a_receive_appends_and_ends_with_zero() {
        use std::os::unix::net::UnixStream;
        let (mut left, right) = UnixStream::pair().unwrap();
        let mut buffer = Vec::with_capacity(64);
        buffer.extend_from_slice(b"kept ");
        left.write_all(b"data").unwrap();
        assert_eq!(receive(right.as_fd(), &mut buffer, false).unwrap(), 4);
        assert_eq!(buffer, b"kept data");
        drop(left);
        assert_eq!(receive(right.as_fd(), &mut buffer, false).unwrap(), 0);
    }
}
