"""The other end of tests/it/interop.rs, on Python's `websockets` (see requirements.txt)."""

import asyncio
import json
import sys

import websockets


async def produce(url):
    async with websockets.connect(url) as socket:
        for n in range(100):
            await socket.send(f'{{"n":{n},"text":"grün ✓"}}')
        await socket.send(bytes([0, 255, 128]))
        await socket.send(["in ", "frag", "ments"])
        await socket.send("x" * 500_000)


async def acknowledged(url):
    async with websockets.connect(url) as socket:
        for n in range(100):
            await socket.send(f"{n}")
        acknowledged = 0
        while acknowledged < 100:
            told = json.loads(await socket.recv())["ack"]
            assert acknowledged < told <= 100
            acknowledged = told
        print("acknowledged", acknowledged, flush=True)


async def subscribe(url):
    async with websockets.connect(url) as socket:
        print("connected", flush=True)
        try:
            while True:
                message = await socket.recv()
                if isinstance(message, str):
                    print("str", message, flush=True)
                else:
                    print("bytes", message.hex(), flush=True)
        except websockets.ConnectionClosed as closed:
            print("closed", closed.rcvd.code, flush=True)


async def serve():
    asked = asyncio.Queue()

    async def feed(socket):
        assert socket.request.path == "/feed"
        print("subscribed", await socket.recv(), flush=True)
        try:
            for n in range(100):
                await socket.send(f'{{"n":{n}}}')
            await socket.send("x" * 5_000_000)
        except websockets.ConnectionClosed:
            return  # the test has ended
        command = await asked.get()
        if command != "end":
            await socket.close(int(command))

    async with websockets.serve(feed, "127.0.0.1", 0) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            await asked.put(line.strip())
            if line.strip() == "end":
                return


MODES = {"produce": produce, "acknowledged": acknowledged, "subscribe": subscribe, "serve": serve}
asyncio.run(MODES[sys.argv[1]](*sys.argv[2:]))
