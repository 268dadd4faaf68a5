#!/usr/bin/env python3
"""The oracle itself, against cases worked out by hand: `python3 tests/oracle/test_oracle.py`.

WB-1 to WB-8, WB-10 and WB-11 are Wallaroo's Bitcoin alerts, by the numbers of the case list.
"""

import gzip
import json
import os
import sys
import tempfile
import unittest
from fractions import Fraction

sys.path.insert(0, os.path.dirname(__file__))
import oracle  # noqa: E402


def stamped(seconds, message):
    return f"{seconds}: {json.dumps(message)}"


def alert(seconds, price, user, **more):
    return stamped(seconds, {"price": price, "user_id": user} | more)


def tick(seconds, price):
    return stamped(seconds, {"type": "ticker", "price": price})


class Case(unittest.TestCase):
    def run_all(self, prices, updates=(), name="lines", averaging=None):
        """Each of `prices` and `updates` is a list of lines, or a list of such (partitions)."""
        with tempfile.TemporaryDirectory() as folder:

            def write(source, content):
                content = list(content)
                partitions = content if content and isinstance(content[0], list) else [content]
                paths = []
                for index, lines in enumerate(partitions):
                    path = os.path.join(folder, f"{source}-{index}-{name}")
                    data = "".join(line + "\n" for line in lines).encode("utf-8", "surrogateescape")
                    with (gzip.open if path.endswith(".gz") else open)(path, "wb") as file:
                        file.write(data)
                    paths.append(path)
                return paths

            return oracle.run(write("prices", prices), write("updates", updates), averaging)

    def run_lines(self, prices, updates=(), name="lines"):
        return self.run_all(prices, updates, name)[:2]

    def fired(self, prices, updates=(), average="running"):
        averaging = oracle.Averaging(average)
        notifications, dead, _ = self.run_all(prices, updates, averaging=averaging)
        self.assertEqual(dead, [])
        return [
            {
                group["price"]: [entry["user_id"] for entry in group["alerts"]]
                for group in notification["fired"]
            }
            | {"average": notification["average"]}
            for notification in notifications
        ]


FOUR_PRICES = [tick(1, "6500.00"), tick(2, "7000.00"), tick(3, "7100.00"), tick(4, "6000.00")]
FOUR_ALERTS = [alert(0, "6600", 1), alert(0, "6700", 2), alert(0, "6700", 3), alert(0, "7000", 4)]


