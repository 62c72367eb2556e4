from __future__ import annotations

from roomful.server.rates import BURST, MAX_BUCKETS, Rate, network_of


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def admitted(rate: Rate, key: str, tries: int) -> int:
    count = 0
    for _ in range(tries):
        if not rate.full(key):
            rate.take(key)
            count += 1
    return count


def test_a_burst_and_then_the_rate_for_each_key() -> None:
    clock = Clock()
    rate = Rate(5, clock)
    assert admitted(rate, "a", 1000) == 5 * BURST
    assert admitted(rate, "b", 1000) == 5 * BURST
    clock.now += 1
    assert admitted(rate, "a", 1000) == 5
    clock.now += 1000
    assert admitted(rate, "a", 1000) == 5 * BURST


def test_zero_is_no_limit() -> None:
    rate = Rate(0, Clock())
    assert admitted(rate, "a", 1000) == 1000
    assert len(rate) == 0


def test_many_keys_are_forgotten_again() -> None:
    clock = Clock()
    rate = Rate(1, clock)
    for number in range(3 * MAX_BUCKETS):
        rate.take(str(number))
        assert len(rate) <= MAX_BUCKETS
    admitted(rate, "busy", 1000)
    assert rate.full("busy")


def test_addresses_of_one_subscriber_count_as_one() -> None:
    assert network_of("192.0.2.1") == network_of("::ffff:192.0.2.1") == "192.0.2.1"
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff:1%eth0") != network_of("2001:db8:0:1::1")
    assert network_of("") == ""
