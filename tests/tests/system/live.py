"""Many users and subscribers of `bitcoin-alerts`, on Python's `websockets`.

    live.py PRICES UPDATES NOTIFY

40 users add an alert each, on a product of their own and over connections of their own; trades
come until every alert has fired; 5 subscribers must see the same notifications, every alert in
exactly one of them.
"""

import asyncio
import json
import sys

import websockets

USERS = range(1, 41)


async def add_alert(url, user):
    async with websockets.connect(url) as socket:
        alert = {"price": str(1000 + user), "user_id": user, "product": f"P{user}-USD"}
        alert = json.dumps(alert)
        await socket.send(alert if user % 2 else alert.encode())


async def subscribe(url, ready):
    seen = []
    async with websockets.connect(url) as socket:
        ready.set()
        while len(seen) < len(USERS):
            seen.append(await socket.recv())
    return seen


async def main(prices, updates, notify):
    ready = [asyncio.Event() for _ in range(5)]
    subscribers = [asyncio.create_task(subscribe(notify, one)) for one in ready]
    for one in ready:
        await one.wait()
    await asyncio.gather(*(add_alert(updates, user) for user in USERS))
    async with websockets.connect(updates) as socket:
        await socket.send("no alert")
    async with websockets.connect(prices) as socket:
        trade_id = 0
        while not subscribers[0].done():
            trade_id += 1
            for user in USERS:
                trade = {"type": "match", "trade_id": trade_id, "product_id": f"P{user}-USD"}
                await socket.send(json.dumps(trade | {"price": f"{1000 + user}.00"}))
            await asyncio.sleep(0.05)
    first, *others = await asyncio.gather(*subscribers)
    assert all(other == first for other in others), "subscribers saw different notifications"
    fired = [
        (alert["user_id"], group["price"])
        for message in first
        for group in json.loads(message)["fired"]
        for alert in group["alerts"]
    ]
    assert sorted(fired) == [(user, str(1000 + user)) for user in USERS], fired


asyncio.run(asyncio.wait_for(main(*sys.argv[1:]), 60))