class Wallaroo(Case):
    def test_wb_1_alerts_at_or_under_the_average_fire_in_one_message(self):
        self.assertEqual(
            self.fired(FOUR_PRICES, FOUR_ALERTS),
            [{"6600": [1], "6700": [2, 3], "average": "6750"}],
        )

    def test_wb_1_byte_for_byte(self):
        notifications, _ = self.run_lines(FOUR_PRICES, FOUR_ALERTS)
        self.assertEqual(
            "".join(map(oracle.json_line, notifications)),
            '{"id":"prices-0-1","product":"BTC-USD","time":"1970-01-01T00:00:02Z","price":"7000",'
            '"average":"6750","fired":[{"direction":"above","price":"6600","alerts":[{"id":'
            '"1:above:6600","user_id":1}]},{"direction":"above","price":"6700","alerts":[{"id":'
            '"2:above:6700","user_id":2},{"id":"3:above:6700","user_id":3}]}]}\n',
        )

    def test_wb_1_averages(self):
        for count, wanted in [(1, "6500"), (2, "6750"), (3, "6866.66666667"), (4, "6650")]:
            watch = alert(count - 0.5, "0", 9)
            self.assertEqual(
                self.fired(FOUR_PRICES[:count], [watch])[-1]["average"], wanted, count
            )

    def test_wb_2_a_late_alert_fires_at_the_next_price_and_not_before(self):
        alerts = FOUR_ALERTS + [alert(5, "6600", 5)]
        self.assertEqual(len(self.fired(FOUR_PRICES, alerts)), 1)
        self.assertEqual(
            self.fired(FOUR_PRICES + [tick(6, "6650")], alerts)[1:],
            [{"6600": [5], "average": "6650"}],
        )

    def test_wb_3_the_same_user_and_price_is_one_alert(self):
        twice = [alert(0, "6000", 1), alert(0, "6000", 1)]
        self.assertEqual(self.fired([tick(1, "6500")], twice), [{"6000": [1], "average": "6500"}])

    def test_wb_4_an_average_exactly_at_the_threshold_fires(self):
        for direction in ("above", "below"):
            at = alert(0, "6500.00", 1, direction=direction)
            self.assertEqual(
                self.fired([tick(1, "6500")], [at]), [{"6500": [1], "average": "6500"}]
            )

    def test_wb_5_equal_decimals_are_one_threshold(self):
        both = [alert(0, "6500", 1), alert(0, "6500.00", 2), alert(0, 65e2, 1)]
        self.assertEqual(
            self.fired([tick(1, "6500")], both), [{"6500": [1, 2], "average": "6500"}]
        )

    def test_wb_6_prices_without_alerts_say_nothing(self):
        self.assertEqual(self.fired(FOUR_PRICES), [])

    def test_wb_7_a_message_without_price_or_type_is_dropped(self):
        prices = [stamped(1, {"type": "ticker"}), stamped(2, {"price": "9000"}), tick(3, "6500")]
        self.assertEqual(
            self.fired(prices, [alert(0, "6000", 1)]), [{"6000": [1], "average": "6500"}]
        )

    def test_wb_8_the_average_of_the_last_ten_minutes(self):
        prices = [tick(0, "100"), tick(540, "200"), tick(660, "300")]
        for average, fired in [("10m", "250"), ("660s", "250"), ("660s 1ns", None), ("2m", "300"),
                               ("last:2", "250"), ("last:1", "300"), ("running", None)]:  # fmt: skip
            wanted = [{"240": [1], "average": fired}] if fired else []
            self.assertEqual(self.fired(prices, [alert(0, "240", 1)], average), wanted, average)

    def test_wb_10_a_removed_alert_does_not_fire(self):
        for removal in ({"op": "remove", "id": "1:above:6000"},
                        {"op": "remove", "user_id": 1, "price": "6000.0"}):  # fmt: skip
            updates = [alert(0, "6000", 1), alert(0, "6000", 2), stamped(0.5, removal)]
            self.assertEqual(
                self.fired([tick(1, "6500")], updates), [{"6000": [2], "average": "6500"}]
            )

    def test_wb_11_a_price_sees_the_alert_saved_just_before_it(self):
        alerts = [alert("1.999999999", "6000", 1), alert("2.000000000", "6000", 2)]
        # At equal times prices go before updates.
        self.assertEqual(
            self.fired([tick(2, "6500"), tick(3, "6500")], alerts),
            [{"6000": [1], "average": "6500"}, {"6000": [2], "average": "6500"}],
        )


class Updates(Case):
    def test_add_replaces_edit_keeps_and_neither_moves(self):
        updates = [
            alert(0, "5000", 1, id="a"),
            alert(0, "9000", 2, id="a"),
            alert(0, "9000", 3, id="b"),
            stamped(1, {"op": "edit", "id": "b", "price": 8000}),
            stamped(1, {"op": "edit", "id": "c", "price": 1}),
            stamped(1, {"op": "edit", "id": "b", "price": 1, "product": "ETH-USD"}),
            stamped(1, {"op": "remove", "id": "zzz"}),
            stamped(3, {"op": "edit", "id": "a", "direction": "below", "user_id": 4}),
        ]
        self.assertEqual(
            self.fired([tick(2, "8000"), tick(4, "8000")], updates),
            [{"8000": [3], "average": "8000"}, {"9000": [4], "average": "8000"}],
        )

    def test_what_is_wrong_is_a_dead_letter(self):
        good = {"price": "1", "user_id": 1}
        wrong = [
            {}, {"price": "1"}, {"user_id": 1}, good | {"op": "put"}, good | {"direction": "up"},
            good | {"user_id": -1}, good | {"user_id": 1.5}, good | {"user_id": 2**64},
            good | {"price": "1234567890123456789"}, good | {"price": "x"}, good | {"price": []},
            good | {"id": ""}, good | {"id": "x" * 129}, good | {"id": 5}, good | {"time": "now"},
            good | {"product": "BTC USD"}, {"op": "remove"}, {"op": "edit", "price": "1"}, [], 5,
        ]  # fmt: skip
        _, dead = self.run_lines([], [json.dumps(update) for update in wrong + [good]])
        self.assertEqual(
            dead, [{"source": "updates", "partition": 0, "offset": i} for i in range(len(wrong))]
        )


