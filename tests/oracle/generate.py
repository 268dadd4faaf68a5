#!/usr/bin/env python3
"""Seeded recordings for the oracle and the program: the same seed gives the same bytes.

    generate.py --seed 7 --out FOLDER [--frames 400] [--price-files 3] [--update-files 2]

Writes prices-<i>.<form> and updates-<i>.jsonl: several partitions and products, every kind of
message, disorder, equal times, missing times and stamps, decimals in odd forms, edits, removals,
repeats, and lines that are refused. Every file form that the oracle reads occurs over a few seeds.
"""

import argparse
import gzip
import json
import os
import random
from fractions import Fraction

PRODUCTS = ["BTC-USD", "ETH-USD", "SKL-BTC", "BTCUSDT"]
CENTRE = {"BTC-USD": 650000, "ETH-USD": 18000, "SKL-BTC": 1305, "BTCUSDT": 6183763}
# In units of 10^-places.
PLACES = {"BTC-USD": 2, "ETH-USD": 2, "SKL-BTC": 8, "BTCUSDT": 2}
START = 1_700_000_000

BAD_LINES = [
    b"{", b"nonsense", b"[]", b"[1,2]", b'"text"', b"5", b"null", b"true", b'{"type":"x","price":}',
    b'{"type":"match","price":"1"', b"\xff\xfe", b'{"type":"x\xc3","price":"1"}', b"\xef\xbb\xbf{}",
    b'{"type":"x","price":"1","price":"2"}', b'{"type":"x","price":"1",}', b'{"type":"x","price":NaN}',
    b'{"type":"x","price":"12345678901.123456789"}', b'{"type":"x","price":"1e99"}',
    b'{"type":"x","price":1e-99}', b'{"type":"x","price":"1_000"}', b'{"type":"x","price":""}',
    b'{"type":"x","price":[1]}', b'{"type":5,"price":"1"}', b'{"type":"x\\ud800","price":"1"}',
    b'{"type":"match","product_id":"BTC-USD","price":"1"}',
    b'{"type":"match","trade_id":7,"price":"1"}',
    b'{"type":"match","trade_id":-7,"product_id":"BTC-USD","price":"1"}',
    b'{"type":"match","trade_id":1.5,"product_id":"BTC-USD","price":"1"}',
    b'{"type":"match","trade_id":18446744073709551616,"product_id":"BTC-USD","price":"1"}',
    b'{"type":"match","trade_id":7,"product_id":"BTC USD","price":"1"}',
    b'{"type":"match","trade_id":7,"product_id":"BTC-USD","price":"1","time":"yesterday"}',
    b'{"type":"match","trade_id":7,"product_id":"BTC-USD","price":"x","time":"2023-11-14T22:13:25Z"}',
    b'{"channel":"market_trades","events":[{"type":"update","trades":[{"price":"1"}]}]}',
    b'{"channel":"market_trades","events":{}}', b'{"channel":7}', b'{"channel":"market_trades"}',
    b'{"stream":"s","data":{"e":"trade","s":"BTCUSDT"}}', b'{"e":"trade","s":"BTCUSDT","p":"1","T":-5}',
    b'{"x":' + b"[" * 100 + b"]" * 100 + b"}", b"[" * 5000, b'{"a":' * 5000,
    b'{"price":"1","user_id":-1}', b'{"price":"1","user_id":"x"}', b'{"op":"put","price":"1","user_id":1}',
]  # fmt: skip


