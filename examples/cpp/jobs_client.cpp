// A client of jobs_server, the one here or the one in examples/c, in two roles:
//
//     c++ -std=c++11 jobs_client.cpp -o jobs_client $(pkg-config --cflags --libs clerver)
//     ./jobs_client 127.0.0.1:4000 add "wash the car" "feed the cat"
//     ./jobs_client 127.0.0.1:4000 work
#include <clerver.hpp>

#include <iostream>

static void add(const clerver::Session &session, const std::vector<std::string> &jobs)
{
    const clerver::Channel channel = session.open("jobs");

    for (const std::string &job : jobs) {
        channel.send(job);
        std::cout << channel.receive().to_string() << ": " << job << "\n";
    }
    channel.end();
}

static void work(const clerver::Session &session)
{
    for (;;) {
        const std::string job = session.call("take", "").to_string();
        std::cout << "working on " << job << "; Enter finishes it" << std::endl;
        if (std::cin.get() == EOF)
            return;
        session.call("done", job.substr(0, job.find(' ')));
    }
}

int main(int argc, char **argv)
{
    const std::vector<std::string> arguments(argv + 1, argv + argc);

    if (arguments.size() < 2) {
        std::cerr << "usage: jobs_client HOST:PORT add TEXT.. | work\n";
        return 1;
    }
    try {
        const clerver::Node node = clerver::Node::open();
        clerver::Session session = node.connect(arguments[0], std::chrono::seconds(10));
        if (arguments[1] == "work")
            work(session);
        else
            add(session, std::vector<std::string>(arguments.begin() + 2, arguments.end()));
        session.close(std::chrono::seconds(5));
    } catch (const clerver::Error &error) {
        std::cerr << "jobs_client: " << error.what() << "\n" << error.remedy() << "\n";
        return 1;
    }
    return 0;
}
