/*
 * Clerver for C++11 and later: the classes over clerver.h, which is the reference of what everything does.
 *
 *     c++ -std=c++11 program.cpp $(pkg-config --cflags --libs clerver)
 *
 * THE LAWS of clerver.h hold, and these beside them:
 *
 * Owners      Node, Connecting, Session, Channel, Call, DeferredReply, Buffer and Options own what they stand for:
 *             they can be moved, not copied, and give it back at the end of their life. An empty one (made without
 *             arguments, or moved from) is false.
 *             close() may be called from another thread while this one waits in a method; moving, assigning and
 *             destroying may not.
 * Errors      Each function that can fail exists twice, as in asio: one throws clerver::Error, the other has a last
 *             argument std::error_code &, sets it (or clears it), and answers an empty value on an error. Codes compare
 *             with clerver::errc and, by what to do about them, with clerver::Class: `if (ec == Class::retry)`.
 *             clerver::last_error() and last_remedy() have the words for the last failure on this thread.
 * Ends        receive() and Session::next_event() without error code answer an empty Buffer or Event at the good end,
 *             so that `while (Buffer message = channel.receive())` takes everything. With one, it is errc::end.
 * Waiting     A time-out is any std::chrono duration (rounded up to milliseconds, negative is 0), forever, or no_wait.
 *             With no_wait, errc::again says that nothing is there yet.
 * Functions   given to the library (handlers, kinds of objects, log) run on its threads. What a handler throws reaches
 *             the caller of the service; embalm, revive and print of a kind may throw, too. Out of all others nothing
 *             may be thrown: it ends the program (std::terminate).
 * Bytes       Where data is sent, a View is taken: a string, a vector of bytes, a Buffer, or a pointer and a size.
 * Handles     raw() gives the handle of C, for anything that this header should lack; release() gives it away.
 *
 *     clerver::Node node = clerver::Node::open();
 *     node.serve("shout", [](clerver::Request &request) {
 *         std::string text = request.data().to_string();
 *         for (char &letter : text)
 *             letter = static_cast<char>(std::toupper(static_cast<unsigned char>(letter)));
 *         return text;
 *     });
 *     node.listen("127.0.0.1:4000");
 *
 * and in another process:
 *
 *     clerver::Node node = clerver::Node::open();
 *     clerver::Session session = node.connect("127.0.0.1:4000", std::chrono::seconds(10));
 *     std::cout << session.call("shout", "any text", std::chrono::seconds(5)).to_string() << "\n";
 *     session.close(std::chrono::seconds(1));
 */
#ifndef CLERVER_HPP
#define CLERVER_HPP

#include <clerver.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <initializer_list>
#include <memory>
#include <stdexcept>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>
#include <vector>

namespace clerver {

/* ---- Errors ---------------------------------------------------------------------------------------------------- */

/* The numbers of clerver.h, CLV_E_TIMEOUT as errc::timeout and so on. They never change their meaning. */
enum class errc : int {
    timeout = CLV_E_TIMEOUT,
    again = CLV_E_AGAIN,
    unreachable = CLV_E_UNREACHABLE,
    resolve = CLV_E_RESOLVE,
    busy = CLV_E_BUSY,
    draining = CLV_E_DRAINING,
    link_failed = CLV_E_LINK_FAILED,
    not_run = CLV_E_NOT_RUN,
    cancelled = CLV_E_CANCELLED,
    interrupted = CLV_E_INTERRUPTED,
    unconfirmed = CLV_E_UNCONFIRMED,
    store = CLV_E_STORE,
    denied = CLV_E_DENIED,
    blocked = CLV_E_BLOCKED,
    wrong_identity = CLV_E_WRONG_IDENTITY,
    wrong_node = CLV_E_WRONG_NODE,
    bad_proof = CLV_E_BAD_PROOF,
    version = CLV_E_VERSION,
    level = CLV_E_LEVEL,
    key_file = CLV_E_KEY_FILE,
    skew = CLV_E_SKEW,
    replayed = CLV_E_REPLAYED,
    lost = CLV_E_LOST,
    closed = CLV_E_CLOSED,
    reset = CLV_E_RESET,
    discontinuity = CLV_E_DISCONTINUITY,
    unknown = CLV_E_UNKNOWN,
    fenced = CLV_E_FENCED,
    end = CLV_E_END,
    stopped = CLV_E_STOPPED,
    call_failed = CLV_E_CALL_FAILED,
    replaced = CLV_E_REPLACED,
    handle = CLV_E_HANDLE,
    arg = CLV_E_ARG,
    self = CLV_E_SELF,
    in_use = CLV_E_IN_USE,
    state = CLV_E_STATE,
    no_service = CLV_E_NO_SERVICE,
    in_callback = CLV_E_IN_CALLBACK,
    forked = CLV_E_FORKED,
    config = CLV_E_CONFIG,
    encoding = CLV_E_ENCODING,
    mismatch = CLV_E_MISMATCH,
    unsupported = CLV_E_UNSUPPORTED,
    not_drained = CLV_E_NOT_DRAINED,
    poisoned = CLV_E_POISONED,
    size = CLV_E_SIZE,
    limit = CLV_E_LIMIT,
    channels = CLV_E_CHANNELS,
    admission = CLV_E_ADMISSION,
    protocol = CLV_E_PROTOCOL,
    bug = CLV_E_BUG,
    system = CLV_E_SYSTEM
};

/* What a program should do about an error: a condition to compare a std::error_code with. */
enum class Class : int {
    /* None: success, or a number that this version of the library does not know. */
    none = 0,
    /* The same request may work later; nothing is lost. */
    retry = CLV_CLASS_RETRY,
    /* Would block: wait for the event that says there is room, or data, then ask again. */
    again = CLV_CLASS_AGAIN,
    /* Somebody decided against it: trust, identity or authority. */
    denied = CLV_CLASS_DENIED,
    /* Continuity is broken; what may be missing is reported. */
    lost = CLV_CLASS_LOST,
    /* The request was wrong for this object or moment. */
    misuse = CLV_CLASS_MISUSE,
    /* A stated limit is reached. */
    limit = CLV_CLASS_LIMIT,
    /* A defect in Clerver or in the peer's implementation. */
    bug = CLV_CLASS_BUG
};

} // namespace clerver

namespace std {
template <> struct is_error_code_enum<clerver::errc> : true_type {};
template <> struct is_error_condition_enum<clerver::Class> : true_type {};
} // namespace std

namespace clerver {

namespace detail {

class ClassCategory : public std::error_category {
public:
    const char *name() const noexcept override { return "clerver class"; }

    std::string message(int number) const override
    {
        static const char *const names[] = {"none", "retry", "again", "denied", "lost", "misuse", "limit", "bug"};
        return number >= 0 && number < 8 ? names[number] : "unknown class";
    }
};

class Category : public std::error_category {
public:
    const char *name() const noexcept override { return "clerver"; }
    std::string message(int status) const override { return clv_strerror(status); }

    /* Makes `code == Class::retry` work. */
    std::error_condition default_error_condition(int status) const noexcept override
    {
        static const ClassCategory classes;
        return std::error_condition(clv_status_class(status), classes);
    }
};

} // namespace detail

/* The category of all error codes of the library. */
inline const std::error_category &error_category() noexcept
{
    static const detail::Category category;
    return category;
}

/* Lets an errc be used as a std::error_code. */
inline std::error_code make_error_code(errc code) noexcept
{
    return std::error_code(static_cast<int>(code), error_category());
}

/* Lets a Class be compared with a std::error_code. */
inline std::error_condition make_error_condition(Class status_class) noexcept
{
    /* Any code has the category of the classes; 0 is in the class 0. */
    const std::error_condition none = error_category().default_error_condition(CLV_OK);
    return std::error_condition(static_cast<int>(status_class), none.category());
}

/* What the last function that failed on this thread was doing, with whom, and what happened. */
inline std::string last_error() { return clv_last_error(); }

/* What a person can do about the last failure on this thread. */
inline std::string last_remedy() { return clv_last_remedy(); }

/* Version of the library that runs: major * 1000000 + minor * 1000 + patch. */
inline std::uint32_t version_number() noexcept { return clv_version_number(); }

/* Version of this header, to compare with version_number(). */
enum : std::uint32_t {
    header_version = CLV_VERSION_MAJOR * 1000000u + CLV_VERSION_MINOR * 1000u + CLV_VERSION_PATCH
};

/* What functions without std::error_code & throw. what() says what was tried, with whom, and what happened. */
class Error : public std::system_error {
public:
    /* An error of one's own; see Refusal for what a service answers. */
    Error(std::error_code code, const std::string &text, const std::string &remedy = std::string())
        : std::system_error(code), text_(text), remedy_(remedy)
    {
    }

    /* The last failure on this thread. */
    explicit Error(std::error_code code) : std::system_error(code), text_(last_error()), remedy_(last_remedy()) {}

    const char *what() const noexcept override { return text_.what(); }

    /* What a person can do about it. */
    const char *remedy() const noexcept { return remedy_.what(); }

    /* What a program should do about it. code() has the number. */
    Class status_class() const noexcept { return static_cast<Class>(clv_status_class(code().value())); }

private:
    /* Exceptions are copied, and their copy must not throw; these share their text. */
    std::runtime_error text_;
    std::runtime_error remedy_;
};

/*
 * Thrown by a handler that did nothing: the caller gets errc::not_run, busy or denied as it is. Everything else that a
 * handler throws is the caller's errc::call_failed, also an Error of a call of its own, which may have done something.
 */
class Refusal : public Error {
public:
    explicit Refusal(errc code, const std::string &text) : Error(code, text) {}
};

namespace detail {

inline std::error_code code_of(clv_status status) noexcept { return std::error_code(status, error_category()); }

inline void check(const std::error_code &code)
{
    if (code)
        throw Error(code);
}

inline void check(clv_status status)
{
    if (status != CLV_OK)
        throw Error(code_of(status));
}

/* Makes of a function with an error code the one that throws. */
template <typename Function>
auto or_throw(Function function) -> decltype(function(std::declval<std::error_code &>()))
{
    std::error_code code;
    auto value = function(code);
    check(code);
    return value;
}

/* As or_throw, but the good end is an empty value. */
template <typename Function>
auto or_end(Function function) -> decltype(function(std::declval<std::error_code &>()))
{
    std::error_code code;
    auto value = function(code);
    if (code != errc::end)
        check(code);
    return value;
}

/* Runs functions of the program under C code, through which nothing may be thrown. */
class Guard {
public:
    template <typename Function> void run(Function function) noexcept
    {
        if (failure_)
            return;
        try {
            function();
        } catch (...) {
            failure_ = std::current_exception();
        }
    }

    void rethrow() const
    {
        if (failure_)
            std::rethrow_exception(failure_);
    }

private:
    std::exception_ptr failure_;
};

template <typename T> void drop(void *user) { delete static_cast<T *>(user); }

/* A text that is written into room that is always enough. */
template <std::size_t room, typename Function> std::string text_of(Function function, std::error_code &ec)
{
    char text[room];
    ec = code_of(function(text, room));
    return ec ? std::string() : std::string(text);
}

} // namespace detail

/* ---- Waiting --------------------------------------------------------------------------------------------------- */

/* A time-out that never comes. */
enum Forever { forever };

/* A time-out at once: errc::again says that nothing is there yet. */
enum NoWait { no_wait };

/* How long to wait at most; see the laws. */
class Wait {
public:
    Wait(Forever) noexcept : ms_(-1) {}
    Wait(NoWait) noexcept : ms_(0) {}