class Prices(Case):
    def averages(self, lines, name="lines"):
        """The average after all lines, by product, asked by one more price equal to it."""
        products = {"BTC-USD", "ETH-USD", "BTCUSDT"}
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, name)
            with open(path, "w", encoding="utf-8") as file:
                file.writelines(line + "\n" for line in lines)
            events, _ = oracle.read_source(0, "prices", [path], oracle.read_price)
        found = {product: oracle.Product(oracle.Averaging("running")) for product in products}
        for _, kind, record in sorted(events, key=lambda event: event[0]):
            self.assertEqual(kind, "prices")
            oracle.apply_price(found[record["product"]], record)
        return {
            name: (oracle.decimal_text(product.total / product.count), product.count)
            for name, product in found.items()
            if product.count
        }

    def test_a_last_match_counts_once(self):
        def match(kind, trade_id, price):
            return json.dumps(
                {"type": kind, "trade_id": trade_id, "product_id": "ETH-USD", "price": price}
            )

        lines = [
            match("last_match", 5, "10"),
            match("last_match", 5, "10"),
            match("match", "6", "20"),
            match("last_match", 6, "20"),
            match("last_match", 7, "30"),
        ]
        self.assertEqual(self.averages(lines), {"ETH-USD": ("20", 3)})

    def test_market_trades_are_sorted_and_old_ones_dropped(self):
        def frame(kind, ids):
            trades = [
                {"product_id": "ETH-USD", "trade_id": str(i), "price": str(i)} for i in ids
            ]
            event = {"type": kind, "trades": trades}
            return json.dumps({"channel": "market_trades", "events": [event]})

        lines = [frame("snapshot", [3, 2, 1]), frame("update", [5, 4]), frame("snapshot", [6, 5])]
        self.assertEqual(self.averages(lines), {"ETH-USD": ("3.5", 6)})

    def test_binance_and_rows(self):
        data = {"e": "trade", "E": 5, "T": 4, "s": "BTCUSDT", "t": 1, "p": "0.10000000"}
        lines = [json.dumps({"stream": "x", "data": data}), json.dumps(data | {"p": 3e-1})]
        lines += ['{"stream":"x","data":{"s":"BTCUSDT","b":"1"}}', '{"result":null,"id":1}']
        self.assertEqual(self.averages(lines), {"BTCUSDT": ("0.2", 2)})
        rows = ['"symbol","side","price","amount","timestamp"']
        rows += ['"BTC-USD","buy",25741.02,3.844E-5,"2023-09-05T16:00:01.281719Z"']
        self.assertEqual(self.averages(rows, "x.csv"), {"BTC-USD": ("25741.02", 1)})

    def test_other_messages_are_ignored(self):
        messages = [
            {"type": "ticker", "trade_id": 1, "price": "1", "product_id": "ETH-USD"},
            {"type": "ticker", "sequence": 1, "price": "1"},
            {"type": "subscriptions", "channels": []}, {"type": "heartbeat", "sequence": 1},
            {"channel": "heartbeats", "events": []}, {"e": "aggTrade", "p": "1", "s": "X"}, {},
        ]  # fmt: skip
        self.assertEqual(self.averages(map(json.dumps, messages)), {})


