"""A relay far away: what comes to a port here goes on to another one half a round trip later, and so does what comes back. It delays and
holds nothing else, however much is under way; a connection is open after the one and a half round trips that it takes out there.
Usage: distance.py PORT TO MILLISECONDS"""
import asyncio, selectors, sys

PORT, TO, HALF = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]) / 2000


async def arrive(reader, under_way):
    """Notes what comes, and when it is to leave; last of all, that no more comes."""
    clock = asyncio.get_running_loop()
    data = True
    while data:
        try:
            data = await reader.read(1 << 18)
        except ConnectionError:
            data = b""
        under_way.put_nowait((clock.time() + HALF, data))


async def leave(under_way, writer):
    """Passes each on when its time has come, in the order they came."""
    clock = asyncio.get_running_loop()
    data = True
    while data:
        due, data = await under_way.get()
        await asyncio.sleep(due - clock.time())
        if data:
            writer.write(data)
        elif not writer.is_closing():
            writer.write_eof()


async def connect(near_reader, near_writer):
    await asyncio.sleep(3 * HALF)
    far_reader, far_writer = await asyncio.open_connection("127.0.0.1", TO)
    there, back = asyncio.Queue(), asyncio.Queue()
    await asyncio.gather(arrive(near_reader, there), leave(there, far_writer), arrive(far_reader, back), leave(back, near_writer))
    far_writer.close()
    near_writer.close()


async def serve():
    # asyncio sets TCP_NODELAY on every connection.
    async with await asyncio.start_server(connect, "127.0.0.1", PORT) as server:
        await server.serve_forever()


# epoll waits whole milliseconds, which would make a round trip up to two longer; select does not.
asyncio.SelectorEventLoop(selectors.SelectSelector()).run_until_complete(serve())
