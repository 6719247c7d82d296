// A job queue, as in examples/c/jobs_server.c, and for the same clients. While a worker has a job, the job is a living
// object of its session: when the worker goes away without having done it, its destructor puts it back.
//
//     c++ -std=c++11 jobs_server.cpp -o jobs_server $(pkg-config --cflags --libs clerver) -pthread
//     ./jobs_server 127.0.0.1:4000            and in other terminals ./jobs_client
#include <clerver.hpp>

#include <deque>
#include <iostream>
#include <mutex>
#include <thread>

class Queue {
public:
    void put_last(const std::string &text)
    {
        std::lock_guard<std::mutex> lock(mutex_);
        std::cout << "queued: " << text << std::endl;
        texts_.push_back(text);
    }

    std::string take()
    {
        std::lock_guard<std::mutex> lock(mutex_);
        if (texts_.empty())
            throw std::runtime_error("no job is waiting");
        const std::string text = texts_.front();
        texts_.pop_front();
        return text;
    }

    void give_back(const std::string &text, bool is_done)
    {
        std::lock_guard<std::mutex> lock(mutex_);
        std::cout << (is_done ? "done: " : "back in the queue: ") << text << std::endl;
        if (!is_done)
            texts_.push_front(text);
    }

private:
    std::mutex mutex_;
    std::deque<std::string> texts_;
};

struct Job {
    explicit Job(Queue &its_queue) : queue(its_queue), text(queue.take()) {}
    ~Job() { queue.give_back(text, is_done); }

    Queue &queue;
    const std::string text;
    bool is_done = false;
};

// Takes jobs from one client until it is gone.
static void serve_session(const clerver::Session &session, Queue &queue)
{
    std::error_code ec;

    while (clerver::Channel channel = session.accept_channel(clerver::forever, ec))
        while (clerver::Buffer text = channel.receive(clerver::forever, ec)) {
            queue.put_last(text.to_string());
            channel.send("queued", clerver::forever, ec);
        }
}

static void serve(const std::string &address)
{
    Queue queue;
    const clerver::Kind<Job> jobs("job");
    clerver::Node node = clerver::Node::open();

    node.register_kind(jobs);
    node.serve("take", [&](clerver::Request &request) {
        std::unique_ptr<Job> job(new Job(queue));
        const std::string text = job->text;
        // From here on the job is the library's, and may end at any time.
        return std::to_string(request.session().attach(jobs, std::move(job)).number) + " " + text;
    });
    node.serve("done", [](clerver::Request &request) {
        const clerver::Object<Job> job(std::stoull(request.data().to_string()));
        request.session().use(job, [](Job &mine) { mine.is_done = true; });
        request.session().end_object(job);
    });
    std::cout << "serving at " << node.listen(address) << "; Enter ends it" << std::endl;

    std::vector<std::thread> threads;
    std::thread acceptor([&] {
        std::error_code ec;
        while (clerver::Session session = node.accept(clerver::forever, ec))
            threads.emplace_back(serve_session, std::move(session), std::ref(queue));
    });
    std::cin.get();
    // Wakes whoever waits; all destructors have run when it returns.
    node.close(std::chrono::seconds(2));
    acceptor.join();
    for (std::thread &thread : threads)
        thread.join();
}

int main(int argc, char **argv)
{
    try {
        serve(argc == 2 ? argv[1] : "127.0.0.1:4000");
    } catch (const clerver::Error &error) {
        std::cerr << "jobs_server: " << error.what() << "\n" << error.remedy() << "\n";
        return 1;
    }
    return 0;
}
