#include "tier/slot_table.hpp"

#include "check.hpp"

namespace residentkv {
namespace {

ContentKey key(std::uint8_t number) {
  ContentKey made{};
  made[0] = number;
  return made;
}

SlotId stored(SlotTable& table, std::uint8_t number, std::uint32_t priority = 0) {
  SlotId const slot = table.begin_fill(key(number), priority).value().slot;
  table.finish_fill(slot, {number});
  return slot;
}

TEST(content_is_found_when_it_is_whole_and_not_before) {
  SlotTable table(2);
  SlotId const slot = table.begin_fill(key(1), 0).value().slot;
  CHECK(!table.find(key(1)).has_value());
  CHECK(table.has(key(1)));
  CHECK_THROWS(ContractError, table.begin_fill(key(1), 0));
  CHECK_THROWS(ContractError, table.begin_read(slot));
  table.finish_fill(slot, {7, 8});
  CHECK(table.find(key(1)) == slot);
  CHECK((table.checksums(slot) == std::vector<std::uint64_t>{7, 8}));
  SlotId const other = table.begin_fill(key(2), 0).value().slot;
  table.abort_fill(other);
  CHECK(!table.has(key(2)));
  CHECK(table.state(other) == SlotState::kFree);
  table.check_invariants();
}

TEST(the_weakest_and_oldest_goes_first) {
  SlotTable table(3);
  static_cast<void>(stored(table, 1, 1));
  static_cast<void>(stored(table, 2, 0));
  static_cast<void>(stored(table, 3, 0));
  CHECK(table.find(key(2)).has_value());  // used
  CHECK(table.begin_fill(key(4), 0).value().evicted == key(3));
  CHECK(table.begin_fill(key(5), 0).value().evicted == key(2));
  CHECK(table.begin_fill(key(6), 0).value().evicted == key(1));
  CHECK(!table.begin_fill(key(7), 0).has_value());  // all on their way
  table.check_invariants();
}

TEST(a_slot_that_is_read_is_nobody_elses_until_the_last_read_ends) {
  SlotTable table(1);
  SlotId const slot = stored(table, 1);
  table.begin_read(slot);
  table.begin_read(slot);
  CHECK(!table.begin_fill(key(2), 0).has_value());
  table.drop(slot);  // bad content, for example
  CHECK(table.state(slot) == SlotState::kDraining);
  CHECK(!table.find(key(1)).has_value());
  CHECK(!table.begin_fill(key(2), 0).has_value());
  table.end_read(slot);
  CHECK(!table.begin_fill(key(2), 0).has_value());
  table.end_read(slot);
  CHECK(table.begin_fill(key(2), 0).has_value());
  CHECK_THROWS(ContractError, table.end_read(slot));
  table.check_invariants();
}

TEST(what_was_promised_is_not_given_to_others) {
  SlotTable table(3);
  static_cast<void>(stored(table, 1));
  CHECK(table.reserve(2));
  CHECK(!table.reserve(2));
  static_cast<void>(stored(table, 2));  // replaces what is free beyond the promise
  CHECK(table.begin_fill(key(3), 0).value().evicted.has_value() || table.counts().free + table.counts().evictable >= 2);
  CHECK(table.begin_fill_reserved(key(4)).has_value());
  CHECK(table.begin_fill_reserved(key(5)).has_value());
  CHECK_THROWS(ContractError, table.begin_fill_reserved(key(6)));
  CHECK_THROWS(ContractError, table.forfeit(1));
  table.check_invariants();
}

TEST(reading_delays_a_promise_and_does_not_break_it) {
  SlotTable table(1);
  SlotId const slot = stored(table, 1);
  CHECK(table.reserve(1));
  CHECK_THROWS(ContractError, table.want(slot));  // it is what was promised
  table.begin_read(slot);
  CHECK_EQUAL(table.counts().lent, 1U);
  CHECK_THROWS(ContractError, table.want(slot));
  CHECK(!table.begin_fill_reserved(key(2)).has_value());
  CHECK_EQUAL(table.counts().reserved, 1U);
  table.check_invariants();
  table.end_read(slot);
  CHECK(table.begin_fill_reserved(key(2)).value().evicted == key(1));
  table.check_invariants();
}

TEST(wanted_content_stays_until_the_last_claim_lets_go) {
  SlotTable table(1);
  SlotId const slot = stored(table, 1);
  table.want(slot);
  table.want(slot);
  CHECK(!table.reserve(1));
  table.unwant(slot);
  CHECK(!table.begin_fill(key(2), 0).has_value());
  table.unwant(slot);
  CHECK_THROWS(ContractError, table.unwant(slot));
  CHECK(table.begin_fill(key(2), 0).value().evicted == key(1));
  CHECK_EQUAL(table.counts().num_evictions, 1U);
  table.check_invariants();
}

TEST(a_failed_fill_that_claims_wanted_leaves_nothing) {
  SlotTable table(1);
  SlotId const slot = table.begin_fill(key(1), 0).value().slot;
  table.want(slot);
  table.abort_fill(slot);
  CHECK_EQUAL(table.counts().wanted, 0U);
  CHECK_EQUAL(table.counts().free, 1U);
  CHECK_THROWS(ContractError, SlotTable(0));
  CHECK_THROWS(ContractError, table.drop(SlotId{1}));
  table.check_invariants();
}

}  // namespace
}  // namespace residentkv