    template <typename Number, typename Period> Wait(std::chrono::duration<Number, Period> time) noexcept : ms_(0)
    {
        typedef std::chrono::duration<double, std::milli> Exact;
        typedef std::chrono::milliseconds Whole;
        /* No clock lasts that long, and a cast beyond it would overflow. */
        const double ms_max = 9e15;
        const double ms = std::chrono::duration_cast<Exact>(time).count();
        if (!(ms > 0))
            return;
        if (ms >= ms_max) {
            ms_ = static_cast<std::int64_t>(ms_max);
            return;
        }
        const Whole whole = std::chrono::duration_cast<Whole>(time);
        ms_ = static_cast<std::int64_t>(whole.count()) + (whole < time ? 1 : 0);
    }

    /* As clerver.h wants it: -1 for ever. */
    std::int64_t timeout_ms() const noexcept { return ms_; }

private:
    std::int64_t ms_;
};

/* ---- Bytes ----------------------------------------------------------------------------------------------------- */

/* Bytes of somebody else, only for the time of a call. */
class View {
public:
    View() noexcept : data_(nullptr), size_(0) {}
    View(const void *data, std::size_t size) noexcept : data_(data), size_(size) {}
    View(const char *text) : data_(text), size_(std::char_traits<char>::length(text)) {}

    /* Anything with data() and size() whose elements are single bytes: strings, vectors, Buffers. */
    template <typename Container, typename Element = decltype(*std::declval<const Container &>().data()),
              typename = typename std::enable_if<sizeof(Element) == 1>::type>
    View(const Container &container) noexcept : data_(container.data()), size_(container.size())
    {
    }

    const std::uint8_t *data() const noexcept { return static_cast<const std::uint8_t *>(data_); }
    std::size_t size() const noexcept { return size_; }
    bool empty() const noexcept { return size_ == 0; }
    const std::uint8_t *begin() const noexcept { return data(); }
    const std::uint8_t *end() const noexcept { return data() + size_; }
    std::string to_string() const { return std::string(begin(), end()); }

private:
    const void *data_;
    std::size_t size_;
};

/* Bytes that the library gave: a message, a reply. False when there are none, not even an empty message. */
class Buffer {
public:
    Buffer() noexcept : raw_(nullptr) {}
    explicit Buffer(clv_buffer *raw) noexcept : raw_(raw) {}
    Buffer(Buffer &&other) noexcept : raw_(other.release()) {}
    ~Buffer() { clv_buffer_free(raw_); }

    Buffer &operator=(Buffer &&other) noexcept
    {
        if (this != &other) {
            clv_buffer_free(raw_);
            raw_ = other.release();
        }
        return *this;
    }

    explicit operator bool() const noexcept { return raw_ != nullptr; }
    const std::uint8_t *data() const noexcept { return clv_buffer_data(raw_); }
    std::size_t size() const noexcept { return clv_buffer_size(raw_); }
    bool empty() const noexcept { return size() == 0; }
    const std::uint8_t *begin() const noexcept { return data(); }
    const std::uint8_t *end() const noexcept { return data() + size(); }
    std::string to_string() const { return View(*this).to_string(); }

    clv_buffer *raw() const noexcept { return raw_; }

    clv_buffer *release() noexcept
    {
        clv_buffer *raw = raw_;
        raw_ = nullptr;
        return raw;
    }

private:
    clv_buffer *raw_;
};

namespace detail {

/* A handle that is owned. End is what gives it back. */
template <typename Raw, clv_status (*End)(Raw)> class Owner {
public:
    Owner() noexcept : id_(0) {}
    explicit Owner(Raw raw) noexcept : id_(raw.id) {}
    Owner(Owner &&other) noexcept : id_(other.release().id) {}
    ~Owner() { finish(); }

    Owner &operator=(Owner &&other) noexcept
    {
        if (this != &other) {
            finish();
            id_ = other.release().id;
        }
        return *this;
    }

    /* True while it stands for something. */
    explicit operator bool() const noexcept { return id_ != 0; }

    /* The handle of C; this stays its owner. */
    Raw raw() const noexcept
    {
        Raw raw = Raw();
        raw.id = id_;
        return raw;
    }

    /* The handle of C, which is the caller's from now on. */
    Raw release() noexcept
    {
        Raw raw = Raw();
        raw.id = id_.exchange(0);
        return raw;
    }

protected:
    /* What is empty has ended already. */
    clv_status finish() noexcept
    {
        const Raw raw = release();
        return raw.id == 0 ? CLV_OK : End(raw);
    }

private:
    /* Atomic, because close() may come from another thread. */
    std::atomic<std::uint64_t> id_;
};

} // namespace detail

/* ---- Options --------------------------------------------------------------------------------------------------- */

/*
 * Wishes for a node; empty ones leave everything to the environment (CLERVER_*), the configuration file and the
 * defaults. One may be used for several nodes. The guide lists the options.
 *
 *     Node::open(Options().set("node_name", "till").set("beat_ms", 500))
 */
class Options {
public:
    Options() : raw_(nullptr) { detail::check(clv_options_new(&raw_)); }
    Options(Options &&other) noexcept : raw_(other.release()) {}
    ~Options() { clv_options_free(raw_); }

    Options &operator=(Options &&other) noexcept
    {
        if (this != &other) {
            clv_options_free(raw_);
            raw_ = other.release();
        }
        return *this;
    }

    /* Sets an option by name. Errors: config, unsupported, arg, encoding. */
    Options &set(const std::string &name, const std::string &value) &
    {
        detail::check(clv_options_set(raw_, name.c_str(), value.c_str()));
        return *this;
    }

    void set(const std::string &name, const std::string &value, std::error_code &ec) noexcept
    {
        ec = detail::code_of(clv_options_set(raw_, name.c_str(), value.c_str()));
    }

    /* The same for numbers and flags. */
    template <typename Number>
    typename std::enable_if<std::is_integral<Number>::value, Options &>::type set(const std::string &name,
                                                                                 Number value) &
    {
        return set(name, text(value));
    }

    template <typename Value> Options &&set(const std::string &name, const Value &value) &&
    {
        return std::move(this->set(name, value));
    }

    /* Adds what a TOML file says, below the environment and the wishes set here. Errors: config, unsupported. */
    Options &load_file(const std::string &path) &
    {
        detail::check(clv_options_load_file(raw_, path.c_str()));
        return *this;
    }

    Options &&load_file(const std::string &path) && { return std::move(this->load_file(path)); }

    void load_file(const std::string &path, std::error_code &ec) noexcept
    {
        ec = detail::code_of(clv_options_load_file(raw_, path.c_str()));
    }

    clv_options *raw() const noexcept { return raw_; }

    clv_options *release() noexcept
    {
        clv_options *raw = raw_;
        raw_ = nullptr;
        return raw;
    }

private:
    static std::string text(bool value) { return value ? "true" : "false"; }
    template <typename Number> static std::string text(Number value) { return std::to_string(value); }

    clv_options *raw_;
};

/* ---- What was counted or left ---------------------------------------------------------------------------------- */

/* State of a session; see CLV_STATE_... */
enum class State : std::int32_t {
    registering = CLV_STATE_REGISTERING,
    live = CLV_STATE_LIVE,
    suspended = CLV_STATE_SUSPENDED,
    embalmed = CLV_STATE_EMBALMED,
    reviving = CLV_STATE_REVIVING,
    closing = CLV_STATE_CLOSING,
    closed = CLV_STATE_CLOSED,
    lost = CLV_STATE_LOST
};

/* Counts of one channel, in bytes. */
typedef clv_channel_report ChannelReport;

/* Counts of a node since its start, and gauges of now. */
typedef clv_counters Counters;

/* What was lost with a session, or left at its close. */
struct Loss {
    /* Why it ended: errc::closed in good order. */
    std::error_code cause;
    /* Calls of this end without an outcome before, that had run. */
    std::uint64_t calls_run = 0;
    /* Such calls that certainly had not run. */
    std::uint64_t calls_not_run = 0;
    /* Such calls of which it cannot be known. */
    std::uint64_t calls_unknown = 0;
    /* Objects of this end at the peer, which the peer ends. */
    std::uint64_t objects = 0;
    /* The cause for people. */
    std::string text;
    /* Channels that were not finished. */
    std::vector<ChannelReport> channels;
};

/* What was left when a drain or close ended. */
struct Leftovers {
    /* Channels with data that the peer does not hold. */
    std::uint64_t channels = 0;
    /* Bytes of them that the peer does not hold. */
    std::uint64_t bytes = 0;
    /* Handlers and callbacks that had not returned. What they use is leaked, not freed. */
    std::uint64_t running = 0;
    /* Their names for people. */
    std::string text;
};

/* What is known of a session and its peer. */
struct SessionInfo {
    /* The session's number in this process, as in events. */
    std::uint64_t number = 0;
    State state = State::closed;
    /* The peer's level. */
    int level = 0;
    /* Without a sign of life for this long, the peer counts as gone. */
    std::chrono::milliseconds ttl{0};
    /* Time between signs of life. */
    std::chrono::milliseconds beat{0};
    /* Connections that carry it now. */
    std::uint64_t links = 0;
    /* Connections that carried it so far. */
    std::uint64_t links_total = 0;
    /* Smoothed; 0 while it is unknown. */
    std::chrono::microseconds round_trip{0};
    /* Bytes that the peer may still send or that wait to be taken. */
    std::uint64_t outstanding_bytes = 0;
    /* Channels open, one of the library's own included. */
    std::uint64_t channels = 0;
    bool peer_drains = false;
    /* The session's name, the same at both ends. */
    std::string sid;
    /* Host id of the peer. */
    std::string peer_host;
    /* What people call the peer's machine. */
    std::string peer_host_name;
    /* What people call the peer. */
    std::string peer_name;
};

namespace detail {

inline Leftovers leftovers_of(const clv_leftovers &raw)
{
    Leftovers left;
    left.channels = raw.channels;
    left.bytes = raw.bytes;
    left.running = raw.running;
    left.text = raw.text;
    return left;
}

} // namespace detail

/* Why a session moves: the number of EventKind::move_began and peer_moves. */
enum class MoveCause : std::int32_t {
    /* A program wanted it: Session::roam. */
    asked = CLV_MOVE_ASKED,
    /* The other end asked for it: Session::go_to. */
    go_to = CLV_MOVE_GOTO,
    /* The path is congested, and another one is not. */
    congestion = CLV_MOVE_CONGESTION
};

/* Who named an address. */
enum class AddressOrigin : std::int32_t {
    /* This node: it can be reached there. */
    own = CLV_ADDRESS_OWN,
    /* The program, with a connect. */
    given = CLV_ADDRESS_GIVEN,
    /* The peer announced it. */
    announced = CLV_ADDRESS_ANNOUNCED,
    /* Whoever moved the session there; it was neither given nor announced. */
    moved = CLV_ADDRESS_MOVED
};

/* One address of a node. */
struct Address {
    std::string address;
    AddressOrigin origin = AddressOrigin::own;
    /* A connection of the session uses it. */
    bool in_use = false;
    /* It failed in the round of attempts that goes on. */
    bool failed = false;
};

namespace detail {

inline void add_address(void *user, const clv_address *raw)
{
    Address address;
    address.address = raw->address;
    address.origin = static_cast<AddressOrigin>(raw->origin);
    address.in_use = raw->in_use != 0;
    address.failed = raw->failed != 0;
    static_cast<std::vector<Address> *>(user)->push_back(address);
}

} // namespace detail

/* ---- Events ---------------------------------------------------------------------------------------------------- */

/* What happened; see CLV_EVENT_... for what the members of Event then mean. Skip numbers that you do not know. */
enum class EventKind : std::int32_t {
    /* No event: that of an empty Event. */
    none = 0,
    dropped = CLV_EVENT_DROPPED,
    connected = CLV_EVENT_CONNECTED,
    connect_failed = CLV_EVENT_CONNECT_FAILED,
    dial_retry = CLV_EVENT_DIAL_RETRY,
    accepted = CLV_EVENT_ACCEPTED,
    refused = CLV_EVENT_REFUSED,
    pinned = CLV_EVENT_PINNED,
    own_id_elsewhere = CLV_EVENT_OWN_ID_ELSEWHERE,
    state = CLV_EVENT_STATE,
    notice = CLV_EVENT_NOTICE,
    readable = CLV_EVENT_READABLE,
    writable = CLV_EVENT_WRITABLE,
    session_ready = CLV_EVENT_SESSION_READY,
    draining = CLV_EVENT_DRAINING,
    address_failed = CLV_EVENT_ADDRESS_FAILED,
    restored = CLV_EVENT_RESTORED,
    lost = CLV_EVENT_LOST,
    closed = CLV_EVENT_CLOSED,
    link_attached = CLV_EVENT_LINK_ATTACHED,
    link_ended = CLV_EVENT_LINK_ENDED,
    skew = CLV_EVENT_SKEW,
    peer_drains = CLV_EVENT_PEER_DRAINS,
    channel_opened = CLV_EVENT_CHANNEL_OPENED,
    openable = CLV_EVENT_OPENABLE,
    object_attached = CLV_EVENT_OBJECT_ATTACHED,
    object_ended = CLV_EVENT_OBJECT_ENDED,
    object_updated = CLV_EVENT_OBJECT_UPDATED,
    object_revived = CLV_EVENT_OBJECT_REVIVED,
    object_stuck = CLV_EVENT_OBJECT_STUCK,
    peer_addresses = CLV_EVENT_PEER_ADDRESSES,
    move_began = CLV_EVENT_MOVE_BEGAN,
    move_failed = CLV_EVENT_MOVE_FAILED,
    peer_moves = CLV_EVENT_PEER_MOVES,
    peer_revived = CLV_EVENT_PEER_REVIVED
};

/* An event; false when there is none. Which members mean something stands at its kind in clerver.h. */
struct Event {
    EventKind kind = EventKind::none;
    /* Why, for what failed or ended. */
    std::error_code status;
    /* Number of the session, as in SessionInfo. */
    std::uint64_t session = 0;
    /* Number of an object. */
    std::uint64_t object = 0;
    /* What the program gave to a watch(). */
    std::uint64_t token = 0;
    /* A count, a time or a channel. */
    std::int64_t number = 0;
    /* State of the session, for EventKind::state. */
    State state = State();
    State state_before = State();
    /* Data of EventKind::object_updated. */
    Buffer data;
    /* For people, or a name. */
    std::string text;
    /* The other host, node or address. */
    std::string peer;
    /* A number of bytes. */
    std::uint64_t bytes = 0;

