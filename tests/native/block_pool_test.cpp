#include "alloc/block_pool.hpp"

#include <set>

#include "check.hpp"

namespace residentkv {
namespace {

BlockId take_one(BlockPool& pool) {
  Reservation reservation = pool.reserve(1).value();
  return pool.take(reservation).block;
}

// A held block with content, released: cached, soft or resident.
BlockId idle_block(BlockPool& pool, std::uint32_t content, Retention retention) {
  BlockId const block = take_one(pool);
  pool.set_content(block, NodeId{content}, retention);
  pool.release(block);
  return block;
}

TEST(pool_hands_out_every_block_once_and_never_the_null_block) {
  for (bool const null_block : {false, true}) {
    BlockPool pool({.usable_blocks = 5, .null_block = null_block});
    std::set<std::uint32_t> seen;
    for (int i = 0; i < 5; ++i) seen.insert(index_of(take_one(pool)));
    CHECK_EQUAL(seen.size(), 5U);
    CHECK_EQUAL(*seen.begin(), null_block ? 1U : 0U);
    CHECK_EQUAL(*seen.rbegin(), null_block ? 5U : 4U);
    CHECK(!pool.reserve(1).has_value());
    pool.check();
  }
}

TEST(reservation_forfeits_what_was_not_taken) {
  BlockPool pool({.usable_blocks = 4, .null_block = true});
  {
    Reservation reservation = pool.reserve(3).value();
    CHECK_EQUAL(pool.num_available(), 1U);
    static_cast<void>(pool.take(reservation));
    Reservation const moved = std::move(reservation);
    CHECK_EQUAL(moved.remaining(), 2U);
    CHECK(!pool.reserve(2).has_value());
  }
  CHECK_EQUAL(pool.num_available(), 3U);
  CHECK_EQUAL(pool.num_reserved(), 0U);
}

TEST(taking_without_a_reservation_is_our_bug) {
  BlockPool pool({.usable_blocks = 1, .null_block = true});
  Reservation none;
  CHECK_THROWS(InvariantError, pool.take(none));
}

TEST(victims_come_cached_before_soft_and_oldest_first_and_never_resident) {
  BlockPool pool({.usable_blocks = 5, .null_block = true});
  BlockId const soft = idle_block(pool, 1, Retention::kSoft);
  static_cast<void>(idle_block(pool, 2, Retention::kResident));
  BlockId const old = idle_block(pool, 3, Retention::kCached);
  BlockId const young = idle_block(pool, 4, Retention::kCached);
  static_cast<void>(take_one(pool));
  CHECK_EQUAL(pool.num_available(), 3U);
  CHECK_EQUAL(index_of(take_one(pool)), index_of(old));
  CHECK_EQUAL(index_of(take_one(pool)), index_of(young));
  CHECK_EQUAL(index_of(take_one(pool)), index_of(soft));
  CHECK(!pool.reserve(1).has_value());
  CHECK_EQUAL(pool.num_resident_idle(), 1U);
  pool.check();
}

TEST(a_victim_names_its_content_and_a_free_block_none) {
  BlockPool pool({.usable_blocks = 1, .null_block = true});
  static_cast<void>(idle_block(pool, 7, Retention::kCached));
  Reservation reservation = pool.reserve(1).value();
  BlockPool::Taken const taken = pool.take(reservation);
  CHECK_EQUAL(index_of(taken.victim_content), 7U);
  CHECK(taken.victim_retention == Retention::kCached);
  pool.release(taken.block);
  CHECK_EQUAL(pool.num_free(), 1U);
}

TEST(using_a_cached_block_moves_it_to_the_young_end) {
  BlockPool pool({.usable_blocks = 2, .null_block = true});
  BlockId const first = idle_block(pool, 1, Retention::kCached);
  BlockId const second = idle_block(pool, 2, Retention::kCached);
  pool.retain(first);
  pool.release(first);
  CHECK_EQUAL(index_of(take_one(pool)), index_of(second));
}

TEST(releasing_too_often_is_found) {
  BlockPool pool({.usable_blocks = 1, .null_block = true});
  BlockId const block = take_one(pool);
  pool.release(block);
  CHECK_THROWS(InvariantError, (pool.release(block), 0));
}

TEST(a_pool_of_no_blocks_is_refused) { CHECK_THROWS(ContractError, BlockPool({.usable_blocks = 0, .null_block = true})); }

}  // namespace
}  // namespace residentkv