class Generator:
    def __init__(self, seed):
        self.random = random.Random(seed)
        self.trade_ids = {product: self.random.randrange(1, 10**6) for product in PRODUCTS}
        self.level = {product: Fraction(CENTRE[product]) for product in PRODUCTS}
        self.clock = 0
        self.ids = []

    # ------------------------------------------------------------ parts

    def time(self):
        """Seconds and nanoseconds; often the same again, sometimes earlier."""
        step = self.random.choice([0, 0, 1, 1000, 10**6, 10**8, 10**9])
        self.clock += step
        jump = self.random.choice([0] * 9 + [-3 * 10**9])
        return divmod(START * 10**9 + max(self.clock + jump, 0), 10**9)

    def time_text(self, seconds, nanos):
        days, rest = divmod(seconds, 86400)
        # START is in November 2023; a run stays within that month.
        day = days - 19661
        assert 1 <= day <= 30, day
        clock = f"{rest // 3600:02}:{rest // 60 % 60:02}:{rest % 60:02}"
        digits = self.random.choice([0, 3, 6, 9, 9])
        fraction = "." + f"{nanos:09}"[:digits] if digits else ""
        zone = self.random.choice(["Z", "Z", "Z", "z", "+00:00", "-00:00"])
        return f"2023-11-{day:02}{self.random.choice('TTt')}{clock}{fraction}{zone}"

    def price_of(self, product):
        level = self.level[product]
        level += self.random.randint(-40, 40) + (CENTRE[product] - level) / 50
        self.level[product] = Fraction(max(1, round(level)))
        return int(self.level[product]), PLACES[product]

    def decimal(self, units, places):
        """`units` * 10^-`places` in one of the forms that mean it; text or a bare number."""
        sign, units = ("-", -units) if units < 0 else ("", units)
        digits = str(units).rjust(places + 1, "0")
        plain = digits if places == 0 else digits[:-places] + "." + digits[-places:]
        form = self.random.randrange(10)
        if form < 5:
            return sign + plain
        if form == 5:
            return sign + plain + ("00" if "." in plain else ".00")
        if form == 6:
            return sign + "00" + plain
        if form == 7:
            return Bare(f"{sign}{units}e-{places}")
        if form == 8:
            return Bare(sign + plain)
        mantissa = digits.lstrip("0") or "0"
        return f"{sign}{mantissa[0]}.{mantissa[1:] or '0'}E{len(mantissa) - 1 - places:+}"

    def trade_id(self, product):
        self.trade_ids[product] += self.random.choice([1, 1, 1, 2])
        return self.trade_ids[product]

    def maybe_text(self, number):
        return str(number) if self.random.random() < 0.3 else number

    # ------------------------------------------------------------ messages

    def price_message(self):
        seconds, nanos = self.time()
        product = self.random.choice(PRODUCTS)
        message = {
            "type": "match", "trade_id": None, "maker_order_id": "a", "side": "sell", "size": "0.04",
            "price": None, "product_id": product, "sequence": self.random.randrange(10**9),
        }  # fmt: skip
        if self.random.random() < 0.9:
            message["time"] = self.time_text(seconds, nanos)
        choice = self.random.randrange(100)
        if choice < 8:
            return self.market_trades(seconds, nanos)
        if choice < 18:
            return self.binance(seconds, nanos)
        if choice < 30:
            return self.wallaroo(message)
        if choice < 40:
            return self.of_no_interest(message)
        message["price"] = self.decimal(*self.price_of(product))
        message["trade_id"] = self.maybe_text(self.trade_id(product))
        if choice < 50:
            back = self.random.choice([0, 0, 1, 5])
            message |= {"type": "last_match", "trade_id": self.trade_ids[product] - back}
        elif choice < 54:
            self.trade_ids[product] -= 1
        return message

    def market_trades(self, seconds, nanos):
        events = []
        for _ in range(self.random.randint(0, 2)):
            trades = []
            for _ in range(self.random.randint(0, 4)):
                product = self.random.choice(PRODUCTS[:2])
                trades.append(
                    {
                        "product_id": product,
                        "trade_id": self.maybe_text(self.trade_id(product)),
                        "price": self.decimal(*self.price_of(product)),
                        "size": "1",
                        "time": self.time_text(seconds, nanos),
                        "side": "BUY",
                    }
                )
            trades.reverse()
            kind = self.random.choice(["update", "update", "snapshot", "other"])
            events.append({"type": kind, "trades": trades})
        message = {"channel": "market_trades", "client_id": "", "sequence_num": 1, "events": events}
        if self.random.random() < 0.9:
            message["timestamp"] = self.time_text(seconds, nanos)
        return message

    def binance(self, seconds, nanos):
        millis = seconds * 1000 + nanos // 10**6
        data = {"e": "trade", "E": millis, "s": "BTCUSDT", "t": self.trade_id("BTCUSDT"),
                "p": self.decimal(*self.price_of("BTCUSDT")), "q": "0.02", "T": millis,
                "m": True, "M": True}  # fmt: skip
        if self.random.random() < 0.2:
            del data["T"]
        if self.random.random() < 0.3:
            data = {"u": 1, "s": "BTCUSDT", "b": "1", "B": "1", "a": "1", "A": "1"}
        elif self.random.random() < 0.1:
            data["e"] = "aggTrade"
        return {"stream": "btcusdt@x", "data": data} if self.random.random() < 0.7 else data

    def wallaroo(self, message):
        price = self.decimal(*self.price_of("BTC-USD"))
        wallaroo = {"type": self.random.choice(["ticker", "match", "price"]), "price": price}
        if "time" in message and self.random.random() < 0.5:
            wallaroo["time"] = message["time"]
        return wallaroo

    def of_no_interest(self, message):
        time = {"time": message["time"]} if "time" in message else {}
        return self.random.choice(
            [
                message | {"type": "ticker", "price": "1", "trade_id": 1},
                {"type": "ticker", "sequence": 5, "product_id": "BTC-USD", "price": "1"} | time,
                {"type": "heartbeat", "sequence": 1, "last_trade_id": 0, "product_id": "X"} | time,
                {"type": "l2update", "product_id": "BTC-USD", "changes": [["buy", "1", "2"]]} | time,
                {"type": "subscriptions", "channels": []},
                {"type": "error", "message": "slow down", "time": "never"},
                {"channel": "heartbeats", "timestamp": "soon", "events": []},
                {"result": None, "id": 1}, {"stream": "s", "data": []}, {"price": "9000000"}, {},
                {"x": [[[{"y": "\ud800"}]]]},
            ]  # fmt: skip
        )

    def update_message(self):
        seconds, nanos = self.time()
        product = self.random.choice(PRODUCTS)
        units = CENTRE[product] + self.random.randint(-60, 60)
        user = self.random.randrange(1, 30)
        direction = self.random.choice(["above", "below"])
        update = {"price": self.decimal(units, PLACES[product]), "user_id": user}
        if product != "BTC-USD" or self.random.random() < 0.5:
            update["product"] = product
        if direction == "below" or self.random.random() < 0.3:
            update["direction"] = direction
        if self.random.random() < 0.3:
            update["id"] = self.random.choice(["a", "b", "ü", "x\n\"\\\u2028", str(user)])
        if self.random.random() < 0.9:
            update["time"] = self.time_text(seconds, nanos)
        op = self.random.choice([None, "add", "add", "add", "remove", "edit"])
        if op:
            update["op"] = op
        if op in ("remove", "edit") and "id" not in update:
            if self.ids and self.random.random() < 0.8:
                product, update["id"] = self.random.choice(self.ids)
                update["product"] = product
            for name in ("price", "user_id", "direction"):
                if "id" in update and self.random.random() < 0.5:
                    update.pop(name, None)
        elif "id" in update:
            self.ids.append((product, update["id"]))
        elif op != "remove" and op != "edit":
            places, value = PLACES[product], str(units).rjust(PLACES[product] + 1, "0")
            price = (value[:-places] + "." + value[-places:]).rstrip("0").rstrip(".")
            self.ids.append((product, f"{user}:{direction}:{price}"))
        return update

    # ------------------------------------------------------------ files

    def line(self, message):
        if self.random.random() < 0.03:
            return self.random.choice(BAD_LINES)
        if self.random.random() < 0.2:
            items = list(message.items())
            self.random.shuffle(items)
            message = dict(items)
        separators = self.random.choice([(",", ":"), (", ", ": "), (",", ":")])
        ascii_only = self.random.random() < 0.5 or "x" in message
        return dump(message, separators, ascii_only).encode("utf-8")

    def price_file(self, form, frames):
        """The lines of a file, each without its end."""
        if form.startswith("csv"):
            yield b'"symbol","side","price","amount","timestamp"'
            for _ in range(frames):
                yield self.row()
            return
        if form.startswith("seconds"):
            yield b"wss://example.test <-> 1618677816.84"
        for _ in range(frames):
            line = self.line(self.price_message())
            seconds, nanos = self.time()
            if self.random.random() < 0.01:
                yield self.random.choice([b"", b" ", b"\r"])
            if form.startswith("seconds"):
                fraction = f"{nanos:09}"[: self.random.choice([3, 6, 7, 9])]
                yield f"{seconds}.{fraction}: ".encode() + line
                if self.random.random() < 0.01:
                    yield b'wss://example.test <- 1618677817.02: {"type":"subscribe"}'
            elif form.startswith("nanos"):
                yield f"{seconds}{nanos:09} ".encode() + line
            else:
                yield line

    def row(self):
        product = self.random.choice(PRODUCTS)
        if self.random.random() < 0.03:
            return self.random.choice(
                [b'"BTC-USD","buy",1', b"a,b,c,d,e,f", b'"BTC-USD,buy,1,2,3', b'BTC-USD,"b\r\nuy",1,2,', b"", b"\xff,buy,1,2,",
                 b'"BTC-USD"x,buy,1,2,', b",buy,1,2,", b"BTC-USD,buy,,2,", b"BTC-USD,buy,1,2,now",
                 b"BTC-USD,buy,x,2,2023-11-14T22:13:25Z"]  # fmt: skip
            )
        time = f'"{self.time_text(*self.time())}"' if self.random.random() < 0.95 else ""
        price = self.decimal(*self.price_of(product))
        name = f'"{product}"' if self.random.random() < 0.7 else product
        return f'{name},"buy",{price},3.844E-5,{time}'.encode()


