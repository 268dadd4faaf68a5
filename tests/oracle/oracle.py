#!/usr/bin/env python3
"""What `bitcoin-alerts` must write for recorded prices and updates, by the plainest means.

One thread, one list, exact fractions, and no line of code shared with the program: read all
files, sort all records, apply them one by one. Python 3.11 and its standard library only. All in
one file, long as it is, so that it can be judged by reading it from top to bottom.

    oracle.py --prices FILE... --updates FILE... [--notify FILE] [--dead-letters FILE]
              [--average running|last:N|DURATION] [--lateness DURATION] [--too-late FILE]

Each FILE is one partition of its source, in the order given; notifications go to standard output
unless --notify names a file. Both outputs are JSON lines, without spaces. A dead letter is
{"source","partition","offset"}: its reason is for people and is not compared. --too-late gets the
names of the prices that were, a line each.

Files (`.gz` is unpacked; `.zst` too where a `zstd` command is), by name, else by content:
  *.csv       a row a frame; the first names the columns
  recordings  files with a line `<unix seconds>: <JSON>` or `<unix nanoseconds> <JSON>` in their
              first 256 KiB: the number is the receipt stamp; a line that neither has one nor
              begins as JSON does is a note of the recorder, no frame
  others      a line a frame; no stamps
A frame's offset is the index of its line, notes and blank lines counted; of its row in a CSV file,
blank lines and the first row not counted.
"""

import argparse
import gzip
import json
import re
import subprocess
import sys
from bisect import bisect_left, bisect_right, insort
from datetime import datetime, timezone
from fractions import Fraction

# ---------------------------------------------------------------- decimals


class Refused(Exception):
    """The frame is a dead letter."""


NUMBER = re.compile(r"([+-]?)([0-9]*)(?:\.([0-9]*))?(?:[eE]([+-]?[0-9]+))?", re.ASCII)


def parse_decimal(text):
    """An exact fraction; at most 18 significant digits, zeros at the ends not counted."""
    match = NUMBER.fullmatch(text)
    if not match or not (match[2] or match[3]):
        raise Refused(f"{text[:40]!r} is no number")
    digits = match[2] + (match[3] or "")
    exponent = (match[4] or "0").lstrip("+")
    significant = digits.strip("0")
    if not significant:
        return Fraction(0)
    if len(significant) > 18:
        raise Refused("more than 18 significant digits")
    if len(exponent.lstrip("-").lstrip("0")) > 12:
        raise Refused("the exponent is out of reach")
    # The power of ten of the last significant digit.
    trailing = len(digits) - len(digits.rstrip("0"))
    power = int(exponent) - len(match[3] or "") + trailing
    # A decimal of the program has 96 bits and at most 28 places.
    if power < -28 or power > 28:
        raise Refused("too large or too small")
    magnitude = int(significant) * Fraction(10) ** power
    if power >= 0 and magnitude >= 2**96:
        raise Refused("too large")
    return -magnitude if match[1] == "-" else magnitude


def decimal_text(value):
    """Without exponent and without trailing zeros. `value` must have a finite decimal form."""
    places = 0
    while (value * 10**places).denominator != 1:
        places += 1
    whole = abs(value * 10**places).numerator
    digits = str(whole).rjust(places + 1, "0")
    text = digits if places == 0 else digits[:-places] + "." + digits[-places:]
    return "-" + text if value < 0 else text


def round_8(value):
    """Half-even at 8 places: what `round` of a fraction does."""
    return Fraction(round(value * 10**8), 10**8)


# ---------------------------------------------------------------- time, in integer nanoseconds

RFC_3339 = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt]([0-9]{2}):([0-9]{2}):([0-9]{2})"
    r"(?:\.([0-9]{1,9}))?(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))",
    re.ASCII,
)
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def in_range(nanos):
    if not -(2**63) <= nanos < 2**63:
        raise Refused("the time is out of range")
    return nanos