    explicit operator bool() const noexcept { return kind != EventKind::none; }
};

namespace detail {

template <typename Next> Event next_event(Next next, std::error_code &ec)
{
    clv_event raw = CLV_EVENT_INIT;
    Event event;
    ec = code_of(next(&raw));
    if (ec)
        return event;
    event.data = Buffer(raw.data);
    event.kind = static_cast<EventKind>(raw.kind);
    event.status = code_of(raw.status);
    event.session = raw.session;
    event.object = raw.object;
    event.token = raw.token;
    event.number = raw.number;
    event.state = static_cast<State>(raw.state);
    event.state_before = static_cast<State>(raw.state_before);
    event.text = raw.text;
    event.peer = raw.peer;
    event.bytes = raw.bytes;
    return event;
}

} // namespace detail

/* ---- Channels -------------------------------------------------------------------------------------------------- */

/* What a channel carries; by default messages. */
struct ChannelOptions {
    /* A stream of bytes instead of messages. */
    bool bytes = false;
    /* Yields to everything else, and may use the bulk connections of a session. */
    bool bulk = false;
    /* Outlives the process, in the store_dir of each end; what that promises stands at clv_channel_options. */
    bool stored = false;
};

/* What was taken of a stored channel; false when there is none, not even an empty message. */
struct Delivery {
    /* The message, or some bytes. */
    Buffer data;
    /* Where it ends in the channel, for Channel::ack. */
    std::uint64_t end = 0;
    /* An earlier process may have taken it, and did not acknowledge it. */
    bool redelivered = false;
    /* What that process said last with Channel::restart_point about this message; false for nothing. */
    Buffer restart_point;

    explicit operator bool() const noexcept { return static_cast<bool>(data); }
};

/* How a plain descriptor is made. */
enum class Descriptor : std::uint32_t {
    /* TCP over loopback. */
    tcp = 0,
    /* A pair of Unix sockets: cheaper, and without ports; but its reader cannot tell a loss from the end. */
    unix_pair = CLV_FD_UNIX
};

/* A channel of a session. Its end of life is close(). */
class Channel : public detail::Owner<clv_channel, clv_channel_close> {
public:
    Channel() noexcept {}
    explicit Channel(clv_channel raw) noexcept : Owner(raw) {}

    /* What it is for, as the end that opened it said. */
    std::string name(std::error_code &ec) const
    {
        return detail::text_of<256>(
            [this](char *text, std::size_t room) { return clv_channel_name(raw(), text, room); }, ec);
    }

    std::string name() const
    {
        return detail::or_throw([&](std::error_code &ec) { return name(ec); });
    }

    /* Whether it is a stream of bytes. */
    bool is_bytes(std::error_code &ec) const noexcept
    {
        std::int32_t is_bytes = 0;
        ec = detail::code_of(clv_channel_is_bytes(raw(), &is_bytes));
        return is_bytes != 0;
    }

    bool is_bytes() const
    {
        return detail::or_throw([&](std::error_code &ec) { return is_bytes(ec); });
    }

    /*
     * Sends one message, or all of the bytes, and waits until a stored channel has it on the disk. Errors: size,
     * stopped, closed, lost, timeout, again, in_callback, and unconfirmed: it is queued, and must not be sent again.
     */
    void send(View data, Wait wait, std::error_code &ec) const noexcept
    {
        ec = detail::code_of(clv_channel_send(raw(), data.data(), data.size(), wait.timeout_ms()));
    }

    void send(View data, Wait wait = forever) const
    {
        detail::check(clv_channel_send(raw(), data.data(), data.size(), wait.timeout_ms()));
    }

    /* Waits until everything that was sent is on the disk. Errors: unconfirmed. */
    void confirm(Wait wait, std::error_code &ec) const noexcept
    {
        ec = detail::code_of(clv_channel_confirm(raw(), wait.timeout_ms()));
    }

    void confirm(Wait wait = forever) const { detail::check(clv_channel_confirm(raw(), wait.timeout_ms())); }

    /* Sends a message if there is room, or as many of the bytes as there is room for; answers how many were taken. */
    std::size_t try_send(View data, std::error_code &ec) const noexcept
    {
        std::size_t sent = 0;
        ec = detail::code_of(clv_channel_try_send(raw(), data.data(), data.size(), &sent));
        return sent;
    }

    std::size_t try_send(View data) const
    {
        return detail::or_throw([&](std::error_code &ec) { return try_send(data, ec); });
    }

    /* Takes the next message, or some bytes. At the good end: an empty Buffer, or errc::end. */
    Buffer receive(Wait wait, std::error_code &ec) const noexcept
    {
        clv_buffer *buffer = nullptr;
        ec = detail::code_of(clv_channel_recv_buffer(raw(), wait.timeout_ms(), &buffer));
        return Buffer(buffer);
    }

    Buffer receive(Wait wait = forever) const
    {
        return detail::or_end([&](std::error_code &ec) { return receive(wait, ec); });
    }

    /*
     * The same into memory of one's own; answers how many bytes. A message that does not fit stays: errc::size, and
     * the answer is the room that it needs. The end is always errc::end, because a message may be empty.
     */
    std::size_t receive_into(void *data, std::size_t capacity, Wait wait, std::error_code &ec) const noexcept
    {
        std::size_t received = 0;
        ec = detail::code_of(clv_channel_recv(raw(), data, capacity, wait.timeout_ms(), &received));
        return received;
    }

    std::size_t receive_into(void *data, std::size_t capacity, Wait wait = forever) const
    {
        return detail::or_throw([&](std::error_code &ec) { return receive_into(data, capacity, wait, ec); });
    }

    /* As receive, with what ack wants to know. At the good end: an empty Delivery, or errc::end. */
    Delivery take(Wait wait, std::error_code &ec) const noexcept
    {
        clv_delivery about = CLV_DELIVERY_INIT;
        clv_buffer *buffer = nullptr;
        Delivery taken;
        ec = detail::code_of(clv_channel_take(raw(), wait.timeout_ms(), &buffer, &about));
        taken.data = Buffer(buffer);
        taken.end = about.end;
        taken.redelivered = about.redelivered != 0;
        taken.restart_point = Buffer(about.restart_point);
        return taken;
    }

    Delivery take(Wait wait = forever) const
    {
        return detail::or_end([&](std::error_code &ec) { return take(wait, ec); });
    }

    /*
     * The program is done with all of a stored channel up to the end of a Delivery: no process gets it again. Waits
     * until that is on the disk. Errors: unconfirmed, state, arg.
     */
    void ack(std::uint64_t end, Wait wait, std::error_code &ec) const noexcept
    {
        ec = detail::code_of(clv_ack(raw(), end, wait.timeout_ms()));
    }

    void ack(std::uint64_t end, Wait wait = forever) const
    {
        detail::check(clv_ack(raw(), end, wait.timeout_ms()));
    }

    /*
     * Notes how far the work is on the first message that was not acknowledged, in at most 64 KiB: the next process gets
     * it with that message. Waits until it is on the disk. Errors: unconfirmed, size, state.
     */
    void restart_point(View data, Wait wait, std::error_code &ec) const noexcept
    {
        ec = detail::code_of(clv_restart_point(raw(), data.data(), data.size(), wait.timeout_ms()));
    }

    void restart_point(View data, Wait wait = forever) const
    {
        detail::check(clv_restart_point(raw(), data.data(), data.size(), wait.timeout_ms()));
    }