class Bare(str):
    """A number that is written as it is, not as a string."""


def dump(value, separators, ascii_only):
    if isinstance(value, Bare):
        # `007` and `.5` are no JSON numbers.
        return str(value)
    if isinstance(value, dict):
        pairs = (
            json.dumps(name, ensure_ascii=ascii_only) + separators[1]
            + dump(item, separators, ascii_only) for name, item in value.items()
        )  # fmt: skip
        return "{" + separators[0].join(pairs) + "}"
    if isinstance(value, list):
        return "[" + separators[0].join(dump(i, separators, ascii_only) for i in value) + "]"
    return json.dumps(value, ensure_ascii=ascii_only)


FORMS = ["jsonl", "seconds.txt", "nanos.txt", "csv", "jsonl.gz", "seconds.txt.gz", "nanos.gz", "csv.gz"]


def write(path, lines):
    data = b"".join(line + b"\n" for line in lines)
    with open(path, "wb") as file:
        # No time of writing in the header: the same seed gives the same bytes.
        file.write(gzip.compress(data, mtime=0) if path.endswith(".gz") else data)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--frames", type=int, default=400, help="frames a file")
    parser.add_argument("--price-files", type=int, default=3)
    parser.add_argument("--update-files", type=int, default=2)
    options = parser.parse_args()
    os.makedirs(options.out, exist_ok=True)
    generator = Generator(options.seed)
    for index in range(options.price_files):
        generator.clock = 0
        form = generator.random.choice(FORMS)
        lines = list(generator.price_file(form, options.frames))
        write(os.path.join(options.out, f"prices-{index}.{form}"), lines)
    for index in range(options.update_files):
        generator.clock = 0
        lines = [generator.line(generator.update_message()) for _ in range(options.frames)]
        write(os.path.join(options.out, f"updates-{index}.jsonl"), lines)


if __name__ == "__main__":
    main()