def parse_time(text):
    match = RFC_3339.fullmatch(text)
    if not match:
        raise Refused(f"{text[:40]!r} is no RFC 3339 time")
    year, month, day, hour, minute, second = (int(match[i]) for i in range(1, 7))
    if second > 60:
        raise Refused("no such second")
    try:
        moment = datetime(year, month, day, hour, minute, min(second, 59), tzinfo=timezone.utc)
    except ValueError as error:
        raise Refused(str(error)) from error
    since = moment - EPOCH
    seconds = since.days * 86400 + since.seconds
    if match[8]:
        hours, minutes = int(match[9]), int(match[10])
        if hours > 23 or minutes > 59:
            raise Refused("no such zone")
        ahead = hours * 3600 + minutes * 60
        seconds -= ahead if match[8] == "+" else -ahead
    return in_range(seconds * 10**9 + int((match[7] or "").ljust(9, "0")))


def time_text(nanos):
    seconds, fraction = divmod(nanos, 10**9)
    days, seconds = divmod(seconds, 86400)
    date = datetime.fromordinal(EPOCH.toordinal() + days)
    text = f"{date:%Y-%m-%d}T{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    if fraction:
        text += "." + f"{fraction:09}".rstrip("0")
    return text + "Z"


# ---------------------------------------------------------------- JSON, strictly

DEPTH_MAX = 64


class Number(str):
    """A JSON number as it was written."""


class Object(list):
    """A JSON object as the list of its pairs, so that a name written twice is seen."""


def no_constant(name):
    raise ValueError(f"{name} is not JSON")


def depth(text):
    now = deepest = 0
    inside = escaped = False
    for character in text:
        if inside:
            if escaped:
                escaped = False
            elif character == "\\":
                escaped = True
            elif character == '"':
                inside = False
        elif character == '"':
            inside = True
        elif character in "[{":
            now += 1
            deepest = max(deepest, now)
        elif character in "]}":
            now = max(now - 1, 0)
    return deepest


def decode_text(frame):
    try:
        return frame.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Refused("not UTF-8") from error


def parse_json(frame):
    text = decode_text(frame)
    if depth(text) > DEPTH_MAX:
        raise Refused("nested too deep")
    try:
        return json.loads(
            text,
            object_pairs_hook=Object,
            parse_int=Number,
            parse_float=Number,
            parse_constant=no_constant,
        )
    except ValueError as error:
        raise Refused(f"not JSON: {error}") from error


def fields(value, names):
    """The fields of an object that are read; null is the same as left out."""
    if not isinstance(value, Object):
        raise Refused("not an object")
    found = {}
    for name, field in value:
        check_unicode(name)
        if name in names:
            if name in found:
                raise Refused(f"{name} twice")
            found[name] = field
    return {name: field for name, field in found.items() if field is not None}


def check_unicode(text):
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise Refused("half a surrogate pair") from error


def as_text(value):
    if not isinstance(value, str) or isinstance(value, Number):
        raise Refused("not text")
    check_unicode(value)
    return value


def as_scalar(value):
    """A string, or a number as it was written."""
    if not isinstance(value, str):
        raise Refused("neither a number nor text")
    check_unicode(value)
    return value


def as_integer(value):
    text = as_scalar(value)
    if not re.fullmatch("[0-9]+", text, re.ASCII) or len(text.lstrip("0")) > 20:
        raise Refused("not a whole number")
    if int(text.lstrip("0") or "0") >= 2**64:
        raise Refused("2^64 or more")
    return int(text.lstrip("0") or "0")


def as_decimal(value):
    return parse_decimal(as_scalar(value))


def as_time(value):
    return parse_time(as_text(value))


def as_millis(value):
    return in_range(as_integer(value) * 10**6)


def as_product(value):
    return parse_product(as_text(value))


def parse_product(text):
    if not re.fullmatch("[!-~]{1,24}", text, re.ASCII):
        raise Refused("no product")
    return text


def required(found, name):
    if name not in found:
        raise Refused(f"{name} is missing")
    return found[name]


def readable(read, value):
    """A time if it is one: that of messages of no interest may be anything."""
    try:
        return None if value is None else read(value)
    except Refused:
        return None


# ---------------------------------------------------------------- prices