    /* This end sends no more: the peer takes the rest and then gets the end. */
    void end(std::error_code &ec) const noexcept { ec = detail::code_of(clv_channel_end(raw())); }
    void end() const { detail::check(clv_channel_end(raw())); }

    /* This end breaks off: what was not sent yet is dropped, and the peer gets errc::reset with why. */
    void reset(const std::string &why, std::error_code &ec) const noexcept
    {
        ec = detail::code_of(clv_channel_reset(raw(), why.c_str()));
    }

    void reset(const std::string &why) const { detail::check(clv_channel_reset(raw(), why.c_str())); }

    /* This end takes no more: sends of the peer end with errc::stopped. */
    void stop(std::error_code &ec) const noexcept { ec = detail::code_of(clv_channel_stop(raw())); }
    void stop() const { detail::check(clv_channel_stop(raw())); }

    /* Counts of the channel. */
    ChannelReport report(std::error_code &ec) const noexcept
    {
        ChannelReport report = CLV_CHANNEL_REPORT_INIT;
        ec = detail::code_of(clv_channel_get_report(raw(), &report));
        return report;
    }

    ChannelReport report() const
    {
        return detail::or_throw([&](std::error_code &ec) { return report(ec); });
    }

    /* From now on the node's events readable and writable with this token tell when something changed here. */
    void watch(std::uint64_t token, std::error_code &ec) const noexcept
    {
        ec = detail::code_of(clv_channel_watch(raw(), token));
    }

    void watch(std::uint64_t token) const { detail::check(clv_channel_watch(raw(), token)); }

    /*
     * Turns a channel of bytes into a plain connected descriptor, which is the caller's to close; this is then empty.
     * Errors: state (it carries messages, and stays), system.
     */
    int into_fd(Descriptor descriptor, std::error_code &ec) noexcept
    {
        int fd = -1;
        ec = detail::code_of(clv_channel_into_fd(raw(), static_cast<std::uint32_t>(descriptor), &fd));
        if (!ec)
            release();
        return fd;
    }

    int into_fd(Descriptor descriptor = Descriptor::tcp)
    {
        return detail::or_throw([&](std::error_code &ec) { return into_fd(descriptor, ec); });
    }

    /*
     * Ends the handle: what was written is still delivered, what was not taken is dropped. Threads here wake up. A
     * stored channel goes on: Session::accept_channel gives it out again.
     */
    void close(std::error_code &ec) noexcept { ec = detail::code_of(finish()); }
    void close() { detail::check(finish()); }
};

/* ---- Calls ----------------------------------------------------------------------------------------------------- */

/* Whether a call was run. */
enum class Outcome : std::int32_t {
    /* It was run, and what came back is its answer: the whole reply, or the failure of its handler. */
    reply = CLV_OUTCOME_REPLY,
    /* It was certainly not run: it is safe to call again. */
    not_run = CLV_OUTCOME_NOT_RUN,
    /* It was run or not: that cannot be known here. */
    unknown = CLV_OUTCOME_UNKNOWN
};

/* A call that was started; see Session::start_call. A call whose reply is not whole is cancelled by its end of life. */
class Call : public detail::Owner<clv_pending_call, clv_call_close> {
public:
    Call() noexcept {}
    explicit Call(clv_pending_call raw) noexcept : Owner(raw) {}

    /* Takes the next part of the reply. Once it is whole: an empty Buffer, or errc::end. */
    Buffer receive(Wait wait, std::error_code &ec) const noexcept
    {
        clv_buffer *part = nullptr;
        ec = detail::code_of(clv_call_receive(raw(), wait.timeout_ms(), &part));
        return Buffer(part);
    }

    Buffer receive(Wait wait = forever) const
    {
        return detail::or_end([&](std::error_code &ec) { return receive(wait, ec); });
    }

    /* From now on the node's event readable with this token tells when a part of the reply, or its end, came. */
    void watch(std::uint64_t token, std::error_code &ec) const noexcept
    {
        ec = detail::code_of(clv_call_watch(raw(), token));
    }

    void watch(std::uint64_t token) const { detail::check(clv_call_watch(raw(), token)); }

    /* Gives up: the handler is told, and receive() answers errc::cancelled. */
    void cancel(std::error_code &ec) const noexcept { ec = detail::code_of(clv_call_cancel(raw())); }
    void cancel() const { detail::check(clv_call_cancel(raw())); }

    /* Whether the call was run, once receive() came to an end; unknown before. */
    Outcome outcome(std::error_code &ec) const noexcept
    {
        clv_outcome outcome = CLV_OUTCOME_UNKNOWN;
        ec = detail::code_of(clv_call_outcome(raw(), &outcome));
        return static_cast<Outcome>(outcome);
    }

    Outcome outcome() const
    {
        return detail::or_throw([&](std::error_code &ec) { return outcome(ec); });
    }

    /* Names the call between both ends, as Request::call_id() does there. */
    std::string call_id(std::error_code &ec) const
    {
        return detail::text_of<64>(
            [this](char *text, std::size_t room) { return clv_call_id(raw(), text, room); }, ec);
    }

    std::string call_id() const
    {
        return detail::or_throw([&](std::error_code &ec) { return call_id(ec); });
    }

    /* Ends the handle. */
    void close(std::error_code &ec) noexcept { ec = detail::code_of(finish()); }
    void close() { detail::check(finish()); }
};

/* ---- Living objects -------------------------------------------------------------------------------------------- */

/* Number of an object within its session, the same at both ends. */
struct ObjectId {
    std::uint64_t number;

    explicit ObjectId(std::uint64_t object_number = 0) noexcept : number(object_number) {}

    clv_object raw() const noexcept
    {
        clv_object object;
        object.id = number;
        return object;
    }
};

/* An object of the class T that is kept here, by its number; it may have ended. */
template <typename T> struct Object : ObjectId {
    explicit Object(std::uint64_t object_number = 0) noexcept : ObjectId(object_number) {}
};

/* State of an object. */
enum class ObjectState : std::int32_t {
    alive = CLV_OBJECT_ALIVE,
    /* Its end has begun: nothing new may use it. */
    poisoned = CLV_OBJECT_POISONED,
    /* Its owner is out of contact, and it is kept as what its embalm said. */
    embalmed = CLV_OBJECT_EMBALMED,
    /* Over. */
    dead = CLV_OBJECT_DEAD
};

/* What is known of an object that is kept here. */
struct ObjectInfo {
    /* Which; 0 is the registration of the peer. */
    ObjectId object;
    ObjectState state = ObjectState::dead;
    /* Uses that have not ended. */
    int in_service = 0;
    /* How long it lives without a touch; forever for as long as its session. */
    Wait ttl = forever;
    /* Data that the owner left. */
    std::vector<std::uint8_t> data;
    std::string kind;
};

/* One call that was run here for the peer. */
struct TaskInfo {
    /* The call's channel. */
    std::uint64_t call = 0;
    /* When its handler began, by CLOCK_BOOTTIME. */
    std::chrono::nanoseconds started{0};
    /* When its handler returned; 0 while it runs. */
    std::chrono::nanoseconds finished{0};
    bool replied = false;
    std::string service;
};

/*
 * A kind of objects: a name, and a class T whose destructor ends one, exactly once, never beside a use of it.
 *
 *     Kind<Seat> seats("seat");
 *     node.register_kind(seats);
 *     session.attach(seats, std::unique_ptr<Seat>(new Seat));   // ends when the peer is gone
 *
 * The functions run on threads of the library and never beside each other for one object, except abandon. They are
 * copied by Node::register_kind.
 */
template <typename T> class Kind {
public:
    typedef std::function<void(T &)> Change;
    typedef std::function<std::string(const T &)> Print;
    typedef std::function<std::string(const T &)> Embalm;
    typedef std::function<std::unique_ptr<T>(const std::string &)> Revive;
    typedef std::function<void(const std::string &)> Discard;

    explicit Kind(const std::string &name) : name_(name), embalm_for_(std::chrono::milliseconds(0)), level_min_(1) {}

    /*
     * Contact with the owner is lost: `embalm` says, in at most 16 MiB, what the object can be made again from, and the
     * object is deleted; `revive` makes it again, for its owner who came back, or to be deleted after `embalm_for`.
     * When embalm throws the object is deleted; when revive does it is ended by discard.
     */
    Kind &embalm(Wait embalm_for, Embalm embalm, Revive revive)
    {
        embalm_for_ = embalm_for;
        embalm_ = std::move(embalm);
        revive_ = std::move(revive);
        return *this;
    }

    /* Ends an object that is embalmed, in place of revive: sees what embalm said. */
    Kind &discard(Discard discard)
    {
        discard_ = std::move(discard);
        return *this;
    }

    /* The grace is over and a function still uses the object: makes that function stop. Runs beside that function. */
    Kind &abandon(Change change)
    {
        abandon_ = std::move(change);
        return *this;
    }

    /* One line about an object, for Session::object_lines. Runs on the thread that asks. */
    Kind &print(Print print)
    {
        print_ = std::move(print);
        return *this;
    }

    /* Level that an owner needs; 1 is every authorised peer. */
    Kind &level_min(int level)
    {
        level_min_ = level;
        return *this;
    }

    const std::string &name() const noexcept { return name_; }

    /* Makes it known to a node; what Node::register_kind does. */
    void register_at(clv_node node, std::error_code &ec) const
    {
        std::unique_ptr<Kind> copy(new Kind(*this));
        clv_kind kind = CLV_KIND_INIT;
        kind.destroy = on_destroy;
        kind.embalm = embalm_ ? on_embalm : nullptr;
        kind.revive = revive_ ? on_revive : nullptr;
        kind.discard = discard_ ? on_discard : nullptr;
        kind.abandon = abandon_ ? on_abandon : nullptr;
        kind.print = print_ ? on_print : nullptr;
        kind.drop = detail::drop<Kind>;
        kind.embalm_ms = embalm_for_.timeout_ms();
        kind.level_min = level_min_;
        /* The library drops it on a failure, too. */
        kind.user = copy.release();
        ec = detail::code_of(clv_kind_register(node, name_.c_str(), &kind));
    }

private:
    static Kind &kind_of(void *user) { return *static_cast<Kind *>(user); }
    static T &object_of(void *object) { return *static_cast<T *>(object); }

    static void on_destroy(void *, void *object) noexcept { delete static_cast<T *>(object); }
    static clv_status on_embalm(void *user, void *object, clv_embalming embalming) noexcept
    {
        try {
            const std::string bytes = kind_of(user).embalm_(object_of(object));
            const clv_status status = clv_embalming_write(embalming, bytes.data(), bytes.size());
            if (status != CLV_OK)
                return status;
        } catch (...) {
            return CLV_E_CALL_FAILED;
        }
        on_destroy(user, object);
        return CLV_OK;
    }

    static clv_status on_revive(void *user, const void *data, std::size_t size, void **object) noexcept
    {
        try {
            std::unique_ptr<T> made = kind_of(user).revive_(bytes_of(data, size));
            if (!made)
                return CLV_E_CALL_FAILED;
            *object = made.release();
            return CLV_OK;
        } catch (...) {
            return CLV_E_CALL_FAILED;
        }
    }

    static void on_discard(void *user, const void *data, std::size_t size) noexcept
    {
        kind_of(user).discard_(bytes_of(data, size));
    }

    static std::string bytes_of(const void *data, std::size_t size)
    {
        return size == 0 ? std::string() : std::string(static_cast<const char *>(data), size);
    }

    static void on_abandon(void *user, void *object) noexcept { kind_of(user).abandon_(object_of(object)); }

    static void on_print(void *user, void *object, char *out, std::size_t capacity) noexcept
    {
        std::string line;
        try {
            line = kind_of(user).print_(object_of(object));
        } catch (const std::exception &error) {
            line = error.what();
        } catch (...) {
            line = "its print threw something";
        }
        const std::size_t size = std::min(line.size(), capacity - 1);
        std::copy_n(line.data(), size, out);
        out[size] = '\0';
    }

    std::string name_;
    Wait embalm_for_;
    int level_min_;
    Embalm embalm_;
    Revive revive_;
    Discard discard_;
    Change abandon_;
    Print print_;
};

/* ---- Sessions -------------------------------------------------------------------------------------------------- */

namespace detail {

/* Without waiting: the library goes on delivering for a while. */
inline clv_status let_go(clv_session session) { return clv_session_close(session, 0); }

inline SessionInfo info_of(const clv_session_info &raw)
{
    SessionInfo info;
    info.number = raw.number;
    info.state = static_cast<State>(raw.state);
    info.level = raw.level;
    info.ttl = std::chrono::milliseconds(raw.ttl_ms);
    info.beat = std::chrono::milliseconds(raw.beat_ms);
    info.links = raw.links;
    info.links_total = raw.links_total;
    info.round_trip = std::chrono::microseconds(raw.round_trip_us);
    info.outstanding_bytes = raw.outstanding_bytes;
    info.channels = raw.channels;
    info.peer_drains = raw.peer_drains != 0;
    info.sid = raw.sid;
    info.peer_host = raw.peer_host;
    info.peer_host_name = raw.peer_host_name;
    info.peer_name = raw.peer_name;
    return info;
}

inline ObjectInfo info_of(const clv_object_info &raw)
{
    ObjectInfo info;
    info.object = ObjectId(raw.object.id);
    info.state = static_cast<ObjectState>(raw.state);
    info.in_service = raw.in_service;
    info.ttl = raw.ttl_ms < 0 ? Wait(forever) : Wait(std::chrono::milliseconds(raw.ttl_ms));
    const View data(raw.data, raw.data_size);
    info.data.assign(data.begin(), data.end());
    info.kind = raw.kind;
    return info;
}

inline TaskInfo info_of(const clv_task_info &raw)
{
    TaskInfo info;
    info.call = raw.call;
    info.started = std::chrono::nanoseconds(raw.started_ns);
    info.finished = std::chrono::nanoseconds(raw.finished_ns);
    info.replied = raw.replied != 0;
    info.service = raw.service;
    return info;
}

inline ChannelReport info_of(const clv_channel_report &raw) { return raw; }
inline std::string info_of(const char &line) { return &line; }

/* Collects what a C function shows one by one. */
template <typename Item> class Collector {
public:
    template <typename Raw> static void see(void *user, const Raw *raw)
    {
        Collector &self = *static_cast<Collector *>(user);
        self.guard_.run([&] { self.items_.push_back(info_of(*raw)); });
    }

    std::vector<Item> take()
    {
        guard_.rethrow();
        return std::move(items_);
    }

private:
    Guard guard_;
    std::vector<Item> items_;
};

} // namespace detail

/*
 * A session with one peer, which outlives its connections.
 *
 * With its last owner (channels and descriptors included) the session ends: what was written is delivered first. The
 * end of life does not wait for that, and gives it 10 s while the node lives; close() waits.
 */
class Session : public detail::Owner<clv_session, detail::let_go> {
public:
    Session() noexcept {}
    explicit Session(clv_session raw) noexcept : Owner(raw) {}

