"""A chat room whose members survive cut connections, and are noticed when they really go.

    python chat.py serve 127.0.0.1:7400
    python chat.py join 127.0.0.1:7400 Ada
"""

import contextlib
import sys
import threading

import clerver


def serve(address: str) -> None:
    members: dict[int, tuple[str, clerver.Channel]] = {}

    def tell(line: str) -> None:
        for _, channel in list(members.values()):
            channel.send(line.encode(), timeout=5)

    def left(member: int) -> None:
        name, _ = members.pop(member)
        tell(f"{name} left")

    with clerver.Node() as node:
        # Kept for a member, and destroyed when that is gone, however it went.
        node.register_kind("seat", destroy=left)

        @node.service()
        def join(call: clerver.CallContext) -> None:
            members[call.session.id] = call.request.decode(), call.session.open_channel("room")
            call.session.attach("seat", call.session.id)
            tell(f"{call.request.decode()} joined")

        @node.service()
        def say(call: clerver.CallContext) -> None:
            tell(f"{members[call.session.id][0]}: {call.request.decode()}")

        print("listening at", node.listen(address), flush=True)
        for session in node.sessions():
            threading.Thread(target=session.wait_state, args=("closed", "lost"), daemon=True).start()


def read(room: clerver.Channel) -> None:
    # The session is closed at the end, and that ends the reading.
    with contextlib.suppress(clerver.ClerverError):
        for line in room:
            print(line.decode(), flush=True)


def join(address: str, name: str) -> None:
    with clerver.Node() as node, node.connect(address, timeout=10) as session:
        session.call("join", name.encode())
        room = session.accept_channel(timeout=10)
        threading.Thread(target=read, args=(room,), daemon=True).start()
        for line in sys.stdin:
            session.call("say", line.rstrip().encode())


if __name__ == "__main__":
    serve(sys.argv[2]) if sys.argv[1] == "serve" else join(*sys.argv[2:])