PRICE_FIELDS = {
    "type", "product_id", "price", "time", "trade_id", "sequence",
    "channel", "timestamp", "events", "trades",
    "stream", "data", "e", "E", "s", "t", "p", "T",
}  # fmt: skip

# The messages of the Exchange feed that are no trades.
OTHER_TYPES = {
    "activate", "auction", "change", "done", "error", "heartbeat", "l2update", "level2", "open",
    "received", "rfq_match", "snapshot", "status", "subscriptions", "ticker", "ticker_batch",
}  # fmt: skip


class Frame:
    """What was found in a frame: its own time, and its records or its refusal."""

    def __init__(self):
        self.time = None
        self.records = []
        self.refused = False
        self.length = 0


def read_frame(read, frame):
    found = Frame()
    found.length = len(frame)
    try:
        read(frame, found)
    except Refused:
        found.refused = True
        found.records = []
    return found


def price(product, value, time, trade_id=None, fresh=True):
    return {"product": product, "price": value, "time": time, "trade_id": trade_id, "fresh": fresh}


def read_price(frame, found):
    message = fields(parse_json(frame), PRICE_FIELDS)
    if "channel" in message:
        found.time = readable(as_time, message.get("timestamp"))
        read_channel(message, found)
    elif "stream" in message and "data" in message:
        if isinstance(message["data"], Object):
            read_event(fields(message["data"], PRICE_FIELDS), found)
    elif "e" in message:
        read_event(message, found)
    else:
        found.time = readable(as_time, message.get("time"))
        if "type" in message:
            read_exchange(message, found)


def read_exchange(message, found):
    kind = as_text(message["type"])
    of_exchange = "product_id" in message or "sequence" in message
    trade_id, fresh = None, True
    if kind in ("match", "last_match") and (of_exchange or "trade_id" in message):
        trade_id = as_integer(required(message, "trade_id"))
        required(message, "product_id")
        fresh = kind == "match"
    elif "trade_id" in message:
        return
    elif of_exchange and kind in OTHER_TYPES:
        return
    elif "price" not in message:
        return
    product = as_product(message["product_id"]) if "product_id" in message else "BTC-USD"
    time = as_time(message["time"]) if "time" in message else None
    value = as_decimal(required(message, "price"))
    found.records.append(price(product, value, time, trade_id, fresh))


def read_channel(message, found):
    if as_text(message["channel"]) != "market_trades":
        return
    if "timestamp" in message:
        as_time(message["timestamp"])
    events = required(message, "events")
    if not isinstance(events, list) or isinstance(events, Object):
        raise Refused("events is no array")
    for event in events:
        event = fields(event, PRICE_FIELDS)
        kind = as_text(required(event, "type"))
        if kind not in ("update", "snapshot"):
            continue
        trades = required(event, "trades")
        if not isinstance(trades, list) or isinstance(trades, Object):
            raise Refused("trades is no array")
        for trade in trades:
            trade = fields(trade, PRICE_FIELDS)
            found.records.append(
                price(
                    as_product(required(trade, "product_id")),
                    as_decimal(required(trade, "price")),
                    as_time(trade["time"]) if "time" in trade else None,
                    as_integer(required(trade, "trade_id")),
                    kind == "update",
                )
            )
    found.records.sort(key=lambda record: record["trade_id"])


def read_event(event, found):
    at = event.get("T", event.get("E"))
    found.time = readable(as_millis, at)
    if "e" not in event or as_text(event["e"]) != "trade":
        return
    product = as_product(required(event, "s"))
    value = as_decimal(required(event, "p"))
    time = None if at is None else as_millis(at)
    trade_id = as_integer(event["t"]) if "t" in event else None
    found.records.append(price(product, value, time, trade_id))