    /* State now; closed for a session that is over and forgotten. */
    State state(std::error_code &ec) const noexcept
    {
        clv_state state = CLV_STATE_CLOSED;
        ec = detail::code_of(clv_session_state(raw(), &state));
        return static_cast<State>(state);
    }

    State state() const
    {
        return detail::or_throw([&](std::error_code &ec) { return state(ec); });
    }

    /* Waits until the session is in one of the states, and answers it. Errors: timeout, lost, closed. */
    State wait_state(std::initializer_list<State> states, Wait wait, std::error_code &ec) const noexcept
    {
        std::uint32_t mask = 0;
        for (const State state : states)
            mask |= 1u << static_cast<unsigned>(state);
        clv_state state = CLV_STATE_CLOSED;
        ec = detail::code_of(clv_session_wait_state(raw(), mask, wait.timeout_ms(), &state));
        return static_cast<State>(state);
    }

    State wait_state(std::initializer_list<State> states, Wait wait = forever) const
    {
        return detail::or_throw([&](std::error_code &ec) { return wait_state(states, wait, ec); });
    }

    /* Host id of the peer, as text. */
    std::string peer(std::error_code &ec) const
    {
        return detail::text_of<CLV_HOST_ID_BYTES>(
            [this](char *text, std::size_t room) { return clv_session_peer(raw(), text, room); }, ec);
    }

    std::string peer() const
    {
        return detail::or_throw([&](std::error_code &ec) { return peer(ec); });
    }

    /* What is known of the session and its peer. */
    SessionInfo info(std::error_code &ec) const
    {
        clv_session_info info = CLV_SESSION_INFO_INIT;
        ec = detail::code_of(clv_session_get_info(raw(), &info));
        return detail::info_of(info);
    }

    SessionInfo info() const
    {
        return detail::or_throw([&](std::error_code &ec) { return info(ec); });
    }

    /* Takes the next event of the session. After the last one: an empty Event, or errc::end. */
    Event next_event(Wait wait, std::error_code &ec) const
    {
        return detail::next_event(
            [&](clv_event *event) { return clv_session_next_event(raw(), wait.timeout_ms(), event); }, ec);
    }

    Event next_event(Wait wait = forever) const
    {
        return detail::or_end([&](std::error_code &ec) { return next_event(wait, ec); });
    }

    /* From now on the node's event session_ready with this token tells that there are events, channels, or the end. */
    void watch(std::uint64_t token, std::error_code &ec) const noexcept
    {
        ec = detail::code_of(clv_session_watch(raw(), token));
    }

    void watch(std::uint64_t token) const { detail::check(clv_session_watch(raw(), token)); }

    /* Where the peer can be reached: what connects gave, then what it announced. */
    std::vector<Address> addresses(std::error_code &ec) const
    {
        std::vector<Address> found;
        ec = detail::code_of(clv_session_addresses(raw(), detail::add_address, &found));
        return found;
    }

    std::vector<Address> addresses() const
    {
        return detail::or_throw([&](std::error_code &ec) { return addresses(ec); });
    }

    /*
     * Moves the session to another connection: to this address of the peer first, or (empty) to any that no connection
     * uses. Does not wait: EventKind::move_began and then link_attached or move_failed tell how it went.
     */
    void roam(const std::string &address, std::error_code &ec) const noexcept
    {
        ec = detail::code_of(clv_session_roam(raw(), address.empty() ? nullptr : address.c_str()));
    }

    void roam(const std::string &address = std::string()) const
    {
        detail::check(clv_session_roam(raw(), address.empty() ? nullptr : address.c_str()));
    }

    /* Asks the peer, which connects, to move the session to this address of ours first, or (empty) to any other. */
    void go_to(const std::string &address, std::error_code &ec) const noexcept
    {
        ec = detail::code_of(clv_session_goto(raw(), address.empty() ? nullptr : address.c_str()));
    }

    void go_to(const std::string &address = std::string()) const
    {
        detail::check(clv_session_goto(raw(), address.empty() ? nullptr : address.c_str()));
    }

    /*
     * Waits until the peer holds everything that was written here so far. After errc::timeout a session that is watched
     * gets session_ready for that, too: ask again with no_wait then.
     */
    void drain(Wait wait, std::error_code &ec) const noexcept
    {
        ec = detail::code_of(clv_session_drain(raw(), wait.timeout_ms()));
    }

    void drain(Wait wait = forever) const { detail::check(clv_session_drain(raw(), wait.timeout_ms())); }

    /*
     * Begins to end the session and does not wait: what was written is delivered meanwhile, for at most this time.
     * state() tells how far it is, session_ready of a session that is watched tells to look, and a close() after it
     * waits. Errors: closed.
     */
    void start_close(Wait time, std::error_code &ec) const noexcept
    {
        ec = detail::code_of(clv_session_close_start(raw(), time.timeout_ms()));
    }

    void start_close(Wait time) const { detail::check(clv_session_close_start(raw(), time.timeout_ms())); }

    /* Ends the handle, and waits. Errors: timeout, lost (not everything was delivered). */
    void close(Wait wait, std::error_code &ec) noexcept
    {
        const clv_session session = release();
        ec = detail::code_of(session.id == 0 ? CLV_OK : clv_session_close(session, wait.timeout_ms()));
    }

    void close(Wait wait)
    {
        std::error_code ec;
        close(wait, ec);
        detail::check(ec);
    }

    /* What was lost with the session, or left at its close. Errors: state (it is not over). */
    Loss loss(std::error_code &ec) const
    {
        typedef detail::Collector<ChannelReport> Channels;
        clv_loss raw_loss = CLV_LOSS_INIT;
        Channels channels;
        ec = detail::code_of(
            clv_session_loss(raw(), &raw_loss, Channels::see<clv_channel_report>, &channels));
        Loss loss;
        loss.cause = detail::code_of(raw_loss.cause);
        loss.calls_run = raw_loss.calls_run;
        loss.calls_not_run = raw_loss.calls_not_run;
        loss.calls_unknown = raw_loss.calls_unknown;
        loss.objects = raw_loss.objects;
        loss.text = raw_loss.text;
        loss.channels = channels.take();
        return loss;
    }

    Loss loss() const
    {
        return detail::or_throw([&](std::error_code &ec) { return loss(ec); });
    }

    /* Opens a channel. The peer hears of it with the first message. Errors: channels, timeout, draining, lost. */
    Channel open(const std::string &name, const ChannelOptions &options, Wait wait, std::error_code &ec) const noexcept
    {
        clv_channel_options raw_options = CLV_CHANNEL_OPTIONS_INIT;
        raw_options.bytes = options.bytes ? 1 : 0;
        raw_options.bulk = options.bulk ? 1 : 0;
        raw_options.stored = options.stored ? 1 : 0;
        clv_channel channel = clv_channel();
        ec = detail::code_of(clv_channel_open(raw(), name.c_str(), &raw_options, wait.timeout_ms(), &channel));
        return Channel(channel);
    }

    Channel open(const std::string &name, const ChannelOptions &options = ChannelOptions(), Wait wait = forever) const
    {
        return detail::or_throw([&](std::error_code &ec) { return open(name, options, wait, ec); });
    }

    /* Takes the next channel that the peer opened. Errors: again, timeout, lost, closed. */
    Channel accept_channel(Wait wait, std::error_code &ec) const noexcept
    {
        clv_channel channel = clv_channel();
        ec = detail::code_of(clv_channel_accept(raw(), wait.timeout_ms(), &channel));
        return Channel(channel);
    }