class Order(Case):
    def test_time_is_the_stamp_else_its_own_else_that_before_and_never_falls(self):
        prices = [
            '{"type":"x","price":"1","time":"1970-01-01T00:00:05Z"}',
            '{"type":"x","price":"1"}',
            '{"type":"x","price":"1","time":"1970-01-01T00:00:02Z"}',
            'not JSON',
            '{"type":"x","price":"1","time":"1970-01-01T00:00:06Z"}',
        ]
        with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as file:
            file.write("\n".join(prices))
            file.flush()
            events, _ = oracle.read_source(0, "prices", [file.name], oracle.read_price)
        self.assertEqual([event[0][0] // 10**9 for event in events], [5, 5, 5, 5, 6])

    def test_partitions_merge_by_time_then_index(self):
        def at(second, price):
            return json.dumps({"type": "x", "price": price, "time": f"1970-01-01T00:00:0{second}Z"})

        prices = [[at(1, "10"), at(3, "10")], [at(1, "20"), at(2, "30")]]
        updates = [json.dumps({"price": "20", "user_id": 1})]
        notifications, _ = self.run_lines(prices, updates)
        # 10, 20, 30: the average reaches 20 with the third.
        self.assertEqual([n["id"] for n in notifications], ["prices-1-1"])


class Late(Case):
    @staticmethod
    def at(second, price="1"):
        time = f"1970-01-01T{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}Z"
        return json.dumps({"type": "x", "price": price, "time": time})

    def told(self, prices, lateness="1m", average="10m"):
        """Averages at the prices of the first partition, with `1` for all before, and who was late."""
        updates = [[json.dumps({"price": "0", "user_id": n, "id": str(n)}) for n in range(3)]]
        averaging = oracle.Averaging(average, lateness)
        notified, _, too_late = self.run_all(prices, updates, averaging=averaging)
        return [note["average"] for note in notified], too_late

    def test_an_epoch_of_1024_prices_and_then_what_is_late(self):
        many = [self.at(1000)] * 1024
        for late, lateness, is_late in [(940, "1m", False), (939, "1m", True), (999, "0s", True),
                                        (1000, "0s", False)]:  # fmt: skip
            _, too_late = self.told([many + [self.at(late)]], lateness)
            self.assertEqual(too_late, ["prices-0-1024"] if is_late else [], late)
        # Within the epoch nothing is.
        _, too_late = self.told([many[1:] + [self.at(1)]])
        self.assertEqual(too_late, [])
        # All are taken where they are not of a time.
        for average in ["running", "last:7"]:
            self.assertEqual(self.told([many + [self.at(1)]], average=average)[1], [])

    def test_bytes_end_an_epoch_too(self):
        blank = json.dumps({"x": "x" * 2**17})
        _, too_late = self.told([[self.at(1000), blank, blank, self.at(1)]])
        self.assertEqual(too_late, ["prices-0-3"])
        _, too_late = self.told([[self.at(1000), blank, self.at(1)]])
        self.assertEqual(too_late, [])

    def test_the_slowest_partition_decides_unless_it_is_silent_or_at_its_end(self):
        many, late = [self.at(1000)] * 1024, self.at(900)
        slow = [self.at(950), self.at(1500)]
        # Its second price comes after the late one: until then it has come to 950.
        _, too_late = self.told([many + [late, self.at(1600)], slow])
        self.assertEqual(too_late, [])
        # Its first price was brought by the epoch that ends at 1000.
        for second, is_late in [(1059, False), (1060, True)]:
            more = [self.at(second)] * 1024
            _, too_late = self.told([many + more + [self.at(950), self.at(1600)], slow])
            self.assertEqual(too_late, ["prices-0-2048"] if is_late else [], second)
        _, too_late = self.told([many + many + [late], [self.at(950)]])
        self.assertEqual(too_late, ["prices-0-2048"])

    def test_a_window_is_open_on_the_left_and_knows_what_came_late(self):
        window = oracle.Window(10)
        for time, price, wanted in [(0, 1, 1), (5, 3, 2), (10, 8, Fraction(11, 2)), (9, 1, 5 / 3),
                                    (10, 0, 3), (12, 6, Fraction(18, 5)), (2, 7, 4), (1, 1, 1),
                                    (15, 9, Fraction(24, 5)), (40, 2, 2)]:  # fmt: skip
            self.assertAlmostEqual(float(window.average(time, Fraction(price))), float(wanted))


class Files(Case):
    def offsets(self, data, name):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, name)
            with open(path, "wb") as file:
                file.write(data)
            frames = oracle.read_file(path, oracle.read_price)
        return [(offset, stamp, found.refused) for offset, stamp, found in frames]

    def test_lines_count_blank_ones(self):
        data = b"\xef\xbb\xbf{}\r\n\n \t\n5: x\n{}"
        self.assertEqual(
            self.offsets(data, "a"), [(0, None, False), (3, None, True), (4, None, False)]
        )

    def test_recordings_have_stamps_and_notes(self):
        data = b"wss://x <-> 5\n1.5: {}\n1.1234567899: x\n\nnote\n{}\n1700000000000000001 {}\n"
        wanted = [(1, 1500000000, False), (2, 1123456789, True), (5, None, False),
                  (6, 1700000000000000001, False)]  # fmt: skip
        self.assertEqual(self.offsets(data, "a"), wanted)

    def test_rows_may_hold_line_ends(self):
        data = b'symbol,price,"ti\nme"\r\nX,1,"a\r\nb"\r\n\r\nX,"1,\nX,1,\n"\nX,1,2'
        self.assertEqual(
            self.offsets(data, "a.csv"), [(0, None, False), (1, None, True), (2, None, False)]
        )


class Forms(unittest.TestCase):
    def test_decimals(self):
        for text, wanted in [
            ("6500.00", "6500"), ("3.844E-5", "0.00003844"), ("1e20", "100000000000000000000"),
            ("-0.000", "0"), ("+.5", "0.5"), ("5.", "5"), ("000123456789012345678000", None),
            ("123456789012345678", "123456789012345678"), ("5e-28", "0." + "0" * 27 + "5"),
            ("00000000000000000000012.50", "12.5"), ("0e99999999999999999999", "0"),
        ]:  # fmt: skip
            wanted = "123456789012345678000" if wanted is None else wanted
            self.assertEqual(oracle.decimal_text(oracle.parse_decimal(text)), wanted, text)
        for text in ["", ".", "-", "1e", "e1", "1_0", " 1", "1 ", "NaN", "0x1", "1e29", "5e-29",
                     "1234567890123456789", "1" + "e" + "9" * 30, "8e28", "１"]:  # fmt: skip
            with self.assertRaises(oracle.Refused, msg=text):
                oracle.parse_decimal(text)

    def test_averages_round_half_even(self):
        for value, wanted in [
            (Fraction(20600, 3), "6866.66666667"), (Fraction(1, 2 * 10**8), "0"),
            (Fraction(3, 2 * 10**8), "0.00000002"), (Fraction(-3, 2 * 10**8), "-0.00000002"),
        ]:  # fmt: skip
            self.assertEqual(oracle.decimal_text(oracle.round_8(value)), wanted)

    def test_times(self):
        for text in ["2023-09-05T16:00:01.281719Z", "1970-01-01T00:00:00Z"]:
            self.assertEqual(oracle.time_text(oracle.parse_time(text)), text)
        self.assertEqual(
            oracle.time_text(oracle.parse_time("2016-12-31t23:59:60.50-01:30")),
            "2017-01-01T01:29:59.5Z",
        )
        for text in ["", "2023-09-05", "2023-02-29T00:00:00Z", "2023-09-05 16:00:01Z",
                     "2023-09-05T16:00:01", "2023-09-05T24:00:00Z", "1600-01-01T00:00:00Z",
                     "2023-09-05T16:00:01.0000000001Z", "2023-09-05T16:00:61Z"]:  # fmt: skip
            with self.assertRaises(oracle.Refused, msg=text):
                oracle.parse_time(text)


if __name__ == "__main__":
    unittest.main()