def split_row(text):
    """Fields in quotes as a whole or not at all."""
    row, at = [], 0
    while True:
        if text[at : at + 1] == '"':
            field, at = "", at + 1
            while True:
                close = text.find('"', at)
                if close < 0:
                    raise Refused("a quote is not closed")
                field, at = field + text[at:close], close + 1
                if text[at : at + 1] != '"':
                    break
                field, at = field + '"', at + 1
        else:
            end = text.find(",", at)
            end = len(text) if end < 0 else end
            field, at = text[at:end], end
            if '"' in field:
                raise Refused("a quote inside of a field")
        row.append(field)
        if at == len(text):
            return row
        if text[at] != ",":
            raise Refused("text behind a quote")
        at += 1


CSV_NAMES = {
    "symbol": "symbol", "product_id": "symbol", "product": "symbol",
    "price": "price", "timestamp": "time", "time": "time",
}  # fmt: skip


def row_reader(columns):
    def read(frame, found):
        row = split_row(decode_text(frame))
        if len(row) != len(columns):
            raise Refused("another number of fields than of columns")
        values = {}
        for column, value in zip(columns, row):
            name = CSV_NAMES.get(column.strip())
            if name is None or (name == "time" and not value):
                continue
            if name in values:
                raise Refused(f"{name} twice")
            values[name] = value
        if "time" in values:
            found.time = parse_time(values["time"])
        product = parse_product(required(values, "symbol"))
        value = parse_decimal(required(values, "price"))
        found.records.append(price(product, value, found.time))

    return read


# ---------------------------------------------------------------- updates

UPDATE_FIELDS = {"op", "id", "product", "price", "user_id", "direction", "time"}


def read_update(frame, found):
    update = fields(parse_json(frame), UPDATE_FIELDS)
    if "time" in update:
        found.time = as_time(update["time"])
    op = as_text(update.get("op", "add"))
    if op not in ("add", "remove", "edit"):
        raise Refused("no such op")
    direction = as_text(update.get("direction", "above"))
    if direction not in ("above", "below"):
        raise Refused("no such direction")
    product = as_product(update["product"]) if "product" in update else "BTC-USD"
    value = as_decimal(update["price"]) if "price" in update else None
    user_id = as_integer(update["user_id"]) if "user_id" in update else None
    if "id" in update:
        name = as_text(update["id"])
        if not 1 <= len(name.encode("utf-8")) <= 128:
            raise Refused("the id is too long or empty")
    else:
        required(update, "user_id"), required(update, "price")
        name = f"{user_id}:{direction}:{decimal_text(value)}"
    if op == "add":
        required(update, "user_id"), required(update, "price")
    named = {"price": value, "user_id": user_id}
    if "direction" in update or op == "add":
        named["direction"] = direction
    named = {key: value for key, value in named.items() if value is not None}
    found.records.append({"op": op, "product": product, "id": name, "named": named})


# ---------------------------------------------------------------- files

SECONDS = re.compile(rb"([0-9]{1,11})(?:\.([0-9]*))?: (.*)", re.DOTALL)
NANOS = re.compile(rb"([0-9]{16,19}) (.*)", re.DOTALL)
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def stamped(line):
    """The stamp and the frame of a line, or None."""
    if match := SECONDS.fullmatch(line):
        stamp = int(match[1]) * 10**9 + int((match[2] or b"").ljust(9, b"0")[:9])
        frame = match[3]
    elif match := NANOS.fullmatch(line):
        stamp, frame = int(match[1]), match[2]
    else:
        return None
    return (stamp, frame) if stamp < 2**63 else None


def is_document(line):
    return line[:1] in (b"{", b"[")


def is_recording(data):
    found = map(stamped, data[: 256 * 1024].split(b"\n"))
    return any(pair is not None and is_document(pair[1]) for pair in found)


def split_rows(data):
    """The rows of a CSV file as their bytes; a quoted field may hold line ends. No blank lines."""
    rows, row, state = [], bytearray(), "field begins"
    for byte in data:
        character = bytes([byte])
        if state == "quoted":
            state = "quote in quoted" if character == b'"' else "quoted"
        elif character in (b"\r", b"\n"):
            rows.append(bytes(row))
            row.clear()
            state = "field begins"
            continue
        elif character == b",":
            state = "field begins"
        elif character == b'"' and state in ("field begins", "quote in quoted"):
            state = "quoted"
        else:
            state = "unquoted"
        row += character
    rows.append(bytes(row))
    return [row.strip(b"\r\n") for row in rows if row.strip(b"\r\n")]