    Channel accept_channel(Wait wait = forever) const
    {
        return detail::or_throw([&](std::error_code &ec) { return accept_channel(wait, ec); });
    }

    /* Calls a service of the peer and waits for its whole reply. Errors: what the peer answered, timeout, lost.. */
    Buffer call(const std::string &service, View request, Wait wait, std::error_code &ec) const noexcept
    {
        clv_buffer *reply = nullptr;
        const clv_status status =
            clv_call(raw(), service.c_str(), request.data(), request.size(), wait.timeout_ms(), &reply);
        ec = detail::code_of(status);
        return Buffer(reply);
    }

    Buffer call(const std::string &service, View request, Wait wait = forever) const
    {
        return detail::or_throw([&](std::error_code &ec) { return call(service, request, wait, ec); });
    }

    /* Starts a call and does not wait for it; after the deadline it is given up. Errors: again, channels, size.. */
    Call start_call(const std::string &service, View request, Wait deadline, std::error_code &ec) const noexcept
    {
        clv_pending_call call = clv_pending_call();
        const clv_status status =
            clv_call_start(raw(), service.c_str(), request.data(), request.size(), deadline.timeout_ms(), &call);
        ec = detail::code_of(status);
        return Call(call);
    }

    Call start_call(const std::string &service, View request, Wait deadline = forever) const
    {
        return detail::or_throw([&](std::error_code &ec) { return start_call(service, request, deadline, ec); });
    }

    /*
     * Keeps an object here, owned by the peer: it ends when the peer is gone, when ttl passes without a touch of the
     * owner, or when either side ends it. On an error the object stays with the caller. The kind must have been
     * registered at the node, under this name and with this class. Errors: poisoned, level, limit, arg.
     */
    template <typename T>
    Object<T> attach(const Kind<T> &kind, std::unique_ptr<T> &&object, Wait ttl, std::error_code &ec) const noexcept
    {
        clv_object out = clv_object();
        const clv_status status =
            clv_object_attach(raw(), kind.name().c_str(), object.get(), ttl.timeout_ms(), &out);
        ec = detail::code_of(status);
        if (!ec)
            object.release();
        return Object<T>(out.id);
    }

    template <typename T>
    Object<T> attach(const Kind<T> &kind, std::unique_ptr<T> &&object, Wait ttl = forever) const
    {
        return detail::or_throw([&](std::error_code &ec) { return attach(kind, std::move(object), ttl, ec); });
    }

    /*
     * Runs a function with an object that is kept here, on this thread; its end waits meanwhile. What the function
     * throws comes out here. Errors: poisoned (its end has begun), handle (there is none).
     */
    template <typename T, typename Function>
    void use(Object<T> object, Function function, std::error_code &ec) const
    {
        Use<T, Function> use = {&function, detail::Guard()};
        ec = detail::code_of(clv_object_use(raw(), object.raw(), Use<T, Function>::run, &use));
        use.guard.rethrow();
    }

    template <typename T, typename Function> void use(Object<T> object, Function function) const
    {
        std::error_code ec;
        use(object, std::move(function), ec);
        detail::check(ec);
    }

    /* Ends an object that is kept here, before its owner does. Its destructor runs later. */
    void end_object(ObjectId object, std::error_code &ec) const noexcept
    {
        ec = detail::code_of(clv_object_end(raw(), object.raw()));
    }

    void end_object(ObjectId object) const { detail::check(clv_object_end(raw(), object.raw())); }

    /* A sign of life for one object that the peer keeps for this end. */
    void touch_object(ObjectId object, std::error_code &ec) const noexcept
    {
        ec = detail::code_of(clv_object_touch(raw(), object.raw()));
    }

    void touch_object(ObjectId object) const { detail::check(clv_object_touch(raw(), object.raw())); }

    /* Leaves data, at most 16 KiB, in an object that the peer keeps for this end. */
    void update_object(ObjectId object, View data, std::error_code &ec) const noexcept
    {
        ec = detail::code_of(clv_object_update(raw(), object.raw(), data.data(), data.size()));
    }

    void update_object(ObjectId object, View data) const
    {
        detail::check(clv_object_update(raw(), object.raw(), data.data(), data.size()));
    }

    /* An object that the peer keeps for this end is not needed any more. */
    void release_object(ObjectId object, std::error_code &ec) const noexcept
    {
        ec = detail::code_of(clv_object_release(raw(), object.raw()));
    }

    void release_object(ObjectId object) const { detail::check(clv_object_release(raw(), object.raw())); }

    /*
     * Takes an object that is embalmed in this session over to another one with the same host. Errors: state, it is not
     * embalmed; denied, the hosts differ; handle.
     */
    void revive_object(ObjectId object, const Session &to, std::error_code &ec) const noexcept
    {
        ec = detail::code_of(clv_object_revive(raw(), object.raw(), to.raw()));
    }

    void revive_object(ObjectId object, const Session &to) const
    {
        detail::check(clv_object_revive(raw(), object.raw(), to.raw()));
    }

    /* The objects that are kept here for the peer, the registration (object 0) first. */
    std::vector<ObjectInfo> objects(std::error_code &ec) const
    {
        return collect<ObjectInfo, clv_object_info>(clv_object_list, ec);
    }

    std::vector<ObjectInfo> objects() const
    {
        return detail::or_throw([&](std::error_code &ec) { return objects(ec); });
    }

    /* One line for each object that is kept here for the peer, by the print of its kind where there is one. */
    std::vector<std::string> object_lines(std::error_code &ec) const
    {
        return collect<std::string, char>(clv_object_print, ec);
    }

    std::vector<std::string> object_lines() const
    {
        return detail::or_throw([&](std::error_code &ec) { return object_lines(ec); });
    }

    /* The calls that were run here for the peer, oldest first; the last 256 are kept. */
    std::vector<TaskInfo> tasks(std::error_code &ec) const
    {
        return collect<TaskInfo, clv_task_info>(clv_task_list, ec);
    }

    std::vector<TaskInfo> tasks() const
    {
        return detail::or_throw([&](std::error_code &ec) { return tasks(ec); });
    }

    /*
     * Opens a channel of bytes and gives a plain connected descriptor whose other end it is, which is the caller's to
     * close. Errors: channels, draining, system, lost, closed.
     */
    int dial_fd(const std::string &name, Descriptor descriptor, std::error_code &ec) const noexcept
    {
        int fd = -1;
        ec = detail::code_of(clv_dial_fd(raw(), name.c_str(), static_cast<std::uint32_t>(descriptor), &fd));
        return fd;
    }

    int dial_fd(const std::string &name, Descriptor descriptor = Descriptor::tcp) const
    {
        return detail::or_throw([&](std::error_code &ec) { return dial_fd(name, descriptor, ec); });
    }

    /* Takes the next channel that the peer opened as a plain descriptor. Errors: again, timeout, state, system. */
    int accept_fd(Wait wait, Descriptor descriptor, std::error_code &ec) const noexcept
    {
        int fd = -1;
        ec = detail::code_of(
            clv_accept_fd(raw(), wait.timeout_ms(), static_cast<std::uint32_t>(descriptor), &fd));
        return fd;
    }

    int accept_fd(Wait wait = forever, Descriptor descriptor = Descriptor::tcp) const
    {
        return detail::or_throw([&](std::error_code &ec) { return accept_fd(wait, descriptor, ec); });
    }

private:
    template <typename T, typename Function> struct Use {
        Function *function;
        detail::Guard guard;

        static void run(void *user, void *object)
        {
            Use &self = *static_cast<Use *>(user);
            self.guard.run([&] { (*self.function)(*static_cast<T *>(object)); });
        }
    };

    template <typename Item, typename Raw>
    std::vector<Item> collect(clv_status (*show)(clv_session, void (*)(void *, const Raw *), void *),
                              std::error_code &ec) const
    {
        detail::Collector<Item> collector;
        ec = detail::code_of(show(raw(), detail::Collector<Item>::template see<Raw>, &collector));
        return collector.take();
    }
};

/* A connect that was started; see Node::start_connect. Its end of life gives it up, unless its session was taken. */
class Connecting : public detail::Owner<clv_connecting, clv_connecting_close> {
public:
    Connecting() noexcept {}
    explicit Connecting(clv_connecting raw) noexcept : Owner(raw) {}

    /* Takes the session, once. Errors: again (it goes on), timeout, cancelled, state (it was taken); as connect(). */
    Session take(Wait wait, std::error_code &ec) const noexcept
    {
        clv_session session = clv_session();
        ec = detail::code_of(clv_connecting_take(raw(), wait.timeout_ms(), &session));
        return Session(session);
    }

    Session take(Wait wait = forever) const
    {
        return detail::or_throw([&](std::error_code &ec) { return take(wait, ec); });
    }

    /* From now on the node's event readable with this token tells when it came to an end: take(no_wait) then. */
    void watch(std::uint64_t token, std::error_code &ec) const noexcept
    {
        ec = detail::code_of(clv_connecting_watch(raw(), token));
    }

    void watch(std::uint64_t token) const { detail::check(clv_connecting_watch(raw(), token)); }

    /* Gives up: take() answers errc::cancelled. */
    void cancel(std::error_code &ec) const noexcept { ec = detail::code_of(clv_connecting_cancel(raw())); }
    void cancel() const { detail::check(clv_connecting_cancel(raw())); }

    /* Ends the handle. */
    void close(std::error_code &ec) noexcept { ec = detail::code_of(finish()); }
    void close() { detail::check(finish()); }
};

/* ---- Services -------------------------------------------------------------------------------------------------- */

/* How a service is offered. */
struct ServiceOptions {
    /* Run the handler on the thread of the node: fastest, but it must never block (errc::in_callback). */
    bool run_inline = false;
    /* Level that a caller needs; 1 is every authorised peer. */
    int level_min = 1;
};

/* What a handler may want to know of its call. */
struct RequestInfo {
    /* The caller's level. */
    int caller_level = 0;
    /* The caller gave up, or its session ended; nobody waits for the reply. */
    bool is_cancelled = false;
    /* Time until the caller gives up. */
    Wait remaining = forever;
};

namespace detail {

inline View data_of(clv_request raw, std::error_code &ec) noexcept
{
    const void *data = nullptr;
    std::size_t size = 0;
    ec = code_of(clv_request_data(raw, &data, &size));
    return View(data, size);
}

inline RequestInfo info_of(clv_request raw, std::error_code &ec) noexcept
{
    clv_request_info raw_info = CLV_REQUEST_INFO_INIT;
    ec = code_of(clv_request_get_info(raw, &raw_info));
    RequestInfo info;
    info.caller_level = raw_info.caller_level;
    info.is_cancelled = raw_info.is_cancelled != 0;
    if (raw_info.remaining_ms >= 0)
        info.remaining = std::chrono::milliseconds(raw_info.remaining_ms);
    return info;
}

inline clv_status fail(clv_request raw, clv_status status, const char *text) noexcept
{
    /* Without its text, if that is not UTF-8, the failure is still one. */
    clv_reply_error(raw, text);
    return status == CLV_OK ? CLV_E_CALL_FAILED : status;
}

/* What a caller is told whose handler deferred the reply, and nobody gave it. */
inline clv_status fail_unanswered(clv_request raw) noexcept
{
    return fail(raw, CLV_E_CALL_FAILED, "the reply was deferred, and nobody gave it");
}

inline clv_status end_unanswered(clv_request raw) noexcept { return clv_request_finish(raw, fail_unanswered(raw)); }

template <typename Handler> class Service;

/* Whether one of both is over: a handler, or the DeferredReply that came of it. The last one answers. */
typedef std::shared_ptr<std::atomic<bool>> HalfOver;

} // namespace detail

/*
 * The duty to answer a call after its handler has returned, from any thread; see Request::defer. At the end of its life
 * without an answer the caller gets errc::call_failed.
 */
class DeferredReply : public detail::Owner<clv_request, detail::end_unanswered> {
public:
    DeferredReply() noexcept {}
    /* Of a request that clv_request_defer was called for. */
    explicit DeferredReply(clv_request raw) noexcept : Owner(raw) {}
    DeferredReply(DeferredReply &&other) = default;
    ~DeferredReply() { leave(); }

