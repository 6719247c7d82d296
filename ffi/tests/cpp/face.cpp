// Every class of clerver.hpp at work, in one process with two nodes. Run by the test `examples`.
#include <clerver.hpp>

#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <thread>
#include <unistd.h>

#define CHECK(wanted) \
    do { \
        if (!(wanted)) { \
            std::fprintf(stderr, "line %d: %s\n", __LINE__, #wanted); \
            std::exit(1); \
        } \
    } while (0)

using namespace clerver;
typedef std::chrono::milliseconds ms;

static const std::chrono::seconds soon(20);

// Counts that other threads wait for.
class Tally {
public:
    void add()
    {
        std::lock_guard<std::mutex> lock(mutex_);
        count_++;
        changed_.notify_all();
    }

    bool reaches(int count)
    {
        std::unique_lock<std::mutex> lock(mutex_);
        return changed_.wait_for(lock, soon, [&] { return count_ >= count; }) && count_ == count;
    }

private:
    std::mutex mutex_;
    std::condition_variable changed_;
    int count_ = 0;
};

// Destroyed once, and it says so.
struct Seat {
    explicit Seat(Tally &tally) : gone(tally) {}
    ~Seat() { gone.add(); }
    Tally &gone;
    int uses = 0;
};

template <typename Function> std::error_code thrown_by(Function function)
{
    try {
        function();
    } catch (const Error &error) {
        const std::runtime_error &base = error;
        CHECK(base.what() == std::string(error.what()) && *error.what() != '\0' && *error.remedy() != '\0');
        CHECK(error.code() == error.status_class());
        return error.code();
    }
    return std::error_code();
}

struct Pair {
    Node server = Node::open(Options().set("node_name", "server").set("beat_ms", 200).set("ttl_ms", 4000));
    Node client = Node::open(Options().set("node_name", "client").set("beat_ms", 200).set("ttl_ms", 4000));
    std::string address = server.listen("127.0.0.1:0");
    Session ours = client.connect(address, soon);
    Session theirs = server.accept(soon);
};

// Others that were opened before are let go.
static Channel accept_named(const Session &session, const std::string &name)
{
    Channel channel;
    do
        channel = session.accept_channel(soon);
    while (channel.name() != name);
    return channel;
}

static void waits_are_rounded_up_and_never_overflow()
{
    CHECK(Wait(forever).timeout_ms() == -1 && Wait(no_wait).timeout_ms() == 0);
    CHECK(Wait(std::chrono::microseconds(1)).timeout_ms() == 1 && Wait(ms(-5)).timeout_ms() == 0);
    CHECK(Wait(std::chrono::seconds(2)).timeout_ms() == 2000);
    CHECK(Wait(std::chrono::duration<double>(0.0015)).timeout_ms() == 2);
    CHECK(Wait(std::chrono::hours::max()).timeout_ms() > 1000000000000);
}

static void errors_have_code_class_and_remedy(Pair &pair)
{
    std::error_code ec = make_error_code(errc::timeout);
    CHECK(ec == errc::timeout && ec == Class::retry && ec != Class::lost && ec.value() == CLV_E_TIMEOUT);
    CHECK(std::string(ec.category().name()) == "clerver" && ec.message().find("TIMEOUT") == 0);
    CHECK(std::error_code() != Class::retry);

    CHECK(thrown_by([] { Options().set("no_such_option", 1); }) == errc::config);
    CHECK(thrown_by([] { Options().set("caller_driven", true).set("beat_ms", "soon"); }) == errc::config);
    Options options;
    options.set("beat_ms", "500", ec);
    CHECK(!ec);
    options.load_file("/no/such/file", ec);
    CHECK(ec == errc::config);

    CHECK(thrown_by([&] { pair.server.accept(no_wait); }) == errc::again);
    pair.server.accept(ms(1), ec);
    CHECK(ec == errc::timeout && !last_error().empty() && !last_remedy().empty());
    CHECK(thrown_by([] { Session().open("nothing"); }) == errc::handle);
}

static void owners_move_and_end_once(Pair &pair)
{
    Channel channel = pair.ours.open("moved");
    const clv_channel raw = channel.raw();
    Channel other = std::move(channel);
    CHECK(!channel && other && other.raw().id == raw.id);
    other = Channel();
    char name[256];
    CHECK(clv_channel_name(raw, name, sizeof name) == CLV_E_HANDLE);
    other.close();
    std::error_code ec;
    other.name(ec);
    CHECK(ec == errc::handle && ec == Class::misuse);

    std::vector<Channel> many;
    for (int number = 0; number < 5; number++)
        many.push_back(pair.ours.open(std::to_string(number)));
    CHECK(many[4].name() == "4" && !many[4].is_bytes());
}

static void messages_and_bytes_arrive(Pair &pair)
{
    Channel out = pair.ours.open("orders");
    out.send("three apples");
    out.send(std::vector<std::uint8_t>{1, 2, 3});
    out.send("");
    CHECK(out.try_send(std::string("last")) == 4);
    out.end();
    Channel in = accept_named(pair.theirs, "orders");
    in.watch(7);
    Buffer first = in.receive(soon);
    CHECK(first.to_string() == "three apples" && first.size() == 12 && *first.begin() == 't');
    char small[2];
    std::error_code ec;
    CHECK(in.receive_into(small, sizeof small, soon, ec) == 3 && ec == errc::size);
    CHECK(in.receive(soon).size() == 3);
    Buffer empty = in.receive(soon);
    CHECK(empty && empty.empty());
    CHECK(in.receive(soon).to_string() == "last");
    CHECK(!in.receive(soon));
    CHECK(!in.receive(soon, ec) && ec == errc::end);
    CHECK(in.report().taken > 0);

    ChannelOptions bytes;
    bytes.bytes = true;
    Channel stream = pair.ours.open("stream", bytes);
    CHECK(stream.is_bytes());
    stream.send("x");
    const int near = stream.into_fd();
    CHECK(!stream && near >= 0);
    const int far = pair.theirs.accept_fd(soon);
    char letter = 0;
    CHECK(read(far, &letter, 1) == 1 && letter == 'x');
    CHECK(write(far, "y", 1) == 1 && read(near, &letter, 1) == 1 && letter == 'y');
    close(far);
    close(near);
    const int third = pair.ours.dial_fd("third", Descriptor::unix_pair);
    close(third);
}

static void a_channel_is_reset_with_a_reason_and_stopped(Pair &pair)
{
    Channel out = pair.ours.open("broken");
    out.send("half");
    Channel in = accept_named(pair.theirs, "broken");
    CHECK(in.receive(soon).to_string() == "half");
    out.reset("half of it is missing");
    CHECK(thrown_by([&] { in.receive(soon); }) == errc::reset);
    CHECK(last_error().find("half of it is missing") != std::string::npos);
    in.stop();
}

static void close_from_another_thread_wakes(Pair &pair)
{
    Channel out = pair.ours.open("woken");
    out.send("x");
    Channel in = accept_named(pair.theirs, "woken");
    in.receive(soon);
    std::atomic<bool> is_waiting(false);
    std::thread reader([&] {
        is_waiting = true;
        CHECK(thrown_by([&] { in.receive(soon); }) == errc::handle);
    });
    while (!is_waiting)
        std::this_thread::yield();
    in.close();
    reader.join();
}

static void services_answer_throw_and_refuse(Pair &pair)
{
    std::shared_ptr<int> owned = std::make_shared<int>(0);
    pair.server.serve("twice", [owned](Request &request) {
        ++*owned;
        return request.data().to_string() + request.data().to_string();
    });
    pair.server.serve("fail", [](Request &) { throw std::runtime_error("no apples left"); });
    pair.server.serve("strange", [](Request &) -> std::string { throw 7; });
    pair.server.serve("busy", [](Request &) { throw Refusal(errc::busy, "later"); });
    pair.server.serve("nested", [](Request &) { throw Error(make_error_code(errc::not_run), "not mine"); });
    pair.server.serve("count", [](Request &request) {
        CHECK(request.info().caller_level == 255 && !request.info().is_cancelled && !request.call_id().empty());
        CHECK(request.info().remaining.timeout_ms() > 0);
        for (int number = 1; number < 3; number++)
            request.reply_part(std::to_string(number));
        request.reply("3");
    });
    CHECK(thrown_by([&] { pair.server.serve("twice", [](Request &) {}); }) == errc::in_use);

    CHECK(pair.ours.call("twice", "ab", soon).to_string() == "abab" && *owned == 1);
    CHECK(thrown_by([&] { pair.ours.call("fail", "", soon); }) == errc::call_failed);
    CHECK(last_error().find("no apples left") != std::string::npos);
    CHECK(thrown_by([&] { pair.ours.call("strange", "", soon); }) == errc::call_failed);
    CHECK(thrown_by([&] { pair.ours.call("busy", "", soon); }) == errc::busy);
    CHECK(thrown_by([&] { pair.ours.call("nested", "", soon); }) == errc::call_failed);
    std::error_code ec;
    pair.ours.call("none", "", soon, ec);
    CHECK(ec == errc::no_service);

    Call call = pair.ours.start_call("count", "", soon);
    call.watch(8);
    std::string whole;
    while (Buffer part = call.receive(soon))
        whole += part.to_string();
    CHECK(whole == "123" && call.outcome() == Outcome::reply && !call.call_id().empty());
    Tally gave_up;
    pair.server.serve("patient", [&](Request &request) {
        request.reply_part("begun");
        while (!request.info().is_cancelled)
            std::this_thread::yield();
        gave_up.add();
    });
    Call given_up = pair.ours.start_call("patient", "", soon);
    CHECK(given_up.receive(soon).to_string() == "begun");
    given_up.cancel();
    CHECK(thrown_by([&] { given_up.receive(soon); }) == errc::cancelled);
    CHECK(gave_up.reaches(1));
    given_up.close();
    CHECK(pair.theirs.tasks().size() >= 6 && pair.theirs.tasks()[0].service == "twice");

    CHECK(owned.use_count() == 2);
    pair.server.unserve("twice");
    CHECK(thrown_by([&] { pair.server.unserve("twice"); }) == errc::no_service);
}

// The next event of this kind and token; the others are passed over.
static void await_token(const Node &node, EventKind kind, std::uint64_t token)
{
    for (Event event = node.next_event(soon); event.kind != kind || event.token != token;)
        event = node.next_event(soon);
}

static void connects_are_started_and_taken()
{
    const Node server = Node::open(), client = Node::open();
    const std::string address = server.listen("127.0.0.1:0");
    Connecting connecting = client.start_connect(address, soon);
    connecting.watch(5);
    await_token(client, EventKind::readable, 5);
    Session ours = connecting.take(no_wait);
    CHECK(ours.state() == State::live);
    CHECK(thrown_by([&] { connecting.take(); }) == errc::state);
    connecting.close();
    CHECK(!connecting);
    std::error_code ec;
    connecting.take(no_wait, ec);
    CHECK(ec == errc::handle);
    Session theirs = server.accept(soon);

    ConnectOptions nobody;
    nobody.addresses = {"127.0.0.1:1"};
    Connecting waits = client.start_connect(nobody);
    waits.take(no_wait, ec);
    CHECK(ec == errc::again);
    waits.cancel(ec);
    waits.watch(6, ec);
    CHECK(!ec && thrown_by([&] { waits.take(); }) == errc::cancelled);
    Connecting fails = client.start_connect(nobody, ms(100), ec);
    CHECK(!ec && thrown_by([&] { fails.take(); }) == errc::timeout);
    CHECK(thrown_by([&] { client.start_connect("no address", soon); }) == errc::arg);
    CHECK(thrown_by([&] { client.start_connect(ConnectOptions()); }) == errc::arg);

    ours.watch(7);
    ours.start_close(soon);
    while (ours.state() == State::closing)
        await_token(client, EventKind::session_ready, 7);
    CHECK(ours.state() == State::closed);
    ours.close(soon);
    CHECK(theirs.wait_state({State::closed}, soon) == State::closed);
    // Nobody takes it: no session is left.
    const Node other = Node::open();
    {
        const Connecting unwanted = other.start_connect(address, soon, ec);
        await_token(other, EventKind::connected, 0);
        theirs = server.accept(soon);
    }
    CHECK(theirs.wait_state({State::closed}, soon) == State::closed);
    CHECK(thrown_by([&] { Session().start_close(soon); }) == errc::handle);
}

// Replies that wait for the test.
class Later {
public:
    void push(DeferredReply reply)
    {
        replies_.push_back(std::move(reply));
        arrived_.add();
    }

    DeferredReply pop()
    {
        CHECK(arrived_.reaches(++count_));
        return std::move(replies_[static_cast<std::size_t>(count_ - 1)]);
    }

private:
    Tally arrived_;
    int count_ = 0;
    std::vector<DeferredReply> replies_;
};

static void replies_come_later(Pair &pair)
{
    Later later;
    std::error_code ec;
    pair.server.serve("later", [&](Request &request) {
        CHECK(!request.is_deferred());
        DeferredReply reply = request.defer();
        CHECK(request.is_deferred() && thrown_by([&] { request.defer(); }) == errc::state);
        later.push(std::move(reply));
        return "this does not count";
    });
    Call call = pair.ours.start_call("later", "three", soon);
    DeferredReply reply = later.pop();
    CHECK(reply && reply.data().to_string() == "three" && reply.info().caller_level == 255);
    std::thread([&] { reply.reply(reply.data().to_string() + " apples"); }).join();
    CHECK(!reply && call.receive(soon).to_string() == "three apples" && !call.receive(soon));
    CHECK(thrown_by([&] { reply.reply("again"); }) == errc::handle);
    CHECK(thrown_by([&] { reply.data(); }) == errc::handle);

    // In parts, until the caller gives up.
    call = pair.ours.start_call("later", "", soon);
    reply = later.pop();
    reply.watch(9);
    await_token(pair.server, EventKind::writable, 9);
    reply.reply_part("one");
    CHECK(call.receive(soon).to_string() == "one" && !reply.info().is_cancelled);
    call.cancel();
    while (!reply.info().is_cancelled)
        await_token(pair.server, EventKind::readable, 9);
    CHECK(thrown_by([&] { reply.reply_part("two"); }) == errc::stopped);
    reply.reply_part("two", ec);
    CHECK(ec == errc::stopped);
    reply.reply("unheard");

    // Failures: told, and nobody there any more.
    call = pair.ours.start_call("later", "", soon);
    later.pop().fail(errc::busy, "not today");
    CHECK(thrown_by([&] { call.receive(soon); }) == errc::busy && last_error().find("not today") != std::string::npos);
    call = pair.ours.start_call("later", "", soon);
    reply = later.pop();
    reply.fail(errc::timeout, "too slow", ec);
    CHECK(!ec && thrown_by([&] { call.receive(soon); }) == errc::call_failed);
    call = pair.ours.start_call("later", "", soon);
    reply = later.pop();
    reply = DeferredReply();
    CHECK(thrown_by([&] { call.receive(soon); }) == errc::call_failed);
    CHECK(last_error().find("nobody gave it") != std::string::npos);
    pair.server.unserve("later");
}

static void a_handler_that_defers_may_still_throw(Pair &pair)
{
    std::error_code ec;
    DeferredReply kept;
    pair.server.serve("throws", [&](Request &request) {
        const DeferredReply reply = request.defer();
        throw Refusal(errc::denied, "changed my mind");
    });
    pair.server.serve("keeps and throws", [&](Request &request) {
        kept = request.defer(ec);
        throw std::runtime_error("changed my mind");
    });
    pair.server.serve("forgets", [](Request &request) { request.defer(); });
    pair.server.serve("at once", [](Request &request) { request.defer().reply("at once"); });
    CHECK(thrown_by([&] { pair.ours.call("throws", "", soon); }) == errc::denied);
    CHECK(last_error().find("changed my mind") != std::string::npos);
    CHECK(thrown_by([&] { pair.ours.call("keeps and throws", "", soon); }) == errc::call_failed);
    CHECK(last_error().find("changed my mind") != std::string::npos);
    // The caller has its answer a moment before the handle ends.
    while (clv_request_watch(kept.raw(), 1) != CLV_E_HANDLE)
        std::this_thread::yield();
    kept.reply("too late", ec);
    CHECK(ec == errc::handle);
    CHECK(thrown_by([&] { pair.ours.call("forgets", "", soon); }) == errc::call_failed);
    CHECK(last_error().find("nobody gave it") != std::string::npos);
    CHECK(pair.ours.call("at once", "", soon).to_string() == "at once");
    for (const char *name : {"throws", "keeps and throws", "forgets", "at once"})
        pair.server.unserve(name);
}

static void objects_end_with_their_destructor(Pair &pair, Tally &gone)
{
    Kind<Seat> seats("seat");
    seats.print([](const Seat &seat) { return "used " + std::to_string(seat.uses) + " times"; });
    pair.server.register_kind(seats);
    CHECK(thrown_by([&] { pair.server.register_kind(seats); }) == errc::in_use);
    Kind<Seat> kept("kept");
    kept.embalm(
        soon, [](const Seat &seat) { return std::to_string(seat.uses); },
        [&gone](const std::string &uses) {
            std::unique_ptr<Seat> made(new Seat(gone));
            made->uses = std::stoi(uses);
            return made;
        });
    kept.discard([](const std::string &) {}).abandon([](Seat &) {});
    pair.server.register_kind(kept.level_min(1));

    Object<Seat> mine = pair.theirs.attach(seats, std::unique_ptr<Seat>(new Seat(gone)));
    pair.theirs.use(mine, [](Seat &seat) { seat.uses = 2; });
    try {
        pair.theirs.use(mine, [](Seat &) { throw std::logic_error("mine"); });
        CHECK(false);
    } catch (const std::logic_error &error) {
        CHECK(error.what() == std::string("mine"));
    }
    bool is_printed = false;
    for (const std::string &line : pair.theirs.object_lines())
        is_printed |= line.find("used 2 times") != std::string::npos;
    CHECK(is_printed);
    const std::vector<ObjectInfo> objects = pair.theirs.objects();
    CHECK(objects.size() == 2 && objects[0].object.number == 0 && objects[1].kind == "seat");
    CHECK(objects[1].ttl.timeout_ms() == -1 && objects[1].state == ObjectState::alive);

    Event event;
    while ((event = pair.ours.next_event(soon)).kind != EventKind::object_attached)
        CHECK(event);
    CHECK(event.text == "seat" && event.object == mine.number);
    pair.ours.touch_object(mine);
    pair.ours.update_object(mine, "note");
    while ((event = pair.theirs.next_event(soon)).kind != EventKind::object_updated)
        CHECK(event);
    CHECK(event.data.to_string() == "note");
    CHECK(thrown_by([&] { pair.theirs.revive_object(mine, pair.theirs); }) == errc::state);
    pair.ours.release_object(mine);
    CHECK(gone.reaches(1));
    CHECK(thrown_by([&] { pair.theirs.use(mine, [](Seat &) {}); }) == Class::misuse);

    Kind<Seat> unknown("unknown");
    std::unique_ptr<Seat> stays(new Seat(gone));
    CHECK(thrown_by([&] { pair.theirs.attach(unknown, std::move(stays)); }) == errc::arg);
    CHECK(stays);
    stays.reset();
    CHECK(gone.reaches(2));

    pair.server.serve("sit", [&](Request &request) {
        const Object<Seat> seat = request.session().attach(seats, std::unique_ptr<Seat>(new Seat(gone)));
        return std::to_string(seat.number);
    });
    const ObjectId seat(std::stoull(pair.ours.call("sit", "", soon).to_string()));
    pair.theirs.end_object(seat);
    CHECK(gone.reaches(3));
    // This one ends with the session.
    pair.ours.call("sit", "", soon);
}

static void nodes_and_sessions_tell_about_themselves(Pair &pair)
{
    CHECK(pair.ours.state() == State::live && pair.ours.wait_state({State::live}, soon) == State::live);
    const SessionInfo info = pair.ours.info();
    CHECK(info.peer_name == "server" && info.ttl == ms(4000) && info.beat == ms(200) && info.links >= 1);
    CHECK(info.peer_host == pair.ours.peer() && pair.server.id() == pair.ours.peer());
    CHECK(pair.client.counters().sessions == 1 && pair.client.fd() >= 0);
    CHECK(thrown_by([&] { pair.ours.loss(); }) == errc::state);
    CHECK(thrown_by([&] { pair.client.run_once(no_wait); }) == errc::state);
    pair.client.reload_trust();
    pair.ours.drain(soon);

    Tally lines;
    pair.client.set_log(LogLevel::debug, [&](LogLevel, const std::string &line) {
        if (!line.empty())
            lines.add();
    });
    ConnectOptions options;
    options.addresses.push_back(pair.address);
    Session shared = pair.client.connect(options, soon);
    CHECK(shared.info().number == info.number);
    shared.close(soon);
    pair.ours.watch(9);
    Event event;
    do
        event = pair.client.next_event(soon);
    while (event.kind != EventKind::session_ready || event.token != 9);
    // The function above must not outlive what it refers to.
    pair.client.set_log(LogLevel::error, [](LogLevel, const std::string &) {});
}

static void the_end_of_life_of_a_session_delivers(Pair &pair)
{
    const std::string large(1 << 20, 'x');
    {
        const Channel out = pair.ours.open("last words");
        out.send(large);
        out.send(large);
    }
    pair.ours = Session();
    const Channel in = accept_named(pair.theirs, "last words");
    CHECK(in.receive(soon).size() == large.size());
    CHECK(in.receive(soon).size() == large.size());
    CHECK(!in.receive(soon));
}

static void closing_tells_what_was_left(Pair &pair, Tally &gone)
{
    while (Event event = pair.theirs.next_event(soon))
        CHECK(event.kind != EventKind::lost);
    CHECK(pair.theirs.loss().cause == errc::closed);
    CHECK(gone.reaches(4));
    CHECK(pair.client.drain(soon).bytes == 0);
    CHECK(pair.client.close(soon).channels == 0 && !pair.client);
    pair.client.close(soon);
    CHECK(pair.server.close(soon).running == 0);
}

static Event await_event(const Session &session, EventKind kind)
{
    Event event;
    do
        event = session.next_event(soon);
    while (event.kind != kind);
    return event;
}

static void a_session_moves_between_the_addresses_of_its_peer()
{
    Pair pair;
    const std::string second = pair.server.listen("127.0.0.2:0");
    while (await_event(pair.ours, EventKind::peer_addresses).number != 2)
        continue;
    CHECK(pair.server.addresses().size() == 2 && pair.server.addresses()[0].origin == AddressOrigin::own);
    const std::vector<Address> known = pair.ours.addresses();
    CHECK(known.size() == 2 && known[0].origin == AddressOrigin::given && known[0].in_use && !known[0].failed);
    CHECK(known[1].origin == AddressOrigin::announced && known[1].address == second && !known[1].in_use);

    pair.ours.roam(second);
    Event event = await_event(pair.ours, EventKind::move_began);
    CHECK(event.text == second && event.number == static_cast<std::int64_t>(MoveCause::asked));
    CHECK(await_event(pair.ours, EventKind::link_attached).peer.find(second) == 0);
    CHECK(await_event(pair.theirs, EventKind::peer_moves).number == static_cast<std::int64_t>(MoveCause::asked));
    pair.theirs.go_to();
    CHECK(await_event(pair.ours, EventKind::move_began).number == static_cast<std::int64_t>(MoveCause::go_to));

    CHECK(thrown_by([&] { pair.ours.roam("no:where"); }) == errc::arg);
    CHECK(thrown_by([&] { pair.theirs.go_to("no:where"); }) == errc::arg);
    CHECK(thrown_by([&] { pair.server.announce({"no:where"}); }) == errc::arg);
    pair.server.announce({"192.0.2.1:7"});
    while (await_event(pair.ours, EventKind::peer_addresses).text != "192.0.2.1:7")
        continue;
    pair.server.announce({});
    CHECK(pair.server.addresses().empty());
    pair.server.announce_found();
    CHECK(pair.server.addresses().size() == 2);

    ConnectOptions options;
    options.addresses = {"127.0.0.1:1", pair.address};
    options.race = true;
    options.standby_links = 1;
    Node third = Node::open(Options().set("beat_ms", 200));
    Session session = third.connect(options, soon);
    CHECK(session.addresses()[1].in_use);
}

static void a_stored_channel_goes_on_in_the_next_node()
{
    const std::string home = std::getenv("CLERVER_HOME");
    Options options;
    options.set("store_dir", home + "/client").set("beat_ms", 50).set("ttl_ms", 400);
    Node server = Node::open(Options().set("store_dir", home + "/server"));
    const std::string address = server.listen("127.0.0.1:0");
    ChannelOptions stored;
    stored.stored = true;
    Session theirs;
    Channel in;
    {
        Node client = Node::open(options);
        const Session ours = client.connect(address, soon);
        const Channel out = ours.open("orders", stored);
        out.send("one");
        out.confirm(soon);
        theirs = server.accept(soon);
        in = accept_named(theirs, "orders");
        const Delivery first = in.take(soon);
        CHECK(first && first.data.to_string() == "one" && first.end > 0 && !first.redelivered);
        in.ack(first.end);
        CHECK(thrown_by([&] { in.ack(first.end + 1, soon); }) == errc::arg);
        CHECK(thrown_by([&] { in.take(no_wait); }) == errc::again);
        client.close(soon);
    }
    Node client = Node::open(options);
    CHECK(client.next_event(soon).kind == EventKind::restored);
    const Session ours = client.accept(soon);
    const Channel out = accept_named(ours, "orders");
    out.send("two", soon);
    out.end();
    std::error_code ec;
    const Delivery second = in.take(soon, ec);
    CHECK(!ec && second.data.to_string() == "two");
    in.ack(second.end, soon, ec);
    CHECK(!ec && !in.take(soon) && !in.take(soon, ec) && ec == errc::end);
    out.confirm(no_wait, ec);
    CHECK(!ec && await_event(theirs, EventKind::peer_revived));
}

static void a_caller_driven_node_runs_on_this_thread()
{
    Node server = Node::open(Options().set("caller_driven", true).set("ttl_ms", 9000));
    const std::thread::id here = std::this_thread::get_id();
    std::thread::id there;
    server.serve("where", [&](Request &) { there = std::this_thread::get_id(); });
    const std::string address = server.listen("127.0.0.1:0");
    std::atomic<bool> is_over(false);
    std::thread caller([&] {
        Node client = Node::open();
        client.connect(address, soon).call("where", "", soon);
        is_over = true;
    });
    while (!is_over)
        server.run_once(ms(20));
    caller.join();
    CHECK(there == here);
}

int main()
{
    CHECK(version_number() == header_version);
    waits_are_rounded_up_and_never_overflow();
    Tally gone;
    {
        Pair pair;
        errors_have_code_class_and_remedy(pair);
        owners_move_and_end_once(pair);
        messages_and_bytes_arrive(pair);
    }
    {
        Pair pair;
        a_channel_is_reset_with_a_reason_and_stopped(pair);
        close_from_another_thread_wakes(pair);
        services_answer_throw_and_refuse(pair);
        replies_come_later(pair);
        a_handler_that_defers_may_still_throw(pair);
        nodes_and_sessions_tell_about_themselves(pair);
        objects_end_with_their_destructor(pair, gone);
        the_end_of_life_of_a_session_delivers(pair);
        closing_tells_what_was_left(pair, gone);
    }
    connects_are_started_and_taken();
    a_session_moves_between_the_addresses_of_its_peer();
    a_caller_driven_node_runs_on_this_thread();
    a_stored_channel_goes_on_in_the_next_node();
    std::puts("the C++ face: all good");
    return 0;
}