def read_bytes(path):
    if path.endswith(".gz"):
        with gzip.open(path) as file:
            return file.read()
    if path.endswith(".zst"):
        try:
            return subprocess.run(["zstd", "-dc", path], check=True, capture_output=True).stdout
        except FileNotFoundError:
            sys.exit(f"{path}: unpack it first, or install the command `zstd`")
    with open(path, "rb") as file:
        return file.read()


def read_file(path, read):
    """The frames of a file: their offset, receipt stamp (or None) and what was found."""
    data = read_bytes(path).removeprefix(BYTE_ORDER_MARK)
    if path.removesuffix(".gz").removesuffix(".zst").endswith(".csv"):
        rows = split_rows(data)
        columns = split_row(rows[0].decode("utf-8")) if rows else []
        read = row_reader(columns)
        return [(index, None, read_frame(read, row)) for index, row in enumerate(rows[1:])]
    recording = is_recording(data)
    frames = []
    for index, line in enumerate(data.split(b"\n")):
        line = line.removesuffix(b"\r")
        if not line.strip(b" \t\n\r\x0c"):
            continue
        stamp = None
        if recording:
            if pair := stamped(line):
                stamp, line = pair
            elif not is_document(line):
                continue
        frames.append((index, stamp, read_frame(read, line)))
    return frames


def read_source(index, name, paths, read):
    """All frames of a source as (order, kind, content): what is sorted is the order alone. And where
    each partition is cut: see `Time`."""
    events, cuts = [], []
    for partition, path in enumerate(paths):
        time, chunk = 0, Chunk()
        for offset, stamp, found in read_file(path, read):
            own = stamp if stamp is not None else found.time
            time = max(time, time if own is None else own)
            if found.refused:
                letter = {"source": name, "partition": partition, "offset": offset}
                events.append(((time, index, partition, offset, 0), "dead letter", letter))
            for place, record in enumerate(found.records):
                suffix = f".{place}" if place else ""
                record["record_id"] = f"{name}-{partition}-{offset}{suffix}"
                record["ingest_time"] = time
                events.append(((time, index, partition, offset, place), name, record))
            chunk.add(found, (time, index, partition, offset))
        cuts.append(chunk.ends())
    return events, cuts


# ---------------------------------------------------------------- time

CHUNK_ITEMS = 1024
CHUNK_BYTES = 2**18
IDLE_AFTER = 60 * 10**9
BEGIN, END = -(2**63), 2**63 - 1


class Chunk:
    """Cuts a partition after so many records and refused frames, or so many bytes of any frames."""

    def __init__(self):
        self.cuts, self.items, self.bytes, self.last = [], 0, 0, None

    def add(self, found, order):
        self.items += 1 if found.refused else len(found.records)
        self.bytes += found.length
        if found.refused or found.records:
            self.last = order
        if self.items >= CHUNK_ITEMS or self.bytes >= CHUNK_BYTES:
            self.ends()

    def ends(self):
        if self.last is not None:
            self.cuts.append(self.last)
        self.items, self.bytes, self.last = 0, 0, None
        return self.cuts