    DeferredReply &operator=(DeferredReply &&other) noexcept
    {
        if (this != &other) {
            leave();
            Owner::operator=(std::move(other));
            half_over_ = std::move(other.half_over_);
        }
        return *this;
    }

    /* The request; good until the answer. */
    View data(std::error_code &ec) const noexcept { return detail::data_of(raw(), ec); }

    View data() const
    {
        return detail::or_throw([&](std::error_code &ec) { return data(ec); });
    }

    /* Level, patience and presence of the caller, as of now. */
    RequestInfo info(std::error_code &ec) const noexcept { return detail::info_of(raw(), ec); }

    RequestInfo info() const
    {
        return detail::or_throw([&](std::error_code &ec) { return info(ec); });
    }

    /*
     * From now on the node's event readable with this token tells that the caller gave up (see info), and writable that
     * there is room for a part of the reply after errc::again. Both come once at once.
     */
    void watch(std::uint64_t token, std::error_code &ec) const noexcept
    {
        ec = detail::code_of(clv_request_watch(raw(), token));
    }

    void watch(std::uint64_t token) const { detail::check(clv_request_watch(raw(), token)); }

    /* Sends one part of a streamed reply; does not block. Errors: again (no room), stopped, lost, closed, size. */
    void reply_part(View data, std::error_code &ec) const noexcept
    {
        ec = detail::code_of(clv_reply_part(raw(), data.data(), data.size()));
    }

    void reply_part(View data) const { detail::check(clv_reply_part(raw(), data.data(), data.size())); }

    /* Answers with this reply, or last part of one; does not block. Errors: state (Request::reply gave one), handle. */
    void reply(View data, std::error_code &ec) noexcept
    {
        ec = detail::code_of(clv_reply(raw(), data.data(), data.size()));
        if (!ec)
            ec = detail::code_of(clv_request_finish(release(), CLV_OK));
    }

    void reply(View data)
    {
        std::error_code ec;
        reply(data, ec);
        detail::check(ec);
    }

    /* Answers that the call failed. errc::not_run, busy and denied reach the caller as they are; see Refusal. */
    void fail(errc code, const std::string &text, std::error_code &ec) noexcept
    {
        const clv_request request = release();
        const clv_status status = detail::fail(request, static_cast<clv_status>(code), text.c_str());
        ec = detail::code_of(clv_request_finish(request, status));
    }

    void fail(errc code, const std::string &text)
    {
        std::error_code ec;
        fail(code, text, ec);
        detail::check(ec);
    }

private:
    friend class Request;
    DeferredReply(clv_request raw, const detail::HalfOver &half_over) : Owner(raw), half_over_(half_over) {}

    /* A handler that still runs answers: what it throws says more. */
    void leave() noexcept
    {
        if (*this && half_over_ && !half_over_->exchange(true))
            release();
    }

    detail::HalfOver half_over_;
};

/* A call that a handler runs. Good until the handler returns. */
class Request {
public:
    explicit Request(clv_request raw) noexcept : raw_(raw) {}
    Request(const Request &) = delete;
    Request &operator=(const Request &) = delete;
    /* The library ends the session's handle. */
    ~Request() { session_.release(); }

    /* The request; good until the handler returns, or, once it is deferred, until its answer. */
    View data(std::error_code &ec) const noexcept { return detail::data_of(raw_, ec); }

    View data() const
    {
        return detail::or_throw([&](std::error_code &ec) { return data(ec); });
    }

    /* The caller's session, for attaching objects and the like; it does not keep the session open. */
    const Session &session(std::error_code &ec) noexcept
    {
        clv_session session = clv_session();
        ec = detail::code_of(clv_request_session(raw_, &session));
        session_.release();
        session_ = Session(session);
        return session_;
    }

    const Session &session()
    {
        std::error_code ec;
        session(ec);
        detail::check(ec);
        return session_;
    }

    /* Names the call between both ends, for logs and for making its effects unique. */
    std::string call_id(std::error_code &ec) const
    {
        return detail::text_of<64>(
            [this](char *text, std::size_t room) { return clv_request_call_id(raw_, text, room); }, ec);
    }

    std::string call_id() const
    {
        return detail::or_throw([&](std::error_code &ec) { return call_id(ec); });
    }

    /* Level, patience and presence of the caller, as of now. */
    RequestInfo info(std::error_code &ec) const noexcept { return detail::info_of(raw_, ec); }

    RequestInfo info() const
    {
        return detail::or_throw([&](std::error_code &ec) { return info(ec); });
    }

    /* Sets the reply, or the last part of a streamed one; it is sent when the handler returns. Errors: state. */
    void reply(View data, std::error_code &ec) noexcept
    {
        ec = detail::code_of(clv_reply(raw_, data.data(), data.size()));
    }

    void reply(View data) { detail::check(clv_reply(raw_, data.data(), data.size())); }

    /* Sends one part of a streamed reply; blocks until there is room. Errors: stopped, lost, closed, again, size. */
    void reply_part(View data, std::error_code &ec) noexcept
    {
        ec = detail::code_of(clv_reply_part(raw_, data.data(), data.size()));
    }

    void reply_part(View data) { detail::check(clv_reply_part(raw_, data.data(), data.size())); }

    /*
     * Leaves the reply for later: the handler returns, no thread waits, and what it returns does not count. What it
     * throws still answers the call. Errors: state (it is deferred already).
     *
     *     node.serve("slow", [&](Request &request) { jobs.push(request.defer()); });
     *     ..
     *     jobs.pop().reply("done");
     */
    DeferredReply defer(std::error_code &ec)
    {
        detail::HalfOver half_over = std::make_shared<std::atomic<bool>>(false);
        ec = detail::code_of(clv_request_defer(raw_));
        if (ec)
            return DeferredReply();
        half_over_ = half_over;
        return DeferredReply(raw_, half_over);
    }

    DeferredReply defer()
    {
        return detail::or_throw([&](std::error_code &ec) { return defer(ec); });
    }

    /* True once it is deferred: the DeferredReply answers. */
    bool is_deferred() const noexcept { return half_over_ != nullptr; }

    clv_request raw() const noexcept { return raw_; }

private:
    template <typename Handler> friend class detail::Service;

    /* Whether the handler that returns now was to be followed by a reply that nobody will give. */
    bool ends_unanswered() const noexcept { return half_over_ && half_over_->exchange(true); }

    clv_request raw_;
    Session session_;
    detail::HalfOver half_over_;
};

namespace detail {

/* Runs a handler of the program and makes a status of what it throws. */
template <typename Handler> class Service {
public:
    explicit Service(Handler &&handler) : handler_(std::move(handler)) {}

    static clv_status handle(void *user, clv_request raw) noexcept
    {
        Request request(raw);
        try {
            Service &self = *static_cast<Service *>(user);
            self.run(request, std::is_void<decltype(self.handler_(request))>());
            return request.ends_unanswered() ? fail_unanswered(raw) : CLV_OK;
        } catch (const Refusal &refusal) {
            return fail(raw, refusal.code().value(), refusal.what());
        } catch (const std::exception &error) {
            return fail(raw, CLV_E_CALL_FAILED, error.what());
        } catch (...) {
            return fail(raw, CLV_E_CALL_FAILED, "the handler threw something that is no std::exception");
        }
    }

private:
    void run(Request &request, std::true_type) { handler_(request); }

    void run(Request &request, std::false_type)
    {
        auto &&reply = handler_(request);
        if (!request.is_deferred())
            request.reply(reply);
    }

    Handler handler_;
};

} // namespace detail

/* ---- Log ------------------------------------------------------------------------------------------------------- */

/* How important a log line is. */
enum class LogLevel : std::int32_t {
    error = CLV_LOG_ERROR,
    warn = CLV_LOG_WARN,
    info = CLV_LOG_INFO,
    debug = CLV_LOG_DEBUG
};

/* ---- Nodes ----------------------------------------------------------------------------------------------------- */

/* Where and how to connect. */
struct ConnectOptions {
    /* Addresses of one node, in the order in which they are tried; 1 to 64. */
    std::vector<std::string> addresses;
    /* Accept a session with another node at these addresses when the first is gone. */
    bool any_node = false;
    /* Further connections for bulk channels beside the primary one, 0 to 8. */
    int bulk_links = 0;
    /* Connections that are kept ready, 0 to 4: when the primary one fails, such a one goes on at once. */
    int standby_links = 0;
    /* All addresses are tried at once, and the fastest is taken. */
    bool race = false;
};

namespace detail {

/* As clerver.h wants them, as long as the options live. */
class RawConnectOptions {
public:
    explicit RawConnectOptions(const ConnectOptions &options)
    {
        for (const std::string &address : options.addresses)
            addresses_.push_back(address.c_str());
        const clv_connect_options init = CLV_CONNECT_OPTIONS_INIT;
        raw_ = init;
        raw_.addresses = addresses_.data();
        raw_.addresses_count = addresses_.size();
        raw_.any_node = options.any_node ? 1 : 0;
        raw_.bulk_links = options.bulk_links;
        raw_.standby_links = options.standby_links;
        raw_.race = options.race ? 1 : 0;
    }

    RawConnectOptions(const RawConnectOptions &) = delete;
    RawConnectOptions &operator=(const RawConnectOptions &) = delete;

    const clv_connect_options *get() const noexcept { return &raw_; }

private:
    std::vector<const char *> addresses_;
    clv_connect_options raw_;
};

/* As long as a node of the Rust API waits. */
inline clv_status end_node(clv_node node) { return clv_node_close(node, 1000, nullptr); }

} // namespace detail

/*
 * One running clerver: client and server at once.
 *
 * Its end of life ends all sessions in good order and waits for that, for at most a second; close() waits as long as
 * you say, and tells what was left.
 */
class Node : public detail::Owner<clv_node, detail::end_node> {
public:
    Node() noexcept {}
    explicit Node(clv_node raw) noexcept : Owner(raw) {}

    /* Starts a node, and its thread unless the option caller_driven is on. Errors: config, key_file, system. */
    static Node open(const Options &options, std::error_code &ec) noexcept { return open(options.raw(), ec); }
    static Node open(std::error_code &ec) noexcept { return open(nullptr, ec); }

    static Node open(const Options &options)
    {
        return detail::or_throw([&](std::error_code &ec) { return open(options.raw(), ec); });
    }

    static Node open()
    {
        return detail::or_throw([&](std::error_code &ec) { return open(nullptr, ec); });
    }

    /* Ends all sessions in good order, then the node with its threads and objects; answers what was left. */
    Leftovers close(Wait wait, std::error_code &ec)
    {
        clv_leftovers left = CLV_LEFTOVERS_INIT;
        const clv_node node = release();
        ec = detail::code_of(node.id == 0 ? CLV_OK : clv_node_close(node, wait.timeout_ms(), &left));
        return detail::leftovers_of(left);
    }

    Leftovers close(Wait wait)
    {
        return detail::or_throw([&](std::error_code &ec) { return close(wait, ec); });
    }

    /*
     * No new sessions, channels and calls; waits until all is with the peers and all handlers have returned. With
     * no_wait, or when the time is over, the events draining tell how far it is.
     */
    Leftovers drain(Wait wait, std::error_code &ec) const
    {
        clv_leftovers left = CLV_LEFTOVERS_INIT;
        ec = detail::code_of(clv_node_drain(raw(), wait.timeout_ms(), &left));
        return detail::leftovers_of(left);
    }

    Leftovers drain(Wait wait) const
    {
        return detail::or_throw([&](std::error_code &ec) { return drain(wait, ec); });
    }

    /* The id of the key that the node runs under, which peers authorise, as text. */
    std::string id(std::error_code &ec) const
    {
        return detail::text_of<CLV_HOST_ID_BYTES>(
            [this](char *text, std::size_t room) { return clv_node_id(raw(), text, room); }, ec);
    }

    std::string id() const
    {
        return detail::or_throw([&](std::error_code &ec) { return id(ec); });
    }

    /*
     * Accepts connections of authorised peers at "host:port"; port 0 takes a free one. Answers the address that was
     * taken. level_min is the level that a peer needs, -1 that of the option listener_level. Errors: in_use, resolve.
     */
    std::string listen(const std::string &address, int level_min, std::error_code &ec) const
    {
        return detail::text_of<CLV_ADDRESS_BYTES>(
            [&](char *text, std::size_t room) {
                return clv_node_listen(raw(), address.c_str(), level_min, text, room);
            },
            ec);
    }

    std::string listen(const std::string &address, int level_min = -1) const
    {
        return detail::or_throw([&](std::error_code &ec) { return listen(address, level_min, ec); });
    }

    /*
     * Connects to the node at "host:port" or "clv://HOSTID@host:port/name", or shares the session that there is. Dials
     * again until it works. Errors: timeout, wrong_identity, denied, blocked, version, self.
     */
    Session connect(const std::string &address, Wait wait, std::error_code &ec) const noexcept
    {
        clv_session session = clv_session();
        ec = detail::code_of(clv_connect(raw(), address.c_str(), wait.timeout_ms(), &session));
        return Session(session);
    }

    Session connect(const std::string &address, Wait wait = forever) const
    {
        return detail::or_throw([&](std::error_code &ec) { return connect(address, wait, ec); });
    }

    /*
     * Tells the peers where the node can be reached, instead of what the library finds out itself; announce_found lets
     * it find out again.
     */
    void announce(const std::vector<std::string> &list, std::error_code &ec) const
    {
        /* One more, for an empty list has a place too. */
        std::vector<const char *> addresses;
        for (const std::string &address : list)
            addresses.push_back(address.c_str());
        addresses.push_back("");
        ec = detail::code_of(clv_node_announce(raw(), addresses.data(), list.size()));
    }

    void announce(const std::vector<std::string> &list) const
    {
        std::error_code ec;
        announce(list, ec);
        detail::check(ec);
    }

    void announce_found() const { detail::check(clv_node_announce(raw(), nullptr, 0)); }

    /* Where the node tells its peers that it can be reached. */
    std::vector<Address> addresses(std::error_code &ec) const
    {
        std::vector<Address> found;
        ec = detail::code_of(clv_node_addresses(raw(), detail::add_address, &found));
        return found;
    }

    std::vector<Address> addresses() const
    {
        return detail::or_throw([&](std::error_code &ec) { return addresses(ec); });
    }

    /* With several addresses of one node, and options. Errors also: mismatch. */
    Session connect(const ConnectOptions &options, Wait wait, std::error_code &ec) const
    {
        const detail::RawConnectOptions raw_options(options);
        clv_session session = clv_session();
        ec = detail::code_of(clv_connect_with(raw(), raw_options.get(), wait.timeout_ms(), &session));
        return Session(session);
    }

    Session connect(const ConnectOptions &options, Wait wait = forever) const
    {
        return detail::or_throw([&](std::error_code &ec) { return connect(options, wait, ec); });
    }

    /* Starts to connect and does not wait for it; after the deadline it is given up. Errors: draining, arg, closed. */
    Connecting start_connect(const ConnectOptions &options, Wait deadline, std::error_code &ec) const
    {
        const detail::RawConnectOptions raw_options(options);
        clv_connecting connecting = clv_connecting();
        ec = detail::code_of(clv_connect_start(raw(), raw_options.get(), deadline.timeout_ms(), &connecting));
        return Connecting(connecting);
    }

    Connecting start_connect(const ConnectOptions &options, Wait deadline = forever) const
    {
        return detail::or_throw([&](std::error_code &ec) { return start_connect(options, deadline, ec); });
    }

    Connecting start_connect(const std::string &address, Wait deadline, std::error_code &ec) const
    {
        ConnectOptions options;
        options.addresses.push_back(address);
        return start_connect(options, deadline, ec);
    }

    Connecting start_connect(const std::string &address, Wait deadline = forever) const
    {
        return detail::or_throw([&](std::error_code &ec) { return start_connect(address, deadline, ec); });
    }

    /* Takes the next session that a peer made with this node. Its calls are served whether it is taken or not. */
    Session accept(Wait wait, std::error_code &ec) const noexcept
    {
        clv_session session = clv_session();
        ec = detail::code_of(clv_accept(raw(), wait.timeout_ms(), &session));
        return Session(session);
    }

    Session accept(Wait wait = forever) const
    {
        return detail::or_throw([&](std::error_code &ec) { return accept(wait, ec); });
    }

    /* Takes the next event of the node. Errors: again, timeout, closed. */
    Event next_event(Wait wait, std::error_code &ec) const
    {
        return detail::next_event(
            [&](clv_event *event) { return clv_node_next_event(raw(), wait.timeout_ms(), event); }, ec);
    }

    Event next_event(Wait wait = forever) const
    {
        return detail::or_throw([&](std::error_code &ec) { return next_event(wait, ec); });
    }

    /*
     * A descriptor for poll and the like: readable while events wait or, for a caller-driven node, while run_once has
     * work. It belongs to the node: do not read or close it.
     */
    int fd(std::error_code &ec) const noexcept
    {
        int fd = -1;
        ec = detail::code_of(clv_node_fd(raw(), &fd));
        return fd;
    }

    int fd() const
    {
        return detail::or_throw([&](std::error_code &ec) { return fd(ec); });
    }

    /* For a caller-driven node: waits for sockets and timers, does what there is to do, and runs handlers here. */
    void run_once(Wait wait, std::error_code &ec) const noexcept
    {
        ec = detail::code_of(clv_node_run_once(raw(), wait.timeout_ms()));
    }

    void run_once(Wait wait) const { detail::check(clv_node_run_once(raw(), wait.timeout_ms())); }

    /* Counts since the start, and gauges of now. */
    Counters counters(std::error_code &ec) const noexcept
    {
        Counters counters = CLV_COUNTERS_INIT;
        ec = detail::code_of(clv_node_counters(raw(), &counters));
        return counters;
    }

    Counters counters() const
    {
        return detail::or_throw([&](std::error_code &ec) { return counters(ec); });
    }

    /* Reads the trust files again; sessions with hosts that are refused now end. Errors: key_file. */
    void reload_trust(std::error_code &ec) const noexcept { ec = detail::code_of(clv_node_reload_trust(raw())); }
    void reload_trust() const { detail::check(clv_node_reload_trust(raw())); }

    /*
     * Offers a service to peers. The handler takes a Request & and answers the reply (anything that a View is made of),
     * or nothing and uses Request::reply. What it throws is the caller's errc::call_failed with what(); a Refusal
     * reaches the caller as it is. Errors: in_use, limit, arg.
     */
    template <typename Handler>
    void serve(const std::string &name, Handler handler, const ServiceOptions &options, std::error_code &ec) const
    {
        typedef detail::Service<Handler> Service;
        clv_service_options raw_options = CLV_SERVICE_OPTIONS_INIT;
        raw_options.run_inline = options.run_inline ? 1 : 0;
        raw_options.level_min = options.level_min;
        std::unique_ptr<Service> service(new Service(std::move(handler)));
        /* The library drops it on a failure, too. */
        ec = detail::code_of(clv_serve(raw(), name.c_str(), &raw_options, Service::handle, service.release(),
                                       detail::drop<Service>));
    }

    template <typename Handler>
    void serve(const std::string &name, Handler handler, const ServiceOptions &options = ServiceOptions()) const
    {
        std::error_code ec;
        serve(name, std::move(handler), options, ec);
        detail::check(ec);
    }

    /* Offers a service no more; calls that run go on. Errors: no_service. */
    void unserve(const std::string &name, std::error_code &ec) const noexcept
    {
        ec = detail::code_of(clv_unserve(raw(), name.c_str()));
    }

    void unserve(const std::string &name) const { detail::check(clv_unserve(raw(), name.c_str())); }

    /* Makes a kind of objects known, before objects of it are attached. Errors: in_use, limit. */
    template <typename T> void register_kind(const Kind<T> &kind, std::error_code &ec) const
    {
        kind.register_at(raw(), ec);
    }

    template <typename T> void register_kind(const Kind<T> &kind) const
    {
        std::error_code ec;
        kind.register_at(raw(), ec);
        detail::check(ec);
    }

    /* Sends log lines of this level and more important ones to a function, in order and one at a time. */
    typedef std::function<void(LogLevel, const std::string &)> Log;

    void set_log(LogLevel level, Log log, std::error_code &ec) const
    {
        std::unique_ptr<Log> kept(new Log(std::move(log)));
        /* The library drops it on a failure, too. */
        ec = detail::code_of(clv_log_set(raw(), static_cast<clv_log_level>(level), on_log, kept.release(),
                                         detail::drop<Log>));
    }

    void set_log(LogLevel level, Log log) const
    {
        std::error_code ec;
        set_log(level, std::move(log), ec);
        detail::check(ec);
    }

private:
    static Node open(const clv_options *options, std::error_code &ec) noexcept
    {
        clv_node node = clv_node();
        ec = detail::code_of(clv_node_open(options, &node));
        return Node(node);
    }

    static void on_log(void *user, clv_log_level level, const char *line) noexcept
    {
        (*static_cast<Log *>(user))(static_cast<LogLevel>(level), line);
    }
};

} // namespace clerver

#endif