class Time:
    """How far event time has come, by the prices of the epochs before.

    The cuts of all partitions of all sources, in their order, are the ends of epochs. A partition has
    come as far as its newest price, one from the future taken for one of its ingest time; and all
    have come as far as the least of them that has not ended and is not idle, that is, has brought no price
    for a minute of ingest time. No time goes back.
    """

    def __init__(self, partitions):
        """`partitions` of prices: the cuts of each."""
        self.watermark, self.before = BEGIN, None
        self.ends = [cuts[-1] if cuts else None for cuts in partitions]
        # Of each partition its watermark, when it brought something first, and when last.
        self.lanes = [None] * len(partitions)
        self.brought = {}

    def see(self, partition, record):
        ingest = record["ingest_time"]
        newest = min(event_time(record), ingest)
        self.brought[partition] = max(newest, self.brought.get(partition, BEGIN))

    def end_epoch(self, cut):
        for partition, end in enumerate(self.ends):
            was = self.lanes[partition]
            # What a partition brings to an epoch is known before it is known to have ended.
            ended = end is None or (self.before is not None and end <= self.before)
            if ended and (was is None or was[0] < END):
                self.brought[partition] = END
        self.before, now = cut, cut[0]
        if not self.brought:
            return
        for partition, newest in self.brought.items():
            was = self.lanes[partition] or (BEGIN, now, now)
            self.lanes[partition] = (max(was[0], newest), was[1], now)
        self.brought = {}
        self.watermark = max(self.watermark, self.least())

    def least(self):
        known = [lane for lane in self.lanes if lane is not None]
        first, now = min(lane[1] for lane in known), max(lane[2] for lane in known)
        lanes = [lane or (BEGIN, first, first) for lane in self.lanes]
        lanes = [lane for lane in lanes if lane[0] < END]
        if not lanes:
            return END
        awake = [lane[0] for lane in lanes if lane[2] + IDLE_AFTER > now]
        return min(awake, default=BEGIN)


def event_time(record):
    return record["ingest_time"] if record["time"] is None else record["time"]


# ---------------------------------------------------------------- the computation


class Averaging:
    """Which prices the average is over: all, the last `most`, or those of the last `size` nanoseconds."""

    UNITS = {"h": 3600 * 10**9, "m": 60 * 10**9, "s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}

    def __init__(self, text="10m", lateness="1m"):
        self.most = self.size = None
        self.lateness = self.duration(lateness)
        if text.startswith("last:"):
            self.most = int(text.removeprefix("last:"))
        elif text != "running":
            self.size = self.duration(text)

    def duration(self, text):
        parts = re.findall(r"([0-9]+)(h|ms|m|s|us|ns) ?", text)
        if "".join(number + unit for number, unit in parts) != text.replace(" ", ""):
            sys.exit(f"{text}: no duration such as 10m or 1h 30m")
        return sum(int(number) * self.UNITS[unit] for number, unit in parts)

    def is_late(self, record, watermark):
        return self.size is not None and event_time(record) < watermark - self.lateness


class Window:
    """All prices of a product, and the total of those of the last `size` before the newest."""

    def __init__(self, size):
        self.size, self.times, self.prices = size, [], []
        self.first, self.total = 0, Fraction(0)

    def average(self, time, price):
        """Adds a price; gives the average over the last `size` before it."""
        at = bisect_right(self.times, time)
        newest = at == len(self.times)
        self.times.insert(at, time)
        self.prices.insert(at, price)
        if not newest:
            if time > self.times[-1] - self.size:
                self.total += price
            else:
                self.first += 1
            meant = self.prices[bisect_right(self.times, time - self.size) : at + 1]
            return sum(meant) / Fraction(len(meant))
        self.total += price
        while self.times[self.first] <= time - self.size:
            self.total -= self.prices[self.first]
            self.first += 1
        return self.total / (len(self.prices) - self.first)


class Product:
    def __init__(self, averaging):
        self.averaging = averaging
        self.total = Fraction(0)
        self.count = 0
        self.last = []
        self.window = Window(averaging.size)
        self.last_trade_id = None
        self.alerts = {}  # id -> {"price", "user_id", "direction"}
        # Thresholds of both directions, sorted, only so that large files take no hours.
        self.sorted = {"above": [], "below": []}

    def average(self, record):
        """The average that a price leads to."""
        price, averaging = record["price"], self.averaging
        if averaging.size is not None:
            return self.window.average(event_time(record), price)
        if averaging.most is not None:
            self.last = (self.last + [price])[-averaging.most :]
            return sum(self.last) / Fraction(len(self.last))
        self.total += price
        self.count += 1
        return self.total / self.count

    def put(self, name, alert):
        self.drop(name)
        self.alerts[name] = alert
        insort(self.sorted[alert["direction"]], (alert["price"], name))

    def drop(self, name):
        if alert := self.alerts.pop(name, None):
            entries = self.sorted[alert["direction"]]
            del entries[bisect_left(entries, (alert["price"], name))]


def apply_update(product, update):
    name, op, named = update["id"], update["op"], update["named"]
    if op == "add":
        product.put(name, named)
    elif op == "remove":
        product.drop(name)
    elif name in product.alerts:
        product.put(name, product.alerts[name] | named)


def apply_price(product, record, watermark=BEGIN, too_late=None):
    """The notification, or None."""
    trade_id, last = record["trade_id"], product.last_trade_id
    if not record["fresh"] and last is not None and trade_id <= last:
        return None
    if trade_id is not None:
        product.last_trade_id = trade_id if last is None else max(last, trade_id)
    if product.averaging.is_late(record, watermark):
        too_late.append(record["record_id"])
        return None
    average = product.average(record)
    fired = []
    for direction in ("above", "below"):
        groups = {}
        entries = product.sorted[direction]
        reached = [
            entry
            for entry in (entries if entries and is_near(entries, direction, average) else [])
            if (entry[0] <= average if direction == "above" else entry[0] >= average)
        ]
        for threshold, name in reached:
            groups.setdefault(threshold, []).append(name)
        for threshold in sorted(groups):
            alerts = [
                {"id": name, "user_id": product.alerts[name]["user_id"]}
                for name in sorted(groups[threshold])
            ]
            fired.append(
                {"direction": direction, "price": decimal_text(threshold), "alerts": alerts}
            )
        for _, name in reached:
            product.drop(name)
    if not fired:
        return None
    return {
        "id": record["record_id"],
        "product": record["product"],
        "time": time_text(event_time(record)),
        "price": decimal_text(record["price"]),
        "average": decimal_text(round_8(average)),
        "fired": fired,
    }


def is_near(entries, direction, average):
    """Whether at least the nearest threshold is reached."""
    return entries[0][0] <= average if direction == "above" else entries[-1][0] >= average


def run(prices, updates, averaging=None):
    """All notifications, all dead letters and the names of all prices that were too late, in order."""
    averaging = averaging or Averaging("running")
    events, partitions = read_source(0, "prices", prices, read_price)
    more_events, more_partitions = read_source(1, "updates", updates, read_update)
    events = sorted(events + more_events, key=lambda event: event[0])
    cuts = sorted(sum(partitions + more_partitions, []))
    products, notifications, dead_letters, too_late = {}, [], [], []
    time, epoch = Time(partitions), 0
    for order, kind, content in events:
        while order[:4] > cuts[epoch]:
            time.end_epoch(cuts[epoch])
            epoch += 1
        if kind == "dead letter":
            dead_letters.append(content)
            continue
        product = products.setdefault(content["product"], Product(averaging))
        if kind == "updates":
            apply_update(product, content)
            continue
        time.see(order[2], content)
        notification = apply_price(product, content, time.watermark, too_late)
        if notification is not None:
            notifications.append(notification)
    return notifications, dead_letters, too_late


def json_line(value):
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--prices", nargs="*", default=[], metavar="FILE")
    parser.add_argument("--updates", nargs="*", default=[], metavar="FILE")
    parser.add_argument("--notify", metavar="FILE")
    parser.add_argument("--dead-letters", metavar="FILE")
    parser.add_argument("--average", default="10m")
    parser.add_argument("--lateness", default="1m", metavar="DURATION")
    parser.add_argument("--too-late", metavar="FILE")
    options = parser.parse_args()
    averaging = Averaging(options.average, options.lateness)
    notifications, dead_letters, too_late = run(options.prices, options.updates, averaging)
    text = "".join(map(json_line, notifications)).encode("utf-8")
    if options.notify:
        with open(options.notify, "wb") as file:
            file.write(text)
    else:
        sys.stdout.buffer.write(text)
    if options.dead_letters:
        with open(options.dead_letters, "wb") as file:
            file.write("".join(map(json_line, dead_letters)).encode("utf-8"))
    if options.too_late:
        with open(options.too_late, "w", encoding="utf-8") as file:
            file.writelines(name + "\n" for name in too_late)


if __name__ == "__main__":
    main()
